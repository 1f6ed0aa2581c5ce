"""The page that compares two audits, in a real browser."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from audit.result import AuditResult
from audit.summary.parts import to_json
from audit.summary.surroundings import AuditedDataset
from reports.changes import compare, headline
from reports.compare import render_comparison, write_comparison
from reports.index import IndexEntry, write_index
from reports.limit import Limit
from tests.command.forked_command import forked_command

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Results = tuple[AuditResult, AuditResult]


def test_the_command_writes_the_page_and_prints_the_comparison(
    corrected: Results, tmp_path: Path, browser: Browser
) -> None:
    for name, result in zip(("a", "b"), corrected, strict=True):
        result.save(tmp_path / name)
    done = forked_command("compare", "a", "b", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values.pop("history") == []  # no run was kept
    changes = compare(*corrected)
    assert values == json.loads(json.dumps(to_json(changes)))
    page = browser.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.goto((tmp_path / "b" / "compare.html").as_uri())
    assert page.locator("h1").inner_text() == headline(changes)
    for name in ("gone", "new", "both"):
        assert page.locator(f"#{name} h3").inner_text().endswith(f": {values['flags'][name]}")
        assert page.locator(f"#{name} .card").count() == values["flags"][name]
    assert page.locator("#class-table tbody tr").count() == 4
    page.close()
    assert messages == []
    refused = forked_command("compare", "a", "nowhere", cwd=tmp_path)
    assert refused.returncode == 2
    begun, problem = refused.stderr.splitlines()  # it may be the name of a dataset, and looking takes seconds
    assert "comparing 'a' and 'nowhere'" in begun
    assert problem.startswith("error: ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    corrected: Results, tmp_path: Path, browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    source = AuditedDataset(dataset="digits", slug="digits", label_field="second", audit_key="audit", source="digits")
    summaries = [dataclasses.replace(result.summary, source=source) for result in corrected]
    entries = [IndexEntry("digits", None, "audit", 3, summary, tmp_path / "report.html") for summary in summaries]
    entries.append(IndexEntry("gone", None, "audit", 2, error="error: there is no such thing"))
    pages = (
        write_comparison(*corrected, tmp_path / "c.html"),
        write_index(entries, tmp_path / "index.html", Limit(0.01)),
    )
    # The pages' policy keeps strangers' scripts out; axe is one, so it is lifted here and nowhere else.
    context = browser.new_context(bypass_csp=True, color_scheme=scheme)
    for path in pages:
        page = context.new_page()
        page.goto(path.as_uri())
        page.evaluate(axe)
        violations = page.evaluate("axe.run().then(result => result.violations)")
        assert [(each["impact"], each["id"], each["nodes"][0]["html"]) for each in violations] == []
    context.close()


def test_hostile_names_are_text(corrected: Results, tmp_path: Path, browser: Browser) -> None:
    first, second = corrected
    name = '<img src=x onerror="alert(1)"> ‮ 🐱' + "y" * 300
    renamed = {"digit 1": name}
    results = [
        dataclasses.replace(
            result,
            scores=result.scores.assign(**{c: result.scores[c].replace(renamed) for c in ("label", "suggested_label")}),
        )
        for result in (first, second)
    ]
    assert "<img src=x" not in render_comparison(*results)
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.goto(write_comparison(*results, tmp_path / "c.html").as_uri())
    assert name[:28] in page.locator("#class-table").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()
