"""Tables of labels: which files are some, and what can be done with those that are not read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from audit.errors import InputError, first_line
from integrations.sources.csv_and_json import is_text_table, read_text_table
from integrations.sources.file_kinds import is_picture_path
from integrations.sources.folder_tree import PARQUET_SUFFIXES

PARQUET_SIGNATURE = b"PAR1"
_UNNAMED_INDEX = "__index_level_"  # how pandas calls the column of an index without a name

EXCEL_SUFFIXES = (".xlsx", ".xls", ".ods")
_NO_LABELS = ("submission", "readme", "package", "requirements", "class_names", "classes", "label_map", "config")
"""Words in the names of tables that hold no labels of pictures."""

EXPORTS = (("id", "filepath", "split"), ("id", "filepath", "status"), ("id", "is_label_issue", "label_score"))
"""The first columns of the tables that `export` writes: of a result, of a review, and in cleanlab's format."""

LOG_COLUMNS = ("key", "filepath", "old_label", "new_label", "applied", "why", "suspicion", "by", "at")
"""The columns of the log that `apply` writes beside its output."""

LOG_END = ".log.csv"

MOST_TABLES = 20
"""A folder with more of them has side files of its pictures, and no tables of labels."""


def is_parquet(path: Path) -> bool:
    """Whether a file is called a parquet file, or has no suffix and begins like one."""
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return True
    if path.suffix:
        return False
    with path.open("rb") as file:
        return file.read(len(PARQUET_SIGNATURE)) == PARQUET_SIGNATURE


def read_columns(path: Path) -> dict[str, list[Any]]:
    """The values of each column of a table without splits or images: text, or one parquet file.

    An index that pandas named is a column; one without a name is left out.

    Raises:
        InputError: if the table cannot be read.
    """
    if not is_parquet(path):
        return dict(read_text_table(path).columns)
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
    except Exception as error:  # of Arrow, on a damaged file
        raise InputError(f"table {str(path)!r} cannot be read ({first_line(error)}); check the file") from None
    named = [name for name in table.column_names if not name.startswith(_UNNAMED_INDEX)]
    return {name: table.column(name).to_pylist() for name in named}


def refers_to_files(path: Path, image_column: str | None = None) -> bool:
    """Whether a parquet file holds paths of its pictures and not the pictures themselves; False where it is damaged.

    Args:
        path: of the file.
        image_column: the column with the images; by default any that could be it.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        batch = next(file.iter_batches(batch_size=16), None)
    except (OSError, pyarrow.ArrowException):
        return False
    for name, column in zip(batch.schema.names, batch.columns, strict=True) if batch is not None else ():
        if image_column not in (None, name):
            continue
        values = [value for value in column.to_pylist() if value is not None]
        if any(isinstance(value, bytes) or (isinstance(value, dict) and value.get("bytes")) for value in values):
            return False
        texts = [value.get("path") if isinstance(value, dict) else value for value in values]
        if texts and all(isinstance(text, str) and is_picture_path(text) for text in texts):
            return True
    return False


def is_spreadsheet(name: str) -> bool:
    """Whether a file is a workbook, which is not read."""
    return name.lower().endswith(EXCEL_SUFFIXES)


def how_to_read_spreadsheet(path: str) -> str:
    """What to do with a workbook, in a clause."""
    target = os.path.splitext(path)[0] + ".csv"
    return (
        "a workbook is not read; save it as CSV, such as with `python -c "
        f'"import pandas; pandas.read_excel({path!r}).to_csv({target!r}, index=False)"`, then audit that file'
    )


def how_to_read_table(path: str) -> str:
    """What to do where a folder's labels may be in a table, in a clause."""
    return f"if their labels are in {os.path.basename(path)}, give table:{path}"


def label_files(folder: Path) -> list[list[Path]]:
    """The text tables that may hold the labels of a folder's pictures: those of the folder itself, and of those in it.

    A file called metadata comes alone: it says what is beside it.
    """
    try:
        inner = sorted(below for below in folder.iterdir() if below.is_dir() and not below.name.startswith("."))
    except OSError:
        return []
    return [_labels_in(folder), [file for below in inner for file in _labels_in(below)]]


class LabelsInTableError(InputError):
    """A folder has pictures, and tables where class folders would be; the message says what to do without the table."""


def _is_ours(file: Path) -> bool:
    """Whether a table is what a command of ours wrote: an export, corrected labels, or their log."""
    if file.with_name(file.stem + LOG_END).is_file():
        return True
    try:
        with file.open("rb") as opened:
            start = opened.read(500).decode("utf-8", errors="replace")
    except OSError:
        return False
    first = tuple(re.findall(r'"(\w+)":', start) if start.startswith("[") else start.split("\n")[0].strip().split(","))
    return first[:3] in (*EXPORTS, LOG_COLUMNS[:3])


def _may_hold_labels(name: str) -> bool:
    """Whether a file beside pictures may be a table of their labels; lists in .txt have to be named."""
    return is_text_table(name) and not name.startswith(".") and not name.lower().endswith(".txt")


def _labels_in(folder: Path) -> list[Path]:
    try:
        files = sorted(file for file in folder.iterdir() if _may_hold_labels(file.name))
    except OSError:
        return []
    if metadata := [file for file in files if file.stem.lower() == "metadata"]:
        return metadata[:1]
    named = [file for file in files if not any(word in file.stem.lower() for word in _NO_LABELS) and not _is_ours(file)]
    return named if len(named) <= MOST_TABLES else []
