"""Deciding on labels: confirm, dismiss, accept, relabel, and writing the corrected ones into the dataset."""

from __future__ import annotations

import uuid

import fiftyone as fo

from audit.errors import InputError
from integrations.fiftyone.fields import CONFIRMED, DISMISSED, RELABELLED, owner
from integrations.fiftyone.review.log import Change, Decided, DecisionLog, SamplesOrIds
from integrations.fiftyone.review.progress import bring_up_to_date
from integrations.fiftyone.runs import audit_config


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
    return _decide(log, Change("confirm", CONFIRMED, {log.status: {"$ne": CONFIRMED}}), samples, by)


def dismiss(dataset: fo.Dataset, audit_key: str, samples: SamplesOrIds, by: str | None = None) -> Decided:
    """Decide that labels are right as they are; the arguments are those of `confirm`."""
    log = DecisionLog(dataset, audit_key)
    return _decide(log, Change("dismiss", DISMISSED, {log.status: {"$ne": DISMISSED}}), samples, by)


def accept(dataset: fo.Dataset, audit_key: str, samples: SamplesOrIds, by: str | None = None) -> Decided:
    """Decide that labels are wrong and the suggested ones right; the arguments are those of `confirm`.

    The suggestion becomes the corrected label; the label field is not written before `apply_corrections`. Samples
    whose suggestion is the label that was audited stay as they are.
    """
    log = DecisionLog(dataset, audit_key)
    suggestion = f"${log.suggested}.label"
    different = {
        f"{log.suggested}.label": {"$type": "string"},
        "$expr": {
            "$and": [
                {"$ne": [suggestion, log.audited_label]},
                {"$not": [log.is_relabelled_to(suggestion)]},
            ]
        },
    }
    return _decide(log, Change("accept", RELABELLED, different, suggestion), samples, by)


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
    return _decide(log, Change("relabel", RELABELLED, different, literal), samples, by)


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
    return _decide(log, Change("relabel", RELABELLED, different, typed, former), [sample], by)


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
    bring_up_to_date(log)
    return Decided("apply", count, total - count, batch if count else None)


def _decide(log: DecisionLog, change: Change, samples: SamplesOrIds, by: str | None) -> Decided:
    decided = log.decide(change, samples, by)
    bring_up_to_date(log)
    return decided


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
