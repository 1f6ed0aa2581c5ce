"""The samples that an audit leaves out, and why: no label, an unreadable image, nothing given for it, a class with too
few samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd

from audit.data.samples import MINIMUM_PER_CLASS, is_missing
from audit.errors import InputError

WITHOUT_LABEL = "without_label"
UNREADABLE = "unreadable"
RARE_CLASS = "rare_class"
WITHOUT_INPUT = "without_input"
NO_LABEL = "no label"
TEXT, NUMBERS, TRUTH = "text", "numbers", "true or false"


@dataclass
class LeftOut:
    """The samples that are not audited.

    Args:
        ids: of all samples.
        filepaths: of all samples, None where they are no files.
        strict: whether leaving one out is an error.
    """

    ids: Sequence[str]
    filepaths: Sequence[str | None]
    strict: bool = False
    _reasons: dict[int, str] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, reasons: Mapping[int, str]) -> None:
        """Leave samples out: their positions, each with a short reason.

        Raises:
            InputError: if there are any, in a strict audit.
        """
        self._reasons.update(reasons)
        self._counts[kind] += len(reasons)
        if reasons and self.strict:
            first = min(reasons)
            raise InputError(
                f"{len(reasons)} of {len(self.ids)} samples cannot be audited, the first "
                f"{self.filepaths[first] or self.ids[first]!r} ({reasons[first]}); fix or remove them, or run "
                "without --strict"
            )

    def table(self) -> pd.DataFrame:
        """`AuditResult.skipped`: columns id, filepath, reason, in the order of the samples."""
        rows = [(self.ids[row], self.filepaths[row], reason) for row, reason in sorted(self._reasons.items())]
        return pd.DataFrame(rows, columns=["id", "filepath", "reason"], dtype=object)

    def counts(self) -> dict[str, int]:
        """The number of samples that are left out for each kind of reason."""
        return {kind: self._counts[kind] for kind in (WITHOUT_LABEL, UNREADABLE, RARE_CLASS, WITHOUT_INPUT)}


def note_of_unreadable(labels: Sequence[str | None], unreadable: Sequence[int], most: int = 5) -> str:
    """A sentence about the unreadable images that are left out, naming the classes that have no other image.

    Args:
        labels: of all images.
        unreadable: positions of those that cannot be read.
        most: how many classes are named.
    """
    lost = Counter(labels[row] for row in unreadable)
    whole = Counter(labels)
    gone = [f"{label!r} ({count})" for label, count in lost.items() if count == whole[label]]
    classes = f"; of these classes no image can be read: {', '.join(gone[:most])}" if gone else ""
    more = f" and {len(gone) - most} more" if len(gone) > most else ""
    return f"{len(unreadable)} images cannot be read and are left out (listed in the result){classes}{more}"


def of_rare_classes(labels: np.ndarray, classes: np.ndarray) -> dict[int, str]:
    """The samples (by their position) whose class is not among those that can be audited, with the reason."""
    rare = np.flatnonzero(~np.isin(labels, classes))
    count = Counter(labels[rare].tolist())
    return {
        row: f"class {label!r} has fewer than {MINIMUM_PER_CLASS} samples ({count[label]})"
        for row, label in zip(rare.tolist(), labels[rare].tolist(), strict=True)
    }


def label_array(labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels of any usual kind as an array of integers, booleans or strings, and which of them are missing.

    Whole floating-point numbers become integers: a table with a gap in an integer column holds such.

    Args:
        labels: (n,), an array, a tensor, a column of a table (pandas, Arrow, polars) or a sequence. None, NaN, pd.NA,
            pd.NaT, masked ones and blank text are missing.

    Returns:
        values (n,) with an arbitrary value where one is missing, and bool (n,).

    Raises:
        InputError: if they are neither whole numbers, booleans nor text, of more than one of these types, or not (n,).
    """
    given = _label_objects(labels)
    if given.ndim != 1:
        way = (
            "numpy.argmax(labels, 1) of one-hot labels" if given.ndim == 2 and given.shape[1] > 1 else "labels.ravel()"
        )
        raise InputError(f"labels have shape {given.shape}; give one class per sample (n,), such as {way}")
    if given.dtype.kind in "iub":
        return given.astype(given.dtype.newbyteorder("="), copy=False), np.zeros(given.shape, dtype=bool)
    if given.dtype.kind not in "OUSfT":
        raise InputError(f"labels are of type {given.dtype}; give integers or strings")
    values = [_plain(label) for label in given.astype(object)]
    missing = np.array([is_missing(label) for label in values], dtype=bool)
    present = [label for label, gone in zip(values, missing, strict=True) if not gone]
    found = {_kind(label): label for label in reversed(present)}
    if len(found) > 1:
        kinds = " and ".join(f"{kind} ({label!r:.40})" for kind, label in sorted(found.items()))
        raise InputError(f"labels are {kinds} at once; give all of one type, such as [str(label) for label in labels]")
    if TEXT in found:
        return np.array(["" if gone else str(label) for label, gone in zip(values, missing, strict=True)]), missing
    if TRUTH in found:
        return np.array([not gone and bool(label) for label, gone in zip(values, missing, strict=True)]), missing
    if not all(abs(label) < 2**63 and label == int(label) for label in present):
        raise InputError("labels are numbers, but not whole ones of 64 bits; give integers or strings")
    return np.array([0 if gone else int(label) for label, gone in zip(values, missing, strict=True)]), missing


