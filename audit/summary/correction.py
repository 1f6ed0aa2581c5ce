"""What correcting the labels does to the head: it was trained again each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from audit.summary.heads import BriefQuality, HeadQuality
from audit.summary.parts import Count, Part, Positive, Share

Change = Annotated[float, Ge(-1.0), Le(1.0)]
"""A difference of two shares."""


@dataclass(frozen=True, kw_only=True)
class FlaggedBySplit(Part):
    """How many samples are flagged in each split."""

    train: Count
    """In the training split."""
    validation: Count
    """In the validation split."""
    test: Count
    """In the test split."""


@dataclass(frozen=True, kw_only=True)
class MeasuredOn(Part):
    """A set of test labels that the heads are measured on."""

    name: str
    """'original', 'given' or 'unflagged'."""
    meaning: str
    """Which samples and labels these are."""
    samples: Count
    """How many samples these are."""


@dataclass(frozen=True, kw_only=True)
class UntrainedHead(Part):
    """A head that could not be trained."""

    error: str
    """Why it could not be trained."""


@dataclass(frozen=True, kw_only=True)
class RetrainedHead(Part):
    """A head that was trained again."""

    train_samples: Count
    """Samples it was trained on."""
    l2: Positive
    """Its L2 penalty, chosen anew."""
    quality: dict[str, HeadQuality]
    """Its quality on each set of test labels, by the set's name."""


@dataclass(frozen=True, kw_only=True)
class EffectOnF1(Part):
    """How correction changed the head's weighted F1, by a paired bootstrap over the test samples."""

    head: str
    """'removed' or 'corrected'."""
    on: str
    """The set of test labels that it was measured on."""
    change: Change
    """F1 of that head less F1 of the head before."""
    low: Change
    """Lower end of its 95 % interval."""
    high: Change
    """Upper end of its 95 % interval."""


@dataclass(frozen=True, kw_only=True)
class CorrectedHeads(Part):
    """The heads before and after correction."""

    before: RetrainedHead
    """As audited."""
    removed: RetrainedHead | UntrainedHead
    """Trained without the flagged samples."""
    corrected: RetrainedHead | UntrainedHead
    """Trained with the suggested labels of the flagged samples."""

    @property
    def by_name(self) -> dict[str, RetrainedHead | UntrainedHead]:
        """The heads by 'before', 'removed' and 'corrected'."""
        return {"before": self.before, "removed": self.removed, "corrected": self.corrected}


@dataclass(frozen=True, kw_only=True)
class BriefHead(Part):
    """A head that was trained again at another threshold, with the L2 penalty that was chosen at the audit's."""

    train_samples: Count
    """Samples it was trained on."""
    l2: Positive
    """Its L2 penalty."""
    quality: dict[str, BriefQuality]
    """Its quality on each set of test labels, by the set's name."""


@dataclass(frozen=True, kw_only=True)
class BriefHeads(Part):
    """The heads before and after correction at another threshold."""

    before: BriefHead
    """As audited."""
    removed: BriefHead | UntrainedHead
    """Trained without the samples that this threshold flags."""
    corrected: BriefHead | UntrainedHead
    """Trained with the suggested labels of the samples that this threshold flags."""

    @property
    def by_name(self) -> dict[str, BriefHead | UntrainedHead]:
        """The heads by 'before', 'removed' and 'corrected'."""
        return {"before": self.before, "removed": self.removed, "corrected": self.corrected}


@dataclass(frozen=True, kw_only=True)
class CorrectionElsewhere(Part):
    """What correcting does to the head at another threshold than the audit's."""

    threshold: Share
    """The threshold."""
    flagged: FlaggedBySplit
    """Flagged samples by split."""
    measured_on: tuple[MeasuredOn, ...]
    """The sets of test labels that the heads are measured on."""
    heads: BriefHeads
    """The heads before and after correction."""
    effects: tuple[EffectOnF1, ...] = ()
    """How F1 changed, with intervals; empty where it was not computed."""


@dataclass(frozen=True, kw_only=True)
class CorrectionMeasured(Part):
    """What correcting does to the head at the audit's threshold."""

    flagged: FlaggedBySplit
    """Flagged samples by split."""
    measured_on: tuple[MeasuredOn, ...]
    """The sets of test labels that the heads are measured on."""
    heads: CorrectedHeads
    """The heads before and after correction."""
    elsewhere: tuple[CorrectionElsewhere, ...]
    """The same at other thresholds, with the L2 penalties that were chosen at the audit's; empty for large datasets."""
    effects: tuple[EffectOnF1, ...] = ()
    """How F1 changed, with intervals; empty where it was not computed."""


CORRECTION_PARTS = (
    CorrectionMeasured,
    CorrectionElsewhere,
    FlaggedBySplit,
    MeasuredOn,
    EffectOnF1,
    CorrectedHeads,
    RetrainedHead,
    UntrainedHead,
    HeadQuality,
    BriefHeads,
    BriefHead,
    BriefQuality,
)
"""What a `CorrectionMeasured` is made of, for the checkpoint."""
