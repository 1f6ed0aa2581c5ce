"""Solutions of H S = B for many right-hand sides at once, all from one common space.

Conjugate gradients look for the solution of each right-hand side among its own directions. Here the directions of all
right-hand sides make up one space, and each solution is the best one in it: the one that H itself measures as nearest
(Galerkin; the block method of O'Leary, Linear Algebra and its Applications 29, 1980, with all directions kept). A
product with H costs as much, and fewer are needed, because the few directions in which K-FAC is far off are shared.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from audit.errors import ConvergenceError
from audit.head.hessian import HeadHessian

LEAST_SHARE = 1e-5
"""Directions that the others nearly span add no more than rounding: what is left of them, as a share."""


def solve_in_common_space(
    hessian: HeadHessian, b: Tensor, tolerance: float, most_blocks: int = 50, most_numbers: int = 2**26
) -> tuple[Tensor, float]:
    """Solve H S = B in single precision.

    Args:
        hessian: H, in single precision.
        b: right-hand sides (k, C, D).
        tolerance: largest relative residual that is accepted.
        most_blocks: most products with H for each right-hand side.
        most_numbers: how many numbers the directions may have (directions × C · D), before a new space begins.

    Returns:
        S (k, C, D), and how many products with H each right-hand side took on average.

    Raises:
        ConvergenceError: if the residual stays above the tolerance.
    """
    flat = b.flatten(1).to(hessian.z.dtype)
    norms = flat.norm(dim=1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    left = flat / norms
    values, space, made = torch.zeros_like(left), _Space.empty(left), 0
    for _ in range(most_blocks):
        open_ = left.norm(dim=1) > tolerance
        if not bool(open_.any()):
            break
        if space.directions.numel() > most_numbers:
            values, space = values + space.solution, _Space.empty(left)
        step = hessian.precondition(left[open_].view(-1, *b.shape[1:]))
        step = step / step.flatten(1).norm(dim=1)[:, None, None]
        space = space.with_directions(step.flatten(1), hessian.product(step).flatten(1))
        left, made = space.left, made + len(step)
    missed = float(left.norm(dim=1).max())
    if missed > tolerance:
        raise ConvergenceError(
            f"solving with the head's Hessian stopped at relative residual {missed:.1e} (asked: {tolerance:.0e}); "
            "use a larger L2 or damping"
        )
    return ((values + space.solution) * norms).view_as(b), made / len(b)


@dataclass(frozen=True)
class _Space:
    """Directions, and the best solutions in their space.

    Attributes:
        b: right-hand sides (k, C · D).
        directions, turned: d and H d (m, C · D).
        products: dᵢ H dⱼ (m, m), in double precision.
        solution: (k, C · D).
        left: B − H S (k, C · D).
    """

    b: Tensor
    directions: Tensor
    turned: Tensor
    products: Tensor
    solution: Tensor
    left: Tensor

    @classmethod
    def empty(cls, b: Tensor) -> _Space:
        """Without directions."""
        none = b.new_empty(0, b.shape[1])
        return cls(b, none, none, none.new_empty(0, 0, dtype=torch.float64), torch.zeros_like(b), b)

    def with_directions(self, directions: Tensor, turned: Tensor) -> _Space:
        """With more directions d (j, C · D), and H d."""
        both, both_turned = torch.cat([self.directions, directions]), torch.cat([self.turned, turned])
        products = _extended(self.products, both, turned)
        weights = _solved(products, (both @ self.b.T).double()).to(self.b).T
        return _Space(self.b, both, both_turned, products, weights @ both, self.b - weights @ both_turned)


def _extended(products: Tensor, directions: Tensor, moved: Tensor) -> Tensor:
    """Inner products dᵢ H dⱼ (m, m) of directions (m, C · D), of which those without the last ones are known.

    `moved` are H d (j, C · D) of the last j.
    """
    known = len(products)
    out = products.new_zeros(len(directions), len(directions))
    out[:known, :known] = products
    out[:, known:] = (directions @ moved.T).double()
    out[known:, :known] = out[:known, known:].T
    out[known:, known:] = (out[known:, known:] + out[known:, known:].T) / 2
    return out


def _solved(products: Tensor, b: Tensor) -> Tensor:
    """Weights (m, k) of the directions with `products` (m, m) · weights = b (m, k), without what rounding blurs."""
    scale = products.diagonal().clamp_min(torch.finfo(torch.float64).tiny).rsqrt()
    values, vectors = torch.linalg.eigh(products * scale[:, None] * scale)
    kept = values > LEAST_SHARE * values[-1]
    vectors = vectors[:, kept]
    return scale[:, None] * (vectors @ ((vectors.T @ (scale[:, None] * b)) / values[kept, None]))
