"""The conditions that an audit is judged by, each passed, failed, or worth a warning.

The list is at the top of the report. A condition fails only where the user asked for it (`--fail-above`, `--fail-on`);
what nobody asked for is a warning at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from audit.errors import InputError
from audit.findings.kinds import (
    DUPLICATE_LABELS,
    NEAR_DUPLICATE_LABELS,
    NEAR_DUPLICATES,
    NEAR_LEAK,
    NO_VALIDATION,
    SPLIT_LEAK,
)
from audit.findings.registry import check_names, kind_of
from audit.summary.counts import Finding
from audit.summary.summary import Summary
from reports.claims import claims_of
from reports.limit import Limit, wrong_share
from reports.new_flags import NewFlags
from reports.ranges import share_range
from reports.text import count_flags, share
from reports.verdict import cautions

State = Literal["pass", "warn", "fail"]

WRONG_LABELS, COMPLETE = "Wrong labels", "Complete"
NEW_FLAGS, UNREADABLE, RELIABILITY = "New flags", "Unreadable images", "Reliability"


@dataclass(frozen=True)
class Condition:
    """A condition, and whether the audit meets it.

    Attributes:
        name: in a few words.
        state: 'pass', 'warn' or 'fail'.
        sentence: why, in a sentence that stands alone.
        asked: what was asked, such as 'at most 5.0% wrong labels (low)'; '' where nobody asked.
        found: what was found, in a few words.
    """

    name: str
    state: State
    sentence: str
    asked: str
    found: str


@dataclass(frozen=True)
class _Group:
    """Kinds of findings that are one condition.

    Attributes:
        name: of the condition.
        check: the check that looks for the kinds; '' for one that every audit makes.
        kinds: names of the kinds.
        absent: the sentence where none was found.
    """

    name: str
    check: str
    kinds: tuple[str, ...]
    absent: str


_GROUPS = (
    _Group("Leaks between splits", "", (SPLIT_LEAK, NEAR_LEAK), "No sample was found in two splits."),
    _Group(
        "Duplicates",
        "",
        (DUPLICATE_LABELS, NEAR_DUPLICATE_LABELS, NEAR_DUPLICATES),
        "No sample was found twice.",
    ),
    _Group(
        "Small classes",
        "dataset",
        ("small-class", NO_VALIDATION),
        "Every class has enough samples to learn and measure.",
    ),
)


DRAWN_SPLITS = "The audit drew the splits itself, so copies across them are no leak of yours."
"""What is said of leaks where the user's splits were not used."""


def conditions_of(summary: Summary, limit: Limit = Limit(), new: NewFlags | None = None) -> list[Condition]:
    """The conditions for one audit, in the order in which a reader wants them.

    Args:
        summary: of the audit.
        limit: what the user does not accept.
        new: the flags that a former result does not have; None where there is no former result.
    """
    listed = [_gate(summary, limit)] if limit.share is not None else []
    listed += [_new_flags(new, limit)] if limit.new_flags is not None else []
    listed += [_unreadable(summary, limit)] if limit.unreadable is not None else []
    looked_for = check_names(summary.config.findings, "findings")
    groups = [group for group in _GROUPS if not group.check or group.check in looked_for or _asked(group, limit)]
    grouped = {kind for group in groups for kind in group.kinds}
    others = [kind for kind in limit.kinds if kind not in grouped]
    groups += [_Group(kind_of(kind).title, "", (kind,), "None was found.") for kind in others]
    listed += [_of_findings(summary, group, limit) for group in groups]
    return [*listed, _cautions(summary, limit), *_unfinished(summary, limit)]


def worst_state(conditions: Iterable[Condition]) -> State:
    """'fail' where any failed, else 'warn' where any is a warning, else 'pass'."""
    states = {condition.state for condition in conditions}
    return "fail" if "fail" in states else "warn" if "warn" in states else "pass"


def _asked(group: _Group, limit: Limit) -> bool:
    return any(kind in limit.kinds for kind in group.kinds)


