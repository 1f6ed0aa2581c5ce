"""Take decisions that were made elsewhere, as in the report, into the review of a dataset."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fiftyone as fo
from bson import ObjectId

from audit.errors import InputError
from integrations.corrections.decisions import as_class
from integrations.corrections.reviewed_table import ReviewedAs, ReviewedRow, read_reviewed_table
from integrations.fiftyone.fields import CONFIRMED, DISMISSED, RELABELLED, REMOVED, UNSURE
from integrations.fiftyone.review.decide import change_to
from integrations.fiftyone.review.log import DecisionLog, ImportedFile, this_user
from integrations.fiftyone.review.progress import bring_up_to_date

_ROWS_AT_ONCE = 10_000  # a query to MongoDB holds at most 16 MiB
_NAMED = 3  # samples that a sentence names

_COLUMN_FIELDS = {"key": "source_id", "filepath": "filepath"}
_STATUSES: dict[ReviewedAs, str] = {
    "dismiss": DISMISSED,
    "relabel": RELABELLED,
    "remove": REMOVED,
    "confirm": CONFIRMED,
    "unsure": UNSURE,
}


@dataclass(frozen=True)
class ImportedDecisions:
    """What a file of decisions came to, or would come to.

    Attributes:
        counts: number of samples decided on, by action.
        unchanged: number of samples that were decided like this already.
        disputed: samples that somebody else has decided on in another way; their decisions stay.
        relabelled_since: samples whose label is not the one that was decided on; they stay as they are.
        unknown: what the file calls samples that are not part of the audit.
        batch: id of the decisions, which `undo_last` undoes as a whole; None if nothing changed.
    """

    counts: dict[ReviewedAs, int] = field(default_factory=dict)
    unchanged: int = 0
    disputed: tuple[str, ...] = ()
    relabelled_since: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    batch: str | None = None

    @property
    def count(self) -> int:
        """Number of samples decided on."""
        return sum(self.counts.values())

    @property
    def left_out(self) -> str:
        """In words, which decisions of the file change nothing; '' if there are none."""
        parts = [f"{self.unchanged:,} decided like this already"] if self.unchanged else []
        parts += [
            f"{len(samples):,} {why} ({_some(samples)})"
            for samples, why in (
                (self.disputed, "decided otherwise by somebody else"),
                (self.relabelled_since, "labelled otherwise since"),
                (self.unknown, "not part of this audit"),
            )
            if samples
        ]
        return f"Left as they are: {'; '.join(parts)}." if parts else ""


def import_decisions(
    dataset: fo.Dataset, audit_key: str, path: str | Path, by: str | None = None, *, write: bool = True
) -> ImportedDecisions:
    """Make the decisions of a table, as one decision that can be undone.

    Samples are known by id, by what their source calls them, or by their file. A decision of somebody else is not
    replaced, and a label that is not the one that was decided on is left alone.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        path: the table that the report saves, or that `export_corrections` writes: CSV, JSON or parquet.
        by: who decided; by default as the table says, or else the user who runs this process.
        write: False to see what would be done, and change nothing.

    Raises:
        InputError: if there is no such audit, the table cannot be read, decides on a sample in two ways, or names no
            sample of the audit.

    Example:
        >>> import_decisions(dataset, "audit", "decisions.csv", by="ada").counts
        {'dismiss': 12, 'relabel': 30}
    """
    rows = read_reviewed_table(Path(path).expanduser())
    log = DecisionLog(dataset, audit_key)
    known, unknown = _known(log, rows)
    if not known:
        raise InputError(
            f"decisions {str(path)!r} name no sample of audit {audit_key!r} of dataset {dataset.name!r} "
            f"({_some(unknown)}); give those on this audit"
        )
    classes = [str(name) for name in log.samples.distinct(f"{log.label_field}.label") if name is not None]
    plan = _Plan(by, classes)
    for wanted in _one_each(known, str(path)):
        plan.add(wanted)
    imported = ImportedFile(Path(path).name, uuid.uuid4().hex)
    counts: dict[ReviewedAs, int] = {}
    for (action, label, person, seen), samples in plan.groups.items():
        change = change_to(log, action, label)
        count = log.decide(change, samples, person, seen, imported).count if write else len(samples)
        if count:
            counts[action] = counts.get(action, 0) + count
    if write:
        bring_up_to_date(log)
    batch = imported.batch if write and counts else None
    return ImportedDecisions(counts, plan.unchanged, tuple(plan.disputed), tuple(plan.since), tuple(unknown), batch)


@dataclass(frozen=True)
class _Wanted:
    """A row of the table, and the state of its sample in the database."""

    row: ReviewedRow
    sample: str
    state: Mapping[str, Any]


class _Plan:
    """Sorts decisions by what is to be done.

    Args:
        by: who decided, whatever the table says.
        classes: the labels of the dataset.
    """

    def __init__(self, by: str | None, classes: Sequence[str]) -> None:
        self._by, self._classes = by, classes
        self.groups: dict[tuple[ReviewedAs, str | None, str, str | None], list[str]] = {}
        """Sample ids by action, label, person, and the batch of the decision that they have ('' for none)."""
        self.unchanged = 0
        self.disputed: list[str] = []
        self.since: list[str] = []

    def add(self, wanted: _Wanted) -> None:
        """Sort one decision in."""
        row, state = wanted.row, wanted.state
        label = None if row.new_label is None else as_class(row.new_label, self._classes)
        current, audited = state.get("latest") or {}, str(state.get("audited"))
        if _same(row.action, label, state):
            self.unchanged += 1
        elif row.old_label and as_class(row.old_label, [audited]) != audited:
            self.since.append(row.name)
        else:
            person = self._by or row.by or this_user()
            if current and current.get("by") != person:
                self.disputed.append(row.name)
                return
            seen = str(current.get("batch") or "")
            self.groups.setdefault((row.action, label, person, seen), []).append(wanted.sample)


def _same(action: ReviewedAs, label: str | None, state: Mapping[str, Any]) -> bool:
    return bool(state["status"] == _STATUSES[action] and (label is None or state.get("corrected") == label))


def _known(log: DecisionLog, rows: Sequence[ReviewedRow]) -> tuple[list[_Wanted], list[str]]:
    """The rows whose samples are part of the audit, and what the others call theirs."""
    known, unknown = [], []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        places = _places(log, part)
        for row in part:
            state = next((places[name] for name in row.names.items() if places.get(name)), None)
            if state is None:
                unknown.append(row.name)
            else:
                known.append(_Wanted(row, str(state["_id"]), state))
    return known, unknown


def _places(log: DecisionLog, rows: Sequence[ReviewedRow]) -> dict[tuple[str, str], Mapping[str, Any] | None]:
    """The states of samples by column and name; None where several samples have the name."""
    ids = [ObjectId(row.names["id"]) for row in rows if ObjectId.is_valid(row.names.get("id", ""))]
    wanted: list[dict[str, Any]] = [{"_id": {"$in": ids}}]
    for column, field_name in _COLUMN_FIELDS.items():
        wanted.append({field_name: {"$in": [row.names[column] for row in rows if column in row.names]}})
    found = log.samples.aggregate(
        [
            {"$match": {log.status: {"$ne": None}, "$or": wanted}},
            {
                "$project": {
                    "source_id": 1,
                    "filepath": 1,
                    "status": f"${log.status}",
                    "corrected": f"${log.corrected}.label",
                    "audited": log.audited_label,
                    "latest": log.latest_judgement,
                }
            },
        ],
        allowDiskUse=True,
    )
    places: dict[tuple[str, str], Mapping[str, Any] | None] = {}
    for state in found:
        for name in _names_of(state):
            places[name] = None if name in places else state
    return places


def _names_of(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "id", str(state["_id"])
    for column, name in _COLUMN_FIELDS.items():
        if state.get(name) is not None:
            yield column, str(state[name])


def _one_each(known: Sequence[_Wanted], path: str) -> list[_Wanted]:
    """One decision a sample.

    Raises:
        InputError: if the table decides on a sample in two ways.
    """
    seen: dict[str, _Wanted] = {}
    for wanted in known:
        first = seen.setdefault(wanted.sample, wanted).row
        if (first.action, first.new_label) != (wanted.row.action, wanted.row.new_label):
            raise InputError(
                f"decisions {path!r} decide on {wanted.row.name!r} in two ways, in rows {first.number} and "
                f"{wanted.row.number}; leave one"
            )
    return list(seen.values())


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{', '.join(map(repr, names[:_NAMED]))}{more}"
