"""What people decide about flagged labels: confirm, dismiss, accept, relabel, undo, apply, export.

Each sample carries its state and the log of every decision on it, and every decision is one atomic update of each
sample in the database: it appends to the log and sets the state in the same step, taking what was there before from
the database and not from the caller. So two windows that review at once lose nothing, decisions outlive the App and
the database server, and any of them can be undone.

- `<key>_status`: unreviewed, confirmed (the label is wrong), relabelled (it is wrong, and the right one is known) or
  dismissed (it is right).
- `<key>_corrected`: the right label of relabelled samples.
- `<key>_decisions`: the log.
- The user's label field is written by `apply_corrections` alone, which keeps the label that it overwrites in
  `<key>_original` and can be undone as any other decision.
"""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any, TypeVar

import fiftyone as fo
from fiftyone.core.collections import SampleCollection

from audit.errors import InputError
from audit.files.spreadsheet import safe_cell
from integrations.fiftyone.decision_log import (
    Action,
    Decided,
    DecisionLog,
    SamplesOrIds,
    audit_config,
    object_ids,
)
from integrations.fiftyone.fields import (
    CONFIRMED,
    DISMISSED,
    RELABELLED,
    STATUSES,
    UNREVIEWED,
    owner,
)

EXPORT_COLUMNS = ("id", "filepath", "status", "old_label", "new_label", "by", "at", "suspicion", "applied")
EXPORT_FORMATS = (".csv", ".json")
# Of a count: standard deviations, and what a normal distribution in its place asks for, that leave chance a twentieth.
SPREAD, CONTINUITY = NormalDist().inv_cdf(0.975), 0.5
_Outcome = TypeVar("_Outcome")


@dataclass(frozen=True)
class Undone:
    """What was taken back: the decision, who had made it, on how many samples, and the id of one of them."""

    action: Action
    by: str
    count: int
    sample: str


@dataclass(frozen=True)
class ReviewProgress:
    """How far a review is.

    Attributes:
        flagged: samples that the audit flagged.
        reviewed: flagged samples that were decided on.
        statuses: samples by status, flagged or not.
        to_apply: corrections that the label field does not have yet.
        checked: flagged samples that were decided on since the audit was written, so that its suspicion was of the
            label that was looked at.
        found_wrong: of these, the labels that were decided to be wrong.
        expected_wrong: how many the suspicions expected to be.
        chance: standard deviation of that number, were the suspicions right.
    """

    flagged: int
    reviewed: int
    statuses: dict[str, int]
    to_apply: int
    checked: int
    found_wrong: int
    expected_wrong: float
    chance: float

    @property
    def unexpected(self) -> bool:
        """Whether so many or so few labels were wrong that chance explains it in fewer than one case in twenty."""
        return abs(self.found_wrong - self.expected_wrong) > SPREAD * self.chance + CONTINUITY


