"""Write an audit's scores: all of them are staged first, and then merged into the samples in one operation.

FiftyOne's own `set_values` makes one update per sample and field. That takes several times as long. While it runs, or
if it is interrupted, users see only some of the scores. So the scores are first written into a collection that nobody
reads, and then the server merges all of them into the samples.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import pymongo
from bson import ObjectId
from fiftyone.core.odm import get_db_conn
from pymongo.errors import PyMongoError

from audit.progress import ProgressCallback, Step, silent
from audit.verification.as_drawn import as_model_said
from integrations.fiftyone.fields import (
    FINDINGS,
    FITS_NO_CLASS,
    FLAG,
    INFLUENCE,
    INJECTED,
    INJECTED_LABEL,
    LOO_PROBABILITY,
    MODEL_FLAG,
    MODEL_SUGGESTED,
    MODEL_SUSPICION,
    SELF_INFLUENCE,
    SPLIT,
    STATUS,
    SUGGESTED,
    SUSPICION,
    UNREVIEWED,
    AuditField,
)
from integrations.fiftyone.lock import FAREWELL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd
    from pymongo.collection import Collection
    from pymongo.database import Database

STAGE = "fiftyone"
SAMPLES_AT_ONCE = 5_000  # samples per command to MongoDB
_STAGED = "influence_audit.staged."
_LABEL = fo.Classification(label="").to_dict()  # as FiftyOne stores it; id, label and confidence are set here
_KEPT = ((SUSPICION, MODEL_SUSPICION), (FLAG, MODEL_FLAG), (SUGGESTED, MODEL_SUGGESTED))
_NUMBERS = (INFLUENCE, SELF_INFLUENCE, SUSPICION, LOO_PROBABILITY)  # named as the columns of the scores


def write_scores(
    dataset: fo.Dataset,
    audit_key: str,
    scores: pd.DataFrame,
    remarks: Mapping[str, list[str]] | None = None,
    progress: ProgressCallback = silent,
) -> None:
    """Write an audit's scores, and a status for each scored sample. The fields must be declared already.

    Existing statuses do not change. Samples that only an earlier audit with this key has scored lose their scores, and
    also their status, unless somebody decided on them.

    Args:
        dataset: the audited dataset.
        audit_key: the key of the audit.
        scores: the scores of an `AuditResult`, indexed by sample id.
        remarks: by sample id, further remarks on samples, scored or not.
        progress: called with the number of samples written.
    """
    database, remarks = get_db_conn(), remarks or {}
    drop_orphans(database)
    samples = database[dataset._sample_collection_name]
    staged = database[f"{_STAGED}{dataset._doc.id}.{audit_key}"]
    staged.drop()  # left by an interrupted audit

    def columns(some: pd.DataFrame) -> dict[str, list[Any]]:
        made = {field.name(audit_key): values for field, values in _columns(some).items()}
        return made | {FINDINGS.name(audit_key): [remarks.get(sample) for sample in some.index]}

    try:
        _stage_scored(staged, scores, columns, progress)
        others = (
            _scored_before(samples, audit_key).union(map(ObjectId, remarks)).difference(map(ObjectId, scores.index))
        )
        nothing = dict.fromkeys(columns(scores.iloc[:0]))
        _stage_unscored(
            staged, {sample: nothing | {FINDINGS.name(audit_key): remarks.get(str(sample))} for sample in others}
        )
        _merge(staged, samples.name, STATUS.name(audit_key))
    finally:
        # The server may have stopped. The next audit then drops this collection.
        with suppress(PyMongoError), pymongo.timeout(FAREWELL_SECONDS):
            staged.drop()
    dataset.reload()  # also reloads the samples in this process's memory


def _stage_scored(
    staged: Collection,
    scores: pd.DataFrame,
    columns: Callable[[pd.DataFrame], Mapping[str, list[Any]]],
    progress: ProgressCallback,
) -> None:
    """Stage the values of each field, some samples at a time; `columns` makes them from some of the scores."""
    for start in range(0, len(scores), SAMPLES_AT_ONCE):
        some = scores.iloc[start : start + SAMPLES_AT_ONCE]
        made = columns(some)
        rows = zip(map(ObjectId, some.index), *made.values(), strict=True)
        staged.insert_many(
            [{"_id": sample, "new": dict(zip(made, row, strict=True)), "scored": True} for sample, *row in rows],
            ordered=False,
        )
        progress(Step(STAGE, start + len(some), len(scores), "samples"))


def _scored_before(samples: Collection, audit_key: str) -> set[ObjectId]:
    """Ids of the samples for which an earlier audit with this key wrote something."""
    something = [{field.name(audit_key): {"$ne": None}} for field in (STATUS, FINDINGS)]
    return {found["_id"] for found in samples.find({"$or": something}, ["_id"])}


def _stage_unscored(staged: Collection, values: Mapping[ObjectId, dict[str, Any]]) -> None:
    """Stage the fields of samples that this audit has not scored."""
    unscored = list(values)
    for start in range(0, len(unscored), SAMPLES_AT_ONCE):
        part = unscored[start : start + SAMPLES_AT_ONCE]
        staged.insert_many([{"_id": sample, "new": values[sample], "scored": False} for sample in part], ordered=False)


def _merge(staged: Collection, samples: str, status: str) -> None:
    """Let the server merge the staged values into the samples.

    The server chooses the status, so that decisions made in the meantime are kept.
    """
    undecided = {"$cond": [{"$eq": [f"${status}", UNREVIEWED]}, None, f"${status}"]}
    decided = {"$cond": ["$$new.scored", {"$ifNull": [f"${status}", UNREVIEWED]}, undecided]}
    now = {"last_modified_at": "$$NOW"}
    merged = [{"$replaceWith": {"$mergeObjects": ["$$ROOT", "$$new.new", {status: decided}, now]}}]
    into = {"into": samples, "on": "_id", "whenMatched": merged, "whenNotMatched": "discard"}
    staged.aggregate([{"$merge": into}])


def write_recalibrated(dataset: fo.Dataset, audit_key: str, scores: pd.DataFrame) -> None:
    """Write suspicions, flags and suggestions that follow decisions, in one operation.

    What the model said is kept in the fields `MODEL_FIELDS`, unless it is there already. The fields must be declared.

    Args:
        dataset: the audited dataset.
        audit_key: the key of the audit.
        scores: by sample id, columns suspicion, flag, suggested_label and suggested_probability.
    """
    database = get_db_conn()
    drop_orphans(database)
    staged = database[f"{_STAGED}{dataset._doc.id}.{audit_key}"]
    staged.drop()

    def columns(some: pd.DataFrame) -> dict[str, list[Any]]:
        return {
            SUSPICION.name(audit_key): _numbers(some["suspicion"]),
            FLAG.name(audit_key): some["flag"].astype(bool).tolist(),
            SUGGESTED.name(audit_key): _labels(some["suggested_label"], _numbers(some["suggested_probability"])),
        }

    follows = {"$ne": [{"$ifNull": [f"${MODEL_SUSPICION.name(audit_key)}", None]}, None]}
    kept = {
        model.name(audit_key): {"$cond": [follows, f"${model.name(audit_key)}", f"${field.name(audit_key)}"]}
        for field, model in _KEPT
    }
    now = {"last_modified_at": "$$NOW"}
    merged = [{"$set": kept}, {"$replaceWith": {"$mergeObjects": ["$$ROOT", "$$new.new", now]}}]
    into = {"into": dataset._sample_collection_name, "on": "_id", "whenMatched": merged, "whenNotMatched": "discard"}
    try:
        _stage_scored(staged, scores, columns, silent)
        staged.aggregate([{"$merge": into}])
    finally:
        with suppress(PyMongoError), pymongo.timeout(FAREWELL_SECONDS):
            staged.drop()
    dataset.reload()


def write_what_the_model_said(dataset: fo.Dataset, audit_key: str) -> None:
    """Undo `write_recalibrated`: suspicions, flags and suggestions are again what the model said."""
    values = {field.name(audit_key): f"${model.name(audit_key)}" for field, model in _KEPT}
    get_db_conn()[dataset._sample_collection_name].update_many(
        {MODEL_SUSPICION.name(audit_key): {"$ne": None}}, [{"$set": {**values, "last_modified_at": "$$NOW"}}]
    )
    dataset.reload()


def drop_orphans(database: Database) -> None:
    """Drop collections that were staged for deleted datasets, because no later audit of them will."""
    names = database.list_collection_names(filter={"name": {"$regex": f"^{re.escape(_STAGED)}"}})
    alive = {str(found["_id"]) for found in database["datasets"].find({}, ["_id"])} if names else set()
    for name in names:
        if name.removeprefix(_STAGED).split(".")[0] not in alive:
            database.drop_collection(name)


def _columns(scores: pd.DataFrame) -> dict[AuditField, list[Any]]:
    """The values of each field except the status, as the database stores them, in the order of the scores."""
    columns: dict[AuditField, list[Any]] = {field: _numbers(scores[field.suffix]) for field in _NUMBERS}
    columns[FLAG] = scores["flag"].astype(bool).tolist()
    columns[SUGGESTED] = _labels(scores["suggested_label"], _numbers(scores["suggested_probability"]))
    columns[SPLIT] = _texts(scores["split"])
    if MODEL_SUSPICION.suffix in scores.columns:  # decisions changed the suspicions
        model = as_model_said(scores)
        columns[MODEL_SUSPICION] = _numbers(model["suspicion"])
        columns[MODEL_FLAG] = model["flag"].astype(bool).tolist()
        columns[MODEL_SUGGESTED] = _labels(model["suggested_label"], _numbers(model["suggested_probability"]))
    unfit = FITS_NO_CLASS.suffix
    columns[FITS_NO_CLASS] = _numbers(scores[unfit]) if unfit in scores.columns else [None] * len(scores)
    if "injected" in scores.columns:
        injected = scores["injected"].astype(bool)
        columns[INJECTED] = injected.tolist()
        columns[INJECTED_LABEL] = _labels(scores["label"].where(injected), [None] * len(scores))
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
