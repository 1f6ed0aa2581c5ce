"""Filled-in tables of decisions, as reviewers and spreadsheets leave them, are read or refused in a line."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import audit
from audit.config import AuditConfig
from audit.errors import InputError
from audit.result import AuditResult
from audit.verification.decision_file import read_decision_file
from integrations.cli.verify import verify


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the result of an audit of embeddings, and a sheet of twenty samples."""
    images, numbers = load_digits(return_X_y=True)
    rows = np.flatnonzero(numbers < 3)[:200]
    result = audit.audit_embeddings(images[rows], numbers[rows].astype(str), config=AuditConfig(device="cpu"))
    folder = result.save(tmp_path_factory.mktemp("drawn") / "result")
    verify(str(folder), size=20)
    return folder


def filled_in(folder: Path) -> pd.DataFrame:
    """The table of a folder, one label in four decided as wrong, as text."""
    table = pd.read_csv(folder / "verification.csv", dtype=str, keep_default_na=False)
    return table.assign(decision=["wrong" if place % 4 == 0 else "right" for place in range(len(table))])


def saved_by_a_spreadsheet(table: pd.DataFrame, kind: str) -> bytes:
    """The table as spreadsheets save it."""
    text = io.StringIO()
    if kind == "semicolons and a mark":
        table.to_csv(text, index=False, sep=";")
        return b"\xef\xbb\xbf" + text.getvalue().replace("\n", "\r\n").encode()
    if kind == "tabs in UTF-16":
        table.to_csv(text, index=False, sep="\t")
        return text.getvalue().encode("utf-16")
    if kind == "a line for Excel, and empty rows":
        table.to_csv(text, index=False, sep=";")
        return f"sep=;\n{text.getvalue()};;;;;;;\n\n".encode()
    if kind == "capitals, spaces, other columns":
        table = table.assign(decision=[f" {word.title()} " for word in table["decision"]], remark="über")
        table.columns = [name.upper() for name in table]
        table.to_csv(text, index=False)
        return text.getvalue().encode("cp1252")
    table[["id", "order", "decision"]].sort_values("id").to_csv(text, index=False)
    return text.getvalue().encode()


@pytest.mark.parametrize(
    "kind",
    [
        "semicolons and a mark",
        "tabs in UTF-16",
        "a line for Excel, and empty rows",
        "capitals, spaces, other columns",
        "three columns, sorted",
    ],
)
def test_what_a_spreadsheet_saves_is_read(drawn: Path, tmp_path: Path, kind: str) -> None:
    table = filled_in(drawn)
    path = tmp_path / "saved.csv"
    path.write_bytes(saved_by_a_spreadsheet(table, kind))
    read = read_decision_file(path)
    expected = table.set_index("id")
    assert [word.strip().lower() for word in read["decision"][expected.index]] == expected["decision"].tolist()
    assert read["order"][expected.index].tolist() == list(range(20))
    assert audit.verify(AuditResult.load(drawn), read).decided == 20


def change(table: pd.DataFrame, column: str, value: str, row: int = 3) -> pd.DataFrame:
    changed = table.copy()
    changed.loc[row, column] = value
    return changed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda table: change(table, "id", "nowhere"), "'nowhere'"),
        (lambda table: change(table, "decision", "maybe"), "it takes one of wrong, right, unsure"),
        (lambda table: change(table, "order", "third"), "'third'"),
        (lambda table: change(table, "id", ""), "without an id"),
        (lambda table: change(table, "audit", "audit-0123456789abcdef"), "another audit"),
        (lambda table: table.assign(decision=""), "no sample is decided yet"),
        (lambda table: table.assign(decision="unsure"), "no drawn sample is decided"),
        (lambda table: table.assign(order=""), "no drawn sample is decided"),
        (lambda table: table.drop(columns="order"), "no drawn sample is decided"),
        (lambda table: pd.concat([table, table[:1]]), "more than one decision"),
        (lambda table: table[:0], "no sample is decided yet"),
        (lambda table: table.drop(columns="decision"), "no column 'decision'"),
        (lambda table: table.drop(columns="audit").assign(label="another"), "another audit"),
        (lambda table: b"", "no CSV file"),
        (lambda table: b"PK\x03\x04workbook", "no CSV file"),
        (lambda table: b'id,decision\n"open', "no CSV file"),
        (lambda table: b"\x89PNG\x00\x00", "no CSV file"),
    ],
)
def test_mistakes_are_told_in_a_line(
    drawn: Path, tmp_path: Path, content: Callable[[pd.DataFrame], pd.DataFrame | bytes], message: str
) -> None:
    made = content(filled_in(drawn))
    path = tmp_path / "given.csv"
    path.write_bytes(made if isinstance(made, bytes) else made.to_csv(index=False).encode())
    before = (drawn / "summary.json").read_bytes()
    with pytest.raises(InputError, match=re.escape(message)) as error:
        verify(str(drawn), decisions=str(path))
    assert "\n" not in str(error.value)
    assert (drawn / "summary.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decisions": "nowhere.csv"}, "cannot be read"),
        ({"decisions": "."}, "cannot be read"),
        ({"decisions": "a.csv", "reset": True}, "exclude each other"),
        ({"decisions": "a.csv", "fiftyone": True}, "exclude each other"),
        ({"decisions": "a.csv", "size": 3}, "leave them out"),
        ({"fiftyone": True}, "names no FiftyOne dataset"),
        ({"reset": True}, "nothing to reset"),
    ],
)
def test_options_that_do_not_fit_are_told_in_a_line(
    drawn: Path, arguments: dict[str, str | int | bool], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as error:
        verify(str(drawn), **arguments)
    assert "\n" not in str(error.value)


def test_texts_that_a_spreadsheet_would_run_come_back_as_they_are(tmp_path: Path) -> None:
    images, numbers = load_digits(return_X_y=True)
    rows = np.flatnonzero(numbers < 3)[:90]
    names = np.array(["=1+1", "a;b,c", "line\nbreak"], dtype=object)
    result = audit.audit_embeddings(images[rows], names[numbers[rows]], config=AuditConfig(device="cpu"))
    folder = result.save(tmp_path / "result")
    verify(str(folder), size=15)
    read = read_decision_file(folder / "verification.csv")
    assert read["label"].tolist() == [result.scores["label"][name] for name in read.index]
    assert set(read["label"]) == set(names)
