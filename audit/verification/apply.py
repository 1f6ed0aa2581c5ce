"""An audit's result as a verification leaves it, and as it was before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.errors import InputError
from audit.findings.kinds import DUPLICATE_LABELS
from audit.flags.measures import detection_quality
from audit.summary.detection import ControlsMeasured, InjectedDetection
from audit.summary.estimates import Estimates
from audit.summary.verified import BeforeDecisions
from audit.verification.as_drawn import MODEL_PREFIX, as_model_said
from audit.verification.decisions import words_by_id
from audit.verification.follow import Followed, follow_scores, verified_part

if TYPE_CHECKING:
    from audit.result import AuditResult
    from audit.summary.summary import Summary

DECISION = "decision"
BASIS = (
    "The number of mistakes is what models of the labels say. Precision and recall of the flags follow from {decided} "
    "decisions on drawn samples, with 90 % intervals; the verified numbers say more."
)


def apply_verification(result: AuditResult, decisions: pd.DataFrame) -> AuditResult:
    """The result with suspicions, flags and suggestions that follow decisions on a drawn sample.

    `summary.verified` holds the verified numbers. `summary.estimates` keeps the modelled number of mistakes. Flags are
    measured again against injected mislabels. What was measured or expected with other flags (correction, acceptance)
    is left out. The columns `model_...` of the scores and `summary.verified.before` keep what the audit said, so that
    further decisions start from it and `reset_verification` restores it.

    Args:
        result: of an audit, with or without earlier decisions. It is not changed.
        decisions: as in `audit.verify`; all of them, also those that were applied before.

    Raises:
        InputError: as `audit.verify`.

    Example:
        >>> drawn = audit.draw_verification(result, size=40)
        >>> decisions = drawn.table.assign(decision=["wrong", "right", ...])
        >>> audit.apply_verification(result, decisions).save(folder)
    """
    verified = result.summary.verified
    result = result if verified is None or verified.before is None else reset_verification(result)
    followed = follow_scores(result.scores, decisions, result.summary.config, contradicted_samples(result))
    scores = followed.scores.assign(**{DECISION: words_by_id(result.scores, decisions)})
    controls = _recalibrated_controls(result.controls, followed)
    return replace(
        result, scores=scores, controls=controls, summary=_summary(result.summary, followed, scores, controls)
    )


def reset_verification(result: AuditResult) -> AuditResult:
    """The result as it was before decisions were applied.

    Raises:
        InputError: if no decisions were applied.
    """
    summary = result.summary
    if summary.verified is None or (before := summary.verified.before) is None:
        raise InputError("no decisions were applied to this result; there is nothing to reset")
    controls = result.controls
    if (kept := MODEL_PREFIX + "suspicion") in controls:
        controls = controls.assign(suspicion=controls[kept]).drop(columns=kept)
    return replace(
        result,
        scores=as_model_said(result.scores).drop(columns=DECISION),
        controls=controls,
        summary=replace(
            summary,
            counts=replace(summary.counts, flagged=before.flagged),
            threshold=before.threshold,
            threshold_rule=before.threshold_rule,
            estimates=before.estimates,
            controls=before.controls,
            detection=before.detection,
            correction=before.correction,
            acceptance=before.acceptance,
            notes=before.notes,
            verified=None,
        ),
    )


def contradicted_samples(result: AuditResult) -> np.ndarray:
    """Bool (n,): labels that identical samples contradict, all but the least suspicious label of each picture."""
    findings, scores = result.findings, as_model_said(result.scores)
    found = np.zeros(len(scores), dtype=bool)
    if not result.summary.copies.proven_mistakes:  # embeddings may not tell samples apart: equal ones prove nothing
        return found
    for _, members in findings[findings["kind"] == DUPLICATE_LABELS].groupby("finding"):
        rows = scores.index.get_indexer(pd.Index(members["id"]))
        suspicion = scores["suspicion"].to_numpy()[rows]
        most = suspicion > suspicion.min()
        found[rows] = most if most.any() else True  # equal suspicions: nothing shows which label is right
    return found


def _summary(summary: Summary, followed: Followed, scores: pd.DataFrame, controls: pd.DataFrame) -> Summary:
    model_flag, flag = (scores[name].to_numpy(dtype=bool) for name in (MODEL_PREFIX + "flag", "flag"))
    same = bool((model_flag == flag).all())
    notes = _notes(followed, model_flag, flag, summary.correction is not None)
    return replace(
        summary,
        counts=replace(summary.counts, flagged=int(flag.sum())),
        threshold=followed.threshold,
        threshold_rule=followed.rule,
        estimates=_estimates(summary.estimates, followed),
        controls=_controls(summary.controls, controls, flag, scores.index, followed.threshold),
        detection=None if summary.detection is None else _detection(summary.detection, scores),
        # It was measured at other thresholds of the suspicion as well, which are others now.
        correction=replace(summary.correction, elsewhere=()) if same and summary.correction is not None else None,
        acceptance=None,
        notes=(*summary.notes, *notes),
        verified=replace(followed.verified, before=_before(summary, followed)),
    )


def _before(summary: Summary, followed: Followed) -> BeforeDecisions:
    part = verified_part(followed.verification)
    return BeforeDecisions(
        flagged=summary.counts.flagged,
        precision=part.precision,
        recall=part.recall,
        suggestions_right=part.suggestions_right,
        threshold=summary.threshold,
        threshold_rule=summary.threshold_rule,
        estimates=summary.estimates,
        controls=summary.controls,
        detection=summary.detection,
        correction=summary.correction,
        acceptance=summary.acceptance,
        notes=summary.notes,
    )


def _estimates(estimates: Estimates, followed: Followed) -> Estimates:
    """The modelled number of mistakes, and the precision and recall that the decisions let expect of the flags."""
    precision, recall = followed.flags.precision, followed.flags.recall
    return replace(
        estimates,
        precision=None if precision is None else min(1.0, precision.value),
        precision_low=None if precision is None else min(1.0, precision.low),
        precision_high=None if precision is None else min(1.0, precision.high),
        recall=None if recall is None else min(1.0, recall.value),
        # The models were fitted without the decisions, and say nothing of flags that follow them.
        models=tuple(
            replace(model, precision=None, precision_low=None, precision_high=None) for model in estimates.models
        ),
        basis=BASIS.format(decided=followed.verification.decided),
    )


def _detection(measured: InjectedDetection, scores: pd.DataFrame) -> InjectedDetection:
    """The new flags against the injected mislabels. The ranking is the noise model's, without the decisions."""
    again = detection_quality(
        scores["injected"].to_numpy(dtype=bool),
        scores["flag"].to_numpy(dtype=bool),
        {"suspicion": scores[MODEL_PREFIX + "suspicion"].to_numpy()},
    )
    return replace(
        measured,
        flagged=again.flagged,
        true_positive=again.true_positive,
        false_positive=again.false_positive,
        false_negative=again.false_negative,
        true_negative=again.true_negative,
        precision=again.precision,
        recall=again.recall,
        f1=again.f1,
    )


