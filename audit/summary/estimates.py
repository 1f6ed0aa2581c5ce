"""How many labels are wrong, and how good the flags are, as far as models of the labels say so."""

from __future__ import annotations

from dataclasses import dataclass

from audit.summary.parts import Part, Positive, Share


@dataclass(frozen=True, kw_only=True)
class ModelledNumbers(Part):
    """What one model of the labels says, with 95 % intervals."""

    model: str
    """'uniform slips', 'class confusions' or 'noise model'."""
    mistakes: Positive
    """Expected number of wrong labels."""
    mistakes_low: Positive
    """Lower end of its interval."""
    mistakes_high: Positive
    """Upper end of its interval."""
    precision: Share | None
    """Expected share of the flags that are right; null where nothing is flagged."""
    precision_low: Share | None
    """Lower end of its interval."""
    precision_high: Share | None
    """Upper end of its interval."""
    log_likelihood: float
    """Log-likelihood of the given labels (nats)."""
    ruled_out: bool
    """Whether the labels are so unlikely under this model that the ranges leave it out."""


@dataclass(frozen=True, kw_only=True)
class Estimates(Part):
    """Modelled numbers: the noise model's expected values, and ranges over all models that the labels do not rule
    out. Labels alone do not tell which of these models is true."""

    mistakes: Positive
    """Number of wrong labels that the noise model expects."""
    mistakes_low: Positive
    """Lower end of the 95 % range over the models."""
    mistakes_high: Positive
    """Upper end of the 95 % range over the models."""
    told: bool
    """False where the embeddings say too little about the labels to judge them. The range then goes from none to
    all."""
    precision: Share | None
    """Share of the flags that the noise model expects to be right; null where nothing is flagged."""
    precision_low: Share | None
    """Lower end of the 95 % range over the models."""
    precision_high: Share | None
    """Upper end of the 95 % range over the models."""
    recall: Share | None
    """Share of the wrong labels that the noise model expects to be flagged; null where none is expected."""
    models: tuple[ModelledNumbers, ...]
    """What each model says."""
    basis: str
    """What the numbers are computed from, in words."""
    cautions: tuple[str, ...] = ()
    """Why the models may be off, a sentence a reason."""


@dataclass(frozen=True, kw_only=True)
class AcceptedAt(Part):
    """What accepting the suggestion of every sample with at least this suspicion, unseen, is expected to come to.

    A suggestion mends a wrong label if it is the right one, and breaks a right label. The ranges (95 %) go over the
    models that the labels do not rule out.
    """

    threshold: Share
    """The suspicion."""
    samples: int
    """Samples with at least this suspicion."""
    mended_low: Positive
    """Labels that are mended, lower end."""
    mended_high: Positive
    """Labels that are mended, upper end."""
    broken_low: Positive
    """Right labels that are broken, lower end."""
    broken_high: Positive
    """Right labels that are broken, upper end."""


@dataclass(frozen=True, kw_only=True)
class Acceptance(Part):
    """Whether it pays to accept suggestions unseen."""

    by_threshold: tuple[AcceptedAt, ...]
    """From the highest threshold down; the audit's own is among them."""
    pays_from: Share | None
    """The lowest threshold from which more labels are mended than broken under every model; null where there is
    none."""
