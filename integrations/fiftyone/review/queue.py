"""The queue of a review: which sample is next, and how many samples are above a suspicion."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection

from integrations.fiftyone.fields import UNREVIEWED
from integrations.fiftyone.review.log import DecisionLog, object_ids


def count_suspects(dataset: fo.Dataset, audit_key: str, threshold: float) -> int:
    """How many samples have at least this suspicion.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    return log.samples.count_documents({log.suspicion: {"$gte": threshold}})


def next_to_review(
    samples: SampleCollection,
    audit_key: str,
    threshold: float = 0.0,
    label: str | None = None,
    after: str | None = None,
) -> str | None:
    """The id of the most suspicious sample without a decision.

    Args:
        samples: the audited dataset, or a view of it that limits the queue.
        audit_key: of the audit.
        threshold: the lowest suspicion in the queue.
        label: limit the queue to samples with this audited label.
        after: the id of a sample. The queue starts after this sample, and continues from its beginning.

    Returns:
        The id; None if everything is reviewed.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(samples._dataset, audit_key)
    suspicion = log.suspicion
    waiting: dict[str, Any] = {log.status: UNREVIEWED, suspicion: {"$gte": threshold}}
    if label is not None:
        waiting["$expr"] = {"$eq": [log.audited_label, {"$literal": label}]}

    def first_of(wanted: dict[str, Any]) -> str | None:
        order = {suspicion: -1, "_id": 1}
        found = samples.mongo([{"$match": wanted}, {"$sort": order}, {"$limit": 1}]).values("id")
        return found[0] if found else None

    if after is not None:
        (place,) = object_ids([after])
        former = log.samples.find_one({"_id": place}, [suspicion]) or {}
        value = former.get(suspicion)
        behind = {"$or": [{suspicion: {"$lt": value}}, {suspicion: value, "_id": {"$gt": place}}]}
        found = first_of({"$and": [waiting, behind]})
        if found is not None:
            return found
    return first_of(waiting)
