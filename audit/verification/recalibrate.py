"""Suspicion, recalibrated by the decisions of a verification sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.verification.curve import Fit, logit


@dataclass(frozen=True)
class Recalibration:
    """A function from suspicion to the share of labels that are wrong, as far as decisions tell.

    It rises with the suspicion, so the ranking stays as it is.

    Attributes:
        logits: (k,) of suspicions, rising.
        shares: (k,) of labels that are expected to be wrong; in between, it is linear.
        least: suspicions are cut to [least, 1 − least] before.
    """

    logits: tuple[float, ...]
    shares: tuple[float, ...]
    least: float

    def __call__(self, suspicion: np.ndarray) -> np.ndarray:
        """Recalibrated suspicions (n,) in [0, 1] of suspicions (n,) in [0, 1]."""
        return np.interp(logit(np.asarray(suspicion, dtype=np.float64), self.least), self.logits, self.shares)


def recalibration_of(fit: Fit, points: int = 80) -> Recalibration:
    """The recalibration that a posterior expects, at so many points between which it is linear.

    Args:
        fit: after decisions.
        points: 2 or more.
    """
    least = fit.curves.settings.least
    low, high = logit(np.array([least, 1 - least]), least).tolist()
    logits = np.linspace(low, high, points)
    shares = np.maximum.accumulate(fit.mean_share(logits)).clip(0, 1)
    return Recalibration(tuple(logits.tolist()), tuple(shares.tolist()), least)
