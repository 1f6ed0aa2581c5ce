"""What the report says and shows of findings beside single labels."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass

import pandas as pd

from audit.findings.many import NAMED
from audit.findings.registry import kind_of
from audit.findings.shown import SETTINGS, shown_findings
from audit.findings.table import classes_of
from audit.result import AuditResult
from audit.summary.counts import Finding as FindingsOfKind
from audit.summary.counts import LeakedSplit
from reports.text import share

PICTURE_BUDGET = 1_000_000
"""Largest number of bytes of thumbnails in this section; the last findings lose their pictures first."""


@dataclass(frozen=True)
class FindingSample:
    """A sample of a finding.

    Attributes:
        name: its file, or its id.
        label: as given.
        split: as the audit used it.
        picture: a data URI; None without a thumbnail.
    """

    name: str
    label: str
    split: str
    picture: str | None


@dataclass(frozen=True)
class FindingRow:
    """A finding.

    Attributes:
        detail: one sentence on it.
        worth: what acting on it is worth; '' where that is not known.
        score: from 0 to 1.
        samples: the first of them.
        others: how many more there are.
        classes: labels that it is about, where its sentence does not name all of them.
    """

    detail: str
    worth: str
    score: float
    samples: list[FindingSample]
    others: int
    classes: list[str]

    @property
    def has_pictures(self) -> bool:
        """Whether any of its samples has a picture."""
        return any(sample.picture is not None for sample in self.samples)


@dataclass(frozen=True)
class FindingTable:
    """The findings of one kind: their number, the number of their samples, what they mean, how many are right, and the
    first of them."""

    title: str
    findings: int
    samples: int
    meaning: str
    advice: str
    threshold: str
    precision: str
    rows: list[FindingRow]

    @property
    def worth(self) -> str:
        """What acting on all of them is worth, where it is the same for each; else ''."""
        said = {row.worth for row in self.rows}
        return said.pop() if len(said) == 1 else ""

    @property
    def has_pictures(self) -> bool:
        """Whether pictures can be shown."""
        return any(row.has_pictures for row in self.rows)


def finding_tables(result: AuditResult) -> list[FindingTable]:
    """The findings of each kind, as the report shows them."""
    shelf = _Pictures(result)
    tables = []
    shown = shown_findings(result.findings)
    for found in result.summary.findings:
        kind = kind_of(found.kind)
        of_kind = shown[shown["kind"] == found.kind]
        rows = [_row(members, shelf) for _, members in of_kind.groupby("finding", sort=True)]
        tables.append(
            FindingTable(
                found.title or kind.title,
                found.findings,
                found.samples,
                found.meaning,
                found.advice,
                found.threshold,
                precision_sentence(found),
                rows,
            )
        )
    return tables


def precision_sentence(found: FindingsOfKind) -> str:
    """Which share of the findings of a kind is right and how that was estimated, or why it is not estimated."""
    if found.precision_low is None or found.precision_high is None:
        return found.precision_basis
    low, high = math.floor(100 * found.precision_low), math.ceil(100 * found.precision_high)
    percent = f"{low}\u00a0%" if low == high else f"Between {low} and {high}\u00a0%"
    return f"{percent} of them are estimated to be right. {found.precision_basis}".strip()


def _row(members: pd.DataFrame, shelf: _Pictures) -> FindingRow:
    ids = members["id"].dropna().tolist()
    first, classes = members.iloc[0], classes_of(members)
    return FindingRow(
        str(first["detail"]),
        str(first.get("worth", "") or ""),
        float(first.get("score", 1.0)),
        [shelf.sample(name) for name in ids[: SETTINGS.most_members]],
        max(0, len(ids) - SETTINGS.most_members),
        classes if len(classes) > NAMED else [],
    )


class _Pictures:
    """The samples of a result with their thumbnails, until the budget is spent."""

    def __init__(self, result: AuditResult) -> None:
        self._scores, self._left = result.scores, PICTURE_BUDGET
        self._thumbnails = result.thumbnails["image"].to_dict()

    def sample(self, name: str) -> FindingSample:
        """A sample by its id."""
        known = name in self._scores.index
        path = self._scores.at[name, "filepath"] if known else None
        label, split = (str(self._scores.at[name, column]) if known else "" for column in ("label", "split"))
        return FindingSample(path if isinstance(path, str) else name, label, split, self._picture(name))

    def _picture(self, name: str) -> str | None:
        content = self._thumbnails.get(name)
        if not isinstance(content, bytes) or len(content) > self._left:
            return None
        self._left -= len(content)
        return "data:image/webp;base64," + base64.b64encode(content).decode("ascii")


def leak_sentences(leaks: tuple[LeakedSplit, ...]) -> list[str]:
    """What copies of training samples do to the head's score on each held-out split."""
    sentences = []
    for leak in leaks:
        text = (
            f"{leak.leaked:,} of {leak.samples:,} {leak.split} samples ({share(leak.leaked / leak.samples)}) have a "
            f"copy in the training split. The head predicts {share(leak.accuracy)} of the split as labelled"
        )
        without = leak.accuracy_without
        sentences.append(text + (f", and {share(without)} without these samples." if without is not None else "."))
    return sentences
