"""An audit's decision log in the database: the fields it lives in, and the atomic update that a decision is.

FiftyOne's own writing methods replace values that the caller has read before. A decision appends to the log of each
sample and takes the state before it from the sample itself, in one update: that is MongoDB's alone, so the expressions
here are those of its update pipelines.
"""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import fiftyone as fo
from bson import ObjectId
from bson.errors import InvalidId
from fiftyone.core.collections import SampleCollection
from fiftyone.core.odm import get_db_conn
from pymongo.write_concern import WriteConcern

from audit.errors import InputError
from integrations.fiftyone.appearance import save_views, show_fields
from integrations.fiftyone.fields import (
    CORRECTED,
    DECISIONS,
    FLAG,
    INJECTED_LABEL,
    ORIGINAL,
    RELABELLED,
    REVIEW_FIELDS,
    STATUS,
    SUGGESTED,
    SUSPICION,
    declare,
    owner,
)
from integrations.fiftyone.runs import audit_config

if TYPE_CHECKING:
    from pymongo.collection import Collection

Action = Literal["confirm", "dismiss", "accept", "relabel", "apply"]
SamplesOrIds: TypeAlias = SampleCollection | Sequence[str]
"""The samples to decide on: a view, or sample ids."""

_IDS_AT_ONCE = 100_000  # a command to MongoDB holds at most 16 MiB

SETS_STATE = {"$in": ["$$entry.action", ["confirm", "dismiss", "accept", "relabel"]]}
"""Whether an entry of the log set a sample's state; 'apply' writes labels."""

STANDS = {"$eq": [{"$ifNull": ["$$entry.undone_at", None]}, None]}
"""Whether an entry of the log was not undone."""


def entries_of(log: str, condition: dict[str, Any]) -> dict[str, Any]:
    """The entries of a log (an expression) for which a condition on `$$entry` holds."""
    return {"$filter": {"input": log, "as": "entry", "cond": condition}}


@dataclass(frozen=True)
class Change:
    """What a decision writes into each sample that it changes.

    Attributes:
        action: what is decided.
        status: the status that the sample gets.
        different: the filter for samples that are not so already.
        label: the corrected label, an expression of MongoDB's; None where there is none.
        typed_over: where the label was typed by hand, the one before it, an expression.
    """

    action: Action
    status: str
    different: dict[str, Any]
    label: str | dict[str, Any] | None = None
    typed_over: dict[str, Any] | None = None


@dataclass(frozen=True)
class Decided:
    """What came of a decision.

    Attributes:
        action: what was decided.
        count: on how many samples.
        unchanged: how many of the given samples stayed as they were: already so, or not part of the audit.
        batch: what `undo_last` takes back as one; None where nothing changed.
    """

    action: Action
    count: int
    unchanged: int
    batch: str | None


class DecisionLog:
    """One audit's decisions.

    Args:
        dataset: the audited dataset; it is read anew, but for `runs.as_read`.
        key: the audit key.

    Raises:
        InputError: if the dataset is gone or has no such audit.
    """

    def __init__(self, dataset: fo.Dataset, key: str) -> None:
        self.key = key
        self.label_field = audit_config(dataset, key).label_field
        _declare_where_missing(dataset, key, self.label_field)
        self.status = STATUS.name(key)
        self.corrected = CORRECTED.name(key)
        self.original = ORIGINAL.name(key)
        self.decisions = DECISIONS.name(key)
        self.suggested = SUGGESTED.name(key)
        self.suspicion = SUSPICION.name(key)
        self.flag = FLAG.name(key)
        standing = entries_of(f"${self.decisions}", {"$and": [SETS_STATE, STANDS]})
        self.standing_decision = {"$arrayElemAt": [standing, -1]}
        self.decided_at = {"$let": {"vars": {"last": self.standing_decision}, "in": "$$last.at"}}
        self.audited_label = {"$ifNull": [f"${INJECTED_LABEL.name(key)}.label", f"${self.label_field}.label"]}
        self._dataset = dataset
        run = dataset._doc.runs[key]
        self.run, self.audited_at = run.id, run.timestamp
        # Told to the reviewer once it is in the database's journal, so that it outlives the database being killed.
        journaled = WriteConcern(j=True)
        self.samples: Collection[dict[str, Any]] = get_db_conn()[dataset._sample_collection_name].with_options(
            write_concern=journaled
        )

    def decide(self, change: Change, samples: SamplesOrIds, by: str | None) -> Decided:
        """Make a change in those scored samples that are different.

        The log says that their label was the one that they have, or that was there before it was typed by hand.
        """
        ids = object_ids(samples)
        batch = uuid.uuid4().hex
        corrected = None if change.label is None else self._corrected(change.label)
        typed = {} if change.typed_over is None else {"given": change.typed_over, "by_hand": True}
        entry = self.entry(change.action, batch, by) | {
            "before": self._state(f"${self.status}", f"${self.corrected}"),
            "after": self._state(change.status, corrected),
            **typed,
        }
        values = {
            self.status: change.status,
            self.corrected: corrected,
            self.decisions: self.log_with(entry),
            "last_modified_at": "$$NOW",
        }
        count = 0
        for start in range(0, len(ids), _IDS_AT_ONCE):
            part = {"_id": {"$in": ids[start : start + _IDS_AT_ONCE]}, self.status: {"$ne": None}}
            update = self.samples.update_many({"$and": [part, change.different]}, [{"$set": values}])
            count += update.modified_count
        return Decided(change.action, count, len(ids) - count, batch if count else None)

    def entry(self, action: Action, batch: str, by: str | None) -> dict[str, Any]:
        """What every log entry says."""
        return {
            "batch": batch,
            "action": action,
            "by": {"$literal": by or this_user()},
            "at": "$$NOW",
            "given": f"${self.label_field}.label",
            "undone_at": None,
        }

    def log_with(self, entry: dict[str, Any]) -> dict[str, Any]:
        """The log with one more entry."""
        return {"$concatArrays": [{"$ifNull": [f"${self.decisions}", []]}, [entry]]}

    def is_relabelled_to(self, label: Any) -> dict[str, Any]:
        """Whether a sample's corrected label is this one already."""
        return {"$and": [{"$eq": [f"${self.status}", RELABELLED]}, {"$eq": [f"${self.corrected}.label", label]}]}

    def waiting(self, field: str) -> dict[str, Any]:
        """The filter for samples whose corrected label is not in the field yet."""
        label = {"$ifNull": [f"${field}.label", None]}
        return {
            self.status: RELABELLED,
            f"{self.corrected}.label": {"$type": "string"},
            "$expr": {"$ne": [f"${self.corrected}.label", label]},
        }

    def tell_samples_in_memory(self) -> None:
        """Bring the run and the samples that this process holds up to date, as FiftyOne's own writing methods do."""
        self._dataset.reload()

    def _corrected(self, label: Any) -> dict[str, Any]:
        """A classification that says the label, and is the given one corrected: it keeps the id."""
        return {
            "_id": f"${self.label_field}._id",
            "_cls": "Classification",
            "tags": [],
            "label": label,
            "confidence": None,
        }

    @staticmethod
    def _state(status: Any, corrected: Any) -> dict[str, Any]:
        return {"status": status, "corrected": {"$ifNull": [corrected, None]}}


