"""Several reviewers of one audit: who decides on which samples, second opinions, and how often reviewers agree.

The samples are split by the last two digits of their ids, which say nothing of a sample: each reviewer has the same
samples in every window and after every restart, and nobody has to be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import fiftyone as fo

from audit.errors import InputError
from integrations.fiftyone.fields import RELABELLED, REMOVED, UNREVIEWED
from integrations.fiftyone.review.decide import change_to
from integrations.fiftyone.review.log import SETS_STATE, STANDS, Change, Decided, DecisionLog, entries_of, object_ids
from integrations.fiftyone.review.progress import bring_up_to_date

PARTS = 256  # that the samples are split into, by two hexadecimal digits
MOST_REVIEWERS = 16
_SPREAD = 167  # odd, so that multiplying by it only changes the order of the parts
_DIGITS = "0123456789abcdef"

Opinion = Literal["confirm", "dismiss", "unsure", "accept", "relabel"]


@dataclass(frozen=True)
class Team:
    """The place of one reviewer among several.

    Attributes:
        reviewer: the name.
        number: of the reviewer, 1 to `reviewers`.
        reviewers: how many share the samples.
        second: share of the samples that two reviewers decide on, 0 to 1.
    """

    reviewer: str
    number: int = 1
    reviewers: int = 1
    second: float = 0.0

    def __post_init__(self) -> None:
        if not self.reviewer.strip():
            raise InputError("the reviewer has no name; type one")
        if not 1 <= self.number <= self.reviewers <= MOST_REVIEWERS:
            raise InputError(
                f"reviewer {self.number} of {self.reviewers} is not possible; give a number from 1 to the number of "
                f"reviewers, of whom there may be {MOST_REVIEWERS}"
            )
        if not 0 <= self.second <= 1:
            raise InputError(f"the share of second opinions is {self.second}; give one from 0 to 1")


@dataclass(frozen=True)
class Agreement:
    """How often two reviewers said the same.

    Attributes:
        both: samples that two reviewers or more decided on.
        agreed: those on which all of them said the same: that the label is right, that it is wrong with one new label,
            or that nobody can tell.
        differing: ids of the others.
    """

    both: int
    agreed: int
    differing: tuple[str, ...]


def is_part_of(team: Team) -> dict[str, Any]:
    """The expression for whether a sample is the reviewer's own."""
    return {"$eq": [{"$mod": [_part(), team.reviewers]}, team.number - 1]}


def waits_for_second(log: DecisionLog, team: Team) -> dict[str, Any]:
    """The filter for samples on which one other person has decided, and this reviewer is to decide too."""
    entries = entries_of(f"${log.decisions}", {"$and": [SETS_STATE, STANDS]})
    people = {"$setUnion": [{"$ifNull": [{"$map": {"input": entries, "as": "entry", "in": "$$entry.by"}}, []]}, []]}
    drawn = {"$lt": [{"$mod": [{"$multiply": [_part(), _SPREAD]}, PARTS]}, round(team.second * PARTS)]}
    # The next reviewer after the one whose sample it is; with one reviewer a window, whoever else looks.
    turn = {"$eq": [{"$mod": [{"$add": [_part(), 1]}, team.reviewers]}, team.number - 1]}
    one_other = {"$and": [{"$eq": [{"$size": people}, 1]}, {"$not": [{"$in": [{"$literal": team.reviewer}, people]}]}]}
    decided = {log.status: {"$nin": [None, UNREVIEWED, REMOVED]}}
    return {"$and": [decided, {"$expr": {"$and": [drawn, turn, one_other]}}]}


def second_opinions(dataset: fo.Dataset, audit_key: str, samples: Sequence[str], team: Team) -> set[str]:
    """Those of some samples that wait for this reviewer's second opinion.

    Raises:
        InputError: if there is no such audit.
    """
    if not team.second or not samples:
        return set()
    log = DecisionLog(dataset, audit_key)
    those = {"$and": [{"_id": {"$in": object_ids(samples)}}, waits_for_second(log, team)]}
    return {str(found["_id"]) for found in log.samples.find(those, ["_id"])}


def give_second_opinion(
    dataset: fo.Dataset,
    audit_key: str,
    sample: str,
    opinion: tuple[Opinion, str | None],
    by: str,
    seen: str | None = None,
) -> Decided:
    """Record what a second person thinks of a label, also where it is what the first one said.

    The sample gets the state of this decision, as of any later one.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        sample: its id.
        opinion: what to record, and the right label for 'relabel'.
        by: who decides.
        seen: the batch of the standing decision; where there is another one by now, nothing changes.

    Raises:
        InputError: if the label is blank, nothing is suggested, or there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    action, label = opinion
    if action == "accept":
        (suggested,) = dataset.select([sample]).values(f"{log.suggested}.label") or [None]
        if suggested is None:
            raise InputError("no label is suggested for this sample; name the right one")
        change = Change("accept", RELABELLED, {}, {"$literal": suggested})
    else:
        change = change_to(log, action, label)
    is_new = {log.decisions: {"$not": {"$elemMatch": {"by": by, "undone_at": None, "action": {"$ne": "apply"}}}}}
    decided = log.decide(replace(change, different=is_new), [sample], by, seen)
    bring_up_to_date(log)
    return decided


def agreement(dataset: fo.Dataset, audit_key: str) -> Agreement:
    """How often the latest decisions of several reviewers on a sample say the same, since the audit was written.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    standing = entries_of(f"${log.decisions}", {"$and": [SETS_STATE, STANDS]})
    found = log.samples.aggregate(
        [
            {"$match": {f"{log.decisions}.1": {"$exists": True}}},
            {"$project": {"entries": standing}},
            {"$sort": {"_id": 1}},
        ]
    )
    both, differing = 0, []
    for row in found:
        latest = {entry["by"]: _verdict(entry["after"]) for entry in row["entries"] if entry["at"] >= log.audited_at}
        if len(latest) > 1:
            both += 1
            if len(set(latest.values())) > 1:
                differing.append(str(row["_id"]))
    return Agreement(both, both - len(differing), tuple(differing))


def _verdict(after: dict[str, Any]) -> tuple[str, str | None]:
    return after["status"], (after.get("corrected") or {}).get("label")


def _part() -> dict[str, Any]:
    """The expression for the part of a sample, 0 to 255."""
    text = {"$toString": "$_id"}
    high, low = ({"$indexOfBytes": [_DIGITS, {"$substrBytes": [text, place, 1]}]} for place in (22, 23))
    return {"$add": [{"$multiply": [16, high]}, low]}
