"""Apply the decisions on findings to the dataset: tag or delete samples, move them to the training split, give copies
or classes one label. What is changed is noted first, so that it can be undone even if it was interrupted.

Only deleting cannot be undone. By default samples are tagged instead, `<key>_remove`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import fiftyone as fo
from bson import ObjectId
from fiftyone.core.odm import get_db_conn
from pymongo import UpdateOne

from audit.data.samples import standard_split
from audit.errors import InputError
from audit.findings.contract import KEEP, MERGE, MOVE, REMOVE
from integrations.fiftyone.fields import ORIGINAL
from integrations.fiftyone.findings_store import (
    KeptFinding,
    applied_collection,
    findings_collection,
    kept_findings,
    of_audit,
)
from integrations.fiftyone.label_fields import write_back
from integrations.fiftyone.review.log import this_user
from integrations.fiftyone.review.progress import keep_progress
from integrations.fiftyone.runs import audit_config

Removal = Literal["tag", "delete"]
REMOVALS: tuple[Removal, ...] = ("tag", "delete")
NOTED_AT_ONCE = 10_000  # samples in a document of what was changed


def removal_tag(audit_key: str) -> str:
    """The tag of samples that are to be removed."""
    return f"{audit_key}_remove"


@dataclass(frozen=True)
class FindingsPlan:
    """What applying the decisions would do.

    Attributes:
        findings: ids of the findings whose decisions would be applied.
        remove: ids of samples.
        move: ids of held-out samples that would go to the training split.
        relabel: the new label by sample id.
        contradicted: findings that are left out, because another decision removes the sample that they keep.
        without_split: samples to move that have no split of their own, and stay where they are.
    """

    findings: tuple[str, ...]
    remove: tuple[str, ...]
    move: tuple[str, ...]
    relabel: dict[str, str]
    contradicted: int
    without_split: int


@dataclass(frozen=True)
class AppliedDecisions:
    """What was applied.

    Attributes:
        batch: its id.
        by: who applied it.
        at: when (UTC).
        findings: how many findings it was about.
        tagged, deleted, moved, relabelled: how many samples.
    """

    batch: str
    by: str
    at: datetime
    findings: int
    tagged: int = 0
    deleted: int = 0
    moved: int = 0
    relabelled: int = 0


def plan_of_findings(dataset: fo.Dataset, audit_key: str) -> FindingsPlan:
    """What applying the decisions that wait would do; nothing changes.

    Raises:
        InputError: if there is no such audit.
    """
    field = audit_config(dataset, audit_key).label_field
    decided = [found for found in kept_findings(dataset, audit_key) if found.decision and not found.applied]
    waiting = [found for found in decided if found.decision and found.decision.action != KEEP]
    planned = _without_contradictions(waiting)
    removed = {sample for found in planned for sample in _removed(found)}
    known = {str(one["_id"]): one for one in _read(dataset, field, _samples_of(planned))}
    to_move = [sample for found in planned if _action(found) == MOVE for sample in found.samples]
    move = [one for one in dict.fromkeys(to_move) if one in known and one not in removed and _held_out(known[one])]
    relabel = _relabelled(dataset, field, planned, known)
    return FindingsPlan(
        findings=tuple(found.id for found in planned),
        remove=tuple(sample for sample in known if sample in removed),
        move=tuple(move),
        relabel={sample: label for sample, label in relabel.items() if sample not in removed},
        contradicted=len(waiting) - len(planned),
        without_split=sum(
            not any(standard_split(tag) for tag in known[sample].get("tags") or ())
            for sample in dict.fromkeys(to_move)
            if sample in known
        ),
    )


def _action(finding: KeptFinding) -> str | None:
    return finding.decision.action if finding.decision else None


def _samples_of(findings: Iterable[KeptFinding]) -> list[str]:
    return list(dict.fromkeys(sample for found in findings for sample in found.samples))


def _removed(finding: KeptFinding) -> list[str]:
    if finding.decision is None or finding.decision.action != REMOVE:
        return []
    return [sample for sample in finding.samples if sample != finding.decision.kept]


def _without_contradictions(findings: list[KeptFinding]) -> list[KeptFinding]:
    """The findings without those that keep a sample which another one removes: all copies would be gone."""
    kept = findings
    while True:
        removed = {sample for found in kept for sample in _removed(found)}
        left = [
            found
            for found in kept
            if not (_action(found) == REMOVE and found.decision and found.decision.kept in removed)
        ]
        if len(left) == len(kept):
            return kept
        kept = left


def _held_out(sample: dict[str, Any]) -> list[str]:
    """The tags that put a sample into a held-out split."""
    return [tag for tag in sample.get("tags") or () if standard_split(tag) in ("validation", "test")]


def _relabelled(
    dataset: fo.Dataset, field: str, planned: list[KeptFinding], known: dict[str, dict[str, Any]]
) -> dict[str, str]:
    """New labels by sample id: of a class, that of the class into which it goes; of copies, that of the one kept."""
    merges = [found for found in planned if _action(found) == MERGE]
    into = _merged_classes(merges)
    in_merged = _collection(dataset).find({f"{field}.label": {"$in": list(into)}}, [f"{field}.label"])
    labels = {str(one["_id"]): into[str(_label_of(one, field))] for one in in_merged}
    for found in merges:
        if found.classes or found.decision is None or found.decision.kept not in known:
            continue
        label = _label_of(known[found.decision.kept], field)
        for sample in found.samples if label is not None else ():
            if sample in known and _label_of(known[sample], field) != label:
                labels[sample] = into.get(str(label), str(label))
    return labels


def _merged_classes(merges: list[KeptFinding]) -> dict[str, str]:
    """The class into which each merged class goes; one that goes into a class that is merged itself goes on with it."""
    into: dict[str, str] = {}
    for found in merges:
        if found.decision is not None and found.decision.kept is not None:
            into |= {label: found.decision.kept for label in found.classes if label != found.decision.kept}
    ends = {}
    for label in into:
        end, passed = label, {label}
        while (following := into.get(end)) is not None and following not in passed:
            end = following
            passed.add(end)
        ends[label] = end
    return {label: end for label, end in ends.items() if label != end}


def _label_of(sample: dict[str, Any], field: str) -> str | None:
    label: str | None = (sample.get(field) or {}).get("label")
    return label


def _collection(dataset: fo.Dataset) -> Any:
    return get_db_conn()[dataset._sample_collection_name]


def _read(dataset: fo.Dataset, field: str, samples: list[str]) -> Iterator[dict[str, Any]]:
    """Tags and label of samples, those that are there."""
    for part in _parts(samples):
        ids = [ObjectId(sample) for sample in part]
        yield from _collection(dataset).find({"_id": {"$in": ids}}, ["tags", f"{field}.label"])


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), NOTED_AT_ONCE):
        yield items[start : start + NOTED_AT_ONCE]


def apply_findings(
    dataset: fo.Dataset, audit_key: str, removal: Removal = "tag", by: str | None = None
) -> AppliedDecisions:
    """Apply the decisions on findings that wait.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        removal: whether samples that are to be removed get the tag `<key>_remove`, or are deleted from the dataset,
            which cannot be undone; their files stay.
        by: who applies them; by default the user who runs this process.

    Raises:
        InputError: if there is no such audit or removal.
    """
    if removal not in REMOVALS:
        raise InputError(f"removal={removal!r} is unknown; it takes {' or '.join(map(repr, REMOVALS))}")
    plan = plan_of_findings(dataset, audit_key)
    field = audit_config(dataset, audit_key).label_field
    applied = AppliedDecisions(
        batch=uuid.uuid4().hex,
        by=by or this_user(),
        at=_now(),
        findings=len(plan.findings),
        tagged=len(plan.remove) if removal == "tag" else 0,
        deleted=len(plan.remove) if removal == "delete" else 0,
        moved=len(plan.move),
        relabelled=len(plan.relabel),
    )
    if not plan.findings:
        return applied
    changes = _Changes(dataset, audit_key, field, applied)
    changes.note(plan, removal)
    changes.mark(list(plan.findings))
    changes.make(removal)
    return applied


def last_applied(dataset: fo.Dataset, audit_key: str, by: str | None = None) -> AppliedDecisions | None:
    """What was applied last and is not undone."""
    wanted = of_audit(dataset, audit_key) | {"head": True, "undone_at": None} | ({} if by is None else {"by": by})
    found = applied_collection().find_one(wanted, sort=[("at", -1)])
    names = AppliedDecisions.__dataclass_fields__
    return None if found is None else AppliedDecisions(**{name: found[name] for name in names})


def undo_applied(dataset: fo.Dataset, audit_key: str, applied: AppliedDecisions) -> int:
    """Take back what was applied; the decisions wait again. Labels and tags that were edited since stay.

    Returns:
        The number of findings whose decisions wait again. Samples that were deleted stay deleted.
    """
    changes = _Changes(dataset, audit_key, audit_config(dataset, audit_key).label_field, applied)
    changes.take_back()
    mine = of_audit(dataset, audit_key) | {"batch": applied.batch, "head": True}
    applied_collection().update_one(mine, {"$set": {"undone_at": _now()}})
    again = of_audit(dataset, audit_key) | {"applied": applied.batch}
    return int(findings_collection().update_many(again, {"$set": {"applied": None}}).modified_count)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _tags_without(gone: list[str]) -> dict[str, Any]:
    """The expression for a sample's tags without some."""
    cond = {"$not": [{"$in": ["$$this", {"$literal": gone}]}]}
    return {"$filter": {"input": {"$ifNull": ["$tags", []]}, "cond": cond}}


