"""Export the decisions that were not undone, as a table: sample, label, person and time."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo

from audit.errors import InputError
from audit.files.spreadsheet import safe_cell
from integrations.fiftyone.fields import UNREVIEWED
from integrations.fiftyone.review.log import DecisionLog

EXPORT_COLUMNS = ("id", "filepath", "status", "old_label", "new_label", "by", "at", "suspicion", "applied", "key")
EXPORT_FORMATS = (".csv", ".json")


def corrections(dataset: fo.Dataset, audit_key: str) -> Iterator[dict[str, Any]]:
    """The decisions that were not undone: one dict per reviewed sample, by time, with the keys `EXPORT_COLUMNS`.

    `old_label` is the label at the time of the decision. `new_label` is the corrected label; it is None if the old
    label was confirmed as wrong or dismissed as right. `applied` says whether the label field holds the corrected
    label.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    rows = log.samples.aggregate(
        [
            {"$match": {log.status: {"$nin": [None, UNREVIEWED]}}},
            {
                "$project": {
                    "filepath": 1,
                    "source_id": 1,
                    "status": f"${log.status}",
                    "new_label": f"${log.corrected}.label",
                    "label": f"${log.label_field}.label",
                    "suspicion": f"${log.suspicion}",
                    "last": log.standing_decision,
                }
            },
            {"$sort": {"last.at": 1, "_id": 1}},
        ],
        allowDiskUse=True,
    )
    for row in rows:
        last, new_label = row.get("last") or {}, row.get("new_label")
        at = last.get("at")
        values = (
            *(str(row["_id"]), row["filepath"], row["status"], last.get("given", row.get("label")), new_label),
            *(last.get("by"), at and at.isoformat() + "Z", row.get("suspicion")),
            new_label is not None and row.get("label") == new_label,
            row.get("source_id") or str(row["_id"]),
        )
        yield dict(zip(EXPORT_COLUMNS, values, strict=True))


def export_corrections(dataset: fo.Dataset, audit_key: str, path: str | Path) -> int:
    """Write the table of `corrections` to a file.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        path: a .csv or .json file; an existing one is replaced.

    Returns:
        How many samples were written.

    Raises:
        InputError: if there is no such audit, or the file cannot be written.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in EXPORT_FORMATS:
        raise InputError(f"corrections file {str(path)!r} is neither .csv nor .json; name one that is")
    rows = list(corrections(dataset, audit_key))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            if path.suffix.lower() == ".csv":
                writer = csv.DictWriter(file, EXPORT_COLUMNS)
                writer.writeheader()
                writer.writerows({name: safe_cell(value) for name, value in row.items()} for row in rows)
            else:
                json.dump(rows, file, indent=2, ensure_ascii=False)
                file.write("\n")
    except OSError as error:
        raise InputError(f"corrections file {str(path)!r} cannot be written ({error.strerror}); give another") from None
    return len(rows)