def confirm(dataset: fo.Dataset, audit_key: str, samples: SamplesOrIds, by: str | None = None) -> Decided:
    """Decide that labels are wrong, without saying which ones would be right.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        samples: a view, or sample ids; those that the audit has not scored stay as they are.
        by: who decides; by default the user that runs this.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    different = {log.status: {"$ne": CONFIRMED}}
    return _counted(log, log.decide("confirm", samples, different, CONFIRMED, None, by))


def dismiss(dataset: fo.Dataset, audit_key: str, samples: SamplesOrIds, by: str | None = None) -> Decided:
    """Decide that labels are right as they are; the arguments are those of `confirm`."""
    log = DecisionLog(dataset, audit_key)
    different = {log.status: {"$ne": DISMISSED}}
    return _counted(log, log.decide("dismiss", samples, different, DISMISSED, None, by))


def accept(dataset: fo.Dataset, audit_key: str, samples: SamplesOrIds, by: str | None = None) -> Decided:
    """Decide that labels are wrong and the suggested ones right; the arguments are those of `confirm`.

    The suggestion becomes the corrected label; the label field is not written before `apply_corrections`. Samples
    whose suggestion is the label that was audited stay as they are.
    """
    log = DecisionLog(dataset, audit_key)
    suggested = f"${log.suggested}.label"
    different = {
        f"{log.suggested}.label": {"$type": "string"},
        "$expr": {
            "$and": [
                {"$ne": [suggested, log.audited_label]},
                {"$not": [log.is_relabelled_to(suggested)]},
            ]
        },
    }
    return _counted(log, log.decide("accept", samples, different, RELABELLED, suggested, by))


def relabel(dataset: fo.Dataset, audit_key: str, samples: SamplesOrIds, label: str, by: str | None = None) -> Decided:
    """Decide that labels are wrong and what is right; the other arguments are those of `confirm`.

    Args:
        label: the right label of all these samples; the label field is not written before `apply_corrections`.

    Raises:
        InputError: if the label is blank, or there is no such audit.
    """
    if not label.strip():
        raise InputError("the new label is blank; give the name of a class")
    log = DecisionLog(dataset, audit_key)
    literal = {"$literal": label.strip()}
    different = {"$expr": {"$not": [log.is_relabelled_to(literal)]}}
    return _counted(log, log.decide("relabel", samples, different, RELABELLED, literal, by))


def label_of(dataset: fo.Dataset, audit_key: str, sample: str) -> str | None:
    """The label that a sample has now in the field that was audited.

    Raises:
        InputError: if there is no such audit.
    """
    labels = dataset.select([sample]).values(f"{audit_config(dataset, audit_key).label_field}.label")
    return labels[0] if labels else None


def note_label_by_hand(
    dataset: fo.Dataset, audit_key: str, sample: str, before: str | None, by: str | None = None
) -> Decided:
    """Count a label that somebody has just typed into the label field itself as a relabelling.

    Undoing it takes the decision back, and leaves the label as it was typed.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        sample: its id.
        before: the label that it had; where it has it still, nothing changes.
        by: who typed it; by default the user that runs this.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    typed, former = f"${log.label_field}.label", {"$literal": before}
    different = {
        f"{log.label_field}.label": {"$type": "string"},
        # Another window may have counted it already.
        "$expr": {"$and": [{"$ne": [typed, former]}, {"$not": [log.is_relabelled_to(typed)]}]},
    }
    return _counted(log, log.decide("relabel", [sample], different, RELABELLED, typed, by, former))


def apply_corrections(dataset: fo.Dataset, audit_key: str, into: str | None = None, by: str | None = None) -> Decided:
    """Write the corrected labels of all relabelled samples.

    Into the label field that was audited, they overwrite the labels there, which are kept in `<key>_original`. Into
    another field, the audited labels are copied first and stay as they are where they were.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        into: the field to write; by default the one that was audited. A new one is made; of one that exists, only
            the relabelled samples are written.
        by: who decides; by default the user that runs this.

    Raises:
        InputError: if there is no such audit, or the field holds something else than classifications.
    """
    log = DecisionLog(dataset, audit_key)
    field = into or log.label_field
    if field != log.label_field:
        _prepare_copy(dataset, log.label_field, field)
    batch = uuid.uuid4().hex
    kept = {"$ifNull": [f"${log.original}", f"${log.label_field}"]}
    entry = log.entry("apply", batch, by) | {
        "field": field,
        "label_before": {"$ifNull": [f"${field}", None]},
        "label_after": f"${log.corrected}.label",
        "original_before": {"$ifNull": [f"${log.original}", None]},
    }
    written = {"label": f"${log.corrected}.label", "confidence": None}
    values = {
        # Of the label that is there, id, tags and attributes stay.
        field: {"$mergeObjects": [f"${log.corrected}", {"$ifNull": [f"${field}", {}]}, written]},
        log.decisions: log.log_with(entry),
        "last_modified_at": "$$NOW",
    }
    if field == log.label_field:
        values[log.original] = kept
    total = log.samples.count_documents({log.status: RELABELLED})
    count = log.samples.update_many(log.waiting(field), [{"$set": values}]).modified_count
    return _counted(log, Decided("apply", count, total - count, batch if count else None))


