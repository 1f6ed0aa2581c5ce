"""The trained heads, and how well they predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Len

from audit.summary.parts import Count, Part, Positive, Share

ConfusedPair = Annotated[tuple[Count, ...], Len(3, 3)]


@dataclass(frozen=True, kw_only=True)
class BriefQuality(Part):
    """How well a head predicts some labels."""

    f1: Share
    """F1, the mean over classes, weighted by their size."""
    accuracy: Share
    """Share of right predictions."""
    loss: Positive
    """Mean cross-entropy (nats)."""


@dataclass(frozen=True, kw_only=True)
class HeadQuality(BriefQuality):
    """How well a head predicts the labels of one split."""

    samples: Count
    """Samples of the split."""
    confusion: tuple[ConfusedPair, ...]
    """Confusion matrix, of each pair of classes that occurs: [label, predicted, samples], the classes by their
    positions."""


@dataclass(frozen=True, kw_only=True)
class TriedPenalty(Part):
    """An L2 penalty that was tried."""

    l2: Positive
    """The penalty."""
    validation_loss: Positive
    """Mean cross-entropy on the validation split (nats)."""


@dataclass(frozen=True, kw_only=True)
class HeadSummary(Part):
    """One trained head, measured on the labels that the user gave."""

    trainer: str
    """'newton' or 'adam'."""
    l2: Positive
    """The L2 penalty that was used."""
    l2_path: tuple[TriedPenalty, ...]
    """The penalties that were tried."""
    gradient_norm: Positive
    """Norm of the gradient where training ended."""
    converged: bool
    """Whether it was trained to its optimum."""
    steps: Count
    """Steps of the trainer."""
    train: HeadQuality
    """Its quality on the training split."""
    validation: HeadQuality
    """Its quality on the validation split."""
    test: HeadQuality
    """Its quality on the test split."""


@dataclass(frozen=True, kw_only=True)
class Heads(Part):
    """The trained heads."""

    given: HeadSummary
    """Trained on the labels that the user gave."""
    corrupted: HeadSummary | None
    """Trained on the labels with injected mislabels, which the audit is then about; null without injection."""

    @property
    def audited(self) -> HeadSummary:
        """The head that the audit is about."""
        return self.corrupted or self.given

    @property
    def by_name(self) -> dict[str, HeadSummary]:
        """The heads that there are, by what they were trained on."""
        named = {"given": self.given, "corrupted": self.corrupted}
        return {name: head for name, head in named.items() if head is not None}