def _recalibrated_controls(controls: pd.DataFrame, followed: Followed) -> pd.DataFrame:
    """The copies' suspicions on the scale of the new ones, and the model's beside them."""
    said = controls["suspicion"].to_numpy(dtype=np.float64)
    recalibrated = followed.verification.recalibration(said) if len(said) else said
    return controls.assign(**{"suspicion": recalibrated, MODEL_PREFIX + "suspicion": said})


def _controls(
    measured: ControlsMeasured, controls: pd.DataFrame, flag: np.ndarray, ids: pd.Index, threshold: float
) -> ControlsMeasured:
    """How many known mislabels the new threshold finds among the samples that it does not flag as they are."""
    compared = controls[~np.isin(controls.index, ids[flag])]
    known = compared["spiked"].to_numpy(dtype=bool)
    suspicion = compared["suspicion"].to_numpy(dtype=np.float64)
    kinds = {
        name: replace(kind, found=int((suspicion[(compared["kind"] == name).to_numpy()] >= threshold).sum()))
        for name, kind in measured.kinds.items()
    }
    some = bool(known.any() and not known.all())
    return replace(
        measured,
        kinds=kinds,
        detection=detection_quality(known, suspicion >= threshold, {"suspicion": suspicion}) if some else None,
    )


def _notes(followed: Followed, before: np.ndarray, after: np.ndarray, with_correction: bool) -> Sequence[str]:
    new, gone = int((after & ~before).sum()), int((before & ~after).sum())
    decided = followed.verification.decided
    notes = [
        f"{decided} decisions on drawn samples recalibrated the suspicions. Newly flagged samples: {new}; no longer "
        f"flagged: {gone}. Decided samples have suspicion 1 or 0."
    ]
    if new:
        notes.append("The audit explained only what it flagged itself, so newly flagged samples may lack explanations.")
    if with_correction and (new or gone):
        notes.append(
            "What correcting is worth was measured with the earlier flags and is left out; audit the corrected labels "
            "to measure it."
        )
    return notes
