"""What was decided about labels: in FiftyOne, in a table that was filled in, or unseen from a suspicion on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.errors import InputError
from audit.files.spreadsheet import original

if TYPE_CHECKING:
    from audit.result import AuditResult

KEPT = ("dismissed", "unsure", "removed")
"""Statuses that keep the label, whatever else their row says."""

NEW_LABEL = "new_label"


@dataclass(frozen=True)
class Decision:
    """A new label for a sample.

    Args:
        key: what the source calls the sample.
        label: the new one.
        why: who or what decided, in words.
        by, at: the person and the time, where known.
    """

    key: str
    label: str
    why: str
    by: str | None = None
    at: str | None = None


@dataclass(frozen=True)
class Decided:
    """All decisions on a result.

    Args:
        changes: those that name a new label.
        keys: of all samples that were decided on, with or without a new label.
    """

    changes: tuple[Decision, ...] = ()
    keys: frozenset[str] = field(default_factory=frozenset)


def keys_of(result: AuditResult) -> list[str]:
    """What the source calls each scored sample, in the order of the scores."""
    return [str(key) for key in result.scores.get("key", result.scores.index)]


def decided_in_file(path: Path, result: AuditResult) -> Decided:
    """The decisions of a table that `influence-audit export` wrote and somebody filled in.

    Args:
        path: of CSV, JSON or parquet, with the column `new_label` and one of `key` and `id`.
        result: the audit's result.

    Raises:
        InputError: if the table has no such columns, names a sample that is not in the result, or decides twice.
    """
    columns = columns_of(path)
    names = [name for name in ("id", "key") if name in columns]
    if NEW_LABEL not in columns or not names:
        raise InputError(
            f"decisions {str(path)!r} have no column {NEW_LABEL if names else 'key'!r}; fill in the column "
            f"{NEW_LABEL} of what `influence-audit export RESULT -o flagged.csv` writes"
        )
    by_id = dict(zip(map(str, result.scores.index), keys_of(result), strict=True))
    by_name = {key: key for key in by_id.values()} | by_id
    classes = [str(name) for name in result.summary.classes]
    found: dict[str, Decision] = {}
    seen: set[str] = set()
    for row, label in enumerate(map(text_of, columns[NEW_LABEL]), 1):
        status = text_of(columns["status"][row - 1]) if "status" in columns else ""
        if not label and not status:
            continue
        given = [text_of(columns[name][row - 1]) for name in names]
        key = next((by_name[name] for name in given if name in by_name), None)
        if key is None:
            raise InputError(
                f"row {row} of decisions {str(path)!r} names {given[0]!r}, which is no sample of the result"
            )
        seen.add(key)
        if not label or status in KEPT:
            continue
        label = as_class(label, classes)
        if key in found and found[key].label != label:
            raise InputError(
                f"decisions {str(path)!r} give {key!r} two labels, {found[key].label!r} and {label!r}; leave one"
            )
        by, at = (text_of(columns[name][row - 1]) if name in columns else None for name in ("by", "at"))
        found[key] = Decision(key, label, f"decided in {path.name}", by or None, at or None)
    return Decided(tuple(found.values()), frozenset(seen))


def decided_in_fiftyone(result: AuditResult) -> Decided:
    """The decisions of the review in the dataset that the result names.

    Raises:
        InputError: if the audit was made without FiftyOne, or the dataset or its audit is gone.
    """
    source = result.summary.source
    if source is None or not source.in_fiftyone:
        raise InputError(
            "this audit is not in FiftyOne, so its decisions are in a table: fill in the column new_label of what "
            "`influence-audit export RESULT -o flagged.csv` writes, and give it with --decisions"
        )
    from integrations.fiftyone.database import connect

    connect()
    from integrations.fiftyone.columns import keys_of as keys_in
    from integrations.fiftyone.read import load_dataset
    from integrations.fiftyone.review.export import corrections

    dataset = load_dataset(source.dataset)
    keys = keys_in(dataset)
    rows = [(keys.get(row["id"], row["id"]), row) for row in corrections(dataset, source.audit_key)]
    changes = [
        Decision(key, row["new_label"], "decided in FiftyOne", row["by"], row["at"])
        for key, row in rows
        if row["new_label"] is not None
    ]
    return Decided(tuple(changes), frozenset(key for key, _ in rows))


def accepted_from(result: AuditResult, suspicion: float, decided: Decided) -> tuple[list[Decision], float]:
    """The suggestions that are accepted unseen, and how many of them are expected to be right.

    Args:
        result: the audit's result.
        suspicion: from which on; samples with a decision are left as they were decided.
        decided: the decisions.

    Raises:
        InputError: if the suspicion is out of its range, or the audit injected mislabels.
    """
    if not 0 < suspicion <= 1:
        raise InputError(f"--accept-from is {suspicion}; it takes a suspicion, above 0 and up to 1")
    scores = result.scores
    if "injected" in scores:
        raise InputError(
            "--accept-from does not apply to an audit that made labels wrong on purpose (--inject); audit again without"
        )
    accepted, expected = [], 0.0
    columns = (scores[name] for name in ("label", "other_label", "other_probability", "suspicion"))
    for key, label, other, probability, suspected in zip(keys_of(result), *columns, strict=True):
        if suspected >= suspicion and key not in decided.keys and str(other) != str(label):
            accepted.append(Decision(key, str(other), f"suggestion accepted unseen at suspicion {suspected:.3f}"))
            expected += float(probability)
    return accepted, expected


def columns_of(path: Path) -> dict[str, list[Any]]:
    """The values of each column of a table of decisions.

    Raises:
        InputError: if it is no table of CSV, JSON or parquet, or cannot be read.
    """
    from integrations.sources.csv_and_json import is_text_table
    from integrations.sources.table_files import is_parquet, read_columns

    if not is_text_table(path.name) and not (path.is_file() and is_parquet(path)):
        raise InputError(f"decisions {str(path)!r} are no table; give the .csv, .json or .parquet that export wrote")
    return read_columns(path)


def as_class(label: str, classes: Sequence[str]) -> str:
    """The class that a number means which a spreadsheet wrote in another way, such as 7.0; else the label as it is."""
    if label in classes:
        return label
    try:
        alike = [name for name in classes if float(name) == float(label)]
    except ValueError:
        return label
    return alike[0] if len(alike) == 1 else label


def text_of(value: Any) -> str:
    """A cell as text, '' where it is empty, as it was before export made it safe for spreadsheets."""
    return "" if value is None or value != value else original(str(value).strip())
