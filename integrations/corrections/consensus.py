"""The consensus of several annotators in the form of their source: the same tables with one more column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import InputError
from integrations.corrections.decisions import keys_of
from integrations.corrections.labels_table import read_labels
from integrations.corrections.output import Corrected, write_table
from integrations.corrections.parquet import places_in_parquet, write_parquet
from integrations.corrections.tables import write_tables

if TYPE_CHECKING:
    from audit.result import AuditResult
    from audit.summary.surroundings import AuditedDataset

COLUMN = "consensus_label"
"""The new column, as cleanlab calls it."""


def consensus_beside(result: AuditResult, source: AuditedDataset) -> Corrected:
    """A source whose annotators have a column each, with the consensus beside them.

    Samples without a consensus have none: nobody labelled them, or they were not audited. A source that is no table is
    not written back; a table gets its keys and the consensus.

    Args:
        result: of the audit of the consensus.
        source: its source.

    Raises:
        InputError: if the source is gone, or has a column of that name.
    """
    labels = consensus_of(result)
    kind, _, place = source.source.partition(":")
    path = Path(place)
    if kind not in ("table", "parquet"):
        return Corrected(labels, None, ".csv", lambda output, changes: _alone(output, labels | dict(changes)))
    suffix = path.suffix.lower() if path.is_file() else None
    return Corrected(labels, path, suffix, lambda output, changes: _beside(source, output, labels | dict(changes)))


def consensus_of(result: AuditResult) -> dict[str, str]:
    """The audited consensus by the source's key, without known mislabels."""
    column = "original_label" if "original_label" in result.scores else "label"
    return dict(zip(keys_of(result), map(str, result.scores[column]), strict=True))


def _alone(output: Path, labels: Mapping[str, str]) -> list[str]:
    import pandas as pd

    write_table(output, pd.DataFrame({"key": list(labels), COLUMN: list(labels.values())}))
    return ["the source is not written back; the table has its keys and the consensus"]


def _beside(source: AuditedDataset, output: Path, labels: Mapping[str, str]) -> list[str]:
    from integrations.sources.csv_and_json import read_text_table
    from integrations.sources.table_files import is_parquet

    path = Path(source.source.partition(":")[2])
    places = _places(path, source)
    values = {places[key]: label for key, label in labels.items() if key in places}
    files = sorted({file for file, _ in places.values()})
    if is_parquet(files[0]):
        _refuse_taken(_columns_of_parquet(files[0]), files[0])
        write_parquet(path, output, COLUMN, values)
    else:
        tables = [read_text_table(file) for file in files]
        for table in tables:
            _refuse_taken(table.columns, table.path)
        write_tables(path, output, tables, COLUMN, values)
    return [f"the consensus is the new column {COLUMN}"]


def _places(path: Path, source: AuditedDataset) -> dict[str, tuple[Path, int]]:
    """Where the row of each sample is, by the source's key."""
    if source.without_images:
        return {key: (path, row) for row, key in enumerate(read_labels(path, source.annotators[0]).samples.ids)}
    if source.source.startswith("parquet:"):
        return places_in_parquet(path)
    from integrations.sources.table import read_label_table

    table = read_label_table(
        path, source.options.get("images"), source.options.get("image_column"), source.annotators[0]
    )
    return {row.key: (row.table.path, row.place) for row in table.rows}


def _columns_of_parquet(file: Path) -> list[str]:
    from pyarrow import parquet

    return list(parquet.ParquetFile(file).schema_arrow.names)


def _refuse_taken(columns: Iterable[str], file: Path) -> None:
    if COLUMN in columns:
        raise InputError(
            f"{file.name} has a column {COLUMN!r} already; rename it, or write a table of its own with "
            "`influence-audit export RESULT -o labels.csv --all`"
        )
