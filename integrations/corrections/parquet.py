"""Parquet files with other labels: the same columns, types and row groups, but for the labels that change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import InputError
from integrations.corrections.output import Corrected, whole_folder

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet


def corrected_parquet(path: Path, column: str | None) -> Corrected:
    """Parquet files.

    Args:
        path: of the file or their folder.
        column: with the labels; None where the audit does not say which.

    Raises:
        InputError: if they are gone, or a new label does not fit the column.
    """
    from integrations.sources.huggingface import parquet_files
    from integrations.sources.parquet import count_rows, files_by_split

    read = parquet_files(path, label_column=column)
    labels = {image.source_id: image.label for image in read}
    column = read.label_column
    assert column is not None
    places: dict[str, tuple[Path, int]] = {}
    by_split = files_by_split(path)
    for split, files in by_split.items():
        rows = [(file, row) for file, count in zip(files, count_rows(files), strict=True) for row in range(count)]
        places |= {f"{split}/{number:06d}": place for number, place in enumerate(rows)}

    def write(output: Path, changes: Mapping[str, str]) -> list[str]:
        cells: dict[Path, dict[int, str]] = {file: {} for files in by_split.values() for file in files}
        for key, label in changes.items():
            file, row = places[key]
            cells[file][row] = label
        if path.is_file():
            _rewrite(path, output, column, cells[path])
            return []
        with whole_folder(output) as folder:
            for file, changed in cells.items():
                place = folder / file.relative_to(path)
                place.parent.mkdir(parents=True, exist_ok=True)
                _rewrite(file, place, column, changed)
        return []

    return Corrected(labels, path, path.suffix.lower() if path.is_file() else None, write)


def _rewrite(file: Path, output: Path, column: str, changes: Mapping[int, str]) -> None:
    """Write a file's row groups, with some values of a column changed, by the row's number in the file."""
    from pyarrow import parquet

    from audit.files.storage import whole_file

    output.parent.mkdir(parents=True, exist_ok=True)
    opened = parquet.ParquetFile(file)
    schema, names = opened.schema_arrow, _class_names(opened.schema_arrow, column)
    place = schema.get_field_index(column)
    compression = _compression(opened.metadata)
    with whole_file(output) as temporary, parquet.ParquetWriter(temporary, schema, compression=compression) as writer:
        began = 0
        for number in range(opened.num_row_groups):
            table = opened.read_row_group(number)
            own = {row - began: label for row, label in changes.items() if began <= row < began + len(table)}
            began += len(table)
            if own:
                changed = _changed(table.column(column), own, names, column)
                table = table.set_column(place, schema.field(place), changed)
            writer.write_table(table, row_group_size=max(1, len(table)))


def _compression(metadata: parquet.FileMetaData) -> dict[str, str]:
    """How each column is compressed."""
    if not metadata.num_row_groups:
        return {}
    columns = [metadata.row_group(0).column(number) for number in range(metadata.num_columns)]
    return {column.path_in_schema: column.compression.replace("UNCOMPRESSED", "NONE") for column in columns}


def _changed(
    values: pyarrow.ChunkedArray, changes: Mapping[int, str], names: Sequence[str] | None, column: str
) -> pyarrow.Array:
    import pyarrow
    from pyarrow import types

    listed: list[Any] = values.to_pylist()
    for row, label in changes.items():
        if names is not None:
            if label not in names:
                raise InputError(
                    f"column {column!r} knows the classes {', '.join(names[:12])}, and not {label!r}; decide for one "
                    "of them"
                )
            listed[row] = list(names).index(label)
        elif types.is_integer(values.type) or types.is_floating(values.type):
            try:
                listed[row] = int(label)
            except ValueError:
                raise InputError(
                    f"column {column!r} holds numbers, and a new label is {label!r}; give a number"
                ) from None
        elif types.is_boolean(values.type):
            listed[row] = label.lower() in ("true", "1")
        else:
            listed[row] = label
    if types.is_dictionary(values.type):
        return pyarrow.array(listed, values.type.value_type).dictionary_encode().cast(values.type)
    return pyarrow.array(listed, values.type)


def _class_names(schema: pyarrow.Schema, column: str) -> list[str] | None:
    """The names of the classes of a column that Hugging Face's metadata numbers; None for any other column."""
    from datasets import ClassLabel, Features

    feature = Features.from_arrow_schema(schema).get(column)
    return list(feature.names) if isinstance(feature, ClassLabel) and feature.names else None
