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


def choose_flags(suspicion: np.ndarray, threshold: float | None = None) -> Flags:
    """Flag what is suspicious enough.

    With suspicions s read as probabilities, flagging the k most suspicious samples finds Σ_{i≤k} s_i of Σ s mistakes
    in expectation; the threshold maximises the F1 of these expectations, 2 Σ_{i≤k} s_i / (k + Σ s). Where even the best
    is below one half, as on a dataset with hardly a mistake, only samples that are more likely wrong than right are
    flagged, and there may be none.

    Args:
        suspicion: (n,) in [0, 1].
        threshold: to use instead of the chosen one.
    """
    rule = "The threshold was given by the user."
    if threshold is None:
        ordered = np.sort(suspicion)[::-1]
        expected_f1 = 2 * ordered.cumsum() / (np.arange(1, len(ordered) + 1) + ordered.sum())
        best = int(expected_f1.argmax())
        if expected_f1[best] >= 0.5:
            threshold = float(ordered[best])
            rule = "The threshold gives the best F1 that is to be expected under the suspicions."
        else:
            threshold = 0.5
            rule = "Samples are flagged that are more likely wrong than right: there are too few of them for better."
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
