"""What reviewers think of the labels that an audit saw, and that audit's scores, both from the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from integrations.fiftyone.fields import (
    FLAG,
    INJECTED_LABEL,
    MODEL_FLAG,
    MODEL_SUGGESTED,
    MODEL_SUSPICION,
    STATUSES,
    UNREVIEWED,
)
from integrations.fiftyone.review.log import JUDGES, STANDS, DecisionLog, entries_of, object_ids

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Judgement:
    """What the latest decision on a sample says of the label that the audit saw.

    Attributes:
        decision: that label is 'wrong' or 'right', or the reviewer is 'unsure'.
        true_label: of a wrong label, where it is known.
        at: when it was made (UTC, by the database's clock).
    """

    decision: Literal["wrong", "right", "unsure"]
    true_label: str | None
    at: datetime


def judgements(log: DecisionLog, drawn: Iterable[str] = (), until: datetime | None = None) -> dict[str, Judgement]:
    """What reviewers think of the labels that the audit saw, by sample id, as far as it is known.

    A decision that is older than the audit, or made after the label was changed, may be on another label than the one
    that the audit saw. It then counts where the true label follows from it.

    Args:
        log: of the audit.
        drawn: ids of samples on which a reviewer may be unsure: their status does not tell.
        until: a time (UTC): what was known then, of all samples. By default what is known now.
    """
    counts: dict[str, Any] = STANDS
    reviewed = {log.status: {"$in": [status for status in STATUSES if status != UNREVIEWED]}}  # it has an index
    those: dict[str, Any] = {"$or": [reviewed, {"_id": {"$in": object_ids(list(drawn))}}]}
    if until is not None:
        those = {f"{log.decisions}.0": {"$exists": True}}
        undone = {"$ifNull": ["$$entry.undone_at", None]}
        counts = {
            "$and": [
                {"$lt": ["$$entry.at", until]},
                {"$or": [{"$eq": [undone, None]}, {"$gte": [undone, until]}]},
            ]
        }
    latest = {"$arrayElemAt": [entries_of(f"${log.decisions}", {"$and": [JUDGES, counts]}), -1]}
    found = log.samples.aggregate(
        [
            {"$match": {**those, log.suspicion: {"$ne": None}}},
            {
                "$project": {
                    "seen": log.label_of_audit,
                    "injected": f"${INJECTED_LABEL.name(log.key)}.label",
                    "latest": latest,
                }
            },
            {"$set": {"of_this_audit": {"$gte": ["$latest.at", log.audited_at]}}},
        ],
        allowDiskUse=True,
    )
    made = {str(row["_id"]): _judgement(row) for row in found if row.get("latest")}
    return {sample: judgement for sample, judgement in made.items() if judgement is not None}


def _judgement(row: Mapping[str, Any]) -> Judgement | None:
    """What a decision says of the label that the audit saw; None where it says nothing of it."""
    entry, seen, at = row["latest"], row.get("seen"), in_utc(row["latest"]["at"])
    # A mislabel that the audit injected is not in the label field, so the log does not name it.
    injected = row.get("injected") if row["of_this_audit"] else None
    judged = entry.get("given") if injected is None else injected
    if entry["action"] in ("confirm", "unsure", "remove"):  # removing a picture says nothing of its label
        decision: Literal["wrong", "unsure"] = "wrong" if entry["action"] == "confirm" else "unsure"
        return Judgement(decision, None, at) if judged == seen else None
    corrected = (entry.get("after") or {}).get("corrected") or {}
    true = judged if entry["action"] == "dismiss" else corrected.get("label")
    if true == seen:
        return Judgement("right", None, at)
    return Judgement("wrong", true, at)


def in_utc(moment: datetime) -> datetime:
    """A time of the database without a time zone: FiftyOne reads times in the zone that the user has configured."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def model_scores(log: DecisionLog) -> pd.DataFrame:
    """The scores of an audit from the dataset's fields, as `audit.verification` takes them.

    Returns:
        By sample id, in the order of the ids: label (that the audit saw), suspicion, flag, suggested_label,
        suggested_probability and, while these follow decisions, what the model said (model_suspicion, model_flag,
        model_suggested_label, model_suggested_probability).
    """
    import pandas as pd

    key = log.key
    plain = {
        "label": log.label_of_audit,
        "suspicion": f"${log.suspicion}",
        "flag": f"${FLAG.name(key)}",
        "suggested_label": f"${log.suggested}.label",
        "suggested_probability": f"${log.suggested}.confidence",
    }
    said = {
        "suspicion": f"${MODEL_SUSPICION.name(key)}",
        "flag": f"${MODEL_FLAG.name(key)}",
        "suggested_label": f"${MODEL_SUGGESTED.name(key)}.label",
        "suggested_probability": f"${MODEL_SUGGESTED.name(key)}.confidence",
    }
    # Where writing was interrupted, some samples still have what the model said in its first place.
    follows = {"$ne": [{"$ifNull": [said["suspicion"], None]}, None]}
    kept = {f"model_{name}": {"$cond": [follows, value, plain[name]]} for name, value in said.items()}
    fields: dict[str, Any] = plain | (kept if log.has_field(MODEL_SUSPICION) else {})
    found = log.samples.aggregate(
        [
            {"$match": {log.suspicion: {"$ne": None}}},
            {"$sort": {"_id": 1}},
            {"$project": {name: {"$ifNull": [value, None]} for name, value in fields.items()}},
        ],
        allowDiskUse=True,
    )
    table = pd.DataFrame(list(found), columns=["_id", *fields])
    table = table.set_axis(pd.Index(table["_id"].astype(str), name="id", dtype=object), axis=0).drop(columns="_id")
    numbers = [name for name in fields if name.endswith(("suspicion", "probability"))]
    flags = [name for name in fields if name.endswith("flag")]
    return table.astype(dict.fromkeys(numbers, float)).assign(
        **{name: table[name].fillna(False).astype(bool) for name in flags}
    )
