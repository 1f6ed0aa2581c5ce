"""An audit's decision log in the database: the fields it lives in, and the atomic updates that decisions are.

FiftyOne's own writing methods replace values that the caller has read before. A decision appends to the log of each
sample and takes the state before it from the sample itself, in one update: that is MongoDB's alone, so the expressions
here are those of its update pipelines.
"""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import fiftyone as fo
from bson import ObjectId
from bson.errors import InvalidId
from fiftyone.core.collections import SampleCollection
from fiftyone.core.odm import get_db_conn
from pymongo.write_concern import WriteConcern

from audit.errors import InputError
from integrations.fiftyone.appearance import save_views, show_fields
from integrations.fiftyone.fields import RELABELLED, REVIEW_FIELDS, declare, owner
from integrations.fiftyone.runs import METHOD, LabelAuditConfig

if TYPE_CHECKING:
    from pymongo.collection import Collection

Action = Literal["confirm", "dismiss", "accept", "relabel", "apply"]
SamplesOrIds: TypeAlias = SampleCollection | Sequence[str]
"""The samples to decide on: a view, or sample ids."""

_AS_READ: ContextVar[fo.Dataset | None] = ContextVar("as_read", default=None)
_PROGRESS = "config.summary.review"  # where a run's document has it
_IDS_AT_ONCE = 100_000  # a command to MongoDB holds at most 16 MiB
DECIDING = ("confirm", "dismiss", "accept", "relabel")
"""The actions that set a sample's state; 'apply' writes labels."""


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
        dataset: the audited dataset; it is read anew, but for `as_read`.
        key: the audit key.

    Raises:
        InputError: if the dataset is gone or has no such audit.
    """

    def __init__(self, dataset: fo.Dataset, key: str) -> None:
        self.key = key
        self.label_field = audit_config(dataset, key).label_field
        _declare_where_missing(dataset, key, self.label_field)
        self.status = f"{key}_status"
        self.corrected = f"{key}_corrected"
        self.original = f"{key}_original"
        self.decisions = f"{key}_decisions"
        self.suggested = f"{key}_suggested"
        standing = {
            "$filter": {
                "input": f"${self.decisions}",
                "as": "entry",
                "cond": {
                    "$and": [
                        {"$in": ["$$entry.action", list(DECIDING)]},
                        {"$eq": [{"$ifNull": ["$$entry.undone_at", None]}, None]},
                    ]
                },
            }
        }
        self.standing_decision = {"$arrayElemAt": [standing, -1]}
        self.decided_at = {"$let": {"vars": {"last": self.standing_decision}, "in": "$$last.at"}}
        self.audited_label = {"$ifNull": [f"${key}_injected_label.label", f"${self.label_field}.label"]}
        self._dataset = dataset
        run = dataset._doc.runs[key]
        self._run, self.audited_at = run.id, run.timestamp
        self._runs: Collection[dict[str, Any]] = get_db_conn()["runs"]
        # Told to the reviewer once it is in the database's journal, so that it outlives the database being killed.
        journaled = WriteConcern(j=True)
        self.samples: Collection[dict[str, Any]] = get_db_conn()[dataset._sample_collection_name].with_options(
            write_concern=journaled
        )

    def decide(
        self,
        action: Action,
        samples: SamplesOrIds,
        different: dict[str, Any],
        status: str,
        label: Any,
        by: str | None,
        given: Any = None,
    ) -> Decided:
        """Set status and corrected label (an expression, or None) of those scored samples that are different.

        The log says that their label was `given` (an expression) before it was typed by hand, by default the one that
        they have.
        """
        ids = object_ids(samples)
        batch = uuid.uuid4().hex
        corrected = None if label is None else self._corrected(label)
        entry = self.entry(action, batch, by) | {
            "before": self._state(f"${self.status}", f"${self.corrected}"),
            "after": self._state(status, corrected),
            **({} if given is None else {"given": given, "by_hand": True}),
        }
        values = {
            self.status: status,
            self.corrected: corrected,
            self.decisions: self.log_with(entry),
            "last_modified_at": "$$NOW",
        }
        count = 0
        for start in range(0, len(ids), _IDS_AT_ONCE):
            part = {"_id": {"$in": ids[start : start + _IDS_AT_ONCE]}, self.status: {"$ne": None}}
            count += self.samples.update_many({"$and": [part, different]}, [{"$set": values}]).modified_count
        return Decided(action, count, len(ids) - count, batch if count else None)

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

    def log_with_undone(self, batch: str, by: str | None) -> dict[str, Any]:
        """The log with a batch's entries marked as undone."""
        undone = {"undone_at": "$$NOW", "undone_by": {"$literal": by or this_user()}}
        marked = {"$mergeObjects": ["$$entry", undone]}
        choice = {"$cond": [{"$eq": ["$$entry.batch", batch]}, marked, "$$entry"]}
        return {"$map": {"input": f"${self.decisions}", "as": "entry", "in": choice}}

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

    def last_decision(self, by: str | None) -> dict[str, Any] | None:
        """The newest log entry that was not undone, with the id of a sample that it is on."""
        whose = {} if by is None else {"by": by}
        found = self.samples.aggregate(
            [
                {"$match": {self.decisions: {"$elemMatch": {"undone_at": None, **whose}}}},
                {"$project": {"entry": f"${self.decisions}"}},
                {"$unwind": "$entry"},
                {"$match": {"entry.undone_at": None, **{f"entry.{name}": value for name, value in whose.items()}}},
                {"$sort": {"entry.at": -1, "entry.batch": 1}},
                {"$limit": 1},
            ],
            allowDiskUse=True,
        )
        return next(({**newest["entry"], "sample": str(newest["_id"])} for newest in found), None)

    def state_without(self, batch: str) -> dict[str, Any]:
        """Status and corrected label by the latest decision that stands without a batch's, or as before the first."""
        deciding = {
            "$filter": {
                "input": f"${self.decisions}",
                "as": "entry",
                "cond": {"$in": ["$$entry.action", list(DECIDING)]},
            }
        }
        standing = {
            "$filter": {
                "input": "$$deciding",
                "as": "entry",
                "cond": {
                    "$and": [
                        {"$ne": ["$$entry.batch", batch]},
                        {"$eq": [{"$ifNull": ["$$entry.undone_at", None]}, None]},
                    ]
                },
            }
        }
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

        return {self.status: of_state("status"), self.corrected: of_state("corrected")}

    def labels_before(self, batch: str, field: str) -> dict[str, Any]:
        """The labels as they were before a batch of corrections was applied, unless they were edited since."""
        entry = {
            "$first": {
                "$filter": {
                    "input": f"${self.decisions}",
                    "as": "entry",
                    "cond": {"$eq": ["$$entry.batch", batch]},
                }
            }
        }

        def unless_edited(name: str, otherwise: str) -> dict[str, Any]:
            untouched = {"$eq": [f"${field}.label", "$$entry.label_after"]}
            value = {"$cond": [untouched, f"$$entry.{name}", otherwise]}
            return {"$let": {"vars": {"entry": entry}, "in": {"$ifNull": [value, None]}}}

        values = {field: unless_edited("label_before", f"${field}")}
        if field == self.label_field:
            values[self.original] = unless_edited("original_before", f"${self.original}")
        return values

    def kept_progress(self) -> dict[str, Any] | None:
        """The review's counts as the run's summary has them."""
        run = self._runs.find_one({"_id": self._run}, [_PROGRESS]) or {}
        return run.get("config", {}).get("summary", {}).get("review")

    def keep_progress(self, counts: dict[str, Any]) -> bool:
        """Put the review's counts into the run's summary; whether the run is still there."""
        return self._runs.update_one({"_id": self._run}, {"$set": {_PROGRESS: counts}}).matched_count > 0

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


@contextmanager
def as_read(dataset: fo.Dataset) -> Iterator[None]:
    """For one request, take a dataset as it has just been read: reading it anew takes some 15 ms, many times."""
    token = _AS_READ.set(dataset)
    try:
        yield
    finally:
        _AS_READ.reset(token)


def audit_config(dataset: fo.Dataset, audit_key: str) -> LabelAuditConfig:
    """The config of an audit's run, from the dataset read anew, but for `as_read`.

    Raises:
        InputError: if the dataset is gone or has no such audit.
    """
    try:
        if _AS_READ.get() is not dataset:
            dataset.reload()
    except ValueError:
        raise InputError(f"dataset {dataset.name!r} was deleted; there is nothing to review") from None
    keys = dataset.list_runs(method=METHOD)
    if audit_key not in keys:
        raise InputError(
            f"dataset {dataset.name!r} has no label audit {audit_key!r}; it has: {', '.join(keys) or 'none'}"
        )
    return dataset.get_run_info(audit_key).config


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
    if f"{key}_suspicion" not in schema:
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
