"""The labels that several annotators gave to the same samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.data.left_out import kind_of, label_array
from audit.errors import InputError

MOST_CONFUSIONS = 100_000_000  # of all annotators: 0.8 GB, some times


@dataclass(frozen=True)
class AnnotatorLabels:
    """Labels of n samples by A annotators, as their users have them.

    Attributes:
        names: of the A annotators, distinct.
        values: (n, A) integers, booleans or strings, with an arbitrary value where one is missing.
        missing: bool (n, A).
    """

    names: tuple[str, ...]
    values: np.ndarray
    missing: np.ndarray

    @classmethod
    def read(cls, given: Any, name: str = "labels") -> AnnotatorLabels:
        """Read labels in any usual form.

        Args:
            given: (n, A), a column for each annotator: a table whose columns are the annotators, an array, or a list of
                rows. None, NaN and blank text are missing labels. Of a numeric array -1 is missing, too.
            name: of the argument, for messages.

        Raises:
            InputError: if there are fewer than two annotators, one gave no label, or the labels are of several types.
        """
        if isinstance(given, AnnotatorLabels):
            return given
        table = _table(given, name)
        names = tuple(map(str, table.columns))
        if len(set(names)) < len(names):
            raise InputError(f"{name}: two annotators have the same name; give each column a name of its own")
        if len(names) < 2:
            raise InputError(
                f"{name} have {len(names)} column(s), and a consensus needs two annotators or more; give a column "
                "each, or audit one column of labels by itself"
            )
        columns = [_column(table.iloc[:, place], names[place]) for place in range(len(names))]
        kinds = {kind_of(values): annotator for (values, missing), annotator in zip(columns, names, strict=True)}
        if len(kinds) > 1:
            listed = " and ".join(f"{kind} ({annotator})" for kind, annotator in kinds.items())
            raise InputError(f"{name} are {listed} at once; give the labels of all annotators as one type")
        values = np.stack([values for values, _ in columns], 1)
        return cls(names, values, np.stack([missing for _, missing in columns], 1))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def classes(self) -> np.ndarray:
        """The distinct labels, sorted."""
        return np.unique(self.values[~self.missing])

    def select(self, rows: np.ndarray) -> AnnotatorLabels:
        """The labels of some samples."""
        return AnnotatorLabels(self.names, self.values[rows], self.missing[rows])

    def as_text(self) -> AnnotatorLabels:
        """The labels as strings."""
        return replace(self, values=self.values.astype(str))

    def majority(self) -> np.ndarray:
        """(n,) objects: the label that most annotators gave, the one that is more frequent overall in a tie; None if
        nobody gave any."""
        classes = self.classes
        votes = Votes.of(self, classes).counts().numpy()
        overall = votes.sum(0)
        chosen = classes[(votes + 1e-6 * overall / max(overall.sum(), 1.0)).argmax(1)].astype(object)
        chosen[self.missing.all(1)] = None
        return chosen


@dataclass(frozen=True)
class Votes:
    """Every label that an annotator gave, of m in all.

    Attributes:
        sample: (m,) position of the sample, 0 to n − 1.
        annotator: (m,) number of the annotator.
        label: (m,) class number.
        samples, annotators, classes: n, A and C.
    """

    sample: Tensor
    annotator: Tensor
    label: Tensor
    samples: int
    annotators: int
    classes: int

    @classmethod
    def of(cls, labels: AnnotatorLabels, classes: np.ndarray) -> Votes:
        """The votes for some classes (C,), sorted. Labels of other classes count as missing.

        Raises:
            InputError: if there are more confusions than fit into memory.
        """
        entries = len(labels.names) * len(classes) ** 2
        if entries > MOST_CONFUSIONS:
            raise InputError(
                f"{len(labels.names)} annotators of {len(classes)} classes have {entries:,} confusions, and at most "
                f"{MOST_CONFUSIONS:,} can be estimated; leave out annotators with few labels, or take some classes"
            )
        known = ~labels.missing & np.isin(labels.values, classes)
        sample, annotator = np.nonzero(known)
        numbers = np.searchsorted(classes, labels.values[known])
        samples, annotators, given = (torch.from_numpy(part.astype(np.int64)) for part in (sample, annotator, numbers))
        return cls(samples, annotators, given, len(labels), len(labels.names), len(classes))

    def counts(self) -> Tensor:
        """float64 (n, C): how many annotators gave each label."""
        counts = torch.zeros(self.samples * self.classes, dtype=torch.float64)
        counts.index_add_(0, self.sample * self.classes + self.label, torch.ones(len(self.label), dtype=torch.float64))
        return counts.view(self.samples, self.classes)

    def confusions(self, posterior: Tensor) -> Tensor:
        """(A, C, C): how often each annotator gave each label (column) for each true class (row), in expectation.

        Args:
            posterior: float64 (n, C) of the true class.
        """
        counts = torch.zeros(self.annotators * self.classes, self.classes, dtype=torch.float64)
        counts.index_add_(0, self.annotator * self.classes + self.label, posterior[self.sample])
        return counts.view(self.annotators, self.classes, self.classes).transpose(1, 2)

    def log_likelihood(self, confusion: Tensor) -> Tensor:
        """float64 (n, C): log P(the labels of a sample | true class), by confusion matrices (A, C, C)."""
        of_label = confusion.log().transpose(1, 2).reshape(-1, self.classes)
        found = torch.zeros(self.samples, self.classes, dtype=torch.float64)
        return found.index_add_(0, self.sample, of_label[self.annotator * self.classes + self.label])

    def with_exchanged(self, former: Tensor, others: Tensor) -> Votes:
        """The votes as if whoever gave one class to a sample had given another, and the other way round.

        Args:
            former, others: (n,) class numbers; where they are equal, nothing changes.
        """
        of_former, of_other = former[self.sample], others[self.sample]
        exchanged = torch.where(self.label == of_former, of_other, self.label)
        return replace(self, label=torch.where(self.label == of_other, of_former, exchanged))


def _table(given: Any, name: str) -> pd.DataFrame:
    if isinstance(given, pd.DataFrame):
        return given
    if hasattr(given, "to_pandas"):  # a table of Arrow's, or of polars
        return pd.DataFrame(given.to_pandas())
    if hasattr(given, "detach"):  # a tensor
        given = given.detach().cpu().numpy()
    if isinstance(given, np.ma.MaskedArray):
        values = np.asarray(given.data).astype(object)
        values[np.ma.getmaskarray(given)] = None
        given = values
    array = np.asarray(given, dtype=None if isinstance(given, np.ndarray) else object)
    if array.ndim != 2:
        raise InputError(f"{name} have shape {array.shape}; give (n, A), a column for each annotator")
    if array.dtype.kind in "if":  # as crowd-kit and cleanlab's older versions have them
        array = np.where(array == -1, np.nan, array.astype(np.float64))
    return pd.DataFrame(array, columns=[f"annotator {number}" for number in range(array.shape[1])])


def _column(column: pd.Series, annotator: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        values, missing = label_array(column)
    except InputError as error:
        raise InputError(f"labels of annotator {annotator!r}: {error}") from None
    if missing.all():
        raise InputError(f"annotator {annotator!r} gave no label; leave that column out")
    return values, missing
