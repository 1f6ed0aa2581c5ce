"""An approximate inverse of the head's Hessian: exact in the leading directions of the features, K-FAC in the others.

K-FAC takes features and predicted probabilities to be independent. They are not, and where the curvature is far above
the L2 penalty, that is what it misses. These are few directions, whose block of the Hessian is computed and factorised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from audit.compute.matrix import Rows, blocks, total
from audit.head.factors import KroneckerFactors
from audit.head.hessian import HeadHessian

SHARE = 0.7
"""Work for the block, as a share of one product with the Hessian for each right-hand side."""

FEWEST, MOST = 600, 4096
"""Rows of the block that cost next to nothing, and most of them (64 MiB)."""


@dataclass(frozen=True)
class LeadingBlock:
    """The approximate inverse.

    Attributes:
        kfac: in whose coordinates K-FAC is the identity.
        lower: Cholesky factor ((C − 1) r, (C − 1) r) of the Hessian's block in the r leading directions, there.
    """

    kfac: KroneckerFactors
    lower: Tensor

    @classmethod
    def of(cls, hessian: HeadHessian, right_hand_sides: int) -> LeadingBlock | None:
        """For so many solutions; None where K-FAC has no coordinates of that kind, or where rounding is in the way.

        Args:
            hessian: H, in single precision.
            right_hand_sides: how many there are; the more, the larger the block may be.
        """
        kfac = hessian.kfac
        if kfac.g_vectors is None or kfac.a_vectors is None:
            return None
        groups = hessian.classes - 1
        affordable = math.sqrt(SHARE * 4 * right_hand_sides * hessian.parameters / (2 * _symmetric_share()))
        directions = min(int(min(MOST, max(FEWEST, affordable)) / groups), hessian.features)
        if not directions:
            return None
        u, v = kfac.g_vectors.float(), kfac.a_vectors[:, -directions:].float()
        own, shared = total(_moments, (hessian.z, hessian.p, hessian.w), u, v)
        matrix = _between_contrasts(own, u) - torch.triu(shared) - torch.triu(shared, 1).T
        matrix /= hessian.n
        matrix.diagonal().add_(kfac.ridge)
        root = kfac.scales[:, -directions:].float().sqrt().reshape(-1)
        lower, info = torch.linalg.cholesky_ex(matrix * root[:, None] * root)
        return cls(kfac, lower) if int(info) == 0 else None

    def solve(self, b: Tensor) -> Tensor:
        """Apply the approximate inverse to b (k, C, D)."""
        root, u = self.kfac.scales.sqrt().to(b.dtype), self.kfac.contrasts.to(b.dtype)
        inner = self.kfac.rotate(u.T @ b) * root
        leading = inner[:, :, -(len(self.lower) // len(root)) :]
        solved = torch.cholesky_solve(leading.flatten(1).T.contiguous().to(self.lower.dtype), self.lower)
        leading.copy_(solved.T.view_as(leading))
        return self.kfac.rotate_back(u @ inner.mul_(root)) + b.mean(1, keepdim=True) / self.kfac.ridge


def _symmetric_share() -> float:
    """The share of a symmetric product that is computed."""
    count = HeadHessian.settings.product_blocks
    return (count + 1) / (2 * count)


def _moments(z: Rows, p: Rows, w: Rows | None, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Σ w p_c y yᵀ of each class (C, r, r), and Σ w (Uᵀp ⊗ y)(Uᵀp ⊗ y)ᵀ on and above its diagonal, for y = Vᵀz (r,)."""
    classes, directions = len(u), v.shape[1]
    size = u.shape[1] * directions
    own = torch.zeros(classes, directions, directions, dtype=v.dtype, device=v.device)
    shared = torch.zeros(size, size, dtype=v.dtype, device=v.device)
    count = HeadHessian.settings.product_blocks
    edges = [round(part * size / count) for part in range(count + 1)]
    for rows in blocks(z, 2 * size, v.element_size()):
        y, p_rows = z[rows].to(v.dtype) @ v, p[rows].to(v.dtype)
        weighted = y if w is None else y * w[rows].to(v.dtype)[:, None]
        for number in range(classes):
            own[number].addmm_(weighted.T, p_rows[:, number, None] * y)
        contrast = (p_rows @ u)[:, :, None]
        left, right = ((contrast * one[:, None, :]).flatten(1) for one in (weighted, y))
        for start, stop in pairwise(edges):
            shared[start:stop, start:].addmm_(left[:, start:stop].T, right[:, start:])
    return own, shared


def _between_contrasts(own: Tensor, u: Tensor) -> Tensor:
    """Σ_c u_cg u_ch M_c ((C − 1) r, (C − 1) r) of the classes' moments M (C, r, r)."""
    classes, directions, _ = own.shape
    groups = u.shape[1]
    pairs = (u[:, :, None] * u[:, None, :]).view(classes, -1)
    spread = (pairs.T @ own.view(classes, -1)).view(groups, groups, directions, directions)
    return spread.permute(0, 2, 1, 3).reshape(groups * directions, groups * directions)
