"""The queue of a review: which samples are next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fiftyone.core.collections import SampleCollection

from integrations.fiftyone.fields import INJECTED, UNREVIEWED
from integrations.fiftyone.review.log import DecisionLog, object_ids


@dataclass(frozen=True)
class QueueFilter:
    """Which unreviewed samples are in a queue.

    Attributes:
        threshold: the lowest suspicion.
        label: the audited label; None for any.
        without: ids of samples that are left out.
        hide_injected: whether samples whose label the audit changed on purpose are left out.
    """

    threshold: float = 0.0
    label: str | None = None
    without: tuple[str, ...] = ()
    hide_injected: bool = False


def waiting(log: DecisionLog, wanted: QueueFilter) -> dict[str, Any]:
    """The filter, in the database's language, for the unreviewed samples of a queue."""
    condition: dict[str, Any] = {log.status: UNREVIEWED, log.suspicion: {"$gte": wanted.threshold}}
    if wanted.without:
        condition["_id"] = {"$nin": object_ids(wanted.without)}
    if wanted.hide_injected:
        condition[INJECTED.name(log.key)] = {"$ne": True}
    if wanted.label is not None:
        condition["$expr"] = {"$eq": [log.audited_label, {"$literal": wanted.label}]}
    return condition


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
