"""How many labels are wrong, and how good the flags are, by estimate."""

from __future__ import annotations

from dataclasses import dataclass

from audit.summary.parts import Part, Positive, Share


@dataclass(frozen=True, kw_only=True)
class Estimates(Part):
    """Expected values. Only the share of known mislabels that are found was measured (`controls`)."""

    mistakes: Positive
    """Number of wrong labels."""
    mistakes_low: Positive
    """Lower end of its 95 % interval."""
    mistakes_high: Positive
    """Upper end of its 95 % interval."""
    told: bool
    """False where the embeddings say too little about the labels to judge them. The interval then goes from none to
    all."""
    precision: Share | None
    """Share of the flags that are right; null where nothing is flagged."""
    recall: Share | None
    """Share of the wrong labels that are flagged; null where none is expected."""
    basis: str
    """What the estimates rest on, in words."""
    cautions: tuple[str, ...] = ()
    """Why the estimates may be off, a sentence a reason."""
