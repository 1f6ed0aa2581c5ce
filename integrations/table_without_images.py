"""Audit a table of labels without images, by predictions or embeddings in files: only result and report are written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from audit.config import AuditConfig
from audit.data.samples import Samples, is_missing
from audit.errors import InputError
from audit.progress import ProgressCallback, silent
from audit.summary.surroundings import AuditedDataset
from integrations.given_files import given_in_files, id_column
from integrations.pipeline import Audited, BeforeReport, reported
from integrations.sources.coco_files import is_coco
from integrations.sources.csv_and_json import is_text_table
from integrations.sources.file_kinds import is_picture_path
from integrations.sources.keys import with_keys
from integrations.sources.table import read_label_table
from integrations.sources.table_columns import Columns, as_label, label_column
from integrations.sources.table_files import is_parquet, read_columns

MORE_LABEL_NAMES = ("given_label", "y")
"""Names of label columns that mean something else beside images, such as a coordinate."""

LOOKED_AT = 100  # rows whose values tell paths of images from other text


@dataclass(frozen=True)
class LabelsTable:
    """A table of labels without images.

    Attributes:
        path: of the table, absolute.
        label_column: the column with the labels.
        samples: its n rows. Their ids are those of the column `id` or the like, or the row numbers.
    """

    path: Path
    label_column: str
    samples: Samples

    @property
    def description(self) -> str:
        """As the command takes it."""
        return f"{'parquet' if is_parquet(self.path) else 'table'}:{self.path}"


def labels_of_table(source: str, label_column: str | None = None) -> LabelsTable | None:
    """The labels of a table without images; None if the source is no such table.

    Args:
        source: as the command names it, perhaps with the prefix 'table:' or 'parquet:'.
        label_column: of the table; by default found by its name.

    Raises:
        InputError: if the table cannot be read, or its label column is not clear.
    """
    path = Path(os.path.abspath(Path(source.removeprefix("table:").removeprefix("parquet:")).expanduser()))
    if not path.is_file() or not _is_table(path):
        return None
    columns = read_columns(path)
    if any(map(_holds_images, columns.values())):
        return None
    ids = id_column(pd.DataFrame(columns))
    others = {name: values for name, values in columns.items() if name != ids}
    column = _label_column(f"table {str(path)!r}", others, label_column)
    count = len(columns[column])
    names = [str(row) for row in range(count)] if ids is None else list(map(str, columns[str(ids)]))
    return LabelsTable(path, column, Samples(names, [b""] * count, list(map(as_label, columns[column]))))


def names_no_pictures(
    source: str, label_column: str | None = None, images: str | Path | None = None, image_column: str | None = None
) -> bool:
    """Whether a source is a table whose rows name no picture that is there.

    Args:
        source, label_column: as for `labels_of_table`.
        images, image_column: where the pictures are, as for `integrations.sources.table.table_source`.

    Raises:
        InputError: if the table cannot be read, or its label column is not clear.
    """
    if images or image_column or (table := labels_of_table(source, label_column)) is None:
        return False
    if is_parquet(table.path):
        return True
    try:
        return all(row.file is None for row in read_label_table(table.path, label=label_column).rows)
    except InputError:  # no column can be one of pictures
        return True


def audit_table(
    samples: Samples,
    audited: AuditedDataset,
    config: AuditConfig,
    folder: Path,
    progress: ProgressCallback = silent,
    annotators: pd.DataFrame | None = None,
    before_report: BeforeReport | None = None,
) -> Audited:
    """Audit the labels by files of embeddings, predictions or both, and write result and report into a folder.

    Args:
        samples: the labels, of `labels_of_table`.
        audited: what is audited; the rows of its embeddings and predictions are those of the table, or name them.
        config: the settings.
        folder: of the result and its report.
        progress: called with each step.
        annotators: (n, A) labels of several annotators, whose consensus is audited; None for the labels of `samples`.
        before_report: as for `audit_and_report`.

    Raises:
        InputError: if the files do not fit the table, or it cannot be audited.
        WriteError: if the result itself cannot be saved.
    """
    from audit.pipeline import audit_images

    given = given_in_files(samples, audited.embeddings, audited.predictions)
    without_images = config if audited.embeddings else config.replace(backbone="none")
    result = audit_images(
        samples,
        without_images,
        progress,
        embeddings=given.embeddings,
        predictions=given.predictions,
        annotators=annotators,
    )
    result = with_keys(replace(result, summary=replace(result.summary, source=audited)), {})
    result.save(folder)
    return reported(result, folder, progress, before_report)


def _is_table(path: Path) -> bool:
    """Whether a file may be a table of labels without images: not COCO's JSON, and no list in a .txt file."""
    if is_parquet(path):
        return True
    if not is_text_table(path.name) or path.suffix.lower() == ".txt":
        return False
    return path.suffix.lower() != ".json" or not is_coco(path)


def _holds_images(values: Sequence[object]) -> bool:
    """Whether a column holds encoded images, or paths of image files."""
    filled = [value for value in values[:LOOKED_AT] if not is_missing(value)]
    paths = [isinstance(value, str) and is_picture_path(value) for value in filled]
    return any(isinstance(value, bytes | dict) for value in filled) or (bool(filled) and all(paths))


def _label_column(description: str, columns: Columns, wanted: str | None) -> str:
    """The choice, or the only column, or the one that the columns of tables with images are found by."""
    only = next(iter(columns)) if len(columns) == 1 else None
    return label_column(description, columns, wanted or only, (), MORE_LABEL_NAMES)
