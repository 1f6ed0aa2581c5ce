"""Let suspicions, flags and suggestions in a dataset follow the decisions of a check, and take that back.

What the model said stays in fields of its own, so that more decisions start from it again. The result folder of the
audit does not change. The run says 'writing' while fields and numbers change, so that an interruption shows; using the
decisions again, or going back, then mends it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import pandas as pd

from audit.config import AuditConfig
from audit.summary.parts import to_json
from integrations.fiftyone.appearance import show_fields
from integrations.fiftyone.fields import MODEL_FIELDS, declare
from integrations.fiftyone.lock import audit_lock
from integrations.fiftyone.overview import keep_overview, overview_of, saved_result, scores_of_fields
from integrations.fiftyone.review.check import decisions_to_verify
from integrations.fiftyone.review.judgements import model_scores
from integrations.fiftyone.review.log import DecisionLog
from integrations.fiftyone.review.progress import bring_up_to_date
from integrations.fiftyone.runs import LabelAuditConfig, audit_config
from integrations.fiftyone.score_writing import write_recalibrated, write_what_the_model_said

if TYPE_CHECKING:
    import numpy as np

    from audit.verification.follow import Followed

_THRESHOLD_SETTINGS = ("threshold", "target_precision", "max_review")


def use_decisions(dataset: fo.Dataset, audit_key: str) -> Followed:
    """Recalibrate the suspicions by all decisions so far, and write them with their flags and suggestions.

    Threshold, counts and the verified numbers go into the run. Saved views and the panel follow. What the model said is
    kept in `<key>_model_suspicion`, `<key>_model_flag` and `<key>_model_suggested`.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.

    Returns:
        What was written.

    Raises:
        InputError: if there is no such audit, no drawn sample is decided as wrong or right, or an audit with this key
            is running.
    """
    from audit.verification.follow import follow_scores

    with audit_lock(dataset, audit_key):
        config = audit_config(dataset, audit_key)
        log = DecisionLog(dataset, audit_key)
        scores, proven = _from_saved(model_scores(log), config)
        settings = AuditConfig.from_dict({name: config.audit_config.get(name) for name in _THRESHOLD_SETTINGS})
        decisions = decisions_to_verify(dataset, audit_key)
        followed = follow_scores(scores, decisions, settings, proven)
        _set(log, {"check.model": config.check.get("model") or _numbers(config), "check.writing": True})
        declare(dataset, audit_key, MODEL_FIELDS)
        write_recalibrated(dataset, audit_key, followed.scores)
        show_fields(dataset, audit_key, config.label_field)
        numbers = {
            "threshold": followed.threshold,
            "threshold_rule": followed.rule,
            "counts.flagged": int(followed.scores["flag"].sum()),
            "verified": to_json(followed.verified),
        }
        _finish(dataset, log, numbers, {"used": datetime.now(UTC).isoformat(), "decisions": len(decisions)})
    return followed


def back_to_model(dataset: fo.Dataset, audit_key: str) -> None:
    """Take back what `use_decisions` wrote: suspicions, flags and suggestions are again what the model said.

    The decisions stay, and can be used again. Where none are used, nothing changes.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.

    Raises:
        InputError: if there is no such audit, or an audit with this key is running.
    """
    with audit_lock(dataset, audit_key):
        config = audit_config(dataset, audit_key)
        before = config.check.get("model")
        if not before:
            return
        log = DecisionLog(dataset, audit_key)
        _set(log, {"check.writing": True})
        kept = [field.name(audit_key) for field in MODEL_FIELDS if log.has_field(field)]
        if len(kept) == len(MODEL_FIELDS):  # fewer where an interruption has left some: then this was written
            write_what_the_model_said(dataset, audit_key)
        if kept:
            dataset.delete_sample_fields(kept)
        show_fields(dataset, audit_key, config.label_field)
        _finish(dataset, log, {**_by_path(before), "verified": None}, dict.fromkeys(("used", "model", "decisions")))


def _finish(dataset: fo.Dataset, log: DecisionLog, numbers: dict[str, Any], check: dict[str, Any]) -> None:
    """Write what belongs to the fields into the run: numbers of its summary, its overview, and what the check is."""
    _set(log, {f"summary.{path}": value for path, value in numbers.items()})
    log.tell_samples_in_memory()
    config = audit_config(dataset, log.key)
    keep_overview(dataset, log.key, overview_of(scores_of_fields(dataset, log.key, config)))
    _set(log, {f"check.{name}": value for name, value in check.items()} | {"check.writing": False})
    bring_up_to_date(log)
    log.tell_samples_in_memory()


def _numbers(config: LabelAuditConfig) -> dict[str, Any]:
    """The numbers of the run's summary that decisions change."""
    summary = config.summary
    return {
        "threshold": summary.get("threshold"),
        "threshold_rule": summary.get("threshold_rule"),
        "flagged": (summary.get("counts") or {}).get("flagged"),
    }


def _by_path(numbers: dict[str, Any]) -> dict[str, Any]:
    """The numbers by their path in the run's summary."""
    return {"counts.flagged" if name == "flagged" else name: value for name, value in numbers.items()}


def _set(log: DecisionLog, values: dict[str, Any]) -> None:
    """Write values into the run's config, by path; others that another process writes there at the same time stay."""
    log.runs.update_one({"_id": log.run}, {"$set": {f"config.{name}": one for name, one in values.items()}})


def _from_saved(scores: pd.DataFrame, config: LabelAuditConfig) -> tuple[pd.DataFrame, np.ndarray | None]:
    """What the fields do not have, where the saved result is still there.

    Returns:
        The scores with what a flag would suggest for samples without one (`other_label`, `other_probability`); and,
        bool (n,), the labels that identical samples contradict. The scores as they were, and None, where there is no
        saved result.
    """
    from audit.verification.apply import contradicted_samples

    saved = saved_result(config)
    if saved is None:
        return scores, None
    there = saved.scores.reindex(scores.index)
    if not there["label"].astype(object).eq(scores["label"]).all():
        return scores, None
    proven = pd.Series(contradicted_samples(saved), saved.scores.index).reindex(scores.index)
    others = {name: there[name] for name in ("other_label", "other_probability") if name in there}
    return scores.assign(**others), proven.to_numpy(dtype=bool)
