"""How well the flags find mislabels that are known, because the audit made them."""

from __future__ import annotations

from dataclasses import dataclass

from audit.summary.parts import Count, Part, Share


@dataclass(frozen=True, kw_only=True)
class RankingQuality(Part):
    """How well a score ranks known mislabels above the other samples."""

    average_precision: Share
    """Average precision."""
    auroc: Share
    """Area under the ROC curve."""


@dataclass(frozen=True, kw_only=True)
class DetectionQuality(RankingQuality):
    """The flags against known mislabels. The two measures of ranking are those of the suspicion."""

    injected: Count
    """Known mislabels."""
    flagged: Count
    """Flagged samples."""
    true_positive: Count
    """Known mislabels that are flagged."""
    false_positive: Count
    """Other samples that are flagged: mistakes of the dataset, or false alarms."""
    false_negative: Count
    """Known mislabels that are not flagged."""
    true_negative: Count
    """Other samples that are not flagged."""
    precision: Share
    """true_positive / flagged; 0 where nothing is flagged."""
    recall: Share
    """true_positive / injected; 0 where there are none."""
    f1: Share
    """Harmonic mean of the two."""
    precision_at_k: dict[str, Share]
    """Share of known mislabels among the k most suspicious samples, by k."""
    by_score: dict[str, RankingQuality]
    """The measures of ranking of each score."""


@dataclass(frozen=True, kw_only=True)
class InjectedDetection(DetectionQuality):
    """The flags against the mislabels that were injected."""

    strategy: str
    """Which wrong labels were injected (setting inject_strategy)."""
    into: str
    """Where they were injected (setting inject_into)."""


@dataclass(frozen=True, kw_only=True)
class ControlKind(Part):
    """The controls of one kind."""

    added: Count
    """Known mislabels that were added."""
    found: Count
    """Of these, flagged in the copy."""
    recall_counted_with: Share
    """Share found at `counted_at`, with one found and one missed added."""


@dataclass(frozen=True, kw_only=True)
class ControlsMeasured(Part):
    """Known mislabels added to copies of the labels, and how many of them are flagged there. Samples that are flagged
    with their own labels are left out of the comparison."""

    copies: Count
    """Copies of the labels."""
    added: Count
    """Known mislabels over all copies."""
    counted_at: Share
    """The suspicion at which the known mislabels were counted, for the number of mistakes."""
    slip_auroc: Share | None = None
    """Area under the ROC curve of the suspicion for slips against unchanged labels; null where it was not computed."""
    slip_share: Share | None
    """Share of slips among the flagged; null where the kinds cannot be told apart."""
    kinds: dict[str, ControlKind]
    """By kind: slips (by the confusions between classes) and look-alikes (by the picture)."""
    detection: DetectionQuality | None
    """The flags of the copies against the known mislabels; null where every sample is flagged as it is."""
