"""The change of F1 between two heads, and its interval by a paired bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from audit.flags.paired import f1_change

Predictions = tuple[np.ndarray, np.ndarray, np.ndarray]


def predictions(samples: int, better: float, seed: int = 0) -> Predictions:
    """Labels of five classes, and two heads that err on a fifth; the second mends this share of the first's errors."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, samples)
    before = np.where(rng.random(samples) < 0.2, (labels + 1) % 5, labels)
    after = np.where((before != labels) & (rng.random(samples) < better), labels, before)
    return labels, before, after


def f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    return float(f1_score(labels, predicted, average="weighted", zero_division=0))


def test_the_change_is_that_of_scikit_learn() -> None:
    labels, before, after = predictions(200, 0.5)
    change, low, high = f1_change(labels, before, after, seed=0)
    assert change == pytest.approx(f1(labels, after) - f1(labels, before))
    assert low < change < high
    assert f1_change(labels, before, after, seed=0) == (change, low, high)
    assert f1_change(labels, before, before, seed=0) == (0.0, 0.0, 0.0)


def test_the_interval_is_that_of_draws_of_whole_samples() -> None:
    labels, before, after = predictions(150, 0.3)
    _, low, high = f1_change(labels, before, after, seed=0)
    rng = np.random.default_rng(1)
    changes = []
    for _ in range(1000):
        rows = rng.integers(0, len(labels), len(labels))
        changes.append(f1(labels[rows], after[rows]) - f1(labels[rows], before[rows]))
    assert (low, high) == pytest.approx(tuple(np.quantile(changes, [0.025, 0.975])), abs=0.01)


def test_the_interval_covers_the_change_in_the_population() -> None:
    labels, before, after = predictions(100_000, 0.2)
    real = f1(labels, after) - f1(labels, before)
    rng = np.random.default_rng(2)
    held = 0
    for number in range(100):
        rows = rng.integers(0, len(labels), 400)
        _, low, high = f1_change(labels[rows], before[rows], after[rows], seed=number)
        held += low <= real <= high
    assert held >= 88
