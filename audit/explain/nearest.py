"""The samples whose pictures are most like a sample's: what a reviewer compares a picture with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class NearestSamples:
    """Finds the samples with the nearest embeddings.

    Likeness is the cosine of the angle between two embeddings, after the mean of all embeddings was subtracted.

    Args:
        ids: n distinct ids.
        embeddings: their (n, d).
        labels: their (n,) given labels.
    """

    def __init__(self, ids: Sequence[str], embeddings: np.ndarray, labels: Sequence[str]) -> None:
        self._ids = np.array(ids, dtype=object)
        self._labels = np.array(labels, dtype=object)
        self._places = {sample: place for place, sample in enumerate(ids)}
        x = np.asarray(embeddings, dtype=np.float32)
        x = x - x.mean(axis=0) if len(x) else x
        self._units = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)

    def __contains__(self, sample: str) -> bool:
        return sample in self._places

    def nearest(self, sample: str, labels: Sequence[str | None], count: int) -> list[list[str]]:
        """The ids of the nearest samples, the nearest first, without the sample itself.

        Args:
            sample: the id of one of the samples.
            labels: for each list, the given label that its samples have; None for samples with any label.
            count: how many in each list, at most.

        Raises:
            KeyError: if the sample is none of them.

        Example:
            >>> anyone, cats = samples.nearest("17", (None, "cat"), 10)
        """
        place = self._places[sample]
        likeness = self._units @ self._units[place]
        likeness[place] = -np.inf
        return [self._most(likeness, label, count) for label in labels]

    def in_order_of_likeness(self, samples: Sequence[str]) -> list[str]:
        """The samples so that neighbours are alike: by their place along the direction in which they differ most.

        Samples without an embedding come last.
        """
        known = [sample for sample in samples if sample in self._places]
        others = [sample for sample in samples if sample not in self._places]
        if len(known) < 3:
            return [*known, *others]
        x = self._units[[self._places[sample] for sample in known]].astype(np.float64)
        centred = x - x.mean(axis=0)
        direction = np.linalg.svd(centred, full_matrices=False)[2][0]
        order = np.argsort(centred @ direction, kind="stable")
        return [*(known[place] for place in order), *others]

    def _most(self, likeness: np.ndarray, label: str | None, count: int) -> list[str]:
        those = np.arange(len(likeness)) if label is None else np.flatnonzero(self._labels == label)
        those = those[np.isfinite(likeness[those])]
        if len(those) > count:
            those = those[np.argpartition(-likeness[those], count)[:count]]
        return list(self._ids[those[np.argsort(-likeness[those], kind="stable")]])