def _gate(summary: Summary, limit: Limit) -> Condition:
    """The share of wrong labels against `--fail-above`."""
    found = wrong_share(summary)
    asked = f"at most {share(limit.share)} wrong labels ({limit.basis})"
    text = f"{share_range(found)} ({found.seal})"
    try:
        exceeded = limit.is_exceeded(summary)
    except InputError as error:  # there is nothing that the limit could judge
        return Condition(WRONG_LABELS, "fail", f"{str(error)[:1].upper()}{str(error)[1:]}.", asked, text)
    if exceeded:
        return Condition(WRONG_LABELS, "fail", f"{limit.sentence(summary)}.", asked, text)
    below = f"The share of wrong labels ({text}) is not above the limit of {share(limit.share)}."
    return Condition(WRONG_LABELS, "pass", below, asked, text)


def _of_findings(summary: Summary, group: _Group, limit: Limit) -> Condition:
    """A group of findings against `--fail-on`; copies across splits that the audit drew itself do not count."""
    drawn = () if summary.config.use_splits else (SPLIT_LEAK,)
    found = [each for each in summary.findings if each.kind in group.kinds and each.kind not in drawn]
    asked = "none" if _asked(group, limit) else ""
    if not found:
        absent = DRAWN_SPLITS if SPLIT_LEAK in group.kinds and drawn else group.absent
        return Condition(group.name, "pass", absent, asked, "none")
    unaccepted = [each for each in found if each.kind in limit.kinds]
    state: State = "fail" if unaccepted else "warn"
    sentence = " ".join(_sentence(each) for each in unaccepted or found)
    return Condition(group.name, state, sentence, asked, _number(found))


def _sentence(found: Finding) -> str:
    title = found.title or kind_of(found.kind).title
    example = found.examples[0].rstrip(".") if found.examples else found.meaning.rstrip(".")
    return f"{title}: {found.findings:,} (the first: {example})."


def _number(found: list[Finding]) -> str:
    return f"{sum(each.findings for each in found):,}"


def _cautions(summary: Summary, limit: Limit) -> Condition:
    """Why the numbers of this audit may be off."""
    asked = "no caution" if limit.cautions else ""
    unknown = claims_of(summary).too_little
    reasons = cautions(summary) or ((unknown,) if unknown else ())
    if not reasons:
        return Condition(RELIABILITY, "pass", "No caution applies to this dataset.", asked, "no caution")
    number = f"{len(reasons)} caution{'' if len(reasons) == 1 else 's'}"
    return Condition(RELIABILITY, "fail" if limit.cautions else "warn", " ".join(reasons), asked, number)


def _new_flags(new: NewFlags | None, limit: Limit) -> Condition:
    """The flags that a former result does not have against `--fail-new`."""
    asked = f"at most {count_flags(limit.new_flags or 0)} more than before"
    if new is None:
        sentence = "There is no former result to compare with, so no flag counts as new."
        return Condition(NEW_FLAGS, "warn", sentence, asked, "no former result")
    state: State = "fail" if new.number > (limit.new_flags or 0) else "pass"
    return Condition(NEW_FLAGS, state, new.sentence, asked, f"{new.number:,} new")


def _unreadable(summary: Summary, limit: Limit) -> Condition:
    """The share of unreadable images against `--fail-unreadable`."""
    counts, most = summary.counts, limit.unreadable or 0.0
    left_out = counts.without_label + counts.unreadable + counts.rare_class + counts.without_input
    found = counts.unreadable / max(counts.samples + left_out, 1)
    verb = "is" if counts.unreadable == 1 else "are"
    sentence = f"{counts.unreadable:,} of {counts.samples + left_out:,} images {verb} unreadable ({share(found)})."
    state: State = "fail" if found > most else "pass"
    return Condition(UNREADABLE, state, sentence, f"at most {share(most)} unreadable", share(found))


def _unfinished(summary: Summary, limit: Limit) -> list[Condition]:
    """Stages that failed. Without findings, `--fail-on` cannot judge the audit, so it fails."""
    if not summary.failed_stages:
        return []
    unjudged = bool(limit.kinds) and any(failure.stage == "findings" for failure in summary.failed_stages)
    state: State = "fail" if unjudged else "warn"
    reasons = " ".join(failure.reason for failure in summary.failed_stages)
    asked = "findings" if unjudged else ""
    return [Condition(COMPLETE, state, reasons, asked, ", ".join(each.stage for each in summary.failed_stages))]
