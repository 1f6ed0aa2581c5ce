"""The effect of correcting the dataset: the head is trained again without the flagged samples, and again with their
labels replaced by the suggested ones, and both are measured on held-out labels.

These are measurements. The flags are applied to the training samples and to the validation samples that
choose the L2 penalty, as in a corrected dataset. The labels that the heads are measured on are never replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np

from audit.errors import ConvergenceError
from audit.flags.measures import head_quality
from audit.flags.paired import f1_change
from audit.head.fit import Head
from audit.summary.correction import (
    BriefHead,
    BriefHeads,
    CorrectedHeads,
    CorrectionElsewhere,
    CorrectionMeasured,
    EffectOnF1,
    FlaggedBySplit,
    MeasuredOn,
    RetrainedHead,
    UntrainedHead,
)
from audit.summary.heads import BriefQuality

MEASURED_ON = {
    "original": "the labels before injection of all test samples",
    "given": "the given labels of all test samples; mistakes among them count against every head",
    "unflagged": "the given labels of the test samples that were not flagged; these tend to agree with the head",
}
"""The labels of the test split that the heads can be measured on; without injection, the audit has seen them."""


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
        seed: of the draws that give the effects their intervals.
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
    seed: int = 0

    def measure(self, flag: np.ndarray) -> CorrectionMeasured | None:
        """Train the head again on the corrected labels and measure it before and after.

        Args:
            flag: bool (n,), the audit's.

        Returns:
            The heads before and after; None where no sample of the train or validation split is flagged. It holds the
            same at those of `other_thresholds` that flag other samples, for datasets up to `most_elements`.
        """
        usable = self.split != "test"
        if not (flag & usable).any():
            return None
        flagged, measured_on, heads, effects = self._measured(flag, {})
        retrained = {arm: head for arm, head in heads.by_name.items() if isinstance(head, RetrainedHead)}
        penalties = {arm: head.l2 for arm, head in retrained.items()}
        known = [flag]
        elsewhere = []
        classes, features = self.before.weight.shape
        small = len(flag) * classes * features <= self.most_elements
        for threshold in self.other_thresholds if small else ():
            other = self.suspicion >= threshold
            if (other & usable).any() and not any((other == one).all() for one in known):
                known.append(other)
                elsewhere.append(_briefly(threshold, *self._measured(other, penalties)))
        return CorrectionMeasured(
            flagged=flagged, measured_on=measured_on, heads=heads, elsewhere=tuple(elsewhere), effects=effects
        )

    def _measured(
        self, flag: np.ndarray, penalties: dict[str, float]
    ) -> tuple[FlaggedBySplit, tuple[MeasuredOn, ...], CorrectedHeads, tuple[EffectOnF1, ...]]:
        """The flagged samples by split, the test labels, the heads, and how correction changed their F1.

        Args:
            flag: bool (n,).
            penalties: the L2 of a head, by name; those of others are chosen.
        """
        rows = np.flatnonzero(self.split != "test")
        sets = self._test_labels(flag)
        kept, others = rows[~flag[rows]], np.where(flag, self.others, self.labels)
        trained = {
            "removed": self._retrained(self.labels, kept, penalties.get("removed")),
            "corrected": self._retrained(others, rows, penalties.get("corrected")),
        }
        heads = CorrectedHeads(
            before=self._describe(self.before, rows, sets),
            removed=self._described(trained["removed"], kept, sets),
            corrected=self._described(trained["corrected"], rows, sets),
        )
        train, validation, test = (int((flag & (self.split == part)).sum()) for part in ("train", "validation", "test"))
        measured_on = tuple(
            MeasuredOn(name=name, meaning=MEASURED_ON[name], samples=len(on)) for name, (on, _) in sets.items()
        )
        effects = self._effects(trained, sets)
        return FlaggedBySplit(train=train, validation=validation, test=test), measured_on, heads, effects

    def _test_labels(self, flag: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By name, the rows (m,) of a set that heads are measured on, and all labels (n,); without empty sets."""
        test = np.flatnonzero(self.split == "test")
        sets = {"given": (test, self.labels), "unflagged": (test[~flag[test]], self.labels)}
        if self.original is not None:
            sets = {"original": (test, self.original)}
        return {name: rows for name, rows in sets.items() if len(rows[0])}

    def _effects(
        self, trained: dict[str, Head | UntrainedHead], sets: dict[str, tuple[np.ndarray, np.ndarray]]
    ) -> tuple[EffectOnF1, ...]:
        """How the F1 of each head differs from that of the head before, on each set of test labels."""
        effects = []
        for name, (on, truth) in sets.items():
            before = self.predict(self.before, on).argmax(1)
            for arm, head in trained.items():
                if not isinstance(head, UntrainedHead):
                    after = self.predict(head, on).argmax(1)
                    change, low, high = f1_change(truth[on], before, after, self.seed)
                    effects.append(EffectOnF1(head=arm, on=name, change=change, low=low, high=high))
        return tuple(effects)

    def _described(
        self, head: Head | UntrainedHead, rows: np.ndarray, sets: dict[str, tuple[np.ndarray, np.ndarray]]
    ) -> RetrainedHead | UntrainedHead:
        return head if isinstance(head, UntrainedHead) else self._describe(head, rows, sets)

    def _describe(self, head: Head, rows: np.ndarray, sets: dict[str, tuple[np.ndarray, np.ndarray]]) -> RetrainedHead:
        return RetrainedHead(
            train_samples=int((self.split[rows] == "train").sum()),
            l2=head.l2,
            quality={name: head_quality(self.predict(head, on), truth[on]) for name, (on, truth) in sets.items()},
        )

    def _retrained(self, labels: np.ndarray, rows: np.ndarray, l2: float | None) -> Head | UntrainedHead:
        if {"train", "validation"} - set(self.split[rows]):
            return UntrainedHead(error="no samples are left to train on, or to choose the L2 penalty with")
        try:
            return self.train(labels, rows, l2)
        except ConvergenceError as error:
            return UntrainedHead(error=str(error))


def _briefly(
    threshold: float,
    flagged: FlaggedBySplit,
    measured_on: tuple[MeasuredOn, ...],
    heads: CorrectedHeads,
    effects: tuple[EffectOnF1, ...],
) -> CorrectionElsewhere:
    """The same without confusion matrices."""
    return CorrectionElsewhere(
        threshold=threshold,
        flagged=flagged,
        measured_on=measured_on,
        heads=BriefHeads(before=_brief(heads.before), removed=_brief(heads.removed), corrected=_brief(heads.corrected)),
        effects=effects,
    )


@overload
def _brief(head: RetrainedHead) -> BriefHead: ...


@overload
def _brief(head: RetrainedHead | UntrainedHead) -> BriefHead | UntrainedHead: ...


def _brief(head: RetrainedHead | UntrainedHead) -> BriefHead | UntrainedHead:
    if isinstance(head, UntrainedHead):
        return head
    quality = {on: BriefQuality(f1=of.f1, accuracy=of.accuracy, loss=of.loss) for on, of in head.quality.items()}
    return BriefHead(train_samples=head.train_samples, l2=head.l2, quality=quality)
