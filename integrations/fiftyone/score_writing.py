"""An audit's scores on their way into the database: one update a sample, with all of its fields at once.

FiftyOne's own `set_values` makes an update a sample for each field: that takes several times as long, and leaves
samples with half of their scores where it is interrupted. Here each sample has all that one audit says of it.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import fiftyone as fo
from bson import ObjectId
from fiftyone.core.odm import get_db_conn
from pymongo import UpdateOne

from audit.progress import ProgressCallback, Step, silent
from integrations.fiftyone.fields import STATUS, UNREVIEWED

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

STAGE = "fiftyone"
SAMPLES_AT_ONCE = 5_000
_LABEL = fo.Classification(label="").to_dict()  # as FiftyOne stores one; id, label and confidence are ours
_NUMBERS = ("influence", "self_influence", "suspicion", "loo_probability")


def write_scores(
    dataset: fo.Dataset, audit_key: str, scores: pd.DataFrame, progress: ProgressCallback = silent
) -> None:
    """Write an audit's scores and give each scored sample a status, into fields that are declared.

    Statuses that are there stay. Samples that a former audit under the key had scored and this one has not lose their
    scores, and their status unless somebody decided on them.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        scores: the scores of an `AuditResult`, indexed by sample id.
        progress: told how many samples are written.
    """
    samples = get_db_conn()[dataset._sample_collection_name]
    status = STATUS.name(audit_key)
    columns = {f"{audit_key}_{suffix}": values for suffix, values in _columns(scores).items()}
    # Nobody can decide on a sample that has no status, so that giving it one replaces no decision made meanwhile.
    with_status = {found["_id"] for found in samples.find({status: {"$ne": None}}, ["_id"])}
    ids = [ObjectId(sample) for sample in scores.index]
    for start in range(0, len(ids), SAMPLES_AT_ONCE):
        part = slice(start, start + SAMPLES_AT_ONCE)
        now = datetime.now(UTC)
        updates = []
        for sample, *values in zip(ids[part], *(column[part] for column in columns.values()), strict=True):
            new = dict(zip(columns, values, strict=True), last_modified_at=now)
            if sample not in with_status:
                new[status] = UNREVIEWED
            updates.append(UpdateOne({"_id": sample}, {"$set": new}))
        samples.bulk_write(updates, ordered=False)
        progress(Step(STAGE, min(start + SAMPLES_AT_ONCE, len(ids)), len(ids), "samples"))
    unscored = list(with_status.difference(ids))
    for start in range(0, len(unscored), SAMPLES_AT_ONCE):
        these = {"_id": {"$in": unscored[start : start + SAMPLES_AT_ONCE]}}
        samples.update_many(these, {"$set": {**dict.fromkeys(columns), "last_modified_at": datetime.now(UTC)}})
        samples.update_many({**these, status: UNREVIEWED}, {"$set": {status: None}})
    dataset.reload()  # and with it the samples that this process holds


def _columns(scores: pd.DataFrame) -> dict[str, list[Any]]:
    """The values of each field but the status as the database has them, in the order of the scores."""
    columns: dict[str, list[Any]] = {name: _numbers(scores[name]) for name in _NUMBERS}
    columns["flag"] = scores["flag"].astype(bool).tolist()
    columns["suggested"] = _labels(scores["suggested_label"], _numbers(scores["suggested_probability"]))
    columns["split"] = _texts(scores["split"])
    if "injected" in scores.columns:
        injected = scores["injected"].astype(bool)
        columns["injected"] = injected.tolist()
        columns["injected_label"] = _labels(scores["label"].where(injected), [None] * len(scores))
    return columns


def _labels(texts: Iterable[Any], confidences: list[float | None]) -> list[dict[str, Any] | None]:
    return [
        None if label is None else {**_LABEL, "_id": ObjectId(), "label": label, "confidence": confidence}
        for label, confidence in zip(_texts(texts), confidences, strict=True)
    ]


def _texts(values: Iterable[Any]) -> list[str | None]:
    return [str(value) if isinstance(value, str) else None for value in values]


def _numbers(values: pd.Series[Any]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.astype(float).tolist()]
