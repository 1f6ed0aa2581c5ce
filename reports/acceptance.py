"""What accepting suggestions without looking at the pictures comes to: labels that it mends, and labels that it breaks.

A suggestion mends a wrong label if it is the right one, and breaks a right label. The report, the command and the App
say the same sentences.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.summary.estimates import Acceptance
from audit.summary.summary import Summary
from audit.summary.verified import Verified
from reports.claims import claims_of
from reports.ranges import Figure, count_range, figure, is_any_number, is_none
from reports.seals import Seal
from reports.text import count, count_suggestions, threshold

UNKNOWN = "What accepting suggestions unseen would mend and break is not known here. Decide on each sample."


@dataclass(frozen=True)
class Accepted:
    """What accepting every suggestion from a threshold on is expected to come to.

    Attributes:
        threshold: the suspicion.
        samples: how many samples have at least this suspicion.
        mended, broken: numbers of labels.
        pays: whether more labels are mended than broken wherever in their ranges the numbers are.
    """

    threshold: float
    samples: int
    mended: Figure
    broken: Figure
    pays: bool

    @property
    def seal(self) -> Seal:
        """How the numbers are known."""
        return self.mended.seal

    @property
    def mended_text(self) -> str:
        """The labels that are mended, as text."""
        return _number(self.mended)

    @property
    def broken_text(self) -> str:
        """The right labels that are broken, as text."""
        return _number(self.broken)


def accepted_at(summary: Summary) -> list[Accepted]:
    """What is known at each threshold, from the highest down. Verified numbers take the place of modelled ones."""
    verified = _verified(summary.verified, summary.threshold, summary.counts.flagged)
    if verified is not None:
        return [verified]
    if summary.acceptance is None or summary.verified is not None or claims_of(summary).too_little:
        return []
    return _modelled(summary.acceptance)


def pays_from(summary: Summary) -> float | None:
    """The lowest threshold from which accepting unseen pays; None where there is none, or it is not known."""
    return min((row.threshold for row in accepted_at(summary) if row.pays), default=None)


def at_the_threshold(summary: Summary) -> Accepted | None:
    """What accepting all flags comes to; None where that is not known."""
    rows = [row for row in accepted_at(summary) if row.threshold == summary.threshold]
    return rows[0] if rows else None


def acceptance_sentences(summary: Summary) -> list[str]:
    """What accepting all suggestions unseen is expected to come to, and from where it pays. Empty without flags."""
    if not summary.counts.flagged:
        return []
    row, rows, lowest = at_the_threshold(summary), accepted_at(summary), pays_from(summary)
    if row is None:
        return [UNKNOWN]
    suggestions = "the suggestion" if row.samples == 1 else f"all {count_suggestions(row.samples)}"
    said = [
        f"Accepting {suggestions} unseen is expected to mend {_labels(row.mended)}, and to "
        f"break {_labels(row.broken)} that {_is(row.broken)} right ({row.seal})."
    ]
    if lowest is None:
        return [*said, "At no threshold is it known to mend more labels than it breaks. Decide on each sample."]
    if lowest <= row.threshold:
        return [*said, f"From a suspicion of {threshold(lowest)} it pays: it mends more labels than it breaks."]
    samples = next((each.samples for each in rows if each.threshold == lowest), None)
    to_accept = "" if samples is None else f" ({count_suggestions(samples)})"
    return [
        *said,
        f"It pays only from a suspicion of {threshold(lowest)}{to_accept}: below, it may break more than it mends.",
    ]


def _is(labels: Figure) -> str:
    return "is" if round(labels.high) <= 1 else "are"


def _number(labels: Figure) -> str:
    return f"up to {count(labels.high)}" if is_any_number(labels) else count_range(labels)


def _labels(labels: Figure) -> str:
    if is_none(labels):
        return "no label"
    return f"{_number(labels)} label{'' if round(labels.high) == 1 else 's'}"


def _modelled(acceptance: Acceptance) -> list[Accepted]:
    rows = []
    for each in acceptance.by_threshold:
        mended, broken = (
            figure((low + high) / 2, low, high, each.samples, "modelled")
            for low, high in ((each.mended_low, each.mended_high), (each.broken_low, each.broken_high))
        )
        pays = acceptance.pays_from is not None and each.threshold >= acceptance.pays_from
        rows.append(Accepted(each.threshold, each.samples, mended, broken, pays))
    return rows


def _verified(verified: Verified | None, at: float, flagged: int) -> Accepted | None:
    """By the decisions on the flags; None where these do not say which suggestions are right."""
    if verified is None or verified.precision is None or verified.suggestions_right is None:
        return None
    right, wrong = verified.suggestions_right, verified.precision
    mended = figure(flagged * right.value, flagged * right.low, flagged * right.high, flagged, "verified")
    broken = figure(
        flagged * (1 - wrong.value), flagged * (1 - wrong.high), flagged * (1 - wrong.low), flagged, "verified"
    )
    return Accepted(at, flagged, mended, broken, mended.low > broken.high)
