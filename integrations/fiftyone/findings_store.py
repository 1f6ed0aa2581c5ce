"""The findings of an audit in the database, each with the log of the decisions on it.

A finding is about several samples or about none, so it cannot be a field of a sample. Each is a document of a
collection beside FiftyOne's own, and its log is a part of it: a decision is one atomic update, as in the review of
labels. An audit that replaces another one keeps the decisions on what it finds again.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import pandas as pd
from bson import ObjectId
from bson.errors import InvalidId
from fiftyone.core.odm import get_db_conn
from pymongo import UpdateOne
from pymongo.write_concern import WriteConcern

from audit.errors import InputError
from audit.findings.registry import kind_of
from audit.findings.table import classes_of

if TYPE_CHECKING:
    from pymongo.collection import Collection

FINDINGS_COLLECTION = "influence_audit.findings"
APPLIED_COLLECTION = "influence_audit.findings_applied"
WRITTEN_AT_ONCE = 2_000
_ORDER = [("dataset", 1), ("audit_key", 1), ("place", 1)]


@dataclass(frozen=True)
class FindingDecision:
    """What was decided on a finding.

    Attributes:
        action: 'keep', 'remove', 'merge' or 'move'.
        kept: id of the sample that stays, or the label that stays; None where all go, or all stay.
        by: who decided.
        batch: id of the decision.
    """

    action: str
    kept: str | None
    by: str
    batch: str


@dataclass(frozen=True)
class KeptFinding:
    """A finding as the database has it.

    Attributes:
        id: of the finding.
        kind: its name.
        detail: what was seen, in a sentence.
        score: how sure or strong it is, 0 to 1.
        worth: what acting on it is worth; '' where that is not known.
        samples: ids of its samples.
        classes: labels that it is about.
        decision: the one that stands; None where nobody has decided.
        applied: whether the decision has been applied to the dataset.
    """

    id: str
    kind: str
    detail: str
    score: float
    worth: str
    samples: tuple[str, ...]
    classes: tuple[str, ...]
    decision: FindingDecision | None
    applied: bool


@dataclass(frozen=True)
class KindCount:
    """How many findings of a kind there are, how many are decided, and how many decisions wait to be applied."""

    kind: str
    title: str
    findings: int
    decided: int
    waiting: int


def findings_collection() -> Collection[dict[str, Any]]:
    """The findings; what is written there is in the journal when the write returns."""
    return get_db_conn()[FINDINGS_COLLECTION].with_options(write_concern=WriteConcern(j=True))


def applied_collection() -> Collection[dict[str, Any]]:
    """What applying decisions changed in datasets, for undoing it."""
    return get_db_conn()[APPLIED_COLLECTION].with_options(write_concern=WriteConcern(j=True))


def of_audit(dataset: fo.Dataset, audit_key: str) -> dict[str, Any]:
    """The filter for the findings of an audit."""
    return {"dataset": dataset._doc.id, "audit_key": audit_key}


def write_findings(dataset: fo.Dataset, audit_key: str, findings: pd.DataFrame) -> None:
    """Put the findings of an audit in the place of those of an earlier one with this key.

    Decisions on a finding of the same kind about the same samples or classes are kept.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        findings: as in `AuditResult.findings`, with FiftyOne's sample ids.
    """
    _drop_orphans()
    collection = findings_collection()
    collection.create_index(_ORDER)
    mine = of_audit(dataset, audit_key)
    documents = [mine | document | {"found": True} for document in _documents(findings)]
    for start in range(0, len(documents), WRITTEN_AT_ONCE):
        collection.bulk_write(
            [
                UpdateOne(mine | {"identity": one["identity"]}, {"$set": one, "$setOnInsert": _UNDECIDED}, upsert=True)
                for one in documents[start : start + WRITTEN_AT_ONCE]
            ]
        )
    _forget_others(collection, mine, {one["identity"] for one in documents})


_UNDECIDED: dict[str, Any] = {"decisions": [], "decision": None, "applied": None}


def _documents(findings: pd.DataFrame) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = []
    if not len(findings):
        return documents
    for place, (_, rows) in enumerate(findings.groupby("finding", sort=True)):
        first = rows.iloc[0]
        with suppress(InvalidId):  # a sample that is not in this dataset
            documents.append(
                {
                    "place": place,
                    "kind": str(first["kind"]),
                    "detail": str(first["detail"]),
                    "score": float(first.get("score", 1.0)),
                    "worth": str(first.get("worth", "") or ""),
                    "samples": [ObjectId(str(sample)) for sample in rows["id"].dropna()],
                    "classes": classes_of(rows),
                }
            )
    of_classes = Counter((one["kind"], *one["classes"]) for one in documents)
    return [one | {"identity": _identity(one, of_classes[one["kind"], *one["classes"]] == 1)} for one in documents]


def _identity(document: Mapping[str, Any], only_one: bool) -> str:
    """A text that two findings share if they are of one kind and about the same.

    The samples of the only finding of its kind about some classes are examples, which may be others in the next audit.
    """
    classes, samples = document["classes"], sorted(map(str, document["samples"]))
    about = classes if classes and only_one else samples or classes or [re.sub(r"[\d.,]+", "#", document["detail"])]
    return hashlib.sha256("\0".join([document["kind"], *about]).encode()).hexdigest()


def _forget_others(collection: Collection[dict[str, Any]], mine: dict[str, Any], kept: set[str]) -> None:
    """Delete findings that an audit did not find again; those with decisions are kept, and shown no more."""
    former = [one["_id"] for one in collection.find(mine, ["identity"]) if one["identity"] not in kept]
    for start in range(0, len(former), WRITTEN_AT_ONCE):
        part = {"_id": {"$in": former[start : start + WRITTEN_AT_ONCE]}}
        collection.delete_many(part | {"decisions.0": {"$exists": False}})
        collection.update_many(part, {"$set": {"found": False}})


def rename_findings(dataset: fo.Dataset, audit_key: str, new_key: str) -> None:
    """Let the findings of an audit follow its new key."""
    for collection in (findings_collection(), applied_collection()):
        collection.update_many(of_audit(dataset, audit_key), {"$set": {"audit_key": new_key}})


def delete_findings(dataset: fo.Dataset, audit_key: str) -> None:
    """Delete the findings of an audit, with the decisions on them."""
    for collection in (findings_collection(), applied_collection()):
        collection.delete_many(of_audit(dataset, audit_key))


def _drop_orphans() -> None:
    """Delete the findings of deleted datasets."""
    alive = [found["_id"] for found in get_db_conn()["datasets"].find({}, ["_id"])]
    for collection in (findings_collection(), applied_collection()):
        collection.delete_many({"dataset": {"$nin": alive}})


def kind_counts(dataset: fo.Dataset, audit_key: str) -> list[KindCount]:
    """The kinds of findings of an audit, in the order in which the report has them."""
    is_decided = {"$ne": ["$decision", None]}
    waits = {"$and": [is_decided, {"$ne": ["$decision.action", "keep"]}, {"$eq": ["$applied", None]}]}
    counted = findings_collection().aggregate(
        [
            {"$match": of_audit(dataset, audit_key) | {"found": True}},
            {
                "$group": {
                    "_id": "$kind",
                    "first": {"$min": "$place"},
                    "findings": {"$sum": 1},
                    "decided": {"$sum": {"$cond": [is_decided, 1, 0]}},
                    "waiting": {"$sum": {"$cond": [waits, 1, 0]}},
                }
            },
            {"$sort": {"first": 1}},
        ]
    )
    return [
        KindCount(row["_id"], kind_of(row["_id"]).title, row["findings"], row["decided"], row["waiting"])
        for row in counted
    ]


def kept_findings(
    dataset: fo.Dataset, audit_key: str, kind: str | None = None, only_open: bool = False
) -> list[KeptFinding]:
    """The findings of an audit, in the order in which the report has them.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        kind: only those of this kind.
        only_open: only those on which nobody has decided.
    """
    wanted = of_audit(dataset, audit_key) | {"found": True}
    wanted |= {"kind": kind} if kind else {}
    wanted |= {"decision": None} if only_open else {}
    return [_kept(found) for found in findings_collection().find(wanted).sort("place", 1)]


def finding_ids(dataset: fo.Dataset, audit_key: str, kind: str) -> list[tuple[str, bool]]:
    """The ids of the findings of a kind in their order, and whether each is decided."""
    wanted = of_audit(dataset, audit_key) | {"found": True, "kind": kind}
    found = findings_collection().find(wanted, ["decision"]).sort("place", 1)
    return [(str(one["_id"]), one["decision"] is not None) for one in found]


def kept_finding(dataset: fo.Dataset, audit_key: str, finding: str) -> KeptFinding:
    """A finding by its id.

    Raises:
        InputError: if it is gone, because the audit was replaced, say.
    """
    found = findings_collection().find_one(of_audit(dataset, audit_key) | {"_id": _object_id(finding)})
    if found is None:
        raise InputError(f"that finding of audit {audit_key!r} is gone; look at the findings again")
    return _kept(found)


def _object_id(text: str) -> ObjectId:
    try:
        return ObjectId(text)
    except (InvalidId, TypeError):
        raise InputError(f"{text!r} is no id of a finding; take one from the list of findings") from None


def _kept(document: dict[str, Any]) -> KeptFinding:
    decision = document["decision"]
    return KeptFinding(
        id=str(document["_id"]),
        kind=document["kind"],
        detail=document["detail"],
        score=document["score"],
        worth=document["worth"],
        samples=tuple(map(str, document["samples"])),
        classes=tuple(document["classes"]),
        decision=None
        if decision is None
        else FindingDecision(decision["action"], decision["kept"], decision["by"], decision["batch"]),
        applied=document["applied"] is not None,
    )
