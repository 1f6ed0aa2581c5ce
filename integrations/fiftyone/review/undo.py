"""Undo decisions: a sample gets the state, or the label, that it would have without them.

An undone decision stays in the log, which also records who undid it and when.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import fiftyone as fo

from integrations.fiftyone.fields import UNSURE
from integrations.fiftyone.label_fields import write_back
from integrations.fiftyone.review.log import SETS_STATE, STANDS, Action, DecisionLog, entries_of, this_user
from integrations.fiftyone.review.progress import bring_up_to_date


@dataclass(frozen=True)
class Undone:
    """What was undone: the kind of decision, who had made it, on how many samples, and the id of one of them.

    Decisions of several kinds that were imported together are undone together: `imported_from` then names the file.
    """

    action: Action
    by: str
    count: int
    sample: str
    imported_from: str | None = None


def undo_last(dataset: fo.Dataset, audit_key: str, by: str | None = None, *, batch: str | None = None) -> Undone | None:
    """Undo the last decision that is not undone yet, on all its samples.

    A sample gets the state of the latest decision on it that is not undone, so decisions of other people on the same
    sample are kept. Undoing applied corrections restores the old labels, except those that were edited since.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        by: consider only decisions of this person; by default those of everybody.
        batch: consider only the decision with this id.

    Returns:
        What was undone; None if there is nothing to undo.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    last = _last_decision(log, by, batch)
    if last is None:
        return None
    batch = str(last["batch"])
    standing = {log.decisions: {"$elemMatch": {"batch": batch, "undone_at": None}}}
    values: dict[str, Any] = {}
    applied = last["action"] == "apply"
    if applied:
        values = _labels_before(log, batch, last["field"])
    elif last["action"] != "unsure" or last["after"]["status"] == UNSURE:  # in a check it left the state as it was
        values = _state_without(log, batch)
    values |= {log.decisions: _log_with_undone(log, batch, by), "last_modified_at": "$$NOW"}
    count = log.samples.update_many(standing, [{"$set": values}, log.badge]).modified_count
    if applied:
        write_back(dataset, last["field"])
    bring_up_to_date(log)
    return Undone(last["action"], last["by"], count, last["sample"], last.get("imported_from")) if count else None


def _last_decision(log: DecisionLog, by: str | None, batch: str | None) -> dict[str, Any] | None:
    """The newest log entry that was not undone, and the id of one of its samples."""
    whose = {name: value for name, value in (("by", by), ("batch", batch)) if value is not None}
    found = log.samples.aggregate(
        [
            {"$match": {log.decisions: {"$elemMatch": {"undone_at": None, **whose}}}},
            {"$project": {"entry": f"${log.decisions}"}},
            {"$unwind": "$entry"},
            {"$match": {"entry.undone_at": None, **{f"entry.{name}": value for name, value in whose.items()}}},
            {"$sort": {"entry.at": -1, "entry.batch": 1}},
            {"$limit": 1},
        ],
        allowDiskUse=True,
    )
    return next(({**newest["entry"], "sample": str(newest["_id"])} for newest in found), None)


def _log_with_undone(log: DecisionLog, batch: str, by: str | None) -> dict[str, Any]:
    """The expression for the log in which the entries of a batch are marked as undone."""
    undone = {"undone_at": "$$NOW", "undone_by": {"$literal": by or this_user()}}
    marked = {"$mergeObjects": ["$$entry", undone]}
    choice = {"$cond": [{"$eq": ["$$entry.batch", batch]}, marked, "$$entry"]}
    return {"$map": {"input": f"${log.decisions}", "as": "entry", "in": choice}}


def _state_without(log: DecisionLog, batch: str) -> dict[str, Any]:
    """Status and corrected label from the latest decision that counts without this batch, else the state before all."""
    deciding = entries_of(f"${log.decisions}", SETS_STATE)
    standing = entries_of("$$deciding", {"$and": [{"$ne": ["$$entry.batch", batch]}, STANDS]})
    latest = {"$arrayElemAt": ["$$standing", -1]}
    first = {"$arrayElemAt": ["$$deciding", 0]}

    def of_state(name: str) -> dict[str, Any]:
        after = {"$let": {"vars": {"latest": latest}, "in": f"$$latest.after.{name}"}}
        before = {"$let": {"vars": {"first": first}, "in": f"$$first.before.{name}"}}
        value = {"$cond": [{"$eq": [{"$size": "$$standing"}, 0]}, before, after]}
        return {
            "$let": {
                "vars": {"deciding": deciding},
                "in": {"$let": {"vars": {"standing": standing}, "in": {"$ifNull": [value, None]}}},
            }
        }

    return {log.status: of_state("status"), log.corrected: of_state("corrected")}


def _labels_before(log: DecisionLog, batch: str, field: str) -> dict[str, Any]:
    """The labels before a batch of corrections was applied, or the current ones if they were edited since."""
    entry = {"$first": entries_of(f"${log.decisions}", {"$eq": ["$$entry.batch", batch]})}

    def unless_edited(name: str, otherwise: str) -> dict[str, Any]:
        untouched = {"$eq": [f"${field}.label", "$$entry.label_after"]}
        value = {"$cond": [untouched, f"$$entry.{name}", otherwise]}
        return {"$let": {"vars": {"entry": entry}, "in": {"$ifNull": [value, None]}}}

    values = {field: unless_edited("label_before", f"${field}")}
    if field == log.label_field:
        values[log.original] = unless_edited("original_before", f"${log.original}")
    return values