def undo_last(dataset: fo.Dataset, audit_key: str, by: str | None = None) -> Undone | None:
    """Take the last decision back that was not taken back yet, with all samples that it was made on at once.

    A sample gets the state of the latest decision on it that still stands, so that a decision of someone else on the
    same sample is kept. Applied corrections give the old labels back, except where the label was edited since.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        by: only look at decisions of this person; by default at everybody's.

    Returns:
        What was undone; None where there is nothing to undo.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    last = log.last_decision(by)
    if last is None:
        return None
    batch = last["batch"]
    standing = {log.decisions: {"$elemMatch": {"batch": batch, "undone_at": None}}}
    applied = last["action"] == "apply"
    values = log.labels_before(batch, last["field"]) if applied else log.state_without(batch)
    values |= {log.decisions: log.log_with_undone(batch, by), "last_modified_at": "$$NOW"}
    count = log.samples.update_many(standing, [{"$set": values}]).modified_count
    return _counted(log, Undone(last["action"], last["by"], count, last["sample"]) if count else None)


def review_progress(dataset: fo.Dataset, audit_key: str) -> ReviewProgress:
    """Count what is reviewed and what is left.

    Raises:
        InputError: if there is no such audit.
    """
    return _progress(DecisionLog(dataset, audit_key))


def keep_progress(dataset: fo.Dataset, audit_key: str) -> None:
    """Bring the counts in the run's summary (`review`) up to date; decisions do so themselves.

    Raises:
        InputError: if there is no such audit.
    """
    _counted(DecisionLog(dataset, audit_key), None)


def _counted(log: DecisionLog, outcome: _Outcome) -> _Outcome:
    """Bring the counts in the run's summary up to date, and what this process holds of the dataset."""
    # Counted again after writing: another window may have decided in between, and written its count before ours.
    while (now := asdict(_progress(log))) != log.kept_progress() and log.keep_progress(now):
        continue
    log.tell_samples_in_memory()
    return outcome


def _progress(log: DecisionLog) -> ReviewProgress:
    # Only reviewed samples are looked at one by one: they are few, and `<key>_status` has an index.
    suspicion = f"${log.key}_suspicion"
    decided = log.samples.aggregate(
        [
            {"$match": {log.status: {"$in": [status for status in STATUSES if status != UNREVIEWED]}}},
            {
                "$group": {
                    "_id": {
                        "status": f"${log.status}",
                        "flag": f"${log.key}_flag",
                        "checked": {"$gte": [log.decided_at, log.audited_at]},
                    },
                    "n": {"$sum": 1},
                    "expected": {"$sum": suspicion},
                    "variance": {"$sum": {"$multiply": [suspicion, {"$subtract": [1, suspicion]}]}},
                }
            },
        ]
    )
    statuses = dict.fromkeys(STATUSES, 0)
    reviewed = checked = found_wrong = 0
    expected = variance = 0.0
    for group in decided:
        of, count = group["_id"], group["n"]
        statuses[of["status"]] += count
        if not of.get("flag"):
            continue
        reviewed += count
        if of["checked"]:
            checked += count
            found_wrong += count if of["status"] in (CONFIRMED, RELABELLED) else 0
            expected += group["expected"]
            variance += group["variance"]
    statuses[UNREVIEWED] = log.samples.count_documents({log.status: UNREVIEWED})
    flagged = log.samples.count_documents({f"{log.key}_flag": True})
    to_apply = log.samples.count_documents(log.waiting(log.label_field)) if statuses[RELABELLED] else 0
    # Rounded, since the order in which the database adds them up is its own, and equal counts are not written again.
    expectation = {"expected_wrong": round(expected, 3), "chance": round(max(0.0, variance) ** 0.5, 3)}
    return ReviewProgress(flagged, reviewed, statuses, to_apply, checked, found_wrong, **expectation)


