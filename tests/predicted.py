"""Class predictions of made models, for labels of which some are wrong."""

from __future__ import annotations

import numpy as np

CLASSES = 5
N = 1200


def made_predictions(seed: int = 0, sharpness: float = 3.0, wrong: float = 0.15) -> tuple[np.ndarray, ...]:
    """Out-of-sample logits (N, CLASSES), labels of which a share is wrong, and the true classes."""
    rng = np.random.default_rng(seed)
    true = rng.integers(CLASSES, size=N)
    logits = sharpness * np.eye(CLASSES)[true] + rng.normal(size=(N, CLASSES))
    labels = true.copy()
    changed = rng.permutation(N)[: round(wrong * N)]
    labels[changed] = (true[changed] + rng.integers(1, CLASSES, len(changed))) % CLASSES
    return logits, labels, true


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(1, keepdims=True)
    return probabilities


def learnt_by_heart(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """In-sample probabilities of a model that has learnt its labels by heart, wrong ones too."""
    return softmax(0.5 * logits + 6.0 * np.eye(CLASSES)[labels])
