"""Which samples an audit leaves out, and why: no label, an unreadable image, a class of too few samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from audit.errors import InputError
from audit.samples import MINIMUM_PER_CLASS, is_missing

WITHOUT_LABEL = "without_label"
UNREADABLE = "unreadable"
RARE_CLASS = "rare_class"
NO_LABEL = "no label"


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
        """Leave samples out, by their position, each with the reason in a few words.

        Raises:
            InputError: if there are any, in a strict audit.
        """
        self._reasons.update(reasons)
        self._counts[kind] += len(reasons)
        if reasons and self.strict:
            first = min(reasons)
            raise InputError(
                f"{len(reasons)} of {len(self.ids)} samples cannot be audited, the first "
                f"{self.filepaths[first] or self.ids[first]!r} ({reasons[first]}); mend or remove them, or run "
                "without --strict"
            )

    def table(self) -> pd.DataFrame:
        """`AuditResult.skipped`: columns id, filepath, reason, in the order of the samples."""
        rows = [(self.ids[row], self.filepaths[row], reason) for row, reason in sorted(self._reasons.items())]
        return pd.DataFrame(rows, columns=["id", "filepath", "reason"], dtype=object)

    def counts(self) -> dict[str, int]:
        """How many are left out for which kind of reason."""
        return {kind: self._counts[kind] for kind in (WITHOUT_LABEL, UNREADABLE, RARE_CLASS)}


def of_rare_classes(labels: np.ndarray, classes: np.ndarray) -> dict[int, str]:
    """The samples (by their position) whose class is not among those that can be audited, with the reason."""
    rare = np.flatnonzero(~np.isin(labels, classes))
    count = Counter(labels[rare].tolist())
    return {
        row: f"class {label!r} has fewer than {MINIMUM_PER_CLASS} samples ({count[label]})"
        for row, label in zip(rare.tolist(), labels[rare].tolist(), strict=True)
    }


def label_array(labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels of any usual kind as an array of integers or strings, and which of them are missing.

    Whole floating-point numbers become integers: a table with a gap in an integer column holds such.

    Args:
        labels: (n,), an array or a sequence; None, NaN and blank text are missing.

    Returns:
        values (n,) with an arbitrary value where one is missing, and bool (n,).

    Raises:
        InputError: if they are neither numbers nor text, or not whole.
    """
    given = labels
    if not isinstance(given, np.ndarray):
        given = np.empty(len(labels), dtype=object)
        for row, label in enumerate(labels):  # one by one: numpy would look into labels that are lists
            given[row] = label
    if given.dtype.kind == "f":
        given = given.astype(object)
    if given.ndim != 1 or given.dtype.kind in "iub":
        return given, np.zeros(given.shape, dtype=bool)
    if given.dtype.kind == "S":
        given = np.char.decode(given)
    if given.dtype.kind not in "OU":
        raise InputError(f"labels are of type {given.dtype}; give integers or strings")
    missing = np.array([is_missing(label) for label in given], dtype=bool)
    present = given[~missing]
    odd = next((label for label in present if not isinstance(label, str | int | float | np.number | np.bool_)), None)
    if odd is not None:
        raise InputError(f"a label is of type {type(odd).__name__}; give integers or strings")
    if any(isinstance(label, str) for label in present):
        filled = np.where(missing, "", given)
        return np.array([str(label) for label in filled]), missing
    if not all(abs(label) < 2**63 and label == int(label) for label in present):
        raise InputError("labels are numbers, but not whole ones of 64 bits; give integers or strings")
    return np.array([0 if gone else int(label) for label, gone in zip(given, missing, strict=True)]), missing
