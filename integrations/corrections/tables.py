"""Tables and COCO's JSON with other labels: the same file, but for the cells that change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import InputError
from integrations.corrections.output import Corrected, whole_folder, write_file, write_table

if TYPE_CHECKING:
    from audit.summary.surroundings import AuditedDataset
    from integrations.sources.csv_and_json import TextTable


def corrected_tables(path: Path, source: AuditedDataset) -> Corrected:
    """A table of labels, or the tables of several splits.

    Args:
        path: of the table, or of the folder that holds them.
        source: what was audited; its options say how the table is read.

    Raises:
        InputError: if the table is gone or cannot be read as it was.
    """
    from integrations.sources.table import read_label_table

    options = source.options
    table = read_label_table(path, options.get("images"), options.get("image_column"), source.label_column)
    rows = {row.key: row for row in table.rows}

    def write(output: Path, changes: Mapping[str, str]) -> list[str]:
        values = {
            (row.table.path, row.place): as_in(row.table.path, label, row.value)
            for row, label in ((rows[key], label) for key, label in changes.items())
        }
        write_tables(path, output, table.tables, table.labels, values)
        return []

    return Corrected(
        {key: row.label for key, row in rows.items()}, path, path.suffix.lower() if path.is_file() else None, write
    )


def write_tables(
    path: Path, output: Path, tables: Sequence[TextTable], column: str, values: Mapping[tuple[Path, int], Any]
) -> None:
    """Write a table, or a folder of them, with some values of a column, which may be a new one.

    Args:
        path: of the table or the folder.
        output: where it goes.
        tables: the files.
        column: its name.
        values: by file and position of the row.
    """
    cells: dict[Path, dict[int, Any]] = defaultdict(dict)
    for (file, row), value in values.items():
        cells[file][row] = value
    contents = {file.path: file.rewritten(column, cells[file.path]) for file in tables}
    if path.is_file():
        write_file(output, contents[path])
    else:
        _write_folder(output, path, contents)


def corrected_coco(path: Path) -> Corrected:
    """COCO's JSON with one label for each picture, or the files of several splits.

    Args:
        path: of the file, or of the folder that holds one for each split.

    Raises:
        InputError: if a file is gone or damaged, or a picture without an annotation is to get a label.
    """
    from integrations.sources.coco import read_coco, rewritten
    from integrations.sources.coco_files import coco_files

    read = [(file, read_coco(file.path)) for file in coco_files(path)]
    places = {
        file.key(name): (file.path, place)
        for file, labels in read
        for name, place in zip(labels.names, labels.places, strict=True)
    }
    labels = {
        file.key(name): label for file, labels in read for name, label in zip(labels.names, labels.labels, strict=True)
    }

    def write(output: Path, changes: Mapping[str, str]) -> list[str]:
        annotations: dict[Path, dict[int, str]] = defaultdict(dict)
        for key, label in changes.items():
            file, place = places[key]
            if place is None:
                raise InputError(f"picture {key!r} of coco:{file} has no annotation to change; leave its decision out")
            annotations[file][place] = label
        contents = {file.path: rewritten(file.path, annotations[file.path]) for file, _ in read}
        if path.is_file():
            write_file(output, contents[path])
        else:
            _write_folder(output, path, contents)
        return []

    return Corrected(labels, path, path.suffix.lower() if path.is_file() else None, write)


def _write_folder(output: Path, source: Path, contents: Mapping[Path, bytes]) -> None:
    """Write files into a new folder, where they lie in the source's."""
    with whole_folder(output) as folder:
        for file, content in contents.items():
            place = folder / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


def plain_labels(source: AuditedDataset) -> Corrected:
    """A table of keys and labels, for sources that have no form which is written back.

    Raises:
        InputError: if the source is gone.
    """
    labels = _labels_of(source)

    def write(output: Path, changes: Mapping[str, str]) -> list[str]:
        import pandas as pd

        corrected = [changes.get(key, label) for key, label in labels.items()]
        write_table(output, pd.DataFrame({"key": list(labels), "label": corrected}))
        return [f"{source.source} is not written back; the table has its keys and labels"]

    return Corrected(labels, None, ".csv", write)


def _labels_of(source: AuditedDataset) -> dict[str, str | None]:
    from integrations.sources import ImportedSource, resolve_source

    options = dict(source.options) | ({"label_column": source.label_column} if source.label_column else {})
    opened = resolve_source(source.source, **options, label_field=source.label_field)  # type: ignore[arg-type]
    if isinstance(opened, ImportedSource):
        return {image.source_id: image.label for image in opened.images}
    from integrations.fiftyone.read import read_samples

    samples = read_samples(opened.open(), source.label_field)
    return dict(zip(samples.ids, samples.labels, strict=True))


def as_in(table: Path, label: str, old: Any) -> Any:
    """A label as a value of the type that its cell has.

    Args:
        table: the file, for the message.
        label: the new label.
        old: the cell's value.

    Raises:
        InputError: if the cell holds a whole number, and the label is none.
    """
    if isinstance(old, int) and not isinstance(old, bool):
        try:
            return int(label)
        except ValueError:
            raise InputError(
                f"the labels of {table.name} are whole numbers, and a new label is {label!r}; give a number"
            ) from None
    return label
