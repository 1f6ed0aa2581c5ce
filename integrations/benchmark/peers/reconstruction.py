"""Reconstruction error ratios (Marks, Griffin & Corso 2024, arXiv 2412.02596).

A shallow autoencoder is trained on the samples of each label. A label is suspicious if the autoencoder of another class
reconstructs the sample better than that of its own: χ = own error / smallest error of the others. As in the paper,
features are scaled to 0 … 1, an encoder of one hidden layer of 256 leads to 10 numbers, and a decoder of the same shape
leads back. The authors train it by parametric UMAP, whose loss is mostly the squared error of the reconstruction; here
it is this error alone. A label with χ > 1 is flagged: the paper's finer threshold is fitted to other data.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from integrations.benchmark.cases import Case, Verdict

HIDDEN, CODE = 256, 10
EPOCHS, BATCH = 20, 64
LEARNING_RATE = 1e-3
DECAY = 1e-6


def errors_by_class(x: Tensor, given: Tensor, classes: int, seed: int = 0) -> Tensor:
    """(n, C): the error of the reconstruction of each sample by the autoencoder of each class."""
    low, high = x.amin(0), x.amax(0)
    scaled = ((x - low) / (high - low).clamp_min(1e-12)).float()
    errors = torch.empty(len(x), classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number in range(classes):
            network = _trained(scaled[given == number])
            with torch.inference_mode():
                errors[:, number] = (network(scaled) - scaled).norm(dim=1)
    return errors


def _trained(x: Tensor) -> nn.Module:
    """An autoencoder of samples (k, d)."""
    width = x.shape[1]
    network = nn.Sequential(
        *(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CODE)),
        *(nn.Linear(CODE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, width), nn.Sigmoid()),
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, weight_decay=DECAY)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimiser.zero_grad()
            nn.functional.mse_loss(network(x[rows]), x[rows]).backward()
            optimiser.step()
    return network


def ratios(errors: np.ndarray, given: np.ndarray) -> np.ndarray:
    """χ (n,): the error (n, C) of the given class, divided by the smallest error of the others."""
    rows = np.arange(len(given))
    others = errors.copy()
    others[rows, given] = np.inf
    found: np.ndarray = errors[rows, given] / others.min(1).clip(1e-12)
    return found


def reconstruction(case: Case) -> Verdict:
    """By the ratio of reconstruction errors."""
    errors = errors_by_class(*case.tensors(), case.classes, case.seed).numpy()
    found = ratios(errors, case.given)
    return Verdict(found, found > 1, suggested=errors.argmin(1))
