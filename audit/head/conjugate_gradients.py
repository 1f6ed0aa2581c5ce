"""Preconditioned conjugate gradients on many right-hand sides at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class ApproximateInverse(Protocol):
    """An approximate inverse of a matrix."""

    def solve(self, b: Tensor) -> Tensor:
        """Of b (k, C, D)."""


class Curvature(Protocol):
    """Anything that multiplies with a matrix, and knows an approximate inverse."""

    def product(self, v: Tensor) -> Tensor:
        """H v for v (k, C, D)."""

    def precondition(self, v: Tensor) -> Tensor:
        """An approximate H⁻¹ v for v (k, C, D)."""


def conjugate_gradients(
    hessian: Curvature,
    b: Tensor,
    tolerance: float | Tensor,
    max_iterations: int,
    precondition: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, int]:
    """Preconditioned conjugate gradients on all right-hand sides at once.

    Args:
        hessian: H.
        b: right-hand sides (k, C, D).
        tolerance: relative residual to reach for each: one for all, or (k,).
        max_iterations: most steps.
        precondition: applies an approximate H⁻¹; None for the Hessian's own.

    Returns:
        S (k, C, D) with ‖B − H S‖ ≤ tolerance · ‖B‖ for each right-hand side unless the steps ran out, and the steps.
    """

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u * v).flatten(1).sum(1)

    def along(scale: Tensor, v: Tensor) -> Tensor:
        return scale[:, None, None] * v

    precondition = precondition or hessian.precondition
    x = torch.zeros_like(b)
    r = b.clone()
    d, rs = x, None
    limit = tolerance * b.flatten(1).norm(dim=1)
    tiny = torch.finfo(b.dtype).tiny
    for iteration in range(max_iterations):
        if bool((r.flatten(1).norm(dim=1) <= limit).all()):
            return x, iteration
        s = precondition(r)
        rs_next = dot(r, s)
        d = s if rs is None else s + along(rs_next / rs.clamp_min(tiny), d)
        rs = rs_next
        hd = hessian.product(d)
        alpha = rs / dot(d, hd).clamp_min(tiny)
        x += along(alpha, d)
        r -= along(alpha, hd)
    return x, max_iterations
