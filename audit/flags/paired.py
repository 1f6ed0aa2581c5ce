"""The effect of correction on the head's F1, with an interval from a paired bootstrap of the test samples.

Two heads that predict the same test samples err on many of the same ones. Drawing samples, and measuring both heads on
each draw, keeps this: the interval is that of the difference, and not of two separate scores (Efron & Tibshirani 1993).
"""

from __future__ import annotations

import numpy as np

DRAWS = 1000
"""Times that the test samples are drawn; the ends of the interval then vary by about a twentieth of its width."""

_ELEMENTS = 4_000_000  # numbers that a block of draws may hold


def f1_change(labels: np.ndarray, before: np.ndarray, after: np.ndarray, seed: int) -> tuple[float, float, float]:
    """The change of the weighted F1 from one head to another, and its 95 % interval.

    Args:
        labels: (n,) class numbers of the test samples.
        before, after: (n,) classes that the two heads predict.
        seed: of the draws.

    Returns:
        The change, the lower and the upper end of its interval, each from -1 to 1.
    """
    triples, counts = np.unique(np.stack([labels, before, after]), axis=1, return_counts=True)
    change = float(_change(triples, counts[None])[0])
    rng = np.random.default_rng(seed)
    block = max(1, _ELEMENTS // (len(counts) + int(triples.max()) + 1))
    drawn = [
        _change(triples, rng.multinomial(len(labels), counts / len(labels), size=min(block, DRAWS - start)))
        for start in range(0, DRAWS, block)
    ]
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    return change, min(change, float(low)), max(change, float(high))


def _change(triples: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The change of F1 (draws,) for counts (draws, k) of the kinds of samples (3, k): label, before, after."""
    labels, before, after = triples
    return _weighted_f1(labels, after, counts) - _weighted_f1(labels, before, counts)


def _weighted_f1(labels: np.ndarray, predicted: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean F1 (draws,) over classes, weighted by their samples."""
    classes = int(max(labels.max(), predicted.max())) + 1
    support, called = _by_class(labels, counts, classes), _by_class(predicted, counts, classes)
    hits = _by_class(labels, counts * (labels == predicted), classes)
    f1 = 2 * hits / np.maximum(support + called, 1)
    weighted: np.ndarray = (f1 * support).sum(1) / counts.sum(1)
    return weighted


def _by_class(classes_of: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Counts (draws, classes) of the samples that have each class."""
    order = np.argsort(classes_of, kind="stable")
    starts = np.flatnonzero(np.diff(classes_of[order], prepend=-1))
    sums = np.zeros((len(counts), classes))
    sums[:, classes_of[order][starts]] = np.add.reduceat(counts[:, order], starts, axis=1)
    return sums
