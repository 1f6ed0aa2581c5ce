"""Which columns of a table hold the images and the labels, found by their types, values and names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.errors import InputError
from integrations.sources.file_kinds import begins_like_picture, is_picture_path

if TYPE_CHECKING:
    from datasets import Dataset

IMAGE_NAMES = ("image", "img", "picture", "photo")
PATH_NAMES = (
    "image",
    "image_path",
    "path",
    "file_path",
    "filepath",
    "file_name",
    "filename",
    "file",
    "img_path",
    "img",
)
LABEL_NAMES = ("label", "labels", "class", "fine_label", "target", "category")
_ADDRESS = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://", re.I)


def find_image_column(description: str, table: Dataset, wanted: str | None) -> str:
    """The column with the images: encoded ones, or else paths of image files.

    Args:
        description: what to call the table in an error.
        table: with rows.
        wanted: the user's choice.

    Raises:
        InputError: if there is none, several, or the choice holds no images.
    """
    columns = list(table.features)
    holding = [column for column in columns if _holds_images(table, column, column == wanted)]
    if wanted is not None:
        _check_column(description, "image", wanted, columns)
        if wanted not in holding:
            raise InputError(
                f"image column {wanted!r} of {description} holds no encoded images or paths of images; these do: "
                f"{', '.join(holding) or 'none'}{_address_hint(table, wanted)}"
            )
        return wanted
    paths = [column for column in columns if column not in holding and _holds_paths(table, column)]
    for found, names in ((holding, IMAGE_NAMES), (paths, PATH_NAMES)):
        if named := next((name for name in names if name in found), None):
            return named
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"{description} has several image columns; choose one with --image-column: {_or(found)}")
    raise InputError(
        f"{description} has no column with encoded images or paths of images; its columns are: {', '.join(columns)}"
        + next((hint for column in columns if (hint := _address_hint(table, column))), "")
    )


def find_label_column(description: str, features: Any, wanted: str | None, images: str) -> str:
    """The column with the labels: the choice, a usual name, or the only column of class labels.

    Raises:
        InputError: if no column is clearly the label, or the choice does not hold one label per row.
    """
    from datasets import ClassLabel, Value

    columns = list(features)
    if wanted is not None:
        _check_column(description, "label", wanted, columns)
        if wanted == images or not isinstance(features[wanted], ClassLabel | Value):
            raise _no_single_label(description, features, wanted)
        return wanted
    class_labels = [column for column in columns if isinstance(features[column], ClassLabel)]
    values = [column for column in columns if isinstance(features[column], Value) and column != images]
    for candidates in (class_labels, values):
        for name in LABEL_NAMES:
            if name in candidates:
                return name
    if len(class_labels) == 1:
        return class_labels[0]
    if listed := next((name for name in LABEL_NAMES if name in columns and name != images), None):
        raise _no_single_label(description, features, listed)
    others = [column for column in columns if column != images]
    raise InputError(
        f"{description} has no column that is clearly the label; choose one with --label-column: "
        f"{_or(class_labels or others)}"
    )


def class_names(table: Dataset, column: str) -> list[str | None]:
    """The class name of every row; None where the label is null, NaN, blank, or -1 (the hub's unlabelled test sets)."""
    from datasets import ClassLabel

    feature = table.features[column]
    values = table[column][:]
    if isinstance(feature, ClassLabel) and feature.names:
        names = feature.names
        return [None if value is None or value < 0 else names[value] for value in values]
    if all(value is None or isinstance(value, int) for value in values):
        return [None if value is None or value == -1 else str(value) for value in values]
    return [None if value is None or value != value or not str(value).strip() else str(value) for value in values]


def rows_without_image(table: Dataset, column: str) -> set[int]:
    """The rows that hold neither an encoded image nor a path; the images themselves are not read."""
    import pyarrow.types as types

    without: list[np.ndarray] = []
    stored = table if table._indices is None else table.flatten_indices()
    for chunk in stored.data.column(column).chunks:
        missing = chunk.is_null().to_numpy(zero_copy_only=False)
        if types.is_struct(chunk.type):
            parts = [chunk.field(part) for part in ("bytes", "path") if chunk.type.get_field_index(part) >= 0]
            empty = [part.is_null().to_numpy(zero_copy_only=False) for part in parts]
            missing = missing | np.logical_and.reduce(empty)
        without.append(missing)
    return set(np.flatnonzero(np.concatenate(without)).tolist()) if without else set()


def _holds_images(table: Dataset, column: str, is_wanted: bool) -> bool:
    from datasets import Image, Value

    feature = table.features[column]
    if isinstance(feature, Image):
        return True
    if isinstance(feature, dict):
        return set(feature) <= {"bytes", "path"} and bool(feature)
    if not isinstance(feature, Value):
        return False
    if "binary" in feature.dtype:
        values = _first_values(table, column)
        return is_wanted or column in IMAGE_NAMES or any(begins_like_picture(value[:16]) for value in values)
    return is_wanted and _holds_paths(table, column)


def _holds_paths(table: Dataset, column: str) -> bool:
    from datasets import Value

    feature = table.features[column]
    if not isinstance(feature, Value) or "string" not in feature.dtype:
        return False
    values = [value for value in _first_values(table, column) if value.strip()]
    return bool(values) and all(is_picture_path(value) and not _ADDRESS.match(value) for value in values)


def _first_values(table: Dataset, column: str, count: int = 32) -> list[Any]:
    """The first values of a column, which tell what it holds."""
    from datasets import Image

    if isinstance(table.features[column], Image):
        return []
    return [value for value in table[column][:count] if value is not None]


def _address_hint(table: Dataset, column: str) -> str:
    """A hint for a column of web addresses; '' for any other."""
    values = _first_values(table, column)
    if any(isinstance(value, str) and _ADDRESS.match(value) for value in values):
        return f"; column {column!r} holds web addresses: download the images first, and give their paths"
    return ""


def _no_single_label(description: str, features: Any, column: str) -> InputError:
    kind = type(features[column]).__name__.lower()
    holds = "lists" if kind in ("list", "largelist", "sequence") else "no single label per row"
    hint = ""
    if holds == "lists":
        hint = f", which in pandas is table[{column!r}] = table[{column!r}].str[0] where each list has one"
    return InputError(
        f"label column {column!r} of {description} holds {holds}, and an audit needs one label per row{hint}; write "
        "that to another parquet file, or choose another column with --label-column"
    )


def _check_column(description: str, kind: str, wanted: str, columns: Sequence[str]) -> None:
    if wanted not in columns:
        raise InputError(f"{kind} column {wanted!r} is not in {description}; its columns are: {', '.join(columns)}")


def _or(names: Sequence[str]) -> str:
    return ", ".join(names) or "there is none"
