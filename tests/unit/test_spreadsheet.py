"""CSV whose text no spreadsheet runs, and that is read back as it was."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import audit
from audit.files.spreadsheet import original, safe_cell, write_csv

DANGEROUS = ["=HYPERLINK(1)", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "'=1"]


@pytest.mark.parametrize("text", DANGEROUS)
def test_text_that_looks_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert safe_cell(text) == f"'{text}"
    assert original(safe_cell(text)) == text


def test_numbers_and_plain_text_stay_as_they_are() -> None:
    for value in (-0.5, -3, True, None, "-0.5", "+3", "-1e-5", "cat", "a=b", "it's", "'quoted'", ""):
        assert safe_cell(value) is value


@given(st.text())
def test_every_text_comes_back(text: str) -> None:
    assert original(safe_cell(text)) == text
    assert not original(safe_cell(text)).startswith("'=") or text.startswith("'=")


def test_a_table_is_safe_in_every_text_column_and_its_index() -> None:
    table = pd.DataFrame(
        {
            "label": ["=a", "-0.5", None],
            "kind": pd.Categorical(["@a", "b", "b"]),
            "value": [-0.5, np.nan, 1.0],
            "flag": [True, False, True],
        },
        index=pd.Index(["+id", "b", "c"], name="id"),
    )
    rows = list(csv.reader(io.StringIO(write_csv(table))))
    assert rows[1] == ["'+id", "'=a", "'@a", "-0.5", "True"]
    assert rows[2] == ["b", "-0.5", "b", "", "False"]
    assert table.loc["+id", "label"] == "=a"  # the table itself is left as it was


def test_a_saved_result_is_safe_in_csv_and_exact_in_parquet(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    classes = np.array(["=HYPERLINK(1)", "@SUM(A1)", "-1+1"])
    rows = generator.integers(0, 3, 90)
    x = generator.normal(size=(90, 5)) + 3 * np.eye(3, 5)[rows]
    folder = audit.audit_embeddings(x, classes[rows]).save(tmp_path / "result")
    with (folder / "scores.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert {row["label"] for row in read} == {f"'{name}" for name in classes}
    assert not [cell for row in read for cell in row.values() if cell.startswith(("=", "+", "@"))]
    loaded = audit.AuditResult.load(folder).scores
    assert set(loaded["label"]) == set(classes)
    assert [original(row["label"]) for row in read] == loaded["label"].tolist()
    assert [float(row["influence"]) for row in read] == loaded["influence"].tolist()
