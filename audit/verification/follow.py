"""What follows from a verification: recalibrated suspicions, and with them threshold, flags and suggestions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.config import AuditConfig
from audit.flags.threshold import choose_flags
from audit.summary.verified import Verified, VerifiedClass, VerifiedNumber, VerifiedThreshold
from audit.verification.anytime import Estimate
from audit.verification.as_drawn import as_model_said, keeping_what_the_model_said, suggestions_if_flagged
from audit.verification.estimate import OfFlags, ReviewedScores, Verification


@dataclass(frozen=True)
class Followed:
    """Scores that follow the decisions.

    Attributes:
        scores: the table of before, by id, with other values in the columns suspicion, flag, suggested_label and, where
            it had them, suggested_probability and other_probability. What the model said is kept in columns with
            `model_` before these names. The suspicion of a decided sample is 1 (wrong) or 0 (right).
        threshold: samples with at least this suspicion are flagged.
        rule: how it was chosen, in two sentences.
        verification: what the decisions say, with the model's flags.
        flags: how good the new flags are.
    """

    scores: pd.DataFrame
    threshold: float
    rule: str
    verification: Verification
    flags: OfFlags

    @property
    def verified(self) -> Verified:
        """The summary's part, with precision and recall of the new flags."""
        return verified_part(self.verification, self.flags)


def follow_scores(
    scores: pd.DataFrame,
    decisions: pd.DataFrame,
    config: AuditConfig | None = None,
    proven: np.ndarray | None = None,
) -> Followed:
    """Verify a table of scores, recalibrate its suspicions, and flag again.

    The threshold is chosen as in the audit: for the best expected F1 with the verified number of mistakes, or as
    `config` says with threshold, target_precision or max_review. Scores that followed other decisions before start
    again from what the model said (`audit.verification.as_drawn`).

    Args:
        scores: by id, columns label, suggested_label, suspicion and flag; optionally suggested_probability,
            other_label and other_probability, and `model_` columns from earlier decisions.
        decisions: as in `audit.verify`.
        config: of the audit; None for the best F1.
        proven: bool (n,), labels that identical samples contradict. Their suspicions only rise.

    Raises:
        InputError: as `audit.verify`.
    """
    config = config or AuditConfig()
    before = as_model_said(scores)
    reviewed = ReviewedScores.of(before, decisions)
    verification = reviewed.verification()
    said = before["suspicion"].to_numpy(dtype=np.float64)
    suspicion = verification.recalibration(said)
    if proven is not None:  # a picture with two labels has a wrong one, whatever decisions say of other pictures
        suspicion[proven] = np.maximum(suspicion, said)[proven]
    clear = reviewed.read.clear
    suspicion[clear.rows] = clear.wrong
    threshold, rule = _threshold(suspicion, reviewed, verification.mistakes.value, config, proven)
    flag = suspicion >= threshold
    table = keeping_what_the_model_said(before).assign(suspicion=suspicion, flag=flag)
    return Followed(
        scores=_with_suggestions(table, before, reviewed.read.true_labels),
        threshold=threshold,
        rule=f"{_decisions_in_words(verification)} recalibrated the suspicions. {rule}",
        verification=verification,
        flags=reviewed.of_flags(flag),
    )


def verified_part(verification: Verification, flags: OfFlags | None = None) -> Verified:
    """The summary's part.

    Args:
        verification: what the decisions say.
        flags: how good the flags are that the summary counts; None for those of the verification.
    """
    of_flags = flags or verification
    if_right, if_wrong = verification.mistakes_if_unsure or (None, None)
    return Verified(
        decided=verification.decided,
        found=verification.found,
        unsure=verification.unsure,
        reviewed=verification.reviewed,
        mistakes=_number(verification.mistakes),
        precision=_number_or_none(of_flags.precision),
        recall=_number_or_none(of_flags.recall),
        suggestions_right=_number_or_none(of_flags.suggestions_right),
        by_threshold=tuple(
            VerifiedThreshold(
                threshold=one.threshold,
                samples=one.samples,
                precision=_number(one.precision),
                recall=_number_or_none(one.recall),
            )
            for one in verification.by_threshold
        ),
        by_class=tuple(
            VerifiedClass(label=one.label, samples=one.samples, decided=one.decided, mistakes=_number(one.mistakes))
            for one in verification.by_class
        ),
        mistakes_if_unsure_right=_number_or_none(if_right),
        mistakes_if_unsure_wrong=_number_or_none(if_wrong),
    )


