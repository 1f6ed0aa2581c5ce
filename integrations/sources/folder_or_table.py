"""A folder of pictures whose labels are its class folders, or those of a table inside it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from audit.errors import InputError
from integrations.sources.coco import coco_source
from integrations.sources.coco_files import is_coco
from integrations.sources.folder import image_folder
from integrations.sources.labelled_images import LabelledImages
from integrations.sources.table import LabelTable, as_images, read_label_table
from integrations.sources.table_files import LabelsInTableError, label_files

NAMED = 0.5
"""Share of a folder's pictures that a table must name to be a table of their labels."""


def folder_or_table(
    path: str | Path, keep_labels: Sequence[str] | None = None, layout: str | None = None
) -> LabelledImages:
    """The pictures of a folder with the labels of its class folders, or of the table beside them.

    Args:
        path: the folder.
        keep_labels, layout: as for `image_folder`.

    Raises:
        InputError: as `image_folder` and `table_source`; and where class folders and a table give different labels.
    """
    folder = Path(os.path.abspath(Path(path).expanduser()))
    try:
        pictures = image_folder(folder, keep_labels, layout)
    except LabelsInTableError:
        if layout is not None or not any(label_files(folder)):
            raise
        return _of_tables(folder, keep_labels)
    if layout is None and len({image.label for image in pictures}) == 1 and (table := _table_below(folder)):
        return as_images(table, keep_labels)
    if layout is None:
        _refuse_other_labels(folder, pictures)
    return pictures


def _of_tables(folder: Path, keep_labels: Sequence[str] | None) -> LabelledImages:
    if any(file.suffix == ".json" and is_coco(file) for files in label_files(folder) for file in files):
        return coco_source(folder, None, keep_labels)
    return as_images(read_label_table(folder), keep_labels)


def _refuse_other_labels(folder: Path, pictures: LabelledImages) -> None:
    """Refuse class folders beside a table that puts their pictures into other classes."""
    files = label_files(folder)
    table = _table_below(folder) if files and files[0] else None
    if table is None:
        return
    of_folder = {str(image.image): image.label for image in pictures}
    pairs = Counter(
        (of_folder[str(row.file)], row.label) for row in table.rows if str(row.file) in of_folder and row.label
    )
    folders = {label for label, _ in pairs}
    if pairs.total() < NAMED * len(of_folder) or (len(pairs) == len(folders) == len({label for _, label in pairs})):
        return
    shown = next((given, other) for (given, other), _ in pairs.most_common() if given != other)
    raise InputError(
        f"source {str(folder)!r} holds class folders, and a table with other labels ({table.path.name}: a picture in "
        f"{shown[0]!r} is {shown[1]!r}); give folder:{folder} to audit the folders' labels, or table:{table.path} to "
        "audit the table's"
    )


def _table_below(folder: Path) -> LabelTable | None:
    """The table of labels in a folder; None where there is none, or none that is clear."""
    try:
        return read_label_table(folder) if any(label_files(folder)) else None
    except InputError:
        return None
