"""Tables of labels: CSV, TSV and JSON lines with a column that names the pictures, alone or beside image folders."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audit.errors import InputError
from integrations.sources.class_choice import chosen_classes
from integrations.sources.csv_and_json import TextTable, read_text_table
from integrations.sources.labelled_images import LabelledImage, LabelledImages
from integrations.sources.left_out import LeftOutImage, first_few, sentences
from integrations.sources.picture_lookup import PictureLookup
from integrations.sources.split_names import split_names
from integrations.sources.table_columns import (
    LabelColumnError,
    as_label,
    as_name,
    image_column,
    label_column,
    split_column,
)
from integrations.sources.table_files import label_files

WITHOUT_NAME = "rows that name no picture are not audited"
MISSING = "the picture that they name is not there"
COMMON_NAMES = ("label", "labels", "metadata", "data", "train", "annotations", "index", "dataset", "images", "classes")
"""Names of tables that say nothing; the folder's name is the dataset's then."""


@dataclass(frozen=True)
class Row:
    """A row of a table that names a picture.

    Args:
        key: the source's own key: the name as the table has it, with the row's number behind where it is repeated.
        file: the picture; None where it is not there.
        label: the class; None where the row has none.
        split: 'train', 'validation', 'test' or None.
        table: the file that holds the row.
        place: its position in that file, from 0.
        value: the label as the file has it.
    """

    key: str
    file: Path | None
    label: str | None
    split: str | None
    table: TextTable
    place: int
    value: Any


@dataclass(frozen=True)
class LabelTable:
    """One table, or several of one form, as they were understood.

    Args:
        path: of the table, or of the folder that holds several.
        tables: the files.
        images: the column that names the pictures.
        labels: the column with the labels.
        splits: what says the splits, in words; '' for nothing.
        rows: those that name a picture.
        unnamed: keys and labels of the rows that name none.
    """

    path: Path
    tables: tuple[TextTable, ...]
    images: str
    labels: str
    splits: str
    rows: tuple[Row, ...]
    unnamed: tuple[tuple[str, str | None], ...]

    @property
    def order(self) -> list[str]:
        """The keys of all rows, those that name no picture included, in the order of the files."""
        named = {(row.table.path, row.place): row.key for row in self.rows}
        places = [(file.path, place) for file in self.tables for place in range(file.count)]
        return [named.get(place, "") for place in places]

    @property
    def description(self) -> str:
        """As `resolve_source` reads it."""
        return f"table:{self.path}"


def table_source(
    path: str | Path,
    images: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    keep_labels: Sequence[str] | None = None,
) -> LabelledImages:
    """The pictures that a table of labels names.

    Args:
        path: of the table, or of a folder that holds one, or one in each split's folder.
        images: the folder of the pictures; by default they are looked for beside the table and below its folder.
        image_column, label_column: by default found by their names and by what they hold.
        keep_labels: the classes to keep; all by default.

    Raises:
        InputError: if the table cannot be read, has no such columns or classes, or no picture of it is there.
    """
    return as_images(read_label_table(path, images, image_column, label_column), keep_labels)


def as_images(table: LabelTable, keep_labels: Sequence[str] | None = None) -> LabelledImages:
    """A table's pictures as a source.

    Raises:
        InputError: if none is there, or there is no class to keep.
    """
    there = [row for row in table.rows if row.file is not None]
    if not there:
        raise InputError(_none_there(table))
    classes = sorted({row.label for row in table.rows if row.label is not None})
    kept = chosen_classes(keep_labels, classes, table.description)
    audited = [row for row in there if kept is None or row.label in kept]
    left_out = [
        LeftOutImage(key, None, label, "row", WITHOUT_NAME, "fill or remove them") for key, label in table.unnamed
    ] + [
        LeftOutImage(row.key, row.key, row.label, "row", MISSING, "add the files, or give their folder with --images")
        for row in table.rows
        if row.file is None
    ]
    left_out = [image for image in left_out if kept is None or image.label in kept]

    def read() -> Iterator[LabelledImage]:
        for row in audited:
            yield LabelledImage(row.key, row.file, row.label, row.split)

    return LabelledImages(
        dataset_name_of(table.path),
        table.description,
        len(audited),
        read,
        kept,
        (*sentences(left_out), *(note for file in table.tables for note in file.notes), *_remarks(audited)),
        tuple(left_out),
        _describe(table),
        tuple(row.label for row in audited),
        table.labels,
        tuple(table.order),
    )


def read_label_table(
    path: str | Path, images: str | Path | None = None, image: str | None = None, label: str | None = None
) -> LabelTable:
    """Read a table and find out what its columns hold; arguments and errors as those of `table_source`."""
    path = Path(os.path.abspath(Path(path).expanduser()))
    folder = images_folder(images)
    if not path.is_dir():
        return _read_one(path, folder, image, label)
    found = _tables_of(path, folder, image, label)
    return found[0] if len(found) == 1 else _together(path, found)


def _read_one(path: Path, folder: Path | None, image: str | None, label: str | None) -> LabelTable:
    table = read_text_table(path)
    lookup = PictureLookup(folders_for(path, folder), hint=_plain_stem(path))
    description = f"table {str(path)!r}"
    images = image_column(description, table.columns, image, lookup.share_found)
    split, splits = split_column(table.columns, (images, label))
    labels = label_column(description, table.columns, label, (images, split))
    names = [as_name(value) for value in table.columns[images]]
    in_words = f"column {split!r}" if split else ""
    if not splits and any(splits := _splits_of_paths(names)):
        in_words = f"the folders in column {images!r}"
    rows: list[Row] = []
    unnamed: list[tuple[str, str | None]] = []
    seen: set[str] = set()
    for place, (name, file) in enumerate(zip(names, lookup.find_all(names), strict=True)):
        value = table.columns[labels][place]
        if name is None:
            unnamed.append((f"row {place + 1}", as_label(value)))
            continue
        key = f"{name} (row {place + 1})" if name in seen else name
        seen.add(name)
        rows.append(Row(key, file, as_label(value), splits[place] if splits else None, table, place, value))
    return LabelTable(path, (table,), images, labels, in_words, tuple(rows), tuple(unnamed))


def _splits_of_paths(names: Sequence[str | None]) -> list[str | None]:
    """The split of each path that has a folder named like one, where all have one and they differ; else none."""
    folders = [[] if name is None else re.split(r"[\\/]", name)[:-1] for name in names]
    known = split_names({part for parts in folders for part in parts})
    splits = [next((known[part].split for part in parts if part in known), None) for parts in folders]
    complete = all(split for split, name in zip(splits, names, strict=True) if name)
    return splits if complete and len(set(filter(None, splits))) > 1 else []


def _together(folder: Path, found: Sequence[LabelTable]) -> LabelTable:
    """The tables of several splits as one; their keys begin with the split's name."""
    first = found[0]
    for other in found[1:]:
        if (other.images, other.labels) != (first.images, first.labels):
            raise InputError(
                f"the tables {first.path} and {other.path} differ in their columns ({first.images}, {first.labels} and "
                f"{other.images}, {other.labels}); choose with --image-column and --label-column, or give one table"
            )
    rows, unnamed = [], []
    for one in found:
        part = _part_of(one.path, folder)
        split = split_names([part])[part].split
        rows += [replace(row, key=f"{part}/{row.key}", split=row.split or split) for row in one.rows]
        unnamed += [(f"{part}/{key}", label) for key, label in one.unnamed]
    tables = tuple(table for one in found for table in one.tables)
    return LabelTable(folder, tables, first.images, first.labels, "the tables' names", tuple(rows), tuple(unnamed))


