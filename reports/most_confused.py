"""Which classes a matrix of confusions shows where there are too many for all."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array


def most_confused(counts: csr_array, limit: int) -> np.ndarray:
    """Rising numbers of at most `limit` classes that are confused with each other.

    The classes with most confusions may have none among them, where there are a thousand classes and each confusion is
    another one. So the classes of the most frequent pairs are tried too, and those with more confusions among them are
    chosen.

    Args:
        counts: (C, C) of samples; those on the diagonal are no confusions.
        limit: of classes; all of fewer classes are shown.
    """
    classes = counts.shape[0]
    if classes <= limit:
        return np.arange(classes)
    ranked = np.argsort(2 * counts.diagonal() - counts.sum(axis=0) - counts.sum(axis=1), kind="stable")
    tried = [np.sort(ranked[:limit]), _of_pairs(counts, limit)]
    return max(tried, key=lambda chosen: _among(counts, chosen))


def _of_pairs(counts: csr_array, limit: int) -> np.ndarray:
    """The classes of the most frequent pairs, in either direction."""
    both = (counts + counts.T).tocoo()
    first, second = both.coords
    above = first < second
    chosen: set[int] = set()
    for place in np.argsort(-both.data[above], kind="stable"):
        pair = {int(first[above][place]), int(second[above][place])}
        if len(chosen | pair) <= limit:
            chosen |= pair
        if len(chosen) == limit:
            break
    return np.array(sorted(chosen), dtype=int)


def _among(counts: csr_array, chosen: np.ndarray) -> int:
    """Confusions of some classes with each other."""
    square = counts[chosen][:, chosen]
    return int(square.sum() - square.diagonal().sum())
