"""The page about one sample."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from audit.result import AuditResult
from reports.explained import explained_sample, group_of, write_explanation
from tests.made_reports import ReportText


def test_the_page_shows_the_sample_and_its_neighbours_and_names_are_text(hostile: AuditResult, tmp_path: Path) -> None:
    scores = hostile.scores
    first, *others = hostile.flagged.index[1:5]
    columns = {"neighbour": others, "label": scores.loc[others, "label"], "influence": [0.5, -0.25, -1.0]}
    table = pd.DataFrame(columns).reset_index(drop=True)
    groups = [
        group_of("all", "helpful", "These speak for it", table[:1], scores),
        group_of("label", "harmful", "These speak against it", table[1:], scores),
        group_of("validation", "harmed", "Harmed by it", table[:0], scores),
    ]
    path = write_explanation(hostile, explained_sample(hostile, first, groups), tmp_path / "why.html", b"RIFF")
    page = ReportText(path.read_text(encoding="utf-8"))
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 1
    assert names.count("img") == 5  # the sample, its heat map, and three neighbours
    for words in ("For the label", "Against it, same label", "Harmed by it", "None.", "+0.500", "−1.00", str(first)):
        assert words in page.text
    assert str(scores.at[first, "label"]) in page.text
