"""The effect of correcting the dataset: the head is trained again without the flagged samples, and again with their
labels replaced by the suggested ones, and both are measured on held-out labels.

These are measurements. The flags are applied to the training samples and to the validation samples that
choose the L2 penalty, as in a corrected dataset. The labels that the heads are measured on are never replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, overload

import numpy as np

from audit.errors import ConvergenceError
from audit.flags.detectors import of_classes
from audit.flags.measures import quality_of
from audit.flags.paired import f1_change
from audit.flags.threshold import likeliest_classes
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
from audit.summary.heads import BriefQuality, HeadQuality

MEASURED_ON = {
    "original": "the labels before injection of all test samples",
    "given": "the given labels of all test samples; mistakes among them count against every head",
    "unflagged": "the given labels of the test samples that were not flagged; these tend to agree with the head",
}
"""The labels of the test split that the heads can be measured on; without injection, the audit has seen them."""

NOTHING_LEFT = "no samples are left to train on, or to choose the L2 penalty with"

TestLabels = dict[str, tuple[np.ndarray, np.ndarray]]
"""By name, the positions (m,) of test samples and the labels (n,) of all samples."""


class Training(Protocol):
    """Trains a head on labels (n,), using only some rows of the train and validation splits; with this L2 if given."""

    def __call__(self, labels: np.ndarray, rows: np.ndarray, l2: float | None) -> Head:  # noqa: D102
        ...


@dataclass(frozen=True)
class Arm:
    """One way of correcting labels.

    Attributes:
        labels: (n,) class numbers.
        rows: positions of the samples that are used, of the train and validation splits.
        near: a head that was trained on nearly these labels, whose L2 penalty is used; None to choose the penalty.
    """

    labels: np.ndarray
    rows: np.ndarray
    near: Head | None


Trained = Head | UntrainedHead
TrainingOfAll = Callable[[Sequence[Arm]], list[Trained]]
"""Trains the heads of several arms together, which takes less time than one after another."""


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
        predict: probabilities (m, C) by a head, of the rows (m,): an array, or rows in a file.
        original: (n,) class numbers before mislabels were injected; None where none were.
        other_thresholds: at which heads are trained, too, with the L2 penalties that were chosen at the audit's own
            threshold. A reader who moves the threshold in the report sees what was measured near it.
        most_elements: n · C · D up to which that happens. It costs less than the rest of the audit.
        seed: of the draws that give the effects their intervals.
        train_all: trains several heads; None to train one after another.
    """

    labels: np.ndarray
    others: np.ndarray
    suspicion: np.ndarray
    split: np.ndarray
    before: Head
    train: Training
    predict: Callable[[Head, np.ndarray], Any]
    original: np.ndarray | None = None
    other_thresholds: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    most_elements: float = 3e8
    seed: int = 0
    train_all: TrainingOfAll | None = None

    def measure(self, flag: np.ndarray) -> CorrectionMeasured | None:
        """Train the head again on the corrected labels and measure it before and after.

        Args:
            flag: bool (n,), the audit's.

        Returns:
            The heads before and after; None where no sample of the train or validation split is flagged. It holds the
            same at those of `other_thresholds` that flag other samples, for datasets up to `most_elements`.
        """
        if not (flag & (self.split != "test")).any():
            return None
        others = self._other_flags(flag)
        (trained,) = self._trained([self._arms(flag, {})])
        trained_elsewhere = self._trained([self._arms(other, trained) for other in others.values()])
        before = _Measurable.of(self.before, self.predict, self.split)
        flagged, measured_on, heads, effects = self._measured(flag, before, trained)
        elsewhere = tuple(
            _briefly(threshold, *self._measured(other, before, of_other))
            for (threshold, other), of_other in zip(others.items(), trained_elsewhere, strict=True)
        )
        return CorrectionMeasured(
            flagged=flagged, measured_on=measured_on, heads=heads, elsewhere=elsewhere, effects=effects
        )

    def _other_flags(self, flag: np.ndarray) -> dict[float, np.ndarray]:
        """The flags at those of the other thresholds that change what the head is trained on."""
        classes, features = self.before.weight.shape
        small = len(flag) * classes * features <= self.most_elements
        known, found = [flag], {}
        for threshold in self.other_thresholds if small else ():
            other = self.suspicion >= threshold
            if (other & (self.split != "test")).any() and not any((other == one).all() for one in known):
                known.append(other)
                found[threshold] = other
        return found

    def _arms(self, flag: np.ndarray, near: dict[str, Trained]) -> dict[str, Arm]:
        """How flags correct the labels, by the name of the head; `near` are the heads at the audit's own flags."""
        rows = np.flatnonzero(self.split != "test")
        known = {name: head for name, head in near.items() if not isinstance(head, UntrainedHead)}
        return {
            "removed": Arm(self.labels, rows[~flag[rows]], known.get("removed")),
            "corrected": Arm(np.where(flag, self.others, self.labels), rows, known.get("corrected")),
        }

    def _trained(self, arms_by_name: list[dict[str, Arm]]) -> list[dict[str, Trained]]:
        """The heads of all arms."""
        arms = [arm for of_flags in arms_by_name for arm in of_flags.values()]
        enough = [not {"train", "validation"} - set(np.unique(self.split[arm.rows])) for arm in arms]
        trainable = [arm for arm, is_enough in zip(arms, enough, strict=True) if is_enough]
        together = self.train_all or (lambda arms: [self._trained_alone(arm) for arm in arms])
        heads = iter(together(trainable) if trainable else [])
        every = iter([next(heads) if is_enough else UntrainedHead(error=NOTHING_LEFT) for is_enough in enough])
        return [{name: next(every) for name in of_flags} for of_flags in arms_by_name]

    def _trained_alone(self, arm: Arm) -> Trained:
        try:
            return self.train(arm.labels, arm.rows, None if arm.near is None else arm.near.l2)
        except ConvergenceError as error:
            return UntrainedHead(error=str(error))

    def _measured(
        self, flag: np.ndarray, before: _Measurable, trained: dict[str, Trained]
    ) -> tuple[FlaggedBySplit, tuple[MeasuredOn, ...], CorrectedHeads, tuple[EffectOnF1, ...]]:
        """The flagged samples by split, the test labels, the heads, and how correction changed their F1.

        Args:
            flag: bool (n,).
            before: the head before, with its predictions.
            trained: the other heads, by name.
        """
        sets, arms = self._test_labels(flag), self._arms(flag, {})
        after = {
            name: head if isinstance(head, UntrainedHead) else _Measurable.of(head, self.predict, self.split)
            for name, head in trained.items()
        }
        removed, corrected = (self._described(after[name], arms[name].rows, sets) for name in ("removed", "corrected"))
        heads = CorrectedHeads(
            before=self._describe(before, arms["corrected"].rows, sets), removed=removed, corrected=corrected
        )
        train, validation, test = (int((flag & (self.split == part)).sum()) for part in ("train", "validation", "test"))
        measured_on = tuple(
            MeasuredOn(name=name, meaning=MEASURED_ON[name], samples=len(on)) for name, (on, _) in sets.items()
        )
        return (
            FlaggedBySplit(train=train, validation=validation, test=test),
            measured_on,
            heads,
            self._effects(before, after, sets),
        )

    def _test_labels(self, flag: np.ndarray) -> TestLabels:
        """By name, the rows (m,) of a set that heads are measured on, and all labels (n,); without empty sets."""
        test = np.flatnonzero(self.split == "test")
        sets = {"given": (test, self.labels), "unflagged": (test[~flag[test]], self.labels)}
        if self.original is not None:
            sets = {"original": (test, self.original)}
        return {name: rows for name, rows in sets.items() if len(rows[0])}

    def _effects(
        self, before: _Measurable, after: dict[str, _Measurable | UntrainedHead], sets: TestLabels
    ) -> tuple[EffectOnF1, ...]:
        """How the F1 of each head differs from that of the head before, on each set of test labels."""
        effects = []
        for name, (on, truth) in sets.items():
            for arm, head in after.items():
                if not isinstance(head, UntrainedHead):
                    predicted, of_head = (one.likeliest[one.among(on)] for one in (before, head))
                    change, low, high = f1_change(truth[on], predicted, of_head, self.seed)
                    effects.append(EffectOnF1(head=arm, on=name, change=change, low=low, high=high))
        return tuple(effects)

    def _described(
        self, head: _Measurable | UntrainedHead, rows: np.ndarray, sets: TestLabels
    ) -> RetrainedHead | UntrainedHead:
        return head if isinstance(head, UntrainedHead) else self._describe(head, rows, sets)

    def _describe(self, measurable: _Measurable, rows: np.ndarray, sets: TestLabels) -> RetrainedHead:
        return RetrainedHead(
            train_samples=int((self.split[rows] == "train").sum()),
            l2=measurable.head.l2,
            quality={name: measurable.quality(on, truth) for name, (on, truth) in sets.items()},
        )


@dataclass(frozen=True)
class _Measurable:
    """A head, the positions (m,) of the test samples, and what it predicts for them (m, C)."""

    head: Head
    test: np.ndarray
    predicted: Any

    @classmethod
    def of(cls, head: Head, predict: Callable[[Head, np.ndarray], Any], split: np.ndarray) -> _Measurable:
        test = np.flatnonzero(split == "test")
        return cls(head, test, predict(head, test) if len(test) else None)

    @cached_property
    def likeliest(self) -> np.ndarray:
        """The class numbers (m,) that are predicted."""
        return likeliest_classes(self.predicted)

    def among(self, rows: np.ndarray) -> np.ndarray:
        """The places (k,) of some of the test samples among all of them."""
        return np.searchsorted(self.test, rows)

    def quality(self, rows: np.ndarray, truth: np.ndarray) -> HeadQuality:
        """How well the predictions for some of the test samples (k,) fit labels (n,) of all samples."""
        among = self.among(rows)
        of_label = of_classes(self.predicted, truth[self.test])[among]
        return quality_of(self.likeliest[among], of_label, truth[rows], self.predicted.shape[1])


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
