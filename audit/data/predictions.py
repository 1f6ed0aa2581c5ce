"""Class predictions of a user's own model, as probabilities of the audited classes.

They are used as they are given, or refused in one line that says what to give instead. The two usual forms are told
apart by their ranges: probabilities lie between 0 and 1 and sum to 1, and logits do neither. Whatever is in between,
such as percentages or independent sigmoids, is refused, because a wrong guess would change every suspicion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.data.samples import is_missing
from audit.errors import InputError, first_line

SUM_TOLERANCE = 0.02  # by which a row's sum may differ from 1: half precision rounds each probability by up to 5e-4
NO_PREDICTION = "no prediction was given"
MOST_NAMED = 5  # classes that a message names
MOST_AGREEING = 0.5
"""Share of the labels that must agree in another order of the columns before the given order is doubted."""
MOST_ORDERED = 2000


@dataclass(frozen=True)
class Predictions:
    """Predictions for n samples.

    Attributes:
        probabilities: float32 (n, K); rows sum to 1. A row without a prediction is uniform.
        missing: bool (n,), the samples without a prediction.
        columns: the class names of the K columns; None if they are in the order of the classes: sorted, and those that
            are all whole numbers by their value, also where they are text.
    """

    probabilities: np.ndarray
    missing: np.ndarray
    columns: tuple[str, ...] | None

    @classmethod
    def read(cls, given: Any, name: str = "predictions") -> Predictions:
        """Read predictions in any usual form.

        Args:
            given: (n, K) probabilities or logits: an array, a tensor, a list of rows, a table with a column a class,
                or the path of a .npy, .parquet or .csv file. A row of NaN, or None in a list, is a missing prediction.
            name: of the argument, for messages.

        Raises:
            InputError: if it is none of that, or neither clearly probabilities nor clearly logits.
        """
        if isinstance(given, Predictions):
            return given
        values, columns = _matrix(given, name)
        if values.ndim != 2 or values.shape[1] < 2:
            way = "; of two classes, numpy.column_stack([1 - p, p])" if values.ndim in (1, 2) else ""
            raise InputError(f"{name} have shape {values.shape}; give (n, C), one column for each class{way}")
        missing = np.isnan(values).all(1)
        partly = np.flatnonzero(~missing & (np.isnan(values) | (values == np.inf)).any(1))
        if len(partly):
            raise InputError(
                f"{name}: {len(partly)} row(s) hold NaN or infinity beside numbers, the first is row {partly[0]}; "
                "fill them, or make the whole row NaN to leave the sample out"
            )
        if missing.all():
            raise InputError(f"{name}: none of the {len(values)} rows holds a prediction; give one row a sample")
        probabilities = np.full(values.shape, 1 / values.shape[1], dtype=np.float32)
        probabilities[~missing] = _probabilities(values[~missing], name)
        return cls(probabilities, missing, columns)

    def __len__(self) -> int:
        return len(self.missing)

    def select(self, rows: np.ndarray) -> Predictions:
        """The predictions of some samples; row -1 is a sample without one."""
        found, missing = self.probabilities[rows], self.missing[rows] | (rows < 0)
        found[missing] = 1 / found.shape[1]
        return Predictions(found, missing, self.columns)

    def of_classes(self, every: np.ndarray, audited: np.ndarray, name: str = "predictions") -> np.ndarray:
        """Probabilities float32 (n, C) of the audited classes alone, which sum to 1.

        Args:
            every: the sorted distinct labels of all samples, those of classes too small to be audited included.
            audited: (C,) the sorted audited classes, some of `every`.
            name: of the argument, for messages.

        Raises:
            InputError: if the columns are not those of the classes, naming both.
        """
        places = self._places(every, name)
        kept = self.probabilities[:, [places[label] for label in audited.tolist()]].astype(np.float64)
        total = kept.sum(1, keepdims=True)
        # A sample that the model is sure shows a class that is not audited: nothing is known of the others.
        uniform = np.full_like(kept, 1 / kept.shape[1])
        return np.divide(kept, total, out=uniform, where=total > 0).astype(np.float32)

    def _places(self, every: np.ndarray, name: str) -> dict[Any, int]:
        """The column of each label."""
        count = self.probabilities.shape[1]
        numbers = _whole_numbers(every)
        labels = every.tolist() if numbers is None else every[np.argsort(numbers)].tolist()
        if self.columns is not None:
            by_name = {column: place for place, column in enumerate(self.columns)}
            lacking = [label for label in labels if str(label) not in by_name]
            if lacking:
                raise InputError(
                    f"{name} have no column for class(es) {_named(lacking)} of the labels; their columns are "
                    f"{_named(self.columns)}; name the columns as the classes"
                )
            return {label: by_name[str(label)] for label in labels}
        if count == len(labels):
            return {label: place for place, label in enumerate(labels)}
        if numbers is not None and numbers.min() >= 0 and numbers.max() < count:  # some of which no sample has
            return {label: int(float(label)) for label in labels}
        raise InputError(
            f"{name} have {count} columns, and the labels {len(labels)} classes ({_named(labels)}); give a column for "
            "each class in sorted order, or a table (parquet, or a DataFrame) whose columns are named as the classes"
        )


def check_column_order(probabilities: np.ndarray, labels: np.ndarray, name: str = "predictions") -> None:
    """Refuse columns without names that are clearly in another order than the classes.

    They are if the predictions agree with most labels once their columns are put into another order, and with less
    than half as many as they stand. Beyond MOST_ORDERED classes it is not looked for: it would take minutes.

    Args:
        probabilities: (n, C).
        labels: (n,) class numbers.
        name: of the argument, for messages.

    Raises:
        InputError: saying how many labels agree either way.
    """
    from scipy.optimize import linear_sum_assignment

    classes, predicted = probabilities.shape[1], probabilities.argmax(1)
    agree = (predicted == labels).mean()
    if agree >= 0.5 or classes > MOST_ORDERED:  # no order can have twice as many
        return
    pairs = labels.astype(np.int64) * classes + predicted
    counts = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    best = counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels)
    if best >= MOST_AGREEING and agree < best / 2:
        raise InputError(
            f"{name} agree with {agree:.0%} of the labels, and with {best:.0%} if their columns stood in another order "
            "than that of the sorted classes; give a table (parquet, or a DataFrame) whose columns are named as the "
            "classes"
        )


def _whole_numbers(classes: np.ndarray) -> np.ndarray | None:
    """The values (C,) of class names that are all whole numbers, each another one; None for any others."""
    try:
        values = classes.astype(np.float64)
    except ValueError:
        return None
    whole = classes.dtype.kind in "iufUO" and np.isfinite(values).all() and (values == np.floor(values)).all()
    return values if whole and len(np.unique(values)) == len(values) else None


def _named(names: Sequence[Any]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(repr(name) for name in names[:MOST_NAMED]) + more


def _probabilities(values: np.ndarray, name: str) -> np.ndarray:
    """Probabilities (k, K) of values (k, K) that are probabilities or logits."""
    low, high, sums = float(values.min()), float(values.max()), values.sum(1)
    to_one = np.abs(sums - 1) <= SUM_TOLERANCE
    if low >= 0 and high <= 1 + SUM_TOLERANCE:
        if to_one.all():
            return (values / sums[:, None]).astype(np.float32)
        row = int(np.flatnonzero(~to_one)[0])
        raise InputError(
            f"{name} lie between 0 and 1, but {int((~to_one).sum())} rows do not sum to 1 (one sums to "
            f"{sums[row]:.3g}); give softmax probabilities, or logits"
        )
    if low >= 0 or to_one.all():
        seen = f"between {low:.3g} and {high:.3g}" + (", and all rows sum to 1" if to_one.all() else "")
        raise InputError(
            f"{name} lie {seen}: neither probabilities nor clearly logits; give probabilities (0 to 1, each row "
            "summing to 1), or logits as the model's last layer has them"
        )
    largest = values.max(1, keepdims=True)
    if not np.isfinite(largest).all():
        raise InputError(f"{name}: a row is minus infinity in all classes; give finite logits, or NaN to leave it out")
    powers = np.exp(values - largest)
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


def _matrix(given: Any, name: str) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Values float32 or float64, and the names of the columns of a table."""
    if isinstance(given, str | Path):
        given = read_file(Path(given), name)
    if hasattr(given, "to_pandas"):  # a table of Arrow's, or of polars
        given = given.to_pandas()
    columns = None
    if isinstance(given, pd.DataFrame):
        without_names = given.columns.equals(pd.RangeIndex(given.shape[1]))
        columns = None if without_names else tuple(map(str, given.columns))
        if not given.columns.is_unique:
            raise InputError(f"{name}: two columns have the same name; give one column a class")
        for column, kind in zip(given.columns, given.dtypes, strict=True):
            if not pd.api.types.is_numeric_dtype(kind):
                raise InputError(f"{name}: column {str(column)!r} is of type {kind}, which is no number; leave it out")
        given = given.to_numpy(dtype=np.float64, na_value=np.nan)
    if hasattr(given, "detach"):  # a tensor
        given = given.detach().cpu().float().numpy()
    if isinstance(given, list | tuple):
        given = _filled(given)
    try:
        values = np.asarray(given)
        precision = np.float32 if values.dtype in (np.float16, np.float32) else np.float64
        return values.astype(precision, copy=False), columns
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} of type {type(given).__name__} cannot be read as numbers ({first_line(error)}); give an array "
            "(n, C), or a table with a column a class"
        ) from None


