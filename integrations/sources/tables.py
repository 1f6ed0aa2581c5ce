"""Tables of labels: which files are some, and what can be done with those that are not read yet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from integrations.sources.file_kinds import HEIF_SUFFIXES, suffix_of
from integrations.sources.folder_tree import PARQUET_SUFFIXES
from integrations.sources.labelled_images import IMAGE_SUFFIXES

PARQUET_SIGNATURE = b"PAR1"

_READERS = {
    ".csv": "read_csv({path!r})",
    ".tsv": "read_csv({path!r}, sep='\\t')",
    ".jsonl": "read_json({path!r}, lines=True)",
    ".xlsx": "read_excel({path!r})",
}


def is_parquet(path: Path) -> bool:
    """Whether a file is called a parquet file, or has no suffix and begins like one."""
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return True
    if path.suffix:
        return False
    with path.open("rb") as file:
        return file.read(len(PARQUET_SIGNATURE)) == PARQUET_SIGNATURE


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


def is_picture_path(text: str) -> bool:
    """Whether a text reads like the path of a picture."""
    return suffix_of(text) in IMAGE_SUFFIXES | HEIF_SUFFIXES


def is_table(name: str) -> bool:
    """Whether a file is a table that the audit does not read itself, and pandas does."""
    return os.path.splitext(name)[1].lower() in _READERS


def how_to_read_tables(paths: Sequence[str]) -> str:
    """What to do with the first of these files that is a table, in a clause."""
    path = next(filter(is_table, paths), None)
    if path is None:
        return f"labels in {os.path.basename(paths[0])} are not read yet"
    stem, suffix = os.path.splitext(path)
    reader = _READERS[suffix.lower()].format(path=path)
    return (
        f"labels in {path} are not read yet; a parquet file beside it is: "
        f'`python -c "import pandas; pandas.{reader}.to_parquet({stem + ".parquet"!r})"`, then audit that file'
    )
