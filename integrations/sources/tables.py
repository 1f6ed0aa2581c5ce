"""Tables of labels: which files are some, and what can be done with those that are not read yet."""

from __future__ import annotations

import os
from collections.abc import Sequence

_READERS = {
    ".csv": "read_csv({path!r})",
    ".tsv": "read_csv({path!r}, sep='\\t')",
    ".jsonl": "read_json({path!r}, lines=True)",
    ".xlsx": "read_excel({path!r})",
}


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
        f"labels in {path} are not read yet, but a parquet file beside it is: "
        f'`python -c "import pandas; pandas.{reader}.to_parquet({stem + ".parquet"!r})"`, then audit {stem}.parquet '
        "(columns image and label, or --image-column and --label-column; paths are looked up beside the file)"
    )
