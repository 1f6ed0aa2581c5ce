"""What changed between two results: the numbers are those of the results, and the page says them."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from command_process import command
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

import audit
from audit.errors import InputError
from audit.result import AuditResult
from reports.compare import compare, headline, render_comparison, write_comparison
from reports.index import IndexEntry, write_index

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Results = tuple[AuditResult, AuditResult]


@pytest.fixture(scope="module")
def corrected() -> Results:
    """Digits with wrong labels, and the same after most flagged ones got their suggestions and the seed changed."""
    x, true = load_digits(n_class=4, return_X_y=True)
    labels = np.array([f"digit {label}" for label in true], dtype=object)
    wrong = np.random.default_rng(0).choice(len(labels), 60, replace=False)
    labels[wrong] = [f"digit {(true[row] + 1) % 4}" for row in wrong]
    first = audit.audit_embeddings(x, labels.astype(str))
    corrected = first.flagged[::3].index.union(first.flagged[1::3].index)
    labels[corrected.astype(int)] = first.scores.loc[corrected, "suggested_label"].to_numpy()
    return first, audit.audit_embeddings(x, labels.astype(str), config=audit.AuditConfig(seed=1))


def test_the_comparison_counts_what_the_results_say(corrected: Results) -> None:
    first, second = corrected
    values = compare(first, second)
    one, other = first.scores, second.scores
    assert values["samples"] == {"common": len(one), "only_first": 0, "only_second": 0}
    assert values["labels"]["changed"] == values["labels"]["as_suggested"] == int((one.label != other.label).sum()) > 30
    assert values["labels"]["changed_of_flagged"] == values["labels"]["changed"]
    flags = values["flags"]
    assert flags["gone"] == int((one.flag & ~other.flag).sum()) > 30
    assert flags["new"] == int((~one.flag & other.flag).sum())
    assert flags["both"] + flags["gone"] == len(first.flagged)
    expected = spearmanr(one.suspicion, other.suspicion).statistic
    assert values["suspicion"]["rank_correlation"] == pytest.approx(expected)
    assert [(setting["name"], setting["first"], setting["second"]) for setting in values["settings"]] == [
        ("seed", 0, 1)
    ]
    assert sum(row["gone"] for row in values["classes"]) == flags["gone"]
    assert sum(pair["count"] for pair in values["labels"]["pairs"]) == values["labels"]["changed"]
    before, after = (round(result.summary["estimates"]["mistakes"]) for result in corrected)
    assert headline(values) == f"About {before} of {len(one)} labels looked wrong, now about {after} do."


def test_the_command_writes_the_page_and_prints_the_comparison(
    corrected: Results, tmp_path: Path, browser: Browser
) -> None:
    for name, result in zip(("a", "b"), corrected, strict=True):
        result.save(tmp_path / name)
    done = command("compare", "a", "b", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values == json.loads(json.dumps(compare(*corrected)))
    page = browser.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.goto((tmp_path / "b" / "compare.html").as_uri())
    assert page.locator("h1").inner_text() == headline(values)
    for name in ("gone", "new", "both"):
        assert page.locator(f"#{name} h3").inner_text().endswith(f": {values['flags'][name]}")
        assert page.locator(f"#{name} .card").count() == values["flags"][name]
    assert page.locator("#class-table tbody tr").count() == 4
    page.close()
    assert messages == []
    refused = command("compare", "a", "nowhere", cwd=tmp_path)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)


def test_samples_are_matched_by_file_where_ids_differ_and_refused_where_nothing_does(corrected: Results) -> None:
    first, second = corrected
    paths = [f"/images/{row}.png" for row in range(len(first.scores))]
    one = dataclasses.replace(first, scores=first.scores.assign(filepath=paths))
    other = dataclasses.replace(second, scores=second.scores.assign(filepath=paths).add_prefix("x", axis=0)[100:])
    values = compare(one, other)
    assert values["samples"] == {"common": len(paths) - 100, "only_first": 100, "only_second": 0}
    copied = [f"/elsewhere/images/{row + 100}.png" for row in range(len(other.scores))]
    copies = dataclasses.replace(other, scores=other.scores.assign(filepath=copied))
    assert compare(one, copies)["samples"] == values["samples"]
    with pytest.raises(InputError, match="no sample in common"):
        compare(first, dataclasses.replace(other, scores=other.scores.assign(filepath=None)))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    corrected: Results, tmp_path: Path, browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    summaries = [{**result.summary, "source": {"dataset": "digits", "label_field": "second"}} for result in corrected]
    entries = [IndexEntry("digits", None, "audit", 3, summary, tmp_path / "report.html") for summary in summaries]
    entries.append(IndexEntry("gone", None, "audit", 2, error="error: there is no such thing"))
    pages = (write_comparison(*corrected, tmp_path / "c.html"), write_index(entries, tmp_path / "index.html", 0.01))
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
