"""Exact copies: samples with the same content, found by keys that are equal for equal content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from audit.compute.matrix import Rows


@dataclass(frozen=True)
class Copies:
    """Which of n samples have the same content.

    Attributes:
        content: (n,) number of each sample's content, from 0, in the order of their first samples.
        first: (u,) position of the first sample of each content.
    """

    content: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, keys: np.ndarray) -> Copies:
        """The copies, by uint8 keys (n, 16) that are equal for equal content."""
        whole = np.ascontiguousarray(keys).view(np.dtype((np.void, keys.shape[1]))).ravel()
        _, first, content = np.unique(whole, return_index=True, return_inverse=True)
        order = np.argsort(first)
        number = np.empty_like(order)
        number[order] = np.arange(len(order))
        return cls(number[content], first[order])

    @classmethod
    def none(cls, samples: int) -> Copies:
        """No two samples have the same content."""
        return cls(np.arange(samples), np.arange(samples))

    def __bool__(self) -> bool:
        return len(self.first) < len(self.content)

    def groups(self) -> list[np.ndarray]:
        """Positions of the samples of each content that occurs more than once, in the order of their first."""
        return self._grouped(np.bincount(self.content, minlength=len(self.first)) > 1)

    def conflicting(self, labels: np.ndarray) -> list[np.ndarray]:
        """Positions of the samples of each content whose labels (n,) are not all the same."""
        differ = np.zeros(len(self.first), dtype=bool)
        differ[self.content[labels != labels[self.first][self.content]]] = True
        return self._grouped(differ)

    def proven_mistakes(self, labels: np.ndarray) -> int:
        """The least number of wrong labels (n,): of each content, all but those with the most frequent label."""
        return sum(len(group) - int(np.bincount(labels[group]).max()) for group in self.conflicting(labels))

    def representatives(self, labels: np.ndarray, trusted: np.ndarray | None) -> np.ndarray:
        """The sample (u,) that stands for each content: one with a trusted label, else with the most frequent one.

        Args:
            labels: (n,) class numbers.
            trusted: bool (n,), whose labels are known to be right; None where none is.
        """
        chosen = self.first.copy()
        for group in self.conflicting(labels):
            known = group if trusted is None or not trusted[group].any() else group[trusted[group]]
            counts = np.bincount(labels[known])
            chosen[self.content[group[0]]] = known[counts[labels[known]].argmax()]
        return chosen

    def trusted_of_each(self, trusted: np.ndarray) -> np.ndarray:
        """Bool (u,): whether any sample of a content is trusted, bool (n,)."""
        found = np.zeros(len(self.first), dtype=bool)
        found[self.content[trusted]] = True
        return found

    def _grouped(self, wanted: np.ndarray) -> list[np.ndarray]:
        """Positions of the samples of each wanted content, bool (u,)."""
        rows = np.flatnonzero(wanted[self.content])
        rows = rows[np.argsort(self.content[rows], kind="stable")]
        return np.split(rows, np.flatnonzero(np.diff(self.content[rows])) + 1) if len(rows) else []


def row_keys(x: Rows) -> np.ndarray:
    """uint8 (n, 16): what identifies each row of x (n, d), as `content_key` does an image."""
    from audit.compute.matrix import blocks  # torch, which nobody pays for who only reads results

    digests = b"".join(
        hashlib.blake2b(row.tobytes(), digest_size=16).digest()
        for rows in blocks(x, 2 * x.shape[1])
        for row in x[rows].cpu().numpy()
    )
    return np.frombuffer(digests, dtype=np.uint8).reshape(len(x), 16)