class _Changes:
    """The changes of one application, from what is noted of them.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        field: with the labels.
        applied: what is, or was, applied.
    """

    def __init__(self, dataset: fo.Dataset, audit_key: str, field: str, applied: AppliedDecisions) -> None:
        self._dataset, self._key, self._field, self._applied = dataset, audit_key, field, applied
        self._samples = _collection(dataset)
        self._tag = removal_tag(audit_key)
        self._original = ORIGINAL.name(audit_key)

    def note(self, plan: FindingsPlan, removal: Removal) -> None:
        """Write down what each sample is before it is changed."""
        mine = of_audit(self._dataset, self._key)
        head = {name: getattr(self._applied, name) for name in AppliedDecisions.__dataclass_fields__}
        applied_collection().insert_one(mine | head | {"head": True, "removal": removal, "undone_at": None})
        remove, move = set(plan.remove), set(plan.move)
        train = next((tag for tag in self._dataset.distinct("tags") if standard_split(tag) == "train"), "train")
        for part in _parts(list(dict.fromkeys([*plan.remove, *plan.move, *plan.relabel]))):
            ids = [ObjectId(sample) for sample in part]
            items = []
            for one in self._samples.find({"_id": {"$in": ids}}, ["tags", f"{self._field}.label", self._original]):
                name, tags = str(one["_id"]), one.get("tags") or []
                items.append(
                    {
                        "sample": one["_id"],
                        "remove": name in remove and (removal == "delete" or self._tag not in tags),
                        "from": _held_out(one) if name in move else [],
                        "to": train if name in move and train not in tags else None,
                        "label": _label_of(one, self._field) if name in plan.relabel else None,
                        "new": plan.relabel.get(name),
                        "first": one.get(self._original) is None,
                    }
                )
            applied_collection().insert_one(mine | {"batch": self._applied.batch, "head": False, "items": items})

    def mark(self, findings: list[str]) -> None:
        """Mark the findings as applied."""
        for part in _parts(findings):
            wanted = {"_id": {"$in": [ObjectId(finding) for finding in part]}}
            findings_collection().update_many(wanted, {"$set": {"applied": self._applied.batch}})

    def make(self, removal: Removal) -> None:
        """Change the samples."""
        updates, deleted = [], []
        for item in self._items():
            if item["remove"] and removal == "delete":
                deleted.append(str(item["sample"]))
                continue
            values: dict[str, Any] = {"last_modified_at": "$$NOW"}
            added = [tag for tag in (item["to"], self._tag if item["remove"] else None) if tag]
            if item["from"] or added:
                values["tags"] = {"$concatArrays": [_tags_without(item["from"]), {"$literal": added}]}
            if item["new"] is not None:
                values[self._original] = {"$ifNull": [f"${self._original}", f"${self._field}"]}
                values[f"{self._field}.label"] = {"$literal": item["new"]}
            updates.append(UpdateOne({"_id": item["sample"]}, [{"$set": values}]))
        self._write(updates)
        if deleted:
            self._dataset.delete_samples(deleted)
        self._finish()

    def take_back(self) -> None:
        """Set the samples back, except what was edited since."""
        updates = []
        for item in self._items():
            gone = [tag for tag in (item["to"], self._tag if item["remove"] else None) if tag]
            values: dict[str, Any] = {"last_modified_at": "$$NOW"}
            if gone or item["from"]:
                others = _tags_without(gone)
                values["tags"] = {"$concatArrays": [others, {"$setDifference": [{"$literal": item["from"]}, others]}]}
            if item["new"] is not None:
                untouched = {"$eq": [f"${self._field}.label", {"$literal": item["new"]}]}
                former = {"$literal": item["label"]}
                values[f"{self._field}.label"] = {"$cond": [untouched, former, f"${self._field}.label"]}
                if item["first"]:
                    values[self._original] = {"$cond": [untouched, None, f"${self._original}"]}
            updates.append(UpdateOne({"_id": item["sample"]}, [{"$set": values}]))
        self._write(updates)
        self._finish()

    def _items(self) -> Iterator[dict[str, Any]]:
        mine = of_audit(self._dataset, self._key) | {"batch": self._applied.batch, "head": False}
        for document in applied_collection().find(mine):
            yield from document["items"]

    def _write(self, updates: list[UpdateOne]) -> None:
        for part in _parts(updates):
            self._samples.bulk_write(part, ordered=False)

    def _finish(self) -> None:
        write_back(self._dataset, self._field)
        self._dataset.reload()
        keep_progress(self._dataset, self._key)
