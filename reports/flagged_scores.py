"""The scores of an audit, in a form that can also be made from a dataset's fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from audit.result import AuditResult
from audit.summary.parts import ClassLabel


@dataclass(frozen=True)
class FlaggedScores:
    """The scores of an audit, and the part of its summary that the figures of the App's panel need.

    Attributes:
        scores: columns label, suspicion, influence, flag and, with injection, injected.
        classes: in the dataset's order.
        threshold: samples with at least this suspicion are flagged.
        with_injection: whether the audit injected mislabels.
    """

    scores: pd.DataFrame
    classes: Sequence[ClassLabel]
    threshold: float
    with_injection: bool

    @classmethod
    def of(cls, audited: AuditResult | FlaggedScores) -> FlaggedScores:
        """Take the scores from a result."""
        if isinstance(audited, FlaggedScores):
            return audited
        summary = audited.summary
        return cls(audited.scores, summary.classes, summary.threshold, summary.detection is not None)
