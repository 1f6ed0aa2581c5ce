"""What decisions on randomly drawn samples say of the whole dataset."""

from __future__ import annotations

from dataclasses import dataclass

from audit.summary.correction import CorrectionMeasured
from audit.summary.detection import ControlsMeasured, InjectedDetection
from audit.summary.estimates import Acceptance, Estimates
from audit.summary.parts import ClassLabel, Count, Part, Positive, Share


@dataclass(frozen=True, kw_only=True)
class VerifiedNumber(Part):
    """An estimated number with its 90 % intervals."""

    value: Positive
    """The expected value."""
    low: Positive
    """Lower end, for a number of decisions that was fixed before."""
    high: Positive
    """Upper end, for a number of decisions that was fixed before."""
    anytime_low: Positive
    """Lower end for a reviewer who looks after every ten decisions and stops when content."""
    anytime_high: Positive
    """Upper end for a reviewer who looks after every ten decisions and stops when content."""


@dataclass(frozen=True, kw_only=True)
class VerifiedThreshold(Part):
    """What flagging every sample with at least this suspicion comes to."""

    threshold: Share
    """The suspicion, as the noise model computed it."""
    samples: Count
    """Samples with at least this suspicion."""
    precision: VerifiedNumber
    """Share of these whose labels are wrong."""
    recall: VerifiedNumber | None
    """Share of the wrong labels that are among these; null where none may be wrong."""


@dataclass(frozen=True, kw_only=True)
class VerifiedClass(Part):
    """The wrong labels of one class, by its given label."""

    label: ClassLabel
    """The class."""
    samples: Count
    """Samples with this label."""
    decided: Count
    """Drawn samples of it that were decided."""
    mistakes: VerifiedNumber
    """Number of wrong labels among its samples."""


@dataclass(frozen=True, kw_only=True)
class BeforeDecisions(Part):
    """What the audit said before the decisions changed its flags."""

    flagged: Count
    """Flagged samples."""
    precision: VerifiedNumber | None
    """By the decisions, the share of these flags that are wrong labels; null where nothing was flagged."""
    recall: VerifiedNumber | None
    """By the decisions, the share of the wrong labels that these flags find; null where none may be wrong."""
    suggestions_right: VerifiedNumber | None
    """By the decisions, the share of these flags whose suggested label is right; null where no decision tells."""
    threshold: float
    """Samples whose suspicion was at least this were flagged."""
    threshold_rule: str
    """How that threshold was chosen, in a sentence."""
    estimates: Estimates
    """Modelled numbers, with those flags."""
    controls: ControlsMeasured
    """Known mislabels added to copies of the labels, with those flags."""
    detection: InjectedDetection | None
    """Those flags against the injected mislabels; null in an audit without injection."""
    correction: CorrectionMeasured | None
    """The head before and after correcting those flags; null where that was not measured."""
    acceptance: Acceptance | None
    """What accepting suggestions unseen was expected to mend and to break; null where nothing was known of it."""
    notes: tuple[str, ...]
    """What the user was told."""


@dataclass(frozen=True, kw_only=True)
class Verified(Part):
    """Estimates from the decisions on a verification sample, which hold for any noise and any model."""

    decided: Count
    """Drawn samples that were decided as wrong or right."""
    found: Count
    """Wrong labels among them."""
    unsure: Count
    """Drawn samples that the reviewer could not decide; the estimates leave them out."""
    reviewed: Count
    """Samples that were decided but not drawn; their labels count as known."""
    mistakes: VerifiedNumber
    """Number of wrong labels among all audited samples."""
    precision: VerifiedNumber | None
    """Share of the result's flags, as the decisions left them, that are wrong labels; null where nothing is flagged."""
    recall: VerifiedNumber | None
    """Share of the wrong labels that the result flags; null where none may be wrong."""
    suggestions_right: VerifiedNumber | None
    """Share of the flags whose suggested label is right; null where no decision tells."""
    by_threshold: tuple[VerifiedThreshold, ...]
    """From the highest threshold down."""
    by_class: tuple[VerifiedClass, ...]
    """Of classes with ten decisions or more."""
    mistakes_if_unsure_right: VerifiedNumber | None = None
    """Number of wrong labels if all labels that the reviewer could not decide are right; null where there are none."""
    mistakes_if_unsure_wrong: VerifiedNumber | None = None
    """The same if all of them are wrong."""
    before: BeforeDecisions | None = None
    """What the audit said before the decisions changed its flags; null where the numbers are about those flags."""
