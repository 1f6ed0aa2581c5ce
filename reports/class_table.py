"""The table of classes: where the wrong labels are, and how well the model predicts each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.result import AuditResult
from audit.summary.parts import ClassLabel
from reports import figures
from reports.claims import claims_of
from reports.ranges import Figure, count_range, share_range
from reports.wrong_labels_by_class import wrong_by_class

MAX_TABLE_ROWS = 200
"""Largest number of rows of a table in the report; a line below gives the number of the others."""


@dataclass(frozen=True)
class ClassRow:
    """A row of the report's class tables: one class, or all classes together.

    Attributes:
        label: the class; None for all classes.
        number: position among the classes; -1 for all classes.
        clean, corrupted: mean influence of unchanged samples and of injected mislabels; None if there are none.
        corrupted_count: number of injected mislabels.
        samples, flagged: numbers of samples and of flagged samples.
        wrong: number of wrong labels; None where the class has no samples.
        recall: share of the test samples that the head predicts right; None if there are none.
    """

    label: ClassLabel | None
    number: int
    clean: float | None
    corrupted: float | None
    corrupted_count: int
    samples: int
    flagged: int
    wrong: Figure | None
    recall: float | None

    @property
    def wrong_text(self) -> str:
        """The number of wrong labels."""
        return "–" if self.wrong is None else count_range(self.wrong)

    @property
    def share_text(self) -> str:
        """The share of wrong labels in the class."""
        return "–" if self.wrong is None else share_range(self.wrong.scaled(1 / max(self.samples, 1), 1.0))


def class_rows(result: AuditResult) -> list[ClassRow]:
    """One row for all classes together, then the classes, the most wrong labels first."""
    scores, summary = result.scores, result.summary
    groups = scores.groupby("label", sort=False)
    flags, sizes, wrong_in = groups["flag"].sum().to_dict(), groups.size().to_dict(), wrong_by_class(result)
    right_of = tested_of = np.zeros(len(summary.classes))
    if summary.heads is not None:
        confusion = figures.confusions(result, summary.heads.given.test)
        right_of, tested_of = confusion.diagonal(), confusion.sum(axis=1)
    rows, total = [], claims_of(summary).mistakes
    for number, row in enumerate(summary.influence_by_class):
        label = row.class_
        wrong = total if label is None else wrong_in.get(label)
        if label is None:
            flagged, samples = scores["flag"].sum(), len(scores)
            right, tested = right_of.sum(), tested_of.sum()
        else:
            flagged, samples = flags.get(label, 0), sizes.get(label, 0)
            right, tested = right_of[number], tested_of[number]
        rows.append(
            ClassRow(
                label=label,
                number=-1 if label is None else number,
                clean=row.clean,
                corrupted=row.corrupted,
                corrupted_count=row.corrupted_count,
                samples=int(samples),
                flagged=int(flagged),
                wrong=wrong,
                recall=float(right / tested) if tested else None,
            )
        )
    everything, classes = rows[-1:], rows[:-1]
    return everything + sorted(classes, key=lambda row: -(row.wrong.value if row.wrong else 0.0))[:MAX_TABLE_ROWS]
