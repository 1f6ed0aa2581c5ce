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

    read = parquet_files(path, label_column=column)
    labels = {image.source_id: image.label for image in read}
    column = read.label_column
    assert column is not None
    places = places_in_parquet(path)

    def write(output: Path, changes: Mapping[str, str]) -> list[str]:
        write_parquet(path, output, column, {places[key]: label for key, label in changes.items()})
        return []

    return Corrected(labels, path, path.suffix.lower() if path.is_file() else None, write)


Place = tuple[Path, int]
"""A file, and the number of a row in it."""


def places_in_parquet(path: Path) -> dict[str, Place]:
    """Where each row is, by its key in the source `parquet:path`.

    Raises:
        InputError: if the files are gone.
    """
    from integrations.sources.parquet import count_rows, files_by_split

    places: dict[str, Place] = {}
    for split, files in files_by_split(path).items():
        rows = [(file, row) for file, count in zip(files, count_rows(files), strict=True) for row in range(count)]
        places |= {f"{split}/{number:06d}": place for number, place in enumerate(rows)}
    return places


def write_parquet(path: Path, output: Path, column: str, values: Mapping[Place, str]) -> None:
    """Write a parquet file, or a folder of them, with some values of a column, which may be a new one.

    Raises:
        InputError: if a value does not fit the column.
    """
    from integrations.sources.parquet import files_by_split

    cells: dict[Path, dict[int, str]] = {file: {} for files in files_by_split(path).values() for file in files}
    for (file, row), value in values.items():
        cells[file][row] = value
    if path.is_file():
        _rewrite(path, output, column, cells[path])
        return
    with whole_folder(output) as folder:
        for file, changed in cells.items():
            place = folder / file.relative_to(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            _rewrite(file, place, column, changed)


def _rewrite(file: Path, output: Path, column: str, changes: Mapping[int, str]) -> None:
    """Write a file's row groups, with some values of a column changed, by the row's number in the file."""
    import pyarrow
    from pyarrow import parquet

    from audit.files.storage import whole_file

    output.parent.mkdir(parents=True, exist_ok=True)
    opened = parquet.ParquetFile(file)
    schema = opened.schema_arrow
    if new := column not in schema.names:
        schema = schema.append(pyarrow.field(column, pyarrow.string()))
    names, place = _class_names(schema, column), schema.get_field_index(column)
    compression = _compression(opened.metadata)
    with whole_file(output) as temporary, parquet.ParquetWriter(temporary, schema, compression=compression) as writer:
        began = 0
        for number in range(opened.num_row_groups):
            table = opened.read_row_group(number)
            if new:
                table = table.append_column(schema.field(place), pyarrow.nulls(len(table), pyarrow.string()))
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
