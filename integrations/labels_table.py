"""Audit a table of labels without images, by predictions or embeddings in files: only result and report are written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from audit.config import AuditConfig
from audit.data.samples import Samples, is_missing
from audit.errors import InputError, first_line
from audit.progress import ProgressCallback, Step, silent
from integrations.given_files import given_in_files, id_column
from integrations.pipeline import Audited, write_reports
from integrations.sources.labelled_images import IMAGE_SUFFIXES

READERS = {".csv": ",", ".tsv": "\t", ".jsonl": None, ".parquet": None, ".pq": None}
"""How the files of tables end, and what separates the columns of a text."""

LABEL_NAMES = ("label", "labels", "given_label", "class", "target", "category", "ground_truth", "y")
LOOKED_AT = 100  # rows whose values tell paths of images from other text


def labels_of_table(source: str, label_column: str | None = None) -> Samples | None:
    """The labels of a table without images; None if the source is no such table.

    Ids are those of the table's column `id` or the like, or the row numbers.

    Args:
        source: as the command names it, perhaps with the prefix 'table:' or 'parquet:'.
        label_column: of the table; by default found by its name.

    Raises:
        InputError: if the table cannot be read, or its label column is not clear.
    """
    path = Path(source.removeprefix("table:").removeprefix("parquet:")).expanduser()
    if path.suffix.lower() not in READERS or not path.is_file():
        return None
    table = _read(path)
    if any(_holds_images(table[column]) for column in table.columns):
        return None
    ids = id_column(table)
    column = _label_column(path, [str(name) for name in table.columns if name != ids], label_column)
    labels = [None if is_missing(label) else str(label) for label in table[column].tolist()]
    names = [str(row) for row in range(len(table))] if ids is None else list(map(str, table[ids]))
    return Samples(names, [b""] * len(table), labels)


def audit_table(
    samples: Samples,
    config: AuditConfig,
    folder: Path,
    embeddings: Sequence[str],
    predictions: str | None,
    progress: ProgressCallback = silent,
) -> Audited:
    """Audit the labels by files of embeddings, predictions or both, and write result and report into a folder.

    Args:
        samples: the labels, of `labels_of_table`.
        config: the settings.
        folder: of the result and its report.
        embeddings, predictions: files whose rows are those of the table, or name them.
        progress: called with each step.

    Raises:
        InputError: if the files do not fit the table, or it cannot be audited.
        WriteError: if the result itself cannot be saved.
    """
    from audit.pipeline import audit_images

    given = given_in_files(samples, embeddings, predictions)
    without_images = config if embeddings else config.replace(backbone="none")
    result = audit_images(samples, without_images, progress, embeddings=given.embeddings, predictions=given.predictions)
    result.save(folder)
    progress(Step("report"))
    result, problem = write_reports(result, folder)
    progress(Step("report", 1, 1))
    return Audited(result, folder, problem)


def _read(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    try:
        if suffix == ".jsonl":
            return pd.read_json(path, lines=True, dtype=False)
        if suffix in (".parquet", ".pq"):
            return pd.read_parquet(path).reset_index(drop=False).drop(columns="index", errors="ignore")
        return pd.read_csv(path, sep=READERS[suffix], dtype=str, keep_default_na=False)
    except Exception as error:  # of pandas or Arrow, on a damaged file
        raise InputError(f"table {str(path)!r} cannot be read ({first_line(error)}); check the file") from None


def _holds_images(column: pd.Series) -> bool:
    """Whether the column holds encoded images, or paths of image files."""
    values = [value for value in column.head(LOOKED_AT).tolist() if not is_missing(value)]
    suffixes = tuple(IMAGE_SUFFIXES)
    paths = [isinstance(value, str) and value.lower().endswith(suffixes) for value in values]
    return any(isinstance(value, bytes | dict) for value in values) or (bool(values) and all(paths))


def _label_column(path: Path, columns: list[str], wanted: str | None) -> str:
    listed = ", ".join(columns)
    if wanted is not None:
        if wanted not in columns:
            raise InputError(f"table {str(path)!r} has no column {wanted!r}; it has: {listed}")
        return wanted
    named = [name for name in columns if name.lower() in LABEL_NAMES]
    found = named if named else columns
    if len(found) != 1:
        raise InputError(f"table {str(path)!r}: name the column with the labels by --label-column, one of: {listed}")
    return found[0]
