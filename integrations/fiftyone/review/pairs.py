"""Flagged samples by class pair (given and suggested label), to decide on many of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fiftyone.core.collections import SampleCollection

from integrations.fiftyone.explanations import prepared_explainer
from integrations.fiftyone.review.log import DecisionLog
from integrations.fiftyone.review.queue import QueueFilter, waiting
from integrations.fiftyone.small_pictures import small_picture

PAIRS_SHOWN = 30
SHEET_SIZE = 240  # pictures on a contact sheet


@dataclass(frozen=True)
class ClassPair:
    """Samples with one given and one suggested label.

    Attributes:
        given, suggested: the labels.
        count: how many samples nobody has decided on.
    """

    given: str
    suggested: str
    count: int


@dataclass(frozen=True)
class SheetPicture:
    """A picture of a contact sheet: its sample, itself as a `data:` address (None where its file cannot be read), and
    the sample's suspicion."""

    sample: str
    picture: str | None
    suspicion: float


def class_pairs(samples: SampleCollection, audit_key: str, wanted: QueueFilter) -> list[ClassPair]:
    """The class pairs of samples without a decision, the most frequent first.

    Args:
        samples: the audited dataset, or a view of it.
        audit_key: of the audit.
        wanted: which samples count.

    Raises:
        InputError: if there is no such audit.
    """
    return pair_counts(samples, DecisionLog(samples._dataset, audit_key), wanted)[:PAIRS_SHOWN]


def pair_counts(samples: SampleCollection, log: DecisionLog, wanted: QueueFilter) -> list[ClassPair]:
    """All class pairs of samples without a decision, the most frequent first. See `class_pairs`."""
    found = samples._aggregate(
        post_pipeline=[
            {"$match": {"$and": [waiting(log, wanted), _other_label(log)]}},
            {"$group": {"_id": {"given": log.audited_label, "suggested": f"${log.suggested}.label"}, "n": {"$sum": 1}}},
            {"$sort": {"n": -1, "_id": 1}},
        ]
    )
    pairs = [ClassPair(row["_id"].get("given"), row["_id"]["suggested"], row["n"]) for row in found]
    return [pair for pair in pairs if pair.given is not None]


def contact_sheet(
    samples: SampleCollection, audit_key: str, wanted: QueueFilter, pair: tuple[str, str]
) -> tuple[int, list[SheetPicture]]:
    """The samples of a class pair, so that pictures that are alike lie side by side.

    Args:
        samples: the audited dataset, or a view of it.
        audit_key: of the audit.
        wanted: which samples count.
        pair: the given and the suggested label.

    Returns:
        How many samples there are, and the pictures of the most suspicious of them, at most `SHEET_SIZE`. While the
        embeddings are being read, and where there are none, the most suspicious come first.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(samples._dataset, audit_key)
    given, suggested = pair
    labels = {
        "$expr": {"$eq": [log.audited_label, {"$literal": given}]},
        f"{log.suggested}.label": suggested,
        # A sample that somebody has decided on, and left open, is not among those that are decided together.
        log.decisions: {"$not": {"$elemMatch": {"undone_at": None, "action": {"$ne": "apply"}}}},
    }
    found = samples._aggregate(
        post_pipeline=[
            {"$match": {"$and": [waiting(log, wanted), _other_label(log), labels]}},
            {"$sort": {log.suspicion: -1, "_id": 1}},
            {"$project": {"filepath": 1, "suspicion": f"${log.suspicion}"}},
        ]
    )
    rows = {str(row["_id"]): row for row in found}
    shown = _alike(samples, audit_key, list(rows)[:SHEET_SIZE])
    pictures = [
        SheetPicture(sample, small_picture(rows[sample]["filepath"]), rows[sample]["suspicion"]) for sample in shown
    ]
    return len(rows), pictures


def _alike(samples: SampleCollection, audit_key: str, ids: Sequence[str]) -> list[str]:
    from audit.errors import InputError

    try:
        explainer = prepared_explainer(samples._dataset, audit_key)
    except InputError:  # the audit had no images, or its result is gone
        explainer = None
    return list(ids) if explainer is None else explainer.nearest.in_order_of_likeness(ids)


def _other_label(log: DecisionLog) -> dict[str, Any]:
    suggested = f"{log.suggested}.label"
    return {suggested: {"$type": "string"}, "$expr": {"$ne": [f"${suggested}", log.audited_label]}}