def _filled(rows: Sequence[Any]) -> list[Any]:
    """Rows, with NaN for the missing ones."""
    widths = {len(row) for row in rows if hasattr(row, "__len__")}
    empty = [np.nan] * (max(widths) if widths else 0)
    return [empty if not hasattr(row, "__len__") and is_missing(row) else row for row in rows]


def read_file(path: Path, name: str) -> np.ndarray | pd.DataFrame:
    """The array of a .npy file, or the table of a .parquet or .csv file.

    Raises:
        InputError: if there is no such file, or it is of another kind or damaged.
    """
    readers = {
        ".npy": lambda: np.load(path, allow_pickle=False),
        ".parquet": lambda: pd.read_parquet(path),
        ".csv": lambda: _numbers_of(pd.read_csv(path, dtype=str)),
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise InputError(f"{name} {str(path)!r} is no .npy, .parquet or .csv file; save an array with numpy.save")
    try:
        return readers[suffix]()
    except OSError as error:
        reason = (error.strerror or first_line(error)).lower()
    except Exception as error:  # of NumPy or Arrow, on a damaged file or one with pickled objects
        reason = first_line(error)
    raise InputError(f"{name} {str(path)!r} cannot be read ({reason}); give a .npy, .parquet or .csv file of numbers")


def _numbers_of(table: pd.DataFrame) -> pd.DataFrame:
    """A table of text with the columns as numbers that hold nothing else; names such as 007 stay as they are."""
    found = {}
    for name, texts in table.items():
        numbers = pd.to_numeric(texts, errors="coerce")
        is_text = (numbers.isna() & texts.notna()).any() or texts.str.match(r"\s*0\d").any()
        found[name] = texts if is_text else numbers
    return pd.DataFrame(found)
