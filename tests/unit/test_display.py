"""A result in a notebook, and the notebook of the documents."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest

from audit.display import verdict
from audit.result import AuditResult
from tests.made_reports import ReportText, nothing_flagged
from tests.made_statements import verified
from tests.pictures import notebook


def test_a_result_shows_verdict_table_and_pictures(plain: AuditResult) -> None:
    page = ReportText(plain._repr_html_())
    flagged, total = plain.summary.counts.flagged, plain.summary.counts.samples
    assert f"{flagged} of {total:,} samples are flagged." in page.text
    assert "labels may be wrong, say the models of the labels." in page.text
    pictures = [tags for name, tags in page.tags if name == "img"]
    assert len(pictures) == 12
    assert all(str(tags["src"]).startswith("data:image/webp;base64,") for tags in pictures)
    assert f"and {flagged - 12} more" in page.text
    assert not [name for name, _ in page.tags if name in ("script", "link", "iframe")]


def test_names_are_text(hostile: AuditResult) -> None:
    tags = {name for name, _ in ReportText(hostile._repr_html_()).tags}
    assert tags <= {"style", "div", "h3", "table", "tr", "th", "td", "ul", "li", "img", "b", "br", "p"}
    without_pictures = replace(hostile, thumbnails=hostile.thumbnails.iloc[:0])
    tags = {name for name, _ in ReportText(without_pictures._repr_html_()).tags}
    assert "img" not in tags
    assert tags <= {"style", "div", "h3", "table", "thead", "tbody", "tr", "th", "td"}


def test_the_verdict_claims_no_more_than_is_known(plain: AuditResult) -> None:
    summary = plain.summary
    estimates = replace(summary.estimates, mistakes_low=100.2, mistakes_high=200.0, cautions=())
    assert "100 to 200 labels may be wrong" in verdict(replace(summary, estimates=estimates))
    cautious = replace(estimates, cautions=("Few known mislabels.",))
    assert "Up to 200 labels may be wrong" in verdict(replace(summary, estimates=cautious))
    untold = replace(estimates, told=False)
    assert "Labels alone cannot say how many" in verdict(replace(summary, estimates=untold))
    assert "20 to 140 labels are wrong, say decisions" in verdict(verified(summary, (71, 20, 140), (0.1, 0.05, 0.2)))
    assert verdict(nothing_flagged(plain).summary).startswith("None of 1,797 samples is flagged.")
    assert nothing_flagged(plain)._repr_html_()


def test_the_frame_has_the_most_suspicious_first(plain: AuditResult) -> None:
    frame = plain.to_frame()
    assert len(frame) == len(plain.scores)
    assert set(frame) == set(plain.scores)
    assert frame["suspicion"].is_monotonic_decreasing
    assert list(frame)[:2] == ["label", "suggested_label"]
    assert plain.to_frame(flagged=True).index.equals(plain.flagged.index)


def test_without_a_notebook_a_browser_shows_it(plain: AuditResult, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)) or True)
    plain.show(2)
    assert opened[0].startswith("file://")


def test_the_notebook_has_these_cells_and_they_run() -> None:
    kept: dict[str, Any] = json.loads(notebook.NOTEBOOK.read_text(encoding="utf-8"))
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in kept["cells"]] == list(notebook.CELLS)
    shown = {"".join(cell["source"]): cell["outputs"] for cell in kept["cells"] if cell["cell_type"] == "code"}
    assert all(outputs for code, outputs in shown.items() if not code.startswith("import"))
    text = notebook.NOTEBOOK.read_text(encoding="utf-8")
    assert "influence-audit" in text
    assert len(text) < 400_000
    names: dict[str, Any] = {}
    printed = StringIO()
    with redirect_stdout(printed):
        for code in notebook.code_cells()[:-1]:  # the last one shows the same again
            exec(compile(code, "docs/notebook.ipynb", "exec"), names)
    found, wrong = map(int, printed.getvalue().split(" wrong")[0].split(" of "))
    assert found >= 0.8 * wrong > 20
