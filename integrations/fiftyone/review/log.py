"""An audit's decision log in the database: its fields, and the atomic update that writes a decision.

FiftyOne's own methods overwrite values that the caller has read earlier. A decision must append to the log of each
sample and read its previous state in the same update. Only MongoDB's update pipelines can do this, so the expressions
here are in their language.
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
    CONFIRMED,
    CORRECTED,
    DECIDED,
    DECISIONS,
    DISMISSED,
    FLAG,
    INJECTED_LABEL,
    ORIGINAL,
    RELABELLED,
    REMOVED,
    REVIEW_FIELDS,
    STATUS,
    SUGGESTED,
    SUSPICION,
    UNREVIEWED,
    UNSURE,
    AuditField,
    declare,
    owner,
)
from integrations.fiftyone.runs import audit_config, forget_configs, is_as_read

if TYPE_CHECKING:
    from pymongo.collection import Collection

Action = Literal["confirm", "dismiss", "accept", "relabel", "unsure", "remove", "apply"]
SamplesOrIds: TypeAlias = SampleCollection | Sequence[str]
"""The samples to decide on: a view, or sample ids."""

_IDS_AT_ONCE = 100_000  # a command to MongoDB holds at most 16 MiB

SETS_STATE = {
    "$or": [
        {"$in": ["$$entry.action", ["confirm", "dismiss", "accept", "relabel", "remove"]]},
        {"$and": [{"$eq": ["$$entry.action", "unsure"]}, {"$eq": ["$$entry.after.status", UNSURE]}]},
    ]
}
"""Whether an entry of the log set a sample's state; 'apply' writes labels, and 'unsure' of a check leaves the state."""

JUDGES = {"$or": [SETS_STATE, {"$eq": ["$$entry.action", "unsure"]}]}
"""Whether an entry of the log says what a reviewer thinks of the label."""

STANDS = {"$eq": [{"$ifNull": ["$$entry.undone_at", None]}, None]}
"""Whether an entry of the log was not undone."""


BADGES = {CONFIRMED: "wrong", DISMISSED: "right", UNSURE: "unsure", REMOVED: "remove"}
"""What the grid shows of a decision, by status; of a new label it is '→ label'."""


def entries_of(log: str, condition: dict[str, Any]) -> dict[str, Any]:
    """The expression for those entries of a log (an expression, too) for which a condition on `$$entry` holds."""
    return {"$filter": {"input": log, "as": "entry", "cond": condition}}


@dataclass(frozen=True)
class Change:
    """What a decision writes into each sample.

    Attributes:
        action: the kind of decision.
        status: the status that the sample gets; None if status and corrected label stay.
        different: the filter for samples that are not in this state already.
        label: the corrected label, as a MongoDB expression; None if there is none.
        typed_over: if the label field was edited by hand, the previous label, as a MongoDB expression.
    """

    action: Action
    status: str | None
    different: dict[str, Any]
    label: str | dict[str, Any] | None = None
    typed_over: dict[str, Any] | None = None


@dataclass(frozen=True)
class ImportedFile:
    """Where decisions were imported from.

    Attributes:
        name: of the file.
        batch: id that all decisions of the file get.
    """

    name: str
    batch: str


@dataclass(frozen=True)
class Decided:
    """The outcome of a decision.

    Attributes:
        action: the kind of decision.
        count: number of samples changed.
        unchanged: number of given samples that did not change, because they were in this state already or are not part
            of the audit.
        batch: id of the decision, which `undo_last` undoes as a whole; None if nothing changed.
    """

    action: Action
    count: int
    unchanged: int
    batch: str | None


