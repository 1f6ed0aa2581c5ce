"""How much each sample helps or harms the mean validation loss: average the validation gradients, solve once.

With r = p − t the residuals, ḡ = (1/m) R_vᵀ Z_v the gradient of the mean validation loss and H S = ḡ, the influence of
sample i is r_iᵀ S z_i. Positive helps: leaving the sample out raises the mean validation loss by about influence / n
(Koh & Liang, arXiv 1703.04730, with the sign turned).
"""

from __future__ import annotations

import torch
from torch import Tensor

from audit.influence.hessian import HeadHessian, Solution


def mean_gradient(z: Tensor, residuals: Tensor) -> Tensor:
    """Gradient (C, D) of the mean loss of samples with features z (m, D) and residuals p − t (m, C)."""
    return residuals.T @ z / len(z)


def averaged_influence(
    hessian: HeadHessian, gradient: Tensor, z: Tensor, residuals: Tensor, method: str = "auto"
) -> tuple[Tensor, Solution]:
    """Influence on the mean validation loss of every sample, with one solve.

    Args:
        hessian: of the training objective.
        gradient: ḡ (C, D) of the mean validation loss.
        z: features (n, D) of the samples.
        residuals: p − t (n, C) of the samples.
        method: 'auto', 'cholesky' or 'cg'.

    Returns:
        (n,), unbounded, positive = helps; and the solution S with its residual.
    """
    solution = hessian.solve(gradient[None], method)
    return (residuals * (z @ solution.values[0].T)).sum(1), solution


def influence_on_validation(
    hessian: HeadHessian,
    z: Tensor,
    residuals: Tensor,
    validation: Tensor,
    validation_residuals: Tensor,
    method: str = "auto",
) -> tuple[Tensor, Solution]:
    """Influence of every sample, validation samples included, on the mean validation loss.

    A validation sample must not count as helpful for lowering its own loss: it is scored by the mean loss of the
    half of the validation samples that it is not in. All others are scored by the mean loss of all of them.

    Args:
        hessian: of the training objective.
        z, residuals: (n, D) and (n, C) of all samples, p minus the labels they would be trained on.
        validation: positions (m,) of the validation samples, m ≥ 2; every other one makes a half.
        validation_residuals: (m, C), p minus what the validation loss takes their labels to be.
        method: 'auto', 'cholesky' or 'cg'.

    Returns:
        (n,), positive = helps; and the solutions (2, C, D) for the two halves, with their residual.
    """
    halves = [validation[0::2], validation[1::2]]
    gradients = torch.stack(
        [mean_gradient(z[half], validation_residuals[start::2]) for start, half in enumerate(halves)]
    )
    solution = hessian.solve(gradients, method)
    shares = [len(half) / len(validation) for half in halves]
    both = shares[0] * solution.values[0] + shares[1] * solution.values[1]
    influence = (residuals * (z @ both.T)).sum(1)
    for half, other in ((halves[0], solution.values[1]), (halves[1], solution.values[0])):
        influence[half] = (residuals[half] * (z[half] @ other.T)).sum(1)
    return influence, solution
