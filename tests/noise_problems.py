"""Embeddings whose classes are known, with labels of which some are wrong, and what the noise model makes of them."""

from __future__ import annotations

import numpy as np
import torch

from audit.noise_model.diagnosis import Diagnosis
from audit.noise_model.model import Fitted, NoiseModel

CLASSES = 5
N = 1000


def pictures(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (N, 16) around a centre for each class, and the classes."""
    rng = np.random.default_rng(seed)
    true = rng.integers(CLASSES, size=N)
    centres = rng.normal(size=(CLASSES, 16))
    return centres[true] + 1.2 * rng.normal(size=(N, 16)), true


def with_slips(true: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Labels of which a fraction is another class at random."""
    rng = np.random.default_rng(seed)
    labels = true.copy()
    wrong = rng.choice(N, round(fraction * N), replace=False)
    labels[wrong] = (true[wrong] + rng.integers(1, CLASSES, len(wrong))) % CLASSES
    return labels


def fitted_to(x: np.ndarray, labels: np.ndarray, seed: int = 0) -> tuple[NoiseModel, Fitted, torch.Tensor]:
    model = NoiseModel(torch.from_numpy(x), int(labels.max()) + 1, seed)
    given = torch.from_numpy(labels)
    return model, model.fit(given), given


def diagnosed(x: np.ndarray, labels: np.ndarray, seed: int = 0) -> tuple[Diagnosis, torch.Tensor]:
    _, fitted, given = fitted_to(x, labels, seed)
    return fitted.diagnosis, given


def suspicion_of(diagnosis: Diagnosis, labels: torch.Tensor) -> np.ndarray:
    return (1 - diagnosis.posterior.double().gather(1, labels[:, None])[:, 0]).numpy()