def _threshold(
    suspicion: np.ndarray, reviewed: ReviewedScores, mistakes: float, config: AuditConfig, proven: np.ndarray | None
) -> tuple[float, str]:
    """The threshold, and how it was chosen.

    A target precision and a budget are about the samples that nobody decided: nothing is left to review of the others.
    """
    left = np.ones(len(suspicion), dtype=bool)
    left[reviewed.read.clear.rows] = False
    if not left.any():
        return 0.5, "Every label is decided, so those that are wrong are flagged."
    if config.threshold is config.target_precision is config.max_review is None:
        return _best_threshold(suspicion, reviewed.share_wrong(), mistakes, proven)
    flags = choose_flags(suspicion[left], config.threshold, config.target_precision, config.max_review)
    return flags.threshold, flags.rule


def _best_threshold(
    suspicion: np.ndarray, share: np.ndarray, mistakes: float, proven: np.ndarray | None
) -> tuple[float, str]:
    """The threshold with the best expected F1, as `audit.flags.threshold.best_threshold` chooses it.

    The suspicions are one curve for all samples, and the decisions tell how each stratum deviates from it. So the
    suspicions give the order, and the strata how many labels are wrong.

    Args:
        suspicion: (n,) recalibrated, in [0, 1].
        share: (n,) of labels that are expected to be wrong around each sample.
        mistakes: verified number of them.
        proven: bool (n,), labels that identical samples contradict.
    """
    order = np.argsort(-suspicion, kind="stable")
    ordered = suspicion[order]
    expected_f1 = 2 * share[order].cumsum() / (np.arange(1, len(order) + 1) + mistakes)
    expected_f1[:-1][ordered[1:] == ordered[:-1]] = -1  # a threshold cannot part equal suspicions
    best = int(expected_f1.argmax())
    threshold, rule = float(ordered[best : best + 2].mean()), "The threshold has the best expected F1."
    if expected_f1[best] < 0.5:
        threshold, rule = 0.5, "Few labels look wrong, so only samples with a suspicion of 0.5 or higher are flagged."
    if proven is not None and proven.any() and suspicion[proven].min() < threshold:
        threshold = float(suspicion[proven].min())
        rule = "The threshold is low enough to flag every label that an identical sample contradicts."
    return threshold, rule


def _with_suggestions(table: pd.DataFrame, before: pd.DataFrame, true_labels: dict[int, str]) -> pd.DataFrame:
    """The table with suggestions that fit its suspicions and flags.

    Args:
        table: with new suspicions and flags.
        before: the scores as the model said.
        true_labels: of samples decided as wrong, by row, as text; a label that is not in the table is not suggested.
    """
    other = suggestions_if_flagged(before)
    suspicion, flag = table["suspicion"].to_numpy(), table["flag"].to_numpy()
    probability = _other_probability(before, suspicion, other)
    chosen = flag | (probability > 1 - suspicion)
    suggested = np.where(chosen, other.to_numpy(dtype=object), table["label"].to_numpy(dtype=object))
    likely = np.where(chosen, probability, 1 - suspicion)
    known = {str(label): label for label in pd.unique(table["label"])}
    for row, text in true_labels.items():
        if text in known:
            suggested[row], likely[row] = known[text], 1.0
    columns = {"suggested_label": suggested, "suggested_probability": likely, "other_probability": probability}
    return table.assign(**{name: values for name, values in columns.items() if name in table})


def _other_probability(before: pd.DataFrame, suspicion: np.ndarray, other: pd.Series) -> np.ndarray:
    """Probability (n,) that the label is right that a flag suggests: as large a part of the suspicion as in the model.

    Args:
        before: the scores as the model said.
        suspicion: (n,) recalibrated.
        other: (n,) the label that a flag suggests; None where it is not known.
    """
    said = before["suspicion"].to_numpy(dtype=np.float64)
    known = [name for name in ("other_probability", "suggested_probability") if name in before]
    likely = before[known[0]].to_numpy(dtype=np.float64) if known else said
    part = np.divide(likely, said, out=np.ones(len(said)), where=said > 0).clip(0, 1)
    return np.where(other.isna(), 0.0, part * suspicion)


def _decisions_in_words(verification: Verification) -> str:
    return "1 decision" if verification.decided == 1 else f"{verification.decided} decisions"


def _number(estimate: Estimate) -> VerifiedNumber:
    return VerifiedNumber(**vars(estimate))


def _number_or_none(estimate: Estimate | None) -> VerifiedNumber | None:
    return None if estimate is None else _number(estimate)
