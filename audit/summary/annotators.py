"""Several annotators whose consensus was audited."""

from __future__ import annotations

from dataclasses import dataclass

from audit.summary.noise_model import Confusion
from audit.summary.parts import ClassLabel, Count, Part, Share


@dataclass(frozen=True, kw_only=True)
class AnnotatorSummary(Part):
    """One annotator, as the model of all annotators has it."""

    name: str
    """The column or field with the annotator's labels."""
    labels: Count
    """How many of the audited samples the annotator labelled."""
    quality: Share
    """Expected share of these labels that are right."""
    agreement: Share
    """Share of these labels that equal the consensus."""
    worst_class: ClassLabel
    """The true class of which the largest share of labels is wrong."""
    confusions: tuple[Confusion, ...]
    """The likeliest confusions of a true class with another label."""
