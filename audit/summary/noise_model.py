"""The noise model, which the suspicions come from."""

from __future__ import annotations

from dataclasses import dataclass

from audit.summary.parts import ClassLabel, Part, Positive, Share


@dataclass(frozen=True, kw_only=True)
class RoundSummary(Part):
    """One round of the noise model."""

    head_weight: float
    """Exponent of the predictions of the round's head."""
    first_head_weight: Positive
    """Exponent of the predictions of the first round's head, in later rounds; 0 in the first."""
    neighbour_weight: float
    """Exponent of the neighbours' votes."""
    discriminant_weight: Positive
    """Exponent of the classes' linear discriminants."""
    predictions_weight: Positive = 0.0
    """Exponent of the predictions that the user gave; 0 where there are none."""
    log_likelihood: float
    """Mean log-likelihood of the given labels (nats)."""
    moved: Positive
    """Mean change of the probability that the given label is right, in this round."""


@dataclass(frozen=True, kw_only=True)
class LookAlikesSummary(Part):
    """Labels that are drawn from what the picture may be, as people's mistakes are."""

    rate: Share
    """How likely a label is drawn from that; 0 without very strong evidence."""
    share: Share
    """Share of the expected confusions that follow how often pictures of one class look like another."""
    evidence: float
    """Log-likelihood that this pattern adds to uniform and systematic confusions (nats)."""


@dataclass(frozen=True, kw_only=True)
class Confusion(Part):
    """Two classes that labels confuse."""

    true: ClassLabel
    """The true class."""
    given: ClassLabel
    """The given label."""
    rate: Share
    """Estimated probability that a sample of class `true` is labelled `given`, look-alikes left out."""


@dataclass(frozen=True, kw_only=True)
class NoiseModelSummary(Part):
    """The model that the suspicions come from."""

    l2: Positive
    """L2 penalty of its heads."""
    rounds: tuple[RoundSummary, ...]
    """Its rounds."""
    trusted_weight: Positive
    """Exponent of a head of the trusted labels alone; 0 where it adds nothing, or no labels are trusted."""
    look_alikes: LookAlikesSummary
    """Labels that are drawn from what the picture may be."""
    confusions: tuple[Confusion, ...]
    """The likeliest confusions, most likely first."""


@dataclass(frozen=True, kw_only=True)
class GivenPredictionsSummary(Part):
    """The predictions that the user gave."""

    alone: bool
    """Whether the audit rests on them alone. Then there is no head, and influence is undefined."""
    in_sample: bool
    """Whether the model that made them was trained on these samples and labels. Then each sample is judged by the
    predictions for its nearest neighbours."""
    agreement: Share
    """Share of the given labels that are the likeliest class of their prediction."""
