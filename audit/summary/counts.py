"""How many samples there were, how many of them are copies, and what else is wrong with the dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from audit.summary.parts import Count, Part, Share


@dataclass(frozen=True, kw_only=True)
class Counts(Part):
    """How many samples there were."""

    samples: Count
    """Audited samples."""
    train: Count
    """Of them, those that the head was trained on."""
    validation: Count
    """Of them, those whose mean loss the influence refers to."""
    test: Count
    """Of them, those that the head's quality is measured on."""
    classes: Count
    """Classes."""
    flagged: Count
    """Flagged samples."""
    without_label: Count
    """Left out: no label."""
    unreadable: Count
    """Left out: the image cannot be read."""
    rare_class: Count
    """Left out: fewer than 3 samples of the class."""
    without_input: Count = 0
    """Left out: the user gave embeddings or predictions, and none for the sample."""
    injected: Count
    """Labels that the audit changed on purpose."""


@dataclass(frozen=True, kw_only=True)
class CopiesFound(Part):
    """Samples with the same content. They count as one for the noise model."""

    contents: Count
    """Contents that occur more than once."""
    samples: Count
    """Samples with such a content."""
    proven_mistakes: Count
    """The least number of wrong labels, since samples with the same content carry different ones."""
    leaked: Count
    """Validation and test samples whose content is also in the training split."""


@dataclass(frozen=True, kw_only=True)
class Finding(Part):
    """One kind of fault of the dataset beside single labels."""

    kind: str
    """Its name."""
    findings: Annotated[int, Ge(1)]
    """How many faults of the kind were found."""
    samples: Count
    """Samples that have the fault; 0 for a fault of class names."""
    meaning: str
    """What it means, in a sentence."""
    examples: tuple[str, ...]
    """The first few, a sentence each; all are in findings.parquet."""
    title: str = ""
    """What people call it; empty in a result of an earlier version."""
    advice: str = ""
    """What to do about it, in a sentence."""
    threshold: str = ""
    """From where on it is reported, in a sentence; empty where it is counted, not estimated."""
    precision_low: Share | None = None
    """The low end of the estimated share of these findings that are right; null where it cannot be estimated."""
    precision_high: Share | None = None
    """The high end of that range."""
    precision_basis: str = ""
    """What the precision was estimated from, or why it cannot be, in a sentence."""


@dataclass(frozen=True, kw_only=True)
class LeakedSplit(Part):
    """Copies of training pictures in a held-out split, and what they do to the head's score on it."""

    split: Literal["validation", "test"]
    """The held-out split."""
    samples: Count
    """Its samples."""
    leaked: Count
    """Of them, those with a copy in the training split, changed or not."""
    accuracy: Share
    """Share of the split that the head predicts as labelled."""
    accuracy_without: Share | None
    """The same without the leaked samples; null where all are leaked."""