class DecisionLog:
    """One audit's decisions.

    Args:
        dataset: the audited dataset. It is reloaded, except within `runs.as_read`.
        key: the audit key.

    Raises:
        InputError: if the dataset was deleted or has no such audit.
    """

    def __init__(self, dataset: fo.Dataset, key: str) -> None:
        self.key = key
        self.label_field = audit_config(dataset, key).label_field
        _declare_where_missing(dataset, key, self.label_field)
        self.status = STATUS.name(key)
        self.corrected = CORRECTED.name(key)
        self.original = ORIGINAL.name(key)
        self.decisions = DECISIONS.name(key)
        self.badge = badge_stage(key)
        self.suggested = SUGGESTED.name(key)
        self.suspicion = SUSPICION.name(key)
        self.flag = FLAG.name(key)
        standing = entries_of(f"${self.decisions}", {"$and": [SETS_STATE, STANDS]})
        self.standing_decision = {"$arrayElemAt": [standing, -1]}
        judging = entries_of(f"${self.decisions}", {"$and": [JUDGES, STANDS]})
        self.latest_judgement = {"$arrayElemAt": [judging, -1]}
        self.decided_at = {"$let": {"vars": {"last": self.standing_decision}, "in": "$$last.at"}}
        self.audited_label = {"$ifNull": [f"${INJECTED_LABEL.name(key)}.label", f"${self.label_field}.label"]}
        self._dataset = dataset
        run = dataset._doc.runs[key]
        self.run, self.audited_at = run.id, run.timestamp
        # The label that the audit saw: the label field may have been corrected since.
        since = entries_of(f"${self.decisions}", {"$gte": ["$$entry.at", self.audited_at]})
        first = {"$let": {"vars": {"first": {"$arrayElemAt": [since, 0]}}, "in": "$$first.given"}}
        self.label_of_audit = {
            "$ifNull": [f"${INJECTED_LABEL.name(key)}.label", first, f"${self.label_field}.label", None]
        }
        # Report success only when the decision is in the database's journal, so that it survives if the database is
        # killed.
        journaled = WriteConcern(j=True)
        self.samples: Collection[dict[str, Any]] = get_db_conn()[dataset._sample_collection_name].with_options(
            write_concern=journaled
        )

    def decide(
        self,
        change: Change,
        samples: SamplesOrIds,
        by: str | None,
        seen: str | None = None,
        imported: ImportedFile | None = None,
    ) -> Decided:
        """Make a change in those scored samples that are not in its state already.

        The log entry records the label at this time or, if the label was edited by hand, the label before the edit.

        Args:
            change: what to write.
            samples: a view, or sample ids.
            by: who decides; by default the user who runs this process.
            seen: the batch of the decision that the reviewer saw ('' if there was none): samples with another one do
                not change. None to decide whatever others have decided.
            imported: the file that the decision is from; None if it is made now.
        """
        ids = object_ids(samples)
        batch = uuid.uuid4().hex if imported is None else imported.batch
        status: str = f"${self.status}" if change.status is None else change.status
        corrected: Any = None if change.label is None else self._corrected(change.label)
        if change.status is None:
            corrected = f"${self.corrected}"
        more: dict[str, Any] = {} if change.typed_over is None else {"given": change.typed_over, "by_hand": True}
        if imported is not None:
            more["imported_from"] = {"$literal": imported.name}
        entry = self.entry(change.action, batch, by) | {
            "before": self._state(f"${self.status}", f"${self.corrected}"),
            "after": self._state(status, corrected),
            **more,
        }
        values = {
            self.status: status,
            self.corrected: corrected,
            self.decisions: self.log_with(entry),
            "last_modified_at": "$$NOW",
        }
        as_seen: list[dict[str, Any]] = []
        if seen is not None:
            latest = {"$let": {"vars": {"last": self.latest_judgement}, "in": {"$ifNull": ["$$last.batch", ""]}}}
            as_seen = [{"$expr": {"$eq": [latest, seen]}}]
        count = 0
        for start in range(0, len(ids), _IDS_AT_ONCE):
            part = {"_id": {"$in": ids[start : start + _IDS_AT_ONCE]}, self.status: {"$ne": None}}
            those = {"$and": [part, change.different, *as_seen]}
            count += self.samples.update_many(those, [{"$set": values}, self.badge]).modified_count
        return Decided(change.action, count, len(ids) - count, batch if count else None)

    def entry(self, action: Action, batch: str, by: str | None) -> dict[str, Any]:
        """The values that every log entry has."""
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
        """The expression for whether this is a sample's corrected label already."""
        return {"$and": [{"$eq": [f"${self.status}", RELABELLED]}, {"$eq": [f"${self.corrected}.label", label]}]}

    def waiting(self, field: str) -> dict[str, Any]:
        """The filter for samples whose corrected label has not been written into the field yet."""
        label = {"$ifNull": [f"${field}.label", None]}
        return {
            self.status: RELABELLED,
            f"{self.corrected}.label": {"$type": "string"},
            "$expr": {"$ne": [f"${self.corrected}.label", label]},
        }

    @property
    def runs(self) -> Collection[dict[str, Any]]:
        """The collection of runs; what is written there is in the journal, too, when the write returns."""
        return get_db_conn()["runs"].with_options(write_concern=WriteConcern(j=True))

    def has_field(self, field: AuditField) -> bool:
        """Whether the dataset has one of the audit's fields."""
        return self._dataset.has_field(field.name(self.key))

    def tell_samples_in_memory(self) -> None:
        """Reload the run and the samples in this process's memory, as FiftyOne's own methods do after a write."""
        forget_configs()
        self._dataset.reload()

    @property
    def is_of_a_request(self) -> bool:
        """Whether the dataset was read for one request of the App, which keeps no samples in memory."""
        return is_as_read(self._dataset)

    def _corrected(self, label: Any) -> dict[str, Any]:
        """The expression for a classification with this label, which keeps the id of the sample's current one."""
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
    """The name of the user who runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container, the user may have no name
        return "unknown"


def badge_stage(key: str) -> dict[str, Any]:
    """The stage of an update that lets the field that the grid shows follow status and corrected label."""
    new_label = {"$concat": ["→ ", {"$ifNull": [f"${CORRECTED.name(key)}.label", "–"]}]}
    branches = [{"case": {"$eq": [f"${STATUS.name(key)}", status]}, "then": text} for status, text in BADGES.items()]
    branches.append({"case": {"$eq": [f"${STATUS.name(key)}", RELABELLED]}, "then": new_label})
    return {"$set": {DECIDED.name(key): {"$switch": {"branches": branches, "default": None}}}}


def _declare_where_missing(dataset: fo.Dataset, key: str, label_field: str) -> None:
    """Add the fields and views of a review to an audit that an older version made."""
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
    decided = {STATUS.name(key): {"$nin": [None, UNREVIEWED]}}
    get_db_conn()[dataset._sample_collection_name].update_many(decided, [badge_stage(key)])


def object_ids(samples: SamplesOrIds) -> list[ObjectId]:
    """The ids of a view's samples, or the given ids, in the database's type.

    Raises:
        InputError: if one is not an id.
    """
    given = samples.values("id") if isinstance(samples, SampleCollection) else list(dict.fromkeys(samples))
    try:
        return [ObjectId(sample) for sample in given]
    except (InvalidId, TypeError) as error:
        raise InputError(f"sample id is not valid ({error}); give the ids that the dataset has") from None


def corrected_since(dataset: fo.Dataset, audit_key: str, moment: datetime) -> int:
    """How many samples had their label corrected since a time (UTC), by `apply_corrections` or by hand. Undone
    corrections do not count.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    made = [{"action": "apply", "field": log.label_field}, {"action": "relabel", "by_hand": True}]
    standing = {"undone_at": None, "at": {"$gte": moment}, "$or": made}
    return log.samples.count_documents({log.decisions: {"$elemMatch": standing}})


def decisions(dataset: fo.Dataset, audit_key: str) -> list[dict[str, Any]]:
    """The log: all decisions on all samples in the order they were made, including undone ones.

    Returns:
        One dict per sample and decision: sample (id), batch, action, by, at (UTC), given (the label at that time),
        before and after (status and corrected label). Undone decisions also have undone_at and undone_by. Edits in the
        App's own editor have by_hand, imported decisions imported_from. Applied corrections have field, label_before
        and label_after.

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
