"""CSV that a spreadsheet shows as it is: text that begins like a formula is never run.

Excel, LibreOffice and Google Sheets run a cell that begins with = + - or @, wherever the text came from: a class name,
a file name, an id. So such a text gets an apostrophe in front, as OWASP advises. Numbers stay numbers, and so do texts
that are plain numbers. `original` removes the apostrophe again.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import pandas as pd

APOSTROPHE = "'"
LIKE_A_FORMULA = re.compile(r"['\s]*[=+\-@＝＋－＠]|'*[\t\r\n]")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def safe_cell(value: Any) -> Any:
    """A value for a cell: text that a spreadsheet could run gets an apostrophe in front, anything else is unchanged."""
    if isinstance(value, str) and LIKE_A_FORMULA.match(value) and not NUMBER.fullmatch(value):
        return APOSTROPHE + value
    return value


def original(text: str) -> str:
    """The text that `safe_cell` made this of."""
    return text[1:] if text.startswith(APOSTROPHE) and safe_cell(text[1:]) == text else text


@overload
def write_csv(table: pd.DataFrame, path: None = None, index: bool = ...) -> str: ...
@overload
def write_csv(table: pd.DataFrame, path: Path, index: bool = ...) -> None: ...
def write_csv(table: pd.DataFrame, path: Path | None = None, index: bool = True) -> str | None:
    """Write a table as CSV whose text cells are safe (`safe_cell`).

    Args:
        table: the table.
        path: the file, UTF-8; None to return the text.
        index: whether the table's index is the first column.
    """
    safe = table.copy(deep=False)
    for place, kind in enumerate(table.dtypes):
        if kind.kind not in "biufcmM":
            safe.isetitem(place, [safe_cell(value) for value in table.iloc[:, place]])
    if index and table.index.dtype.kind not in "biufcmM":
        safe.index = table.index.map(safe_cell)
    return safe.to_csv(path, index=index, errors="replace")
