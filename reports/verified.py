"""What the report says of a verification: each number with its interval, and the flags at several thresholds."""

from __future__ import annotations

from dataclasses import dataclass

from audit.summary.summary import Summary
from audit.summary.verified import BeforeDecisions, VerifiedNumber
from reports.claims import verified_figure
from reports.ranges import percent, share_range
from reports.text import count, count_samples, threshold


@dataclass(frozen=True)
class VerifiedRow:
    """A number that decisions on drawn samples give.

    Attributes:
        name: what it is.
        value: the expected value.
        interval: 90 %, for a number of decisions that was fixed before.
        anytime: 90 %, for a reviewer who looked after every ten decisions and stopped when content.
    """

    name: str
    value: str
    interval: str
    anytime: str


@dataclass(frozen=True)
class ThresholdRow:
    """What flagging from a threshold on comes to, as text."""

    threshold: str
    samples: str
    precision: str
    recall: str


@dataclass(frozen=True)
class VerifiedTexts:
    """The verification as the report shows it: its numbers, the flags by threshold, and what was decided."""

    decided: str
    found: str
    unsure: str
    reviewed: str
    before: str
    rows: list[VerifiedRow]
    by_threshold: list[ThresholdRow]


def verified_texts(summary: Summary) -> VerifiedTexts | None:
    """The verification in words; None where there is none."""
    verified = summary.verified
    if verified is None:
        return None
    shares = {
        "flags that are right (precision)": verified.precision,
        "wrong labels that are flagged (recall)": verified.recall,
        "flags whose suggested label is right": verified.suggestions_right,
    }
    rows = [_count_row("wrong labels", verified.mistakes)]
    rows += [_share_row(name, number) for name, number in shares.items() if number is not None]
    by_threshold = [
        ThresholdRow(
            threshold(row.threshold),
            count(row.samples),
            share_range(verified_figure(row.precision, 1.0)),
            "–" if row.recall is None else share_range(verified_figure(row.recall, 1.0)),
        )
        for row in verified.by_threshold
    ]
    return VerifiedTexts(
        decided=count(verified.decided),
        found=count(verified.found),
        unsure=count(verified.unsure),
        reviewed=count(verified.reviewed),
        before=_before(verified.before, summary.counts.flagged),
        rows=rows,
        by_threshold=by_threshold,
    )


def _before(before: BeforeDecisions | None, flagged: int) -> str:
    """What the audit had said, and how good the decisions find its flags; empty where the flags are still those."""
    if before is None:
        return ""
    estimates = before.estimates
    mistakes = f"{count(estimates.mistakes_low)} to {count(estimates.mistakes_high)} wrong labels"
    said = f"Before these decisions the audit expected {mistakes} and flagged {count_samples(before.flagged)}"
    if before.precision is not None:
        said += f", of which, by the decisions, {share_range(verified_figure(before.precision, 1.0))} are right"
    return f"{said}. The decisions changed suspicions and threshold: now {count_samples(flagged)} are flagged."


def _count_row(name: str, number: VerifiedNumber) -> VerifiedRow:
    ends = [f"{count(low)} to {count(high)}" for low, high in _intervals(number)]
    return VerifiedRow(name, count(number.value), *ends)


def _share_row(name: str, number: VerifiedNumber) -> VerifiedRow:
    ends = [f"{percent(low)} to {percent(high)}" for low, high in _intervals(number)]
    return VerifiedRow(name, percent(number.value), *ends)


def _intervals(number: VerifiedNumber) -> tuple[tuple[float, float], tuple[float, float]]:
    return (number.low, number.high), (number.anytime_low, number.anytime_high)