def count_suspects(dataset: fo.Dataset, audit_key: str, threshold: float) -> int:
    """How many samples have at least this suspicion.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    return log.samples.count_documents({f"{log.key}_suspicion": {"$gte": threshold}})


def next_to_review(
    samples: SampleCollection,
    audit_key: str,
    threshold: float = 0.0,
    label: str | None = None,
    after: str | None = None,
) -> str | None:
    """The most suspicious sample that nobody has decided on.

    Args:
        samples: the audited dataset, or a view of it to which the queue is kept.
        audit_key: of the audit.
        threshold: the least suspicion.
        label: only look at this class, as it was audited.
        after: the id of a sample; those that follow it come first, and then the queue starts again.

    Returns:
        Its id; None where everything is reviewed.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(samples._dataset, audit_key)
    suspicion = f"{log.key}_suspicion"
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


def corrections(dataset: fo.Dataset, audit_key: str) -> Iterator[dict[str, Any]]:
    """What was decided and stands, one dict a reviewed sample, by time; the keys are `EXPORT_COLUMNS`.

    `old_label` is the label when it was decided on, `new_label` the corrected one (None where the old one was only
    found wrong, or right), `applied` whether the label field has it.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    rows = log.samples.aggregate(
        [
            {"$match": {log.status: {"$nin": [None, UNREVIEWED]}}},
            {
                "$project": {
                    "filepath": 1,
                    "status": f"${log.status}",
                    "new_label": f"${log.corrected}.label",
                    "label": f"${log.label_field}.label",
                    "suspicion": f"${log.key}_suspicion",
                    "last": log.standing_decision,
                }
            },
            {"$sort": {"last.at": 1, "_id": 1}},
        ],
        allowDiskUse=True,
    )
    for row in rows:
        last, new_label = row.get("last") or {}, row.get("new_label")
        at = last.get("at")
        values = (
            *(str(row["_id"]), row["filepath"], row["status"], last.get("given", row.get("label")), new_label),
            *(last.get("by"), at and at.isoformat() + "Z", row.get("suspicion")),
            new_label is not None and row.get("label") == new_label,
        )
        yield dict(zip(EXPORT_COLUMNS, values, strict=True))


def export_corrections(dataset: fo.Dataset, audit_key: str, path: str | Path) -> int:
    """Write the reviewed samples to a file, see `corrections`.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        path: a .csv or .json file; an existing one is replaced.

    Returns:
        How many samples were written.

    Raises:
        InputError: if there is no such audit, or the file cannot be written.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in EXPORT_FORMATS:
        raise InputError(f"corrections file {str(path)!r} is neither .csv nor .json; name one that is")
    rows = list(corrections(dataset, audit_key))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            if path.suffix.lower() == ".csv":
                writer = csv.DictWriter(file, EXPORT_COLUMNS)
                writer.writeheader()
                writer.writerows({name: safe_cell(value) for name, value in row.items()} for row in rows)
            else:
                json.dump(rows, file, indent=2, ensure_ascii=False)
                file.write("\n")
    except OSError as error:
        raise InputError(f"corrections file {str(path)!r} cannot be written ({error.strerror}); give another") from None
    return len(rows)


def _prepare_copy(dataset: fo.Dataset, label_field: str, field: str) -> None:
    """Copy the labels into a new field, or check one that is there."""
    existing = dataset.get_field(field)
    if existing is None:
        try:
            dataset.clone_sample_field(label_field, field)
        except ValueError as error:
            raise InputError(f"field {field!r} cannot be made ({error}); give another name") from None
        return
    is_label = isinstance(existing, fo.EmbeddedDocumentField) and issubclass(existing.document_type, fo.Classification)
    if not is_label or owner(existing) is not None:
        raise InputError(
            f"field {field!r} of dataset {dataset.name!r} holds something else than labels; "
            "name a Classification field or a new one"
        )


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
