"""Which columns of a text table name the pictures, hold their labels, and say their splits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from audit.errors import InputError
from integrations.sources.dataset_columns import LABEL_NAMES, PATH_NAMES
from integrations.sources.file_kinds import is_picture_path
from integrations.sources.split_names import split_names

ID_NAMES = ("image_id", "img_id", "id", "image_name", "id_code", "uuid", "name", "key", "sample_id")
MORE_LABEL_NAMES = (
    "class_name",
    "class_id",
    "label_name",
    "label_id",
    "category_name",
    "category_id",
    "ground_truth",
    "gt",
    "species",
    "breed",
    "diagnosis",
    "dx",
)
SPLIT_NAMES = ("split", "splits", "subset", "partition", "fold", "phase", "set", "usage", "dataset", "train_test")
_FLAG_NAMES = {"is_valid": "validation", "is_validation": "validation", "is_val": "validation", "is_test": "test"}
SPLIT_COLUMNS = (*SPLIT_NAMES, *_FLAG_NAMES)
_TRUE, _FALSE = ("true", "1", "yes", "1.0"), ("false", "0", "no", "0.0")

ENOUGH = 0.5
"""Share of a column's values that must name pictures."""

_ADDRESS = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://", re.I)

Columns = Mapping[str, Sequence[Any]]


class LabelColumnError(InputError):
    """A table names pictures, and none of its columns is clearly the label."""


def image_column(
    description: str, columns: Columns, wanted: str | None, share_found: Callable[[Sequence[str]], float]
) -> str:
    """The column that names the pictures.

    Args:
        description: what to call the table in an error.
        columns: the values of each column.
        wanted: the user's choice.
        share_found: the share of names for which there is a file.

    Raises:
        InputError: if there is none, or several, or the choice is not in the table.
    """
    if wanted is not None:
        return _checked(description, "image", wanted, columns)
    texts = {name: filled for name, values in columns.items() if (filled := _names(values))}
    shares = {name: share_found(values) for name, values in texts.items() if _could_name_files(values)}
    found = [name for name, share in shares.items() if share >= ENOUGH and share >= max(shares.values()) / 2]
    if not found:  # where none is there, the source says which are missing
        found = [name for name, values in texts.items() if _share(values, _is_path) >= ENOUGH]
    if named := _first_named((*PATH_NAMES, *ID_NAMES), found):
        return named
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{description} has several image columns; choose one with --image-column: {', '.join(found)}")
    addresses = [
        name for name, values in texts.items() if _share(values, lambda text: bool(_ADDRESS.match(text))) >= ENOUGH
    ]
    if addresses:
        raise InputError(
            f"column {addresses[0]!r} of {description} holds web addresses; download the images first, and give their "
            "paths"
        )
    raise InputError(
        f"no column of {description} names pictures that are there; give their folder with --images, the column with "
        f"--image-column ({', '.join(columns)}), or --predictions for labels without pictures"
    )


def label_column(
    description: str,
    columns: Columns,
    wanted: str | None,
    others: Sequence[str | None],
    more_names: Sequence[str] = (),
) -> str:
    """The column with the labels: the choice, one called label, the only one with a usual name, or the only one whose
    values repeat as those of classes do.

    Args:
        description, columns, wanted: as for `image_column`.
        others: columns that are known to hold something else.
        more_names: names that are usual beside those of LABEL_NAMES and MORE_LABEL_NAMES.

    Raises:
        InputError: if none or several could be it, naming them; or the choice holds no single label for each row.
    """
    if wanted is not None:
        chosen = _checked(description, "label", wanted, columns)
        if chosen in others[:1]:
            raise InputError(
                f"column {chosen!r} of {description} names the pictures; choose another with --label-column"
            )
        _check_single(description, chosen, columns[chosen])
        return chosen
    left = [name for name in columns if name not in others]
    plain = _first_named(LABEL_NAMES[:2], left)
    known = set(map(_plain, (*LABEL_NAMES, *MORE_LABEL_NAMES, *more_names)))
    usual = [plain] if plain else [name for name in left if _plain(name) in known]
    usual = [name for name in usual if any(map(_has_value, columns[name]))] or usual
    if len(usual) == 1:
        _check_single(description, usual[0], columns[usual[0]])
        return usual[0]
    repeating = [name for name in (usual or left) if _repeats(columns[name])]
    if len(repeating) == 1:
        return repeating[0]
    raise LabelColumnError(
        f"{description} has no column that is clearly the label; choose one with --label-column: "
        f"{', '.join(repeating or usual or left) or 'there is none'}{_one_hot_hint(columns, repeating)}"
    )