def kind_of(labels: np.ndarray) -> str:
    """The type of labels (n,) from `label_array`, for messages."""
    return {"b": TRUTH, "i": NUMBERS, "u": NUMBERS}.get(labels.dtype.kind, TEXT)


def _label_objects(labels: Any) -> np.ndarray:
    """Labels in an array of their own type, or of objects where NumPy would change or misread them."""
    if labels is None or isinstance(labels, str | bytes | Mapping | Set | Iterator):
        way = "list(labels)" if isinstance(labels, Iterator) else "a list or an array in the order of the embeddings"
        raise InputError(f"labels are of type {type(labels).__name__}; give {way}")
    if hasattr(labels, "detach"):  # a tensor
        labels = labels.detach().cpu()
        labels = labels.float().numpy() if str(labels.dtype) == "torch.bfloat16" else labels.numpy()
    if isinstance(labels, np.ma.MaskedArray):
        if not np.ma.getmaskarray(labels).any():
            return np.asarray(labels.data)
        values = np.asarray(labels.data).astype(object)
        values[np.ma.getmaskarray(labels)] = None
        return values
    if isinstance(labels, pd.DataFrame):
        labels = labels.to_numpy()
    if isinstance(labels, np.ndarray):
        return np.asarray(labels)
    if hasattr(labels, "to_pylist"):  # Arrow's
        labels = labels.to_pylist()
    elif isinstance(labels, pd.Series | pd.Index):
        labels = labels.tolist()
    elif hasattr(labels, "to_list"):  # polars'
        labels = labels.to_list()
    elif hasattr(labels, "__array__") and not isinstance(labels, pd.api.extensions.ExtensionArray):
        return np.asarray(labels)
    if not hasattr(labels, "__len__"):
        raise InputError(f"labels are of type {type(labels).__name__}; give a list or an array")
    given = np.empty(len(labels), dtype=object)
    for row, label in enumerate(labels):  # one by one: numpy would look into labels that are lists
        given[row] = label
    return given


def _plain(label: Any) -> Any:
    """A label as a Python value: out of an array or tensor of no dimension, and bytes as text."""
    if isinstance(label, Enum):
        raise InputError(
            f"a label is of type {type(label).__name__}; give its name (label.name) or value (label.value)"
        )
    if getattr(label, "shape", None) == () and label is not np.ma.masked and not isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, np.float16):  # NumPy 2 cannot compare it with 64-bit numbers without an overflow
        return float(label)
    if isinstance(label, bytes):
        try:
            return bytes(label).decode()
        except UnicodeDecodeError:
            raise InputError(f"label {bytes(label)!r:.60} is not UTF-8; decode the labels yourself") from None
    return label


def _kind(label: Any) -> str:
    if isinstance(label, bool | np.bool_):
        return TRUTH
    if isinstance(label, str):
        return TEXT
    if isinstance(label, int | float | np.integer | np.floating):
        return NUMBERS
    way = "one class per sample, such as numpy.argmax(labels, 1) of one-hot labels" if hasattr(label, "__len__") else ""
    raise InputError(f"a label is of type {type(label).__name__}; give {way or 'integers or strings'}")
