"""How much each sample helps or harms the mean validation loss: average the validation gradients, solve once.

With r = p − t the residuals, ḡ = (1/m) R_vᵀ Z_v the gradient of the mean validation loss and H S = ḡ, the influence of
sample i is r_iᵀ S z_i. Positive helps: leaving the sample out raises the mean validation loss by about influence / n
(Koh & Liang, arXiv 1703.04730, with the sign turned). The targets t of the validation samples may be probabilities, and
the loss is then what it is expected to be.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audit.compute.matrix import Rows, blocks, map_rows, numbers_read, select_rows, total
from audit.compute.threads import one_thread
from audit.head.hessian import Solution
from audit.head.stable import StableSolver


def mean_gradient(z: Rows, residuals: Rows) -> Tensor:
    """Gradient (C, D), float64, of the mean loss of samples with features z (m, D) and residuals p − t (m, C)."""
    (gradient,) = total(_gradient, (z, residuals))
    return gradient.double() / len(z)


def _gradient(z: Rows, residuals: Rows) -> tuple[Tensor]:
    out = torch.zeros(residuals.shape[1], z.shape[1], dtype=torch.float64, device=z.device)
    for rows in blocks(z, numbers_read(z) + 2 * residuals.shape[1]):
        out += residuals[rows].T @ z[rows]
    return (out,)


def inner_products(z: Rows, residuals: Rows, solutions: Tensor) -> Tensor:
    """r_iᵀ S_j z_i: (k, n) of features z (n, D), residuals (n, C) and solutions S (k, C, D)."""
    (products,) = map_rows(_inner_products, (z, residuals), solutions)
    return products.T


def _inner_products(z: Rows, residuals: Rows, solutions: Tensor) -> tuple[Tensor]:
    k, classes, features = solutions.shape
    out = torch.empty(len(z), k, dtype=z.dtype, device=z.device)
    flat = solutions.to(z.dtype).reshape(-1, features).T
    for rows in blocks(z, numbers_read(z) + 2 * k * classes):
        moved = (z[rows] @ flat).view(-1, k, classes)
        with one_thread(moved.numel()):
            out[rows] = (moved * residuals[rows][:, None, :]).sum(2)
    return (out,)


def influence_on_validation(
    solver: StableSolver,
    z: Rows,
    residuals: Rows,
    validation: Tensor,
    validation_residuals: Rows,
) -> tuple[Tensor, Solution]:
    """Influence of every sample, validation samples included, on the mean validation loss.

    A validation sample must not count as helpful for lowering its own loss: it is scored by the mean loss of the
    half of the validation samples that it is not in. All others are scored by the mean loss of all of them.

    Args:
        solver: with the Hessian of the training objective.
        z, residuals: (n, D) and (n, C) of all samples, p minus the labels they would be trained on.
        validation: positions (m,) of the validation samples, m ≥ 2; every other one makes a half.
        validation_residuals: (m, C), p minus what the validation loss takes their labels to be.

    Returns:
        (n,), positive = helps; and the solutions (2, C, D) for the two halves, with their residual.
    """
    halves = [validation[0::2], validation[1::2]]
    gradients = torch.stack(
        [
            mean_gradient(
                select_rows(z, half), select_rows(validation_residuals, torch.arange(start, len(validation), 2))
            )
            for start, half in enumerate(halves)
        ]
    )
    solution = solver.solve(gradients)
    return merge_halves(inner_products(z, residuals, solution.values), halves), solution


def merge_halves(influence: Tensor, halves: list[Tensor]) -> Tensor:
    """Influence (n,) on the mean validation loss, of each validation sample on that of the half it is not in.

    Args:
        influence: (2, n) on the mean loss of either half.
        halves: positions of the validation samples in them.
    """
    first, second = influence
    share = len(halves[0]) / (len(halves[0]) + len(halves[1]))
    merged = share * first + (1 - share) * second
    merged[halves[0]], merged[halves[1]] = second[halves[0]], first[halves[1]]
    return merged
