"""The queue of a review: which samples are next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fiftyone.core.collections import SampleCollection

from integrations.fiftyone.fields import INJECTED, UNREVIEWED
from integrations.fiftyone.review.log import DecisionLog, object_ids
from integrations.fiftyone.review.team import Team, is_part_of, waits_for_second


@dataclass(frozen=True)
class QueueFilter:
    """Which samples are in a queue.

    Attributes:
        threshold: the lowest suspicion.
        label: the audited label; None for any.
        without: ids of samples that are left out.
        hide_injected: whether samples whose label the audit changed on purpose are left out.
        suggested: the suggested label; None for any.
        team: the place of the reviewer among several; None if one reviews all samples.
    """

    threshold: float = 0.0
    label: str | None = None
    without: tuple[str, ...] = ()
    hide_injected: bool = False
    suggested: str | None = None
    team: Team | None = None


def waiting(log: DecisionLog, wanted: QueueFilter) -> dict[str, Any]:
    """The filter, in the database's language, for the samples of a queue that wait for a decision."""
    conditions: list[dict[str, Any]] = [{log.suspicion: {"$gte": wanted.threshold}}]
    if wanted.without:
        conditions.append({"_id": {"$nin": object_ids(wanted.without)}})
    if wanted.hide_injected:
        conditions.append({INJECTED.name(log.key): {"$ne": True}})
    if wanted.suggested is not None:
        conditions.append({f"{log.suggested}.label": wanted.suggested})
    if wanted.label is not None:
        conditions.append({"$expr": {"$eq": [log.audited_label, {"$literal": wanted.label}]}})
    return {"$and": [_of_team(log, wanted.team), *conditions]}


def _of_team(log: DecisionLog, team: Team | None) -> dict[str, Any]:
    undecided: dict[str, Any] = {log.status: UNREVIEWED}
    if team is None:
        return undecided
    own = undecided if team.reviewers == 1 else undecided | {"$expr": is_part_of(team)}
    return {"$or": [own, waits_for_second(log, team)]} if team.second else own


def upcoming(
    samples: SampleCollection, audit_key: str, wanted: QueueFilter, after: str | None = None, count: int = 1
) -> list[str]:
    """The ids of the most suspicious samples without a decision, at most `count` of them.

    Args:
        samples: the audited dataset, or a view of it that limits the queue.
        audit_key: of the audit.
        wanted: which samples are in the queue.
        after: the id of a sample. The queue starts after this sample, and continues from its beginning.
        count: how many, at least 1.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(samples._dataset, audit_key)
    suspicion = log.suspicion
    undecided = waiting(log, wanted)

    def first_of(condition: dict[str, Any], number: int) -> list[str]:
        order = {suspicion: -1, "_id": 1}
        return samples.mongo([{"$match": condition}, {"$sort": order}, {"$limit": number}]).values("id")

    if after is None:
        return first_of(undecided, count)
    (place,) = object_ids([after])
    former = log.samples.find_one({"_id": place}, [suspicion]) or {}
    value = former.get(suspicion)
    behind = {"$or": [{suspicion: {"$lt": value}}, {suspicion: value, "_id": {"$gt": place}}]}
    found = first_of({"$and": [undecided, behind]}, count)
    if len(found) < count:
        found += first_of(undecided, count)
    return list(dict.fromkeys(found))[:count]


def next_to_review(
    samples: SampleCollection,
    audit_key: str,
    threshold: float = 0.0,
    label: str | None = None,
    after: str | None = None,
) -> str | None:
    """The id of the most suspicious sample without a decision; None if everything is reviewed. See `upcoming`."""
    return next(iter(upcoming(samples, audit_key, QueueFilter(threshold, label), after)), None)
