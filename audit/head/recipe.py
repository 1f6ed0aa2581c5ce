"""The head of the original recipe: a few epochs of Adam, without a penalty."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from audit.compute.matrix import Rows
from audit.head.fit import Head, cross_entropy, targets_of
from audit.head.objective import Objective
from audit.head.standardise import Standardiser


def train_head_by_recipe(
    x: Rows,
    labels: Tensor,
    x_validation: Rows,
    labels_validation: Tensor,
    classes: int,
    epochs: int = 50,
    learning_rate: float = 1e-3,
    batch_size: int = 1000,
    seed: int = 0,
) -> Head:
    """The original recipe: Adam on cross-entropy, no L2, a fixed number of epochs, embeddings as they are.

    It does not converge; the gradient norm that is returned says how far from it.
    """
    standardiser = Standardiser.unchanged(x)
    z, z_validation = standardiser(x), standardiser(x_validation)
    targets, targets_validation = targets_of(labels, classes, z), targets_of(labels_validation, classes, z_validation)
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(x.shape[1])  # torch.nn.Linear's own initialisation
    weight = torch.empty(classes, z.shape[1], dtype=z.dtype).uniform_(-bound, bound, generator=generator)
    weight = weight.to(z.device).requires_grad_(True)
    optimiser = torch.optim.Adam([weight], lr=learning_rate)
    curve: list[tuple[float, float]] = []
    for _ in range(epochs):
        for rows in torch.randperm(len(z), generator=generator).split(batch_size):
            rows = rows.to(z.device)
            optimiser.zero_grad()
            functional.cross_entropy(z[rows] @ weight.T, targets[rows]).backward()
            optimiser.step()
        final = weight.detach()
        curve.append((cross_entropy(z, final, targets), cross_entropy(z_validation, final, targets_validation)))
    final = weight.detach()
    return Head(final, standardiser, 0.0, "adam", Objective(z, targets, 0.0, None).at(final).norm, curve)