def images_folder(images: str | Path | None) -> Path | None:
    """The folder of the pictures as the user gave it, absolute.

    Raises:
        InputError: if it is no folder.
    """
    if images is None:
        return None
    folder = Path(os.path.abspath(Path(images).expanduser()))
    if not folder.is_dir():
        raise InputError(f"image folder {str(images)!r} does not exist or is not a folder; give another with --images")
    return folder


def folders_for(table: Path, images: Path | None) -> list[Path]:
    """Where a table's pictures may lie: in the folder that was given; or beside the table or its folder."""
    if images is not None:
        return [images]
    above = table.parent.parent
    beside = [above / name for name in ("images", "imgs", "data", "pictures", "photos")]
    if table.parent.name.lower() in ("annotations", "annotation", "labels", "coco", "meta", "metadata"):
        beside.append(above)
    return [table.parent, *(folder for folder in beside if folder.is_dir() and folder != table.parent)]


def _plain_stem(table: Path) -> str:
    return table.stem.lower().removesuffix("_labels").removesuffix("-labels")


def _tables_of(folder: Path, images: Path | None, image: str | None, label: str | None) -> list[LabelTable]:
    """The tables of a folder that name its pictures and hold their labels: one, or one for each split.

    Raises:
        InputError: if there is none, or which one is meant is open.
    """
    found: list[LabelTable] = []
    problems: list[InputError] = []
    for files in label_files(folder):
        for file in files:
            try:
                table = _read_one(file, images, image, label)
            except InputError as error:
                problems.append(error)
            else:
                found += [table] if any(row.file is not None for row in table.rows) else []
        if found:
            break
    if not found:
        unclear = [problem for problem in problems if isinstance(problem, LabelColumnError)]
        raise next(iter([*unclear, *problems]), None) or InputError(
            f"no table in folder {str(folder)!r} names pictures that are there; give the table itself, and the "
            "pictures' folder with --images"
        )
    parts = [_part_of(table.path, folder) for table in found]
    if len(found) > 1 and (len(split_names(parts)) != len(found)):
        listed = first_few([os.path.relpath(table.path, folder) for table in found])
        raise InputError(f"folder {str(folder)!r} holds several tables of labels ({listed}); give one: {found[0].path}")
    return found


def _part_of(file: Path, folder: Path) -> str:
    """The name that may say a table's split: its folder's, or its own."""
    return file.parent.name if file.parent != folder else file.stem


def _none_there(table: LabelTable) -> str:
    if not table.rows:
        return f"column {table.images!r} of {table.description} names no picture; choose another with --image-column"
    first = table.rows[0].key
    return (
        f"none of the {len(table.rows):,} pictures that column {table.images!r} of {table.description} names is there "
        f"(the first: {first!r}); give their folder with --images"
    )


def _remarks(rows: Sequence[Row]) -> list[str]:
    files = Counter(str(row.file) for row in rows)
    again = len(rows) - len(files)
    return [f"{again:,} row(s) name a picture that another row names too; all are audited"] if again else []


def _describe(table: LabelTable) -> str:
    said = f"pictures in column {table.images!r}, labels in column {table.labels!r}"
    splits = f", splits by {table.splits}" if table.splits else ""
    files = f" of {len(table.tables)} tables" if len(table.tables) > 1 else ""
    return said + splits + files


def dataset_name_of(path: Path) -> str:
    """A name for the dataset: the table's, or its folder's where that of the table says nothing."""
    stem = path.stem if path.suffix else path.name
    says_nothing = stem.lower() in COMMON_NAMES or split_names([stem])
    return path.parent.name or stem if says_nothing and path.suffix else stem
