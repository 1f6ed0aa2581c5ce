"""How the influence was computed, and what it is on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from audit.summary.parts import ClassLabel, Count, Part, Positive


@dataclass(frozen=True, kw_only=True)
class ClassInfluence(Part):
    """Mean influence of the samples of one audited label, or of all samples."""

    class_: ClassLabel | None
    """The class; null for all samples."""
    clean: float | None
    """Mean influence of the samples that were not changed; null where there is none."""
    clean_count: Count
    """How many those are."""
    corrupted: float | None
    """Mean influence of the injected mislabels; null where there is none."""
    corrupted_count: Count
    """How many those are."""


@dataclass(frozen=True, kw_only=True)
class InfluenceSummary(Part):
    """How the influence was computed."""

    engine: str
    """What computed it (setting engine)."""
    scope: Literal["head", "model"]
    """Whose parameters the influence goes through (setting scope)."""
    method: str
    """How H s = g was solved."""
    residual: float | None
    """Relative residual of the solution; null where the engine has none."""
    parameters: Count
    """Parameters of the head."""
    damping: Positive
    """Added to the Hessian's diagonal."""
    validation_samples: Count
    """Samples whose mean loss the influence refers to."""
    validation_labels: Literal["given", "believed"]
    """What the loss takes their labels to be: 'given', as they are, or 'believed', the classes that the audit expects
    of their pictures without the labels."""


@dataclass(frozen=True, kw_only=True)
class LeaveOneOutSummary(Part):
    """How the predictions of a head without the sample were computed."""

    method: str
    """'exact', by Kronecker factors of the Hessian ('kfac'), or by each class's own block of it ('blocks')."""
