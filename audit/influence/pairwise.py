"""Which training samples help or harm a given sample: the matrix whose mean over rows is the averaged influence."""

from __future__ import annotations

import torch
from torch import Tensor

from audit.influence.hessian import HeadHessian


def pairwise_influence(
    hessian: HeadHessian,
    z_targets: Tensor,
    residuals_targets: Tensor,
    z: Tensor,
    residuals: Tensor,
    method: str = "auto",
    targets_at_once: int = 16,
) -> Tensor:
    """Influence of every sample on the loss of every target.

    Args:
        hessian: of the training objective.
        z_targets, residuals_targets: (m, D) and (m, C) of the targets, e.g. chosen validation samples.
        z, residuals: (n, D) and (n, C) of the samples.
        method: 'auto', 'cholesky' or 'cg'.
        targets_at_once: right-hand sides a solve: memory grows by that many times C·D and n·C.

    Returns:
        (m, n), positive = the sample helps the target.
    """
    rows = []
    for start in range(0, len(z_targets), targets_at_once):
        part = slice(start, start + targets_at_once)
        gradients = residuals_targets[part, :, None] * z_targets[part, None, :]
        solved = hessian.solve(gradients, method).values
        rows.append(torch.einsum("nd,kcd,nc->kn", z, solved, residuals))
    return torch.cat(rows) if rows else z.new_zeros((0, len(z)))
