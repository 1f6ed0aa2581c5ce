"""From suspicion to flags: a threshold, and what to expect of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BASIS = (
    "These are expected values under the suspicions themselves, which come from a noise model fitted to this dataset; "
    "they are not measured against known mistakes."
)


@dataclass(frozen=True)
class Flags:
    """The decision.

    Attributes:
        threshold: samples with at least this suspicion are flagged.
        rule: how the threshold was chosen, in a sentence.
        flag: bool (n,).
        estimates: expected number of mistakes with a 95 % interval, expected precision and recall of the flags (None
            where nothing is flagged or expected), and what that rests on.
    """

    threshold: float
    rule: str
    flag: np.ndarray
    estimates: dict[str, float | str | None]


def choose_flags(
    suspicion: np.ndarray,
    threshold: float | None = None,
    target_precision: float | None = None,
    max_review: int | None = None,
) -> Flags:
    """Flag what is suspicious enough: by a threshold, for a precision, within a budget, or for the best F1.

    Args:
        suspicion: (n,) in [0, 1].
        threshold: to use instead of a chosen one.
        target_precision: flag as many as keep the expected precision (the mean suspicion of the flagged) at or above.
        max_review: flag the most suspicious, at most this many; samples that are tied over the limit are left out.
    """
    if threshold is not None:
        rule = "The threshold was given by the user."
    elif target_precision is not None:
        ordered = np.sort(suspicion)[::-1]
        enough = ordered.cumsum() / np.arange(1, len(ordered) + 1) >= target_precision
        threshold = _after(ordered, int(enough.sum()))
        rule = f"Flagged is as much as keeps the expected precision at {target_precision:g} or above."
    elif max_review is not None:
        threshold = _after(np.sort(suspicion)[::-1], min(max_review, len(suspicion)))
        rule = f"Flagged are the most suspicious samples, at most {max_review}."
    else:
        threshold, rule = _best_f1(suspicion)
    flag = suspicion >= threshold
    mistakes = float(suspicion.sum())
    spread = 1.96 * float(np.sqrt((suspicion * (1 - suspicion)).sum()))
    found = float(suspicion[flag].sum())
    return Flags(
        threshold,
        rule,
        flag,
        {
            "mistakes": mistakes,
            "mistakes_low": max(0.0, mistakes - spread),
            "mistakes_high": min(float(len(suspicion)), mistakes + spread),
            "precision": found / int(flag.sum()) if flag.any() else None,
            "recall": found / mistakes if mistakes else None,
            "basis": BASIS,
        },
    )


def suggest_labels(posterior: np.ndarray, labels: np.ndarray, flag: np.ndarray) -> np.ndarray:
    """The class (n,) that the audit would give each sample.

    That is the likeliest one; for a flagged sample the likeliest of the others, since whoever looks at a flag wants to
    know what else the sample may be.

    Args:
        posterior: (n, C) probability of each class being the true one.
        labels: given class numbers (n,).
        flag: bool (n,).
    """
    candidates = posterior.copy()
    flagged = np.flatnonzero(flag)
    candidates[flagged, labels[flagged]] = -1
    return candidates.argmax(1)


def _after(ordered: np.ndarray, count: int) -> float:
    """The lowest threshold that flags at most `count` of suspicions in falling order; above 1 where that is none."""
    if count == len(ordered):
        return float(ordered[-1])
    above = ordered[:count][ordered[:count] > ordered[count]]
    return float(above[-1]) if len(above) else float(np.nextafter(ordered[0], np.inf))


def _best_f1(suspicion: np.ndarray) -> tuple[float, str]:
    """The threshold of the best expected F1, and the rule in a sentence.

    With suspicions s read as probabilities, flagging the k most suspicious samples finds Σ_{i≤k} s_i of Σ s mistakes
    in expectation; the threshold maximises the F1 of these expectations, 2 Σ_{i≤k} s_i / (k + Σ s). Where even the best
    is below one half, as on a dataset with hardly a mistake, only samples that are more likely wrong than right are
    flagged, and there may be none.
    """
    ordered = np.sort(suspicion)[::-1]
    expected_f1 = 2 * ordered.cumsum() / (np.arange(1, len(ordered) + 1) + ordered.sum())
    best = int(expected_f1.argmax())
    if expected_f1[best] >= 0.5:
        return float(ordered[best]), "The threshold gives the best F1 that is to be expected under the suspicions."
    return 0.5, "Samples are flagged that are more likely wrong than right: there are too few of them for better."
