"""What a reviewer is shown of a sample before deciding, read for several samples in one query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import fiftyone as fo

from integrations.fiftyone.fields import INFLUENCE, INJECTED_LABEL
from integrations.fiftyone.review.log import DecisionLog, object_ids


@dataclass(frozen=True)
class StandingDecision:
    """The latest decision on a sample that was not undone.

    Attributes:
        batch: its id.
        action: the kind of decision.
        by: who made it.
        seconds: how long ago, by the database's clock.
    """

    batch: str
    action: str
    by: str
    seconds: float


@dataclass(frozen=True)
class Past:
    """A decision of a sample's history, also one that was undone.

    Attributes:
        action: the kind of decision.
        by: who made it.
        seconds: how long ago, by the database's clock.
        before, after: the label before it and after it: the corrected one, or else that of the label field.
        undone: whether it was taken back.
    """

    action: str
    by: str
    seconds: float
    before: str | None
    after: str | None
    undone: bool


@dataclass(frozen=True)
class SampleCard:
    """What is known of a sample.

    Attributes:
        sample: its id.
        filepath: the file of its picture.
        label: its label in the audited field.
        given: the label that was audited: another one where the audit changed it on purpose.
        injected: whether it did.
        suggested: the label that the audit suggests.
        probability: of the suggested label, 0 to 1.
        suspicion: 0 to 1; None if the audit has not scored the sample.
        influence: on the mean validation loss; None where it is not defined.
        flagged: whether the audit flagged it.
        status: what was decided.
        corrected: the right label, if a reviewer has named it.
        decision: the latest decision, if there is one.
        history: all decisions, the latest first.
    """

    sample: str
    filepath: str
    label: str | None
    given: str | None
    injected: bool
    suggested: str | None
    probability: float | None
    suspicion: float | None
    influence: float | None
    flagged: bool
    status: str | None
    corrected: str | None
    decision: StandingDecision | None
    history: tuple[Past, ...] = ()


def sample_cards(dataset: fo.Dataset, audit_key: str, samples: Sequence[str]) -> list[SampleCard]:
    """The cards of samples, in their order, without those that are not in the dataset any more.

    Raises:
        InputError: if there is no such audit, or an id is not valid.
    """
    log = DecisionLog(dataset, audit_key)
    fields: dict[str, Any] = {
        "filepath": "$filepath",
        "label": f"${log.label_field}.label",
        "injected_label": f"${INJECTED_LABEL.name(audit_key)}.label",
        "suggested": f"${log.suggested}.label",
        "probability": f"${log.suggested}.confidence",
        "suspicion": f"${log.suspicion}",
        "influence": f"${INFLUENCE.name(audit_key)}",
        "flagged": f"${log.flag}",
        "status": f"${log.status}",
        "corrected": f"${log.corrected}.label",
        "decision": log.latest_judgement,
        "history": f"${log.decisions}",
    }
    found = log.samples.aggregate(
        [
            {"$match": {"_id": {"$in": object_ids(samples)}}},
            {"$project": {"now": "$$NOW"} | {name: {"$ifNull": [value, None]} for name, value in fields.items()}},
        ]
    )
    cards = {str(values["_id"]): _card(values) for values in found}
    return [cards[sample] for sample in dict.fromkeys(samples) if sample in cards]


def _card(values: dict[str, Any]) -> SampleCard:
    injected, decision, now = values.pop("injected_label"), values.pop("decision"), values.pop("now")
    history = values.pop("history") or []
    return SampleCard(
        sample=str(values.pop("_id")),
        given=values["label"] if injected is None else injected,
        injected=injected is not None,
        decision=decision and _standing(decision, now),
        history=tuple(_past(entry, now) for entry in reversed(history)),
        **values | {"flagged": bool(values["flagged"])},
    )


def _standing(entry: dict[str, Any], now: datetime) -> StandingDecision:
    return StandingDecision(entry["batch"], entry["action"], entry["by"], _seconds(entry, now))


def _past(entry: dict[str, Any], now: datetime) -> Past:
    if entry["action"] == "apply":
        labels: list[Any] = [(entry.get("label_before") or {}).get("label"), entry.get("label_after")]
    else:
        states = [((entry.get(when) or {}).get("corrected") or {}).get("label") for when in ("before", "after")]
        labels = [entry.get("given") if label is None else label for label in states]
    before, after = labels
    return Past(entry["action"], entry["by"], _seconds(entry, now), before, after, entry.get("undone_at") is not None)


def _seconds(entry: dict[str, Any], now: datetime) -> float:
    return max(0.0, (now - entry["at"]).total_seconds())
