"""Decide on findings: keep, remove, merge or move, and take the last decision back. Nothing else changes until the
decisions are applied (`findings_apply`)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import fiftyone as fo
from bson import ObjectId

from audit.errors import InputError
from audit.findings.contract import KEEP, MERGE, REMOVE
from audit.findings.registry import kind_of
from integrations.fiftyone.findings_apply import AppliedDecisions, last_applied, undo_applied
from integrations.fiftyone.findings_store import KeptFinding, findings_collection, kept_finding, of_audit
from integrations.fiftyone.review.log import this_user
from integrations.fiftyone.runs import audit_config


@dataclass(frozen=True)
class UndoneFinding:
    """What was undone.

    Attributes:
        action: 'keep', 'remove', 'merge', 'move', or 'apply'.
        by: who had done it.
        finding: id of a finding that it was about; None for 'apply'.
        count: of findings whose decision, or whose effect, was taken back.
        deleted: samples that stay deleted.
    """

    action: str
    by: str
    finding: str | None
    count: int
    deleted: int = 0


@dataclass(frozen=True)
class Reviewer:
    """Who decides on findings, and what they saw when they did.

    Attributes:
        name: of the person; None for the user who runs this process.
        seen: the batch of the decision that they saw ('' if there was none): where another one stands, nothing changes.
            None to decide whatever others have decided.
    """

    name: str | None = None
    seen: str | None = None


def decide_finding(
    dataset: fo.Dataset,
    audit_key: str,
    findings: str | Sequence[str],
    action: str,
    kept: str | None = None,
    reviewer: Reviewer | None = None,
) -> int:
    """Decide on findings; samples and labels change only when the decisions are applied.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        findings: the id of a finding, or several ids.
        action: one of those that the kind of the finding allows.
        kept: of one finding: id of the sample of a group, or the class, that stays; by default the first of it.
        reviewer: who decides, and what they saw; by default the user who runs this process, whatever others decided.

    Returns:
        On how many findings the decision changed.

    Raises:
        InputError: if a finding is gone, its kind has no such decision, or the sample or class is not part of it.
    """
    audit_config(dataset, audit_key)
    reviewer = reviewer or Reviewer()
    names = [findings] if isinstance(findings, str) else list(findings)
    if kept is not None and len(names) > 1:
        raise InputError(f"kept={kept!r} names a sample of one finding, and there are {len(names)}; decide one by one")
    entry = {
        "action": action,
        "by": reviewer.name or this_user(),
        "batch": uuid.uuid4().hex,
        "at": _now(),
        "undone_at": None,
    }
    entries = {}
    for name in dict.fromkeys(names):
        finding = kept_finding(dataset, audit_key, name)
        if finding.applied:
            raise InputError(f"the decision on this finding was applied ({finding.detail}); undo that first")
        entries[name] = entry | {"kept": _kept_of(finding, action, kept)}
    seen = reviewer.seen
    as_seen: dict[str, Any] = {} if seen is None else {"decision.batch": seen} if seen else {"decision": None}
    changed = 0
    for name, made in entries.items():
        wanted = of_audit(dataset, audit_key) | {"_id": ObjectId(name), "applied": None} | as_seen
        update = {"$push": {"decisions": made}, "$set": {"decision": made}}
        changed += findings_collection().update_one(wanted, update).modified_count
    return changed


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _kept_of(finding: KeptFinding, action: str, kept: str | None) -> str | None:
    """What stays by a decision on a finding, checked."""
    kind = kind_of(finding.kind)
    if action not in kind.decisions:
        raise InputError(f"{kind.title.lower()} cannot be decided by {action!r}; it takes {', '.join(kind.decisions)}")
    choices = finding.classes if action == MERGE and finding.classes else finding.samples
    if kept is not None and kept not in choices:
        raise InputError(f"{kept!r} is no part of that finding; it has {', '.join(choices) or 'nothing to keep'}")
    if action == KEEP or not choices or (action == REMOVE and len(choices) == 1):
        return None
    return kept or choices[0]


def undo_last_finding(dataset: fo.Dataset, audit_key: str, by: str | None = None) -> UndoneFinding | None:
    """Undo what was decided or applied last.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        by: consider only what this person did; by default what anybody did.

    Returns:
        What was undone; None if there is nothing to undo.
    """
    audit_config(dataset, audit_key)
    applied: AppliedDecisions | None = last_applied(dataset, audit_key, by)
    entry = _last_entry(dataset, audit_key, by)
    if applied is not None and (entry is None or applied.at >= entry["at"]):
        restored = undo_applied(dataset, audit_key, applied)
        return UndoneFinding("apply", applied.by, None, restored, applied.deleted)
    if entry is None:
        return None
    undone = {"$mergeObjects": ["$$entry", {"undone_at": _now(), "undone_by": by or this_user()}]}
    is_of_batch = {"$eq": ["$$entry.batch", entry["batch"]]}
    in_log = {"input": "$decisions", "as": "entry"}
    marked = {"$map": {**in_log, "in": {"$cond": [is_of_batch, undone, "$$entry"]}}}
    standing = {"$filter": {**in_log, "cond": {"$eq": ["$$entry.undone_at", None]}}}
    update: list[dict[str, Any]] = [
        {"$set": {"decisions": marked}},
        {"$set": {"decision": {"$ifNull": [{"$last": standing}, None]}}},
    ]
    open_batch = {"decisions": {"$elemMatch": {"batch": entry["batch"], "undone_at": None}}, "applied": None}
    count = findings_collection().update_many(of_audit(dataset, audit_key) | open_batch, update).modified_count
    return UndoneFinding(entry["action"], entry["by"], entry["finding"], count)


def _last_entry(dataset: fo.Dataset, audit_key: str, by: str | None) -> dict[str, Any] | None:
    """The newest decision that stands and is not applied, with the id of its finding."""
    whose = {} if by is None else {"entry.by": by}
    found = findings_collection().aggregate(
        [
            {"$match": of_audit(dataset, audit_key) | {"decisions.0": {"$exists": True}, "applied": None}},
            {"$project": {"entry": "$decisions"}},
            {"$unwind": "$entry"},
            {"$match": {"entry.undone_at": None, **whose}},
            {"$sort": {"entry.at": -1, "entry.batch": 1, "_id": 1}},
            {"$limit": 1},
        ]
    )
    return next(({**newest["entry"], "finding": str(newest["_id"])} for newest in found), None)


def finding_decisions(dataset: fo.Dataset, audit_key: str) -> list[dict[str, Any]]:
    """The log: all decisions on all findings in the order in which they were made, undone ones too.

    Returns:
        One dict per finding and decision: finding (id), kind, action, kept, by, batch, at (UTC), undone_at; and
        undone_by where it was undone.
    """
    audit_config(dataset, audit_key)
    entries = findings_collection().aggregate(
        [
            {"$match": of_audit(dataset, audit_key) | {"decisions.0": {"$exists": True}}},
            {"$project": {"kind": 1, "entry": "$decisions"}},
            {"$unwind": "$entry"},
            {"$sort": {"entry.at": 1, "_id": 1}},
        ],
        allowDiskUse=True,
    )
    return [{"finding": str(found["_id"]), "kind": found["kind"], **found["entry"]} for found in entries]