def this_user() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown"


def _declare_where_missing(dataset: fo.Dataset, key: str, label_field: str) -> None:
    """Give an audit of an older version the fields and views of a review."""
    schema = dataset.get_field_schema()
    if all(field.name(key) in schema for field in REVIEW_FIELDS):
        return
    if SUSPICION.name(key) not in schema:
        raise InputError(
            f"audit {key!r} of dataset {dataset.name!r} is being renamed or deleted; look again in a moment"
        )
    foreign = [name for name in (field.name(key) for field in REVIEW_FIELDS) if name in schema]
    foreign = [name for name in foreign if owner(schema[name]) != key]
    if foreign:
        raise InputError(
            f"a review of audit {key!r} would overwrite field(s) {', '.join(foreign)} of dataset {dataset.name!r}, "
            "which no audit wrote; rename them"
        )
    declare(dataset, key, REVIEW_FIELDS)
    save_views(dataset, key)
    show_fields(dataset, key, label_field)


def object_ids(samples: SamplesOrIds) -> list[ObjectId]:
    """The ids of a view's samples, or those that are given, as the database has them.

    Raises:
        InputError: if one is no id.
    """
    given = samples.values("id") if isinstance(samples, SampleCollection) else list(dict.fromkeys(samples))
    try:
        return [ObjectId(sample) for sample in given]
    except (InvalidId, TypeError) as error:
        raise InputError(f"sample id is not valid ({error}); give the ids that the dataset has") from None


def corrected_since(dataset: fo.Dataset, audit_key: str, moment: datetime) -> int:
    """How many samples had their label corrected by `apply_corrections` or by hand since a moment (UTC), undone ones
    left out.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    made = [{"action": "apply", "field": log.label_field}, {"action": "relabel", "by_hand": True}]
    standing = {"undone_at": None, "at": {"$gte": moment}, "$or": made}
    return log.samples.count_documents({log.decisions: {"$elemMatch": standing}})


def decisions(dataset: fo.Dataset, audit_key: str) -> list[dict[str, Any]]:
    """The log: every decision on every sample in the order they were made, those that were undone too.

    Returns:
        One dict a sample and decision: sample (id), batch, action, by, at (UTC), given (the label at that time),
        before and after (status and corrected label), undone_at and undone_by where it was undone; by_hand where the
        label was typed in the App's own editor; of applied corrections field, label_before and label_after.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    entries = log.samples.aggregate(
        [
            {"$match": {f"{log.decisions}.0": {"$exists": True}}},
            {"$project": {"entry": f"${log.decisions}"}},
            {"$unwind": "$entry"},
            {"$sort": {"entry.at": 1, "_id": 1}},
        ],
        allowDiskUse=True,
    )
    return [{"sample": str(found["_id"]), **_plain(found["entry"])} for found in entries]


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    """A log entry with labels as text."""
    plain = dict(entry)
    for name in ("before", "after"):
        if state := plain.get(name):
            corrected = state.get("corrected")
            plain[name] = {"status": state.get("status"), "corrected": corrected and corrected.get("label")}
    for name in ("label_before", "original_before"):
        if name in plain:
            plain[name] = plain[name] and plain[name].get("label")
    return plain
