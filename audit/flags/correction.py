"""The effect of correcting the dataset: the head is trained again without the flagged samples, and again with their
labels replaced by the suggested ones, and both are measured on held-out labels.

These are measurements, not estimates. The flags are applied to the training samples and to the validation samples that
choose the L2 penalty, as in a corrected dataset. The labels that the heads are measured on are never replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from audit.errors import ConvergenceError
from audit.flags.measures import head_quality
from audit.head.fit import Head

MEASURED_ON = {
    "original": "the labels before injection of all test samples",
    "given": "the given labels of all test samples; mistakes among them count against every head",
    "unflagged": "the given labels of the test samples that were not flagged; these tend to agree with the head",
}
"""The labels of the test split that the heads can be measured on; without injection, the audit has seen them."""

MEASURES = ("f1", "accuracy", "loss")


class Training(Protocol):
    """Trains a head on labels (n,), using only some rows of the train and validation splits; with this L2 if given."""

    def __call__(self, labels: np.ndarray, rows: np.ndarray, l2: float | None) -> Head:  # noqa: D102
        ...


@dataclass(frozen=True)
class Correction:
    """Everything needed to correct a dataset's labels and train the head on them.

    Attributes:
        labels: (n,) class numbers that were audited.
        others: (n,) the likeliest other class number, which the audit suggests for a flagged sample.
        suspicion: (n,).
        split: (n,) 'train', 'validation' or 'test'.
        before: the head that was trained on `labels`.
        train: trains another.
        predict: probabilities (m, C) by a head, of the rows (m,).
        original: (n,) class numbers before mislabels were injected; None where none were.
        other_thresholds: at which heads are trained, too, with the L2 penalties that were chosen at the audit's own
            threshold. A reader who moves the threshold in the report sees what was measured near it.
        most_elements: n · C · D up to which that happens. It costs less than the rest of the audit.
    """

    labels: np.ndarray
    others: np.ndarray
    suspicion: np.ndarray
    split: np.ndarray
    before: Head
    train: Training
    predict: Callable[[Head, np.ndarray], np.ndarray]
    original: np.ndarray | None = None
    other_thresholds: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    most_elements: float = 6e8

    def measure(self, flag: np.ndarray) -> dict[str, Any] | None:
        """Train the head again on the corrected labels and measure it before and after.

        Args:
            flag: bool (n,), the audit's.

        Returns:
            None where no sample of the train or validation split is flagged. Otherwise
            flagged: how many samples are flagged, by split;
            measured_on: name, meaning and number of samples of each set of test labels;
            heads: 'before', 'removed' (without the flagged) and 'corrected' (with the suggested labels), each with
            train_samples, l2 and quality (as `head_quality`, by name of the set); for a head that could not be
            trained, its error instead;
            elsewhere: the same at those of `other_thresholds` that flag other samples, with each threshold and, of the
            quality, `MEASURES` only; empty for datasets beyond `most_elements`.
        """
        usable = self.split != "test"
        if not (flag & usable).any():
            return None
        found = self._measured(flag, {})
        penalties = {arm: head["l2"] for arm, head in found["heads"].items() if "l2" in head}
        known = [flag]
        elsewhere = []
        classes, features = self.before.weight.shape
        small = len(flag) * classes * features <= self.most_elements
        for threshold in self.other_thresholds if small else ():
            other = self.suspicion >= threshold
            if (other & usable).any() and not any((other == one).all() for one in known):
                known.append(other)
                elsewhere.append({"threshold": threshold, **_briefly(self._measured(other, penalties))})
        return {**found, "elsewhere": elsewhere}

    def _measured(self, flag: np.ndarray, penalties: dict[str, float]) -> dict[str, Any]:
        usable = self.split != "test"
        test = np.flatnonzero(~usable)
        sets = {"given": (test, self.labels), "unflagged": (test[~flag[test]], self.labels)}
        if self.original is not None:
            sets = {"original": (test, self.original)}
        sets = {name: rows for name, rows in sets.items() if len(rows[0])}

        def describe(head: Head, rows: np.ndarray) -> dict[str, Any]:
            return {
                "train_samples": int((self.split[rows] == "train").sum()),
                "l2": head.l2,
                "quality": {
                    name: head_quality(self.predict(head, on), truth[on]) for name, (on, truth) in sets.items()
                },
            }

        rows = np.flatnonzero(usable)
        heads = {"before": describe(self.before, rows)}
        for name, corrected, kept in (
            ("removed", self.labels, rows[~flag[rows]]),
            ("corrected", np.where(flag, self.others, self.labels), rows),
        ):
            if {"train", "validation"} - set(self.split[kept]):
                heads[name] = {"error": "no samples are left to train on, or to choose the L2 penalty with"}
                continue
            try:
                heads[name] = describe(self.train(corrected, kept, penalties.get(name)), kept)
            except ConvergenceError as error:
                heads[name] = {"error": str(error)}
        return {
            "flagged": {part: int((flag & (self.split == part)).sum()) for part in ("train", "validation", "test")},
            "measured_on": [
                {"name": name, "meaning": MEASURED_ON[name], "samples": len(on)} for name, (on, _) in sets.items()
            ],
            "heads": heads,
        }


def _briefly(found: dict[str, Any]) -> dict[str, Any]:
    """The same without confusion matrices."""
    heads = {
        arm: head
        if "error" in head
        else {
            **head,
            "quality": {on: {name: of[name] for name in MEASURES} for on, of in head["quality"].items()},
        }
        for arm, head in found["heads"].items()
    }
    return {**found, "heads": heads}
