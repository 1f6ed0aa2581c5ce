"""Tables of decisions: what they say of each sample, and what they cannot say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audit.errors import InputError
from integrations.corrections.reviewed_table import read_reviewed_table
from reports.page_texts import DECISION_COLUMNS, DECISION_STATUSES


def saved(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_what_the_report_saves_is_read(tmp_path: Path) -> None:
    rows = [
        f"{number},a/{number}.png,/x/{number}.png,{status},cat,{'dog' if action == 'relabel' else ''},0.9,2026-01-01"
        for number, (action, status) in enumerate(DECISION_STATUSES.items())
    ]
    text = "\r\n".join([",".join(DECISION_COLUMNS), *rows, ""])
    found = read_reviewed_table(saved(tmp_path / "decisions.csv", "\ufeff" + text))
    assert [(row.action, row.old_label, row.new_label) for row in found] == [
        ("dismiss", "cat", None),
        ("relabel", "cat", "dog"),
        ("remove", "cat", None),
    ]
    assert found[1].names == {"id": "1", "key": "a/1.png", "filepath": "/x/1.png"}
    in_utf_16 = saved(tmp_path / "spreadsheet.csv", text.replace(",", ";"), "utf-16")
    assert read_reviewed_table(in_utf_16) == found


def test_rows_that_were_filled_in_by_hand_are_decisions(tmp_path: Path) -> None:
    table = (
        "id,label,new_label,status,by\n1,cat,dog,,ada\n2,cat,,,\n3,cat,cat,,\n4,cat,,Unsure,bob\n5,cat,,unreviewed,\n"
    )
    found = read_reviewed_table(saved(tmp_path / "flagged.csv", table))
    assert [(row.number, row.action, row.new_label, row.by) for row in found] == [
        (1, "relabel", "dog", "ada"),
        (3, "dismiss", None, None),
        (4, "unsure", None, "bob"),
    ]
    rows = [{"key": 7, "status": "confirmed", "new_label": None}, {"key": "'=1", "status": "", "new_label": 3}]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    found = read_reviewed_table(tmp_path / "rows.json")
    assert [(row.name, row.action, row.new_label) for row in found] == [("7", "confirm", None), ("=1", "relabel", "3")]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,status\n1,removed\n", "have no column 'id'"),
        ("id,decision\n1,wrong\n", "have no column 'status'"),
        ("id,status\n1,deleted\n", "row 1 of decisions .* has the status 'deleted'; it is one of dismissed"),
        ("id,status\n1,removed\n,removed\n", "row 2 of decisions .* names no sample"),
        ("id,status,new_label\n1,relabelled,\n", "row 1 of decisions .* relabels '1' and has no new_label"),
        ("id,status\n1,\n", "hold no decision"),
        ("id,status\n", "holds no rows"),
        ("", "decisions.csv"),
    ],
)
def test_what_is_no_table_of_decisions_is_said_in_one_line(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_reviewed_table(saved(tmp_path / "decisions.csv", table))
    assert "\n" not in str(error.value)
