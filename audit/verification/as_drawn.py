"""Scores as they were when a verification sample was drawn from them.

Draw and estimate rest on what the noise model said. After decisions recalibrated an audit, its scores keep that in
columns of their own, so that further decisions start from it again, and nothing is recalibrated twice.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

RECALIBRATED = ("suspicion", "flag", "suggested_label", "suggested_probability", "other_probability")
"""The columns that decisions change, where a table has them."""

MODEL_PREFIX = "model_"
"""What the noise model said is kept under the column's name with this before it."""


def as_model_said(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores before any decision: the columns that were kept take their places again."""
    kept = [name for name in RECALIBRATED if MODEL_PREFIX + name in scores]
    back = {name: scores[MODEL_PREFIX + name] for name in kept}
    return scores.assign(**back).drop(columns=[MODEL_PREFIX + name for name in kept])


def keeping_what_the_model_said(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores before any decision, with a copy of the columns that decisions change."""
    return scores.assign(**{MODEL_PREFIX + name: scores[name] for name in RECALIBRATED if name in scores})


def suspicions_and_flags(scores: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The noise model's suspicion (n,) in [0, 1], and the flag, bool (n,), that follows from it."""
    before = as_model_said(scores)
    return before["suspicion"].to_numpy(dtype=np.float64).clip(0, 1), before["flag"].to_numpy(dtype=bool)


def suggestions_if_flagged(scores: pd.DataFrame) -> pd.Series:
    """The label (n,) that a flag suggests for each sample; None where the scores do not tell.

    It is `other_label`. Scores without that column tell it where they suggest another label than the given one.
    """
    if "other_label" in scores:
        return scores["other_label"].astype(object)
    suggested = as_model_said(scores)["suggested_label"].astype(object)
    return suggested.where(suggested.notna() & (suggested.astype(str) != scores["label"].astype(str)), None)
