"""Solutions of H S = B for many right-hand sides at once, all from one common space.

Conjugate gradients look for the solution of each right-hand side among its own directions. Here the directions of all
right-hand sides make up one space, and each solution is the best one in it: the one that H itself measures as nearest
(Galerkin; the block method of O'Leary, Linear Algebra and its Applications 29, 1980, with all directions kept). A
product with H costs as much, and fewer are needed, because the few directions in which K-FAC is far off are shared.
Directions come from an approximate inverse that knows most of these already (`audit.head.class_inverse`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from audit.errors import ConvergenceError
from audit.head.hessian import HeadHessian

LEAST_SHARE = 1e-5
"""Directions that the others nearly span add no more than rounding: what is left of them, as a share."""


def solve_in_common_space(
    hessian: HeadHessian,
    b: Tensor,
    tolerance: float,
    precondition: Callable[[Tensor], Tensor] | None = None,
    most_blocks: int = 50,
    most_numbers: int = 2**26,
) -> tuple[Tensor, float]:
    """Solve H S = B in single precision.

    The residual that is left in the end goes through the approximate inverse once more. What that leaves is not
    computed, which would take a product. It is expected to be smaller by the factor of the last step.

    Args:
        hessian: H, in single precision.
        b: right-hand sides (k, C, D).
        tolerance: largest relative residual that is expected in the end.
        precondition: applies an approximate H⁻¹ to (k, C, D); None for K-FAC.
        most_blocks: most products with H for each right-hand side.
        most_numbers: how many numbers the directions may have (directions × C · D), before a new space begins.

    Returns:
        S (k, C, D), and how many products with H each right-hand side took on average.

    Raises:
        ConvergenceError: if the residual stays above the tolerance.
    """
    precondition = precondition or hessian.precondition
    flat = b.flatten(1).to(hessian.z.dtype)
    norms = flat.norm(dim=1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    left = flat / norms
    values, space, made = torch.zeros_like(left), _Space.empty(left), 0
    missed = expected = left.norm(dim=1)  # 1, or 0 of a right-hand side of zeros
    for _ in range(most_blocks):
        open_ = (expected > tolerance) & (missed > tolerance / 4)
        if not bool(open_.any()):
            break
        if space.directions.numel() > most_numbers:
            space = _Space.empty(left)
        step = precondition(left[open_].view(-1, *b.shape[1:])).flatten(1)
        new = space.beside(step, lambda v: hessian.product(v.view(-1, *b.shape[1:])).flatten(1))
        weights = left @ new.directions.T
        values, left = values + weights @ new.directions, left - weights @ new.turned
        space, made = space.joined(new), made + len(step)
        former, missed = missed, left.norm(dim=1)
        expected = missed * (missed / former.clamp_min(tolerance / 4)).clamp_max(1)
    if bool(((expected > tolerance) & (missed > tolerance / 4)).any()):
        raise ConvergenceError(
            f"solving with the head's Hessian stopped at relative residual {float(missed.max()):.1e} "
            f"(asked: {tolerance:.0e}); use a larger L2 or damping"
        )
    last = precondition(left.view(-1, *b.shape[1:])).flatten(1)
    return ((values + last) * norms).view_as(b), made / len(b)


@dataclass(frozen=True)
class _Space:
    """Directions d with dᵢ H dⱼ = 1 for i = j, and else 0.

    Attributes:
        directions, turned: d and H d (m, C · D).
    """

    directions: Tensor
    turned: Tensor

    @classmethod
    def empty(cls, b: Tensor) -> _Space:
        """Without directions, for right-hand sides b (k, C · D)."""
        none = b.new_empty(0, b.shape[1])
        return cls(none, none)

    def beside(self, steps: Tensor, product: Callable[[Tensor], Tensor]) -> _Space:
        """The part of steps (j, C · D) that is not in this space, as directions of its own."""
        steps = steps / steps.norm(dim=1, keepdim=True).clamp_min(torch.finfo(steps.dtype).tiny)
        turned = product(steps)
        known = turned @ self.directions.T
        steps, turned = steps - known @ self.directions, turned - known @ self.turned
        products = (steps @ turned.T).double()
        scale = products.diagonal().clamp_min(torch.finfo(torch.float64).tiny).rsqrt()
        values, vectors = torch.linalg.eigh((products + products.T) / 2 * scale[:, None] * scale)
        kept = values > LEAST_SHARE * values[-1]
        weights = (scale[:, None] * vectors[:, kept] * values[kept].rsqrt()).to(steps).T
        return _Space(weights @ steps, weights @ turned)

    def joined(self, other: _Space) -> _Space:
        """With the directions of another one."""
        return _Space(torch.cat([self.directions, other.directions]), torch.cat([self.turned, other.turned]))
