"""Tables of labels whose rows name no images, with other labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import InputError
from integrations.corrections.output import Corrected
from integrations.corrections.parquet import write_parquet
from integrations.corrections.tables import as_in, write_tables

if TYPE_CHECKING:
    from integrations.table_without_images import LabelsTable


def corrected_labels(path: Path, column: str | None) -> Corrected:
    """A table of labels without images.

    Args:
        path: of the table.
        column: with the labels.

    Raises:
        InputError: if the table is gone, or cannot be read as it was.
    """
    from integrations.sources.csv_and_json import read_text_table
    from integrations.sources.table_files import is_parquet

    table = read_labels(path, column)
    places = {key: (path, row) for row, key in enumerate(table.samples.ids)}

    def write(output: Path, changes: Mapping[str, str]) -> list[str]:
        if is_parquet(path):
            write_parquet(path, output, table.label_column, {places[key]: label for key, label in changes.items()})
            return []
        file = read_text_table(path)
        old = file.columns[table.label_column]
        values = {places[key]: as_in(path, label, old[places[key][1]]) for key, label in changes.items()}
        write_tables(path, output, [file], table.label_column, values)
        return []

    return Corrected(dict(zip(table.samples.ids, table.samples.labels, strict=True)), path, path.suffix.lower(), write)


def read_labels(path: Path, column: str | None) -> LabelsTable:
    """The table as the audit read it.

    Raises:
        InputError: if it is gone, or is no table of labels any more.
    """
    from integrations.table_without_images import labels_of_table

    table = labels_of_table(str(path), column)
    if table is None:
        raise InputError(f"table {str(path)!r}, which was audited, is gone or is another one now; put it back")
    return table
