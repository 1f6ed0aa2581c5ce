"""Mislabels that are injected on purpose and recorded, to measure an audit."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from audit.compute.matrix import Rows, blocks, total


def inject_mislabels(
    labels: np.ndarray,
    classes: int,
    fraction: float,
    strategy: str,
    seed: int,
    embeddings: np.ndarray | Rows | None = None,
    influence: np.ndarray | None = None,
    candidates: np.ndarray | None = None,
) -> np.ndarray:
    """Labels with a fraction changed to wrong ones.

    Args:
        labels: (n,) class numbers.
        classes: C.
        fraction: share of the candidates to change.
        strategy: 'uniform' (another class at random), 'class-pair' (the class whose mean embedding is nearest), or
            'most-influential' (the most helpful samples, to another class at random: the original recipe's choice. It
            flatters influence, which is then measured with the very quantity that picked the samples).
        seed: of the choice.
        embeddings: (n, d), for 'class-pair'.
        influence: (n,), for 'most-influential'.
        candidates: positions that may be changed; None for all.

    Returns:
        (n,) class numbers; where they differ from `labels`, a mislabel was injected. At least one is, and no class
        loses more than half of its samples.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(len(labels)) if candidates is None else np.asarray(candidates)
    count = max(1, round(fraction * len(rows)))
    if strategy == "most-influential":
        assert influence is not None
        order = rows[np.argsort(-influence[rows], kind="stable")]
    else:
        order = rng.permutation(rows)
    chosen = order[_keeps_half(labels, order, classes)][:count]
    changed = labels.copy()
    if strategy == "class-pair":
        assert embeddings is not None
        changed[chosen] = nearest_class(embeddings, labels, classes)[labels[chosen]]
    else:
        changed[chosen] = (labels[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return changed


def nearest_class(embeddings: np.ndarray | Rows, labels: np.ndarray, classes: int) -> np.ndarray:
    """For each class, the other class whose mean embedding is nearest, (C,)."""
    rows = torch.from_numpy(embeddings) if isinstance(embeddings, np.ndarray) else embeddings
    (sums,) = total(_sums_by_class, (rows, torch.from_numpy(labels)), classes)
    means = sums.cpu().numpy() / np.bincount(labels, minlength=classes)[:, None]
    squares = (means**2).sum(1)
    distances = squares[:, None] + squares[None, :] - 2 * means @ means.T
    np.fill_diagonal(distances, np.inf)
    return distances.argmin(1)


def _sums_by_class(embeddings: Rows, labels: Tensor, classes: int) -> tuple[Tensor]:
    out = torch.zeros(classes, embeddings.shape[1], dtype=torch.float64, device=embeddings.device)
    for rows in blocks(embeddings, 2 * embeddings.shape[1]):
        out.index_add_(0, labels[rows].to(out.device), embeddings[rows].double())
    return (out,)


def _keeps_half(labels: np.ndarray, order: np.ndarray, classes: int) -> np.ndarray:
    """Which of the ordered positions may be changed so that each class keeps half of its samples."""
    allowed = np.bincount(labels, minlength=classes) // 2
    taken = np.zeros(classes, dtype=int)
    keep = np.zeros(len(order), dtype=bool)
    for place, row in enumerate(order):
        label = labels[row]
        if taken[label] < allowed[label]:
            taken[label] += 1
            keep[place] = True
    return keep
