"""Intervals from draws of a posterior: for one look after a fixed number of decisions, and for any number of looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class IntervalSettings:
    """How much of the posterior an interval leaves out on either side.

    Attributes:
        tail: for a 90 % interval after a fixed number of decisions. It is below 0.05 because the prior is not true of
            every dataset; simulated reviews chose it (tests/benchmarks/verification.md).
        anytime_tail: for a 90 % interval at any moment of a review. The error of 0.1 is shared out over looks after
            every ten decisions. Looks share most decisions, so each may leave out more than its part of the error.
    """

    tail: float = 0.03
    anytime_tail: float = 0.004


@dataclass(frozen=True)
class Estimate:
    """A number with its 90 % intervals.

    Attributes:
        value: the expected value.
        low, high: after a number of decisions that was fixed before.
        anytime_low, anytime_high: for a reviewer who looks after every ten decisions and stops when content.
    """

    value: float
    low: float
    high: float
    anytime_low: float
    anytime_high: float


@dataclass(frozen=True)
class Draws:
    """Draws (k,) of a number from the posterior, and what no decision speaks against.

    Attributes:
        values: of the number.
        least, most: the number if all undecided labels are right (wrong) wherever no drawn label is wrong (right).
        none, every: inf, or the least number, where no drawn label at all is wrong; -inf, or the most, where none is
            right.
    """

    values: np.ndarray
    least: np.ndarray
    most: np.ndarray
    none: float = np.inf
    every: float = -np.inf

    def __truediv__(self, samples: int) -> Draws:
        """As a share of so many samples."""
        return Draws(
            self.values / samples, self.least / samples, self.most / samples, self.none / samples, self.every / samples
        )


def estimate_of(draws: Draws, settings: IntervalSettings = IntervalSettings()) -> Estimate:
    """The estimate from draws of a posterior.

    The anytime interval keeps to what no decision speaks against: after ten decisions the prior says much, and a
    reviewer who looks early must not be misled by it.
    """
    # Numbers of samples have steps: the interval holds the whole of each step that it reaches.
    low = np.quantile(draws.values, settings.tail, method="lower")
    high = np.quantile(draws.values, 1 - settings.tail, method="higher")
    anytime_low = np.quantile(np.minimum(draws.values, draws.least), settings.anytime_tail, method="lower")
    anytime_high = np.quantile(np.maximum(draws.values, draws.most), 1 - settings.anytime_tail, method="higher")
    return Estimate(
        float(draws.values.mean()),
        float(min(low, draws.none)),
        float(max(high, draws.every)),
        float(min(anytime_low, low, draws.none)),
        float(max(anytime_high, high, draws.every)),
    )