def _one_hot_hint(columns: Columns, names: Sequence[str]) -> str:
    """What to do with a column of zeros and ones for each class; '' for other columns."""
    shown = {str(value) for name in names for value in columns[name]}
    if len(names) < 2 or not shown <= {"0", "1", "0.0", "1.0"}:
        return ""
    return (
        f"; where each says whether the picture is of that class, write one column: in pandas, table['label'] = "
        f"table[{list(names)!r}].idxmax(axis=1)"
    )


def split_column(columns: Columns, others: Sequence[str | None]) -> tuple[str | None, list[str | None]]:
    """The column that says each row's split, if there is one, and the splits: 'train', 'validation', 'test' or None."""
    for name, values in columns.items():
        if name in others:
            continue
        texts = ["" if value is None else str(value).strip() for value in values]
        if (flagged := _FLAG_NAMES.get(name.lower())) and set(map(str.lower, texts)) <= {*_TRUE, *_FALSE}:
            return name, [flagged if text.lower() in _TRUE else "train" for text in texts]
        if name.lower() in SPLIT_NAMES:
            known = split_names(filter(None, set(texts)))
            if known and all(text in known and known[text].split for text in texts if text):
                return name, [known[text].split if text else None for text in texts]
    return None, []


def as_label(value: Any) -> str | None:
    """A cell as a class name; None where it is empty."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value == int(value):
        value = int(value)
    text = str(value)
    return text if text.strip() else None


def as_name(value: Any) -> str | None:
    """A cell as the name of a picture; None where it is empty."""
    if isinstance(value, dict):
        value = value.get("path")
    return None if value is None or value != value or not str(value).strip() else str(value).strip()


def _checked(description: str, kind: str, wanted: str, columns: Columns) -> str:
    if wanted not in columns:
        raise InputError(f"{kind} column {wanted!r} is not in {description}; its columns are: {', '.join(columns)}")
    return wanted


def _check_single(description: str, column: str, values: Sequence[Any]) -> None:
    if any(isinstance(value, list | dict) for value in values):
        raise InputError(
            f"label column {column!r} of {description} holds lists, and an audit needs one label per row; write one "
            "label per row, or choose another column with --label-column"
        )


def _names(values: Sequence[Any]) -> list[str]:
    return [name for value in values if not isinstance(value, list | bool) and (name := as_name(value))]


def _could_name_files(values: Sequence[str]) -> bool:
    """Whether most values differ, or look like paths: what a column of classes or numbers of few values does not."""
    return len(set(values)) > ENOUGH * len(values) or _share(values[:200], is_picture_path) >= ENOUGH


def _share(values: Sequence[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, values)) / len(values)


def _is_path(text: str) -> bool:
    return is_picture_path(text) and not _ADDRESS.match(text)


def _first_named(names: Sequence[str], columns: Sequence[str]) -> str | None:
    plain = {_plain(column): column for column in reversed(columns)}
    return next((plain[_plain(name)] for name in names if _plain(name) in plain), None)


def _plain(name: str) -> str:
    """A column's name without what people write differently: File Name, fileName and file_name are one."""
    return re.sub(r"[\W_]", "", name.lower())


def _has_value(value: Any) -> bool:
    return value is not None and bool(str(value).strip())


def _repeats(values: Sequence[Any]) -> bool:
    """Whether a column has two values or more, which occur three times each on average."""
    if any(isinstance(value, list | dict) for value in values):
        return False
    filled = [str(value) for value in values if _has_value(value)]
    distinct = set(filled)
    fractions = sum(bool(re.fullmatch(r"[+-]?\d*\.\d*[1-9]\d*", value)) for value in distinct)
    return 2 <= len(distinct) <= len(filled) / 3 and fractions <= ENOUGH * len(distinct)
