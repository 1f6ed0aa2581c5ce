"""An approximate inverse of the head's Hessian, class by class: exact within a class, without what classes share.

K-FAC takes features and predicted probabilities to be independent, so that the curvature of every class has the same
directions. The curvature of a class comes from the few samples that are in doubt about it, whose features are alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from audit.compute.matrix import Rows, blocks, total
from audit.head.factors import SecondMoment, class_variances

LEAST_CURVATURE = 1.0
"""A sample counts for a class with its own features from this multiple of the mean curvature there; all others count
with the second moment of all samples. Measured on two datasets: with .1 it takes longer, with 3 more products."""


@dataclass(frozen=True)
class ClassInverse:
    """The approximate inverse.

    Attributes:
        lower: Cholesky factors (C, D, D) of the Hessian's blocks on its diagonal.
        ridge: what the inverse is 1 / ridge for where all classes have the same.
    """

    lower: Tensor
    ridge: float

    @classmethod
    def of(cls, z: Rows, p: Rows, w: Rows | None, moment: SecondMoment, ridge: float) -> ClassInverse | None:
        """Of the Hessian of these samples; None where rounding is in the way.

        Args:
            z, p, w: features (n, D), predicted probabilities (n, C) and sample weights (n,), or None for ones.
            moment: the factorised second moment of z.
            ridge: on the diagonal of the Hessian.
        """
        assert moment.vectors is not None
        n = len(z)
        (variances,) = total(class_variances, (p, w))
        least = (LEAST_CURVATURE / n * variances).float()
        matrices, rest = total(_moments, (z, p, w), least)
        vectors = moment.vectors.float()
        matrices += rest[:, None, None] * ((vectors * moment.values.to(vectors)) @ vectors.T)
        matrices /= n
        matrices.diagonal(dim1=1, dim2=2).add_(ridge)
        lower, info = torch.linalg.cholesky_ex(matrices)
        return None if bool(info.any()) else cls(lower, ridge)

    def solve(self, b: Tensor) -> Tensor:
        """Apply the approximate inverse to b (k, C, D)."""
        common = b.mean(1, keepdim=True)
        by_class = (b - common).to(self.lower.dtype).permute(1, 2, 0).contiguous()
        found = torch.cholesky_solve(by_class, self.lower).permute(2, 0, 1).to(b.dtype)
        return found - found.mean(1, keepdim=True) + common / self.ridge

    def solve_classes(self, b: Tensor, classes: Tensor) -> Tensor:
        """Apply the blocks of some classes (m, k) to b (m, k, D)."""
        found = torch.empty_like(b)
        for number in classes.unique().tolist():
            of_class = classes == number
            found[of_class] = torch.cholesky_solve(b[of_class].T, self.lower[number]).T
        return found


def _moments(z: Rows, p: Rows, w: Rows | None, least: Tensor) -> tuple[Tensor, Tensor]:
    """Σ w p_c (1 − p_c) z zᵀ (C, D, D) over samples above the least curvature (C,), and the curvature of the others."""
    features = z.shape[1]
    out = torch.zeros(len(least), features, features, dtype=least.dtype, device=least.device)
    rest = torch.zeros_like(least)
    for rows in blocks(z, 3 * features, least.element_size()):
        z_rows, p_rows = z[rows].to(least.dtype), p[rows].to(least.dtype)
        curvature = p_rows * (1 - p_rows)
        if w is not None:
            curvature *= w[rows].to(least.dtype)[:, None]
        counted = curvature > least
        rest += (curvature * ~counted).sum(0)
        for number, of_class in enumerate(counted.T):
            some = z_rows[of_class]
            out[number].addmm_(some.T, curvature[of_class, number, None] * some)
    return out, rest
