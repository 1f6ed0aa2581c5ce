"""The answers to a lead's questions, one line each: how sure, which classes, what first, how long.

The headline of `reports.verdict` answers the first one: how bad.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.result import AuditResult
from audit.summary.summary import Summary
from reports.claims import CHECKED_PICTURES, Claims, claims_of, pictures_to_check
from reports.next_steps import needs_check
from reports.ranges import count_ends, count_phrase, has_wide_count, is_none, share_range
from reports.review_time import BASIS, SECONDS_A_CHECK, review_time
from reports.seals import Seal
from reports.text import Mark, count, count_decisions, count_flags, unmarked
from reports.verdict import own_mistakes
from reports.wrong_labels_by_class import most_affected_classes


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a sentence or two, and the seal of the number in it; None without a number."""

    question: str
    text: str
    seal: Seal | None = None


def answers(result: AuditResult, mark: Mark = unmarked) -> list[Answer]:
    """The answers, in the order in which a lead asks.

    Args:
        result: of the audit.
        mark: marks the numbers that depend on the threshold.
    """
    summary = result.summary
    claims = claims_of(summary)
    return [
        Answer("How sure?", _how_sure(summary, claims), claims.mistakes.seal),
        Answer("Which classes?", _which_classes(result, claims, mark)),
        Answer("What first?", _what_first(summary)),
        Answer("How long?", _how_long(summary)),
    ]


def _how_sure(summary: Summary, claims: Claims) -> str:
    if (verified := summary.verified) is not None:
        return (
            f"{count_decisions(verified.decided)} on drawn pictures give {count_ends(claims.mistakes)} (90% interval)."
            f"{_flags_right(claims)}"
        )
    if claims.too_little:
        return claims.too_little
    if summary.detection is not None:
        return _how_sure_beside_injected(summary, claims)
    if is_none(claims.mistakes):
        return "Every model of the labels that fits them agrees."
    if claims.needs_check and not has_wide_count(claims.mistakes):
        return (
            f"The number is within {count_ends(claims.mistakes)}, but how good the flags are is hardly known: "
            f"{share_range(claims.precision) if claims.precision else 'any share'} of them may be right."
        )
    if claims.needs_check:
        return (
            f"Not sure: several models of the labels fit equally well and differ. {CHECKED_PICTURES} decisions on "
            f"drawn pictures would tell.{_flags_right(claims)}"
        )
    if has_wide_count(claims.mistakes):
        return f"Only roughly: models that fit the labels equally well differ.{_flags_right(claims)}"
    ends = count_ends(claims.mistakes)
    return f"The models that fit the labels agree on {ends} wrong labels.{_flags_right(claims)}"


def _how_sure_beside_injected(summary: Summary, claims: Claims) -> str:
    """What is known of the reader's own labels where the audit made others wrong itself."""
    own = own_mistakes(summary, claims)
    if own is None:
        return "Not sure: the models expect fewer wrong labels than were injected, so do not rely on them."
    if is_none(own):
        return "None of your own labels looks wrong under any model that fits the labels."
    return f"Of your own labels, {count_phrase(own)} may be wrong under the models that fit the labels."


def _flags_right(claims: Claims) -> str:
    if claims.precision is None:
        return ""
    verb = "are" if claims.precision.seal == "verified" else "may be"
    return f" Of the flags, {share_range(claims.precision)} {verb} right."


def _which_classes(result: AuditResult, claims: Claims, mark: Mark) -> str:
    if (named := most_affected_classes(result, mark)) != "":
        return named
    if not result.summary.counts.flagged:
        return "None: nothing is flagged."
    if result.summary.detection is not None:
        return "Not told: the mislabels that were injected on purpose hide which of your classes are affected."
    return "Not known: too little is known of the wrong labels to name classes."


def _to_review(summary: Summary) -> int:
    """Flagged samples, without those whose labels the audit made wrong itself."""
    return summary.counts.flagged if summary.detection is None else summary.detection.false_positive


def _what_first(summary: Summary) -> str:
    flagged = _to_review(summary)
    own = " on your own labels" if summary.detection is not None else ""
    review = f"review the {count_flags(flagged)}{own} below" if flagged else ""
    if needs_check(summary):
        check = f"Check {pictures_to_check(summary.counts.samples)} pictures that chance draws"
        return f"{check}; then {review}." if review else f"{check}."
    if review:
        return f"{review[:1].upper()}{review[1:]}{', most suspicious first' if flagged > 1 else ''}."
    return "Nothing needs a review. Audit again when the labels change."


def _how_long(summary: Summary) -> str:
    flagged, parts = _to_review(summary), []
    if needs_check(summary):
        pictures = pictures_to_check(summary.counts.samples)
        parts.append(f"{_capital(review_time(pictures, SECONDS_A_CHECK))} for the check")
    if flagged:
        parts.append(f"{review_time(flagged)} for {count(flagged)} {'flag' if flagged == 1 else 'flags'}")
    if not parts:
        return "No time: there is nothing to review."
    text = " and ".join(parts)
    return f"{_capital(text)} ({BASIS})." if flagged else f"{_capital(text)}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
