"""Decisions on labels: confirm, dismiss, accept and relabel them, leave them open, and write the corrected labels."""

from __future__ import annotations

import uuid

import fiftyone as fo

from audit.errors import InputError
from integrations.fiftyone.fields import CONFIRMED, DISMISSED, RELABELLED, REMOVED, UNSURE, owner
from integrations.fiftyone.label_fields import write_back
from integrations.fiftyone.review.log import Action, Change, Decided, DecisionLog, SamplesOrIds
from integrations.fiftyone.review.progress import bring_up_to_date
from integrations.fiftyone.runs import audit_config


def confirm(
    dataset: fo.Dataset, audit_key: str, samples: SamplesOrIds, by: str | None = None, *, seen: str | None = None
) -> Decided:
    """Decide that labels are wrong, without naming the right ones.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        samples: a view, or sample ids. Samples that the audit has not scored do not change.
        by: who decides; by default the user who runs this process.
        seen: the batch of the latest decision that the reviewer saw on them, '' if there was none. Samples that
            somebody else has decided on since do not change. None to decide in any case.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    return _decide(log, change_to(log, "confirm"), samples, by, seen)


def dismiss(
    dataset: fo.Dataset, audit_key: str, samples: SamplesOrIds, by: str | None = None, *, seen: str | None = None
) -> Decided:
    """Decide that labels are right. Takes the arguments of `confirm`."""
    log = DecisionLog(dataset, audit_key)
    return _decide(log, change_to(log, "dismiss"), samples, by, seen)


def unsure(
    dataset: fo.Dataset, audit_key: str, samples: SamplesOrIds, by: str | None = None, *, seen: str | None = None
) -> Decided:
    """Decide that nobody can say from the picture whether labels are right. Takes the arguments of `confirm`.

    The samples leave the queue. They count neither as right nor as wrong.
    """
    log = DecisionLog(dataset, audit_key)
    return _decide(log, change_to(log, "unsure"), samples, by, seen)


def remove(
    dataset: fo.Dataset, audit_key: str, samples: SamplesOrIds, by: str | None = None, *, seen: str | None = None
) -> Decided:
    """Decide that samples do not belong into the dataset. Takes the arguments of `confirm`.

    They get the status 'removed' and leave the queue; nothing is deleted. They count neither as right nor as wrong.
    """
    log = DecisionLog(dataset, audit_key)
    return _decide(log, change_to(log, "remove"), samples, by, seen)


def accept(
    dataset: fo.Dataset, audit_key: str, samples: SamplesOrIds, by: str | None = None, *, seen: str | None = None
) -> Decided:
    """Decide that labels are wrong and the suggested labels are right. Takes the arguments of `confirm`.

    The suggestion becomes the corrected label. The label field changes only when `apply_corrections` is called. Samples
    do not change if their suggestion is the audited label.
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
    return _decide(log, Change("accept", RELABELLED, different, suggestion), samples, by, seen)


def relabel(
    dataset: fo.Dataset,
    audit_key: str,
    samples: SamplesOrIds,
    label: str,
    by: str | None = None,
    *,
    seen: str | None = None,
) -> Decided:
    """Decide that labels are wrong, and name the right one. Takes the other arguments of `confirm`.

    Args:
        label: the right label of all these samples. The label field changes only when `apply_corrections` is called.

    Raises:
        InputError: if the label is blank, or there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    return _decide(log, change_to(log, "relabel", label), samples, by, seen)


def change_to(log: DecisionLog, action: Action, label: str | None = None) -> Change:
    """What a decision writes that does not depend on the sample.

    Args:
        log: of the audit.
        action: 'confirm', 'dismiss', 'unsure', 'remove' or 'relabel'.
        label: the right label, for 'relabel'.

    Raises:
        InputError: if the label is blank.
    """
    if action != "relabel":
        status = {"confirm": CONFIRMED, "dismiss": DISMISSED, "unsure": UNSURE, "remove": REMOVED}[action]
        return Change(action, status, {log.status: {"$ne": status}})
    if label is None or not label.strip():
        raise InputError("the new label is blank; give the name of a class")
    literal = {"$literal": label.strip()}
    different = {"$expr": {"$not": [log.is_relabelled_to(literal)]}}
    return Change("relabel", RELABELLED, different, literal)


def label_of(dataset: fo.Dataset, audit_key: str, sample: str) -> str | None:
    """The current label of a sample in the audited field.

    Raises:
        InputError: if there is no such audit.
    """
    labels = dataset.select([sample]).values(f"{audit_config(dataset, audit_key).label_field}.label")
    return labels[0] if labels else None


def note_label_by_hand(
    dataset: fo.Dataset, audit_key: str, sample: str, before: str | None, by: str | None = None
) -> Decided:
    """Record as a relabelling that somebody has just edited the label field itself.

    Undoing it withdraws the decision, and leaves the edited label as it is.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        sample: its id.
        before: the previous label. If the sample still has this label, nothing changes.
        by: who edited the label; by default the user who runs this process.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    typed, former = f"${log.label_field}.label", {"$literal": before}
    different = {
        f"{log.label_field}.label": {"$type": "string"},
        # Another window may have recorded it already.
        "$expr": {"$and": [{"$ne": [typed, former]}, {"$not": [log.is_relabelled_to(typed)]}]},
    }
    return _decide(log, Change("relabel", RELABELLED, different, typed, former), [sample], by)


def apply_corrections(dataset: fo.Dataset, audit_key: str, into: str | None = None, by: str | None = None) -> Decided:
    """Write the corrected labels of all relabelled samples.

    In the audited field, they overwrite the labels, which are kept in `<key>_original`. In another field, the audited
    labels are copied there first, and the audited field does not change.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        into: the field to write; by default the audited field. It is created if it does not exist. In an existing
            field, only the relabelled samples are written.
        by: who decides; by default the user who runs this process.

    Raises:
        InputError: if there is no such audit, or the field does not hold classifications.
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
        # The id, tags and attributes of the existing label do not change.
        field: {"$mergeObjects": [f"${log.corrected}", {"$ifNull": [f"${field}", {}]}, written]},
        log.decisions: log.log_with(entry),
        "last_modified_at": "$$NOW",
    }
    if field == log.label_field:
        values[log.original] = kept
    total = log.samples.count_documents({log.status: RELABELLED})
    count = log.samples.update_many(log.waiting(field), [{"$set": values}]).modified_count
    write_back(dataset, field)
    bring_up_to_date(log)
    return Decided("apply", count, total - count, batch if count else None)


def _decide(
    log: DecisionLog, change: Change, samples: SamplesOrIds, by: str | None, seen: str | None = None
) -> Decided:
    decided = log.decide(change, samples, by, seen)
    bring_up_to_date(log)
    return decided


def _prepare_copy(dataset: fo.Dataset, label_field: str, field: str) -> None:
    """Copy the labels into a new field, or check an existing one."""
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
