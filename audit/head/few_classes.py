"""Solutions of H S = r zᵀ for many samples at once: in the few classes that matter to each, then one step in all.

The gradient of a sample's loss is r zᵀ, and r = p − t is large for few classes: the label, and what the head predicts.
So a solution is first looked for among weights that are 0 for every other class. There a product with H costs k / C of
a whole one. The residual of that solution then goes through an approximate inverse of H once, and the result is added
with the factor that lowers the error in H's own norm most (a step of steepest descent).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from audit.compute.matrix import Rows, blocks, numbers_read, select_rows, total
from audit.compute.threads import one_thread
from audit.errors import ConvergenceError
from audit.head.conjugate_gradients import ApproximateInverse, conjugate_gradients
from audit.head.hessian import HeadHessian


@dataclass(frozen=True, kw_only=True)
class FewClassesSettings:
    """In how many classes solutions are looked for, and how exactly."""

    # Classes of each sample, those with its largest residuals.
    classes: int = 3
    # Relative residual among them, and most products with H for it.
    residual: float = 0.1
    steps: int = 50
    # Samples by which the length of the last step is chosen, evenly spaced among all.
    curvature_samples: int = 20_000


SETTINGS = FewClassesSettings()


class InverseByClass(ApproximateInverse, Protocol):
    """An approximate H⁻¹ of which the parts of single classes are known, too."""

    def solve_classes(self, b: Tensor, classes: Tensor) -> Tensor:
        """Of b (m, k, D), the parts of some classes (m, k), each class on its own."""


@dataclass(frozen=True)
class FewClasses:
    """H between some classes of each right-hand side (`audit.head.hessian.Curvature`).

    Attributes:
        hessian: H, in single precision.
        classes: (m, k), those of each right-hand side.
        inverse: an approximate H⁻¹.
    """

    hessian: HeadHessian
    classes: Tensor
    inverse: InverseByClass

    def product(self, v: Tensor) -> Tensor:
        """H v between the classes, for v (m, k, D)."""
        return self._mean(_curved_between, v) + self.hessian.ridge * v

    def precondition(self, v: Tensor) -> Tensor:
        """An approximate H⁻¹ v for v (m, k, D)."""
        return self.inverse.solve_classes(v, self.classes)

    def whole_product(self, v: Tensor) -> Tensor:
        """H v (m, C, D) in all classes, for v (m, k, D) that is 0 in the others."""
        return self._mean(_curved_everywhere, v) + self.hessian.ridge * self.in_all(v)

    def in_all(self, v: Tensor) -> Tensor:
        """The same (m, C, D), with 0 in all other classes, for v (m, k, D)."""
        out = v.new_zeros(len(v), self.hessian.classes, v.shape[2])
        return out.scatter_(1, self.classes[:, :, None].expand_as(v), v)

    def _mean(self, function: Callable[..., tuple[Tensor]], v: Tensor) -> Tensor:
        h = self.hessian
        (curved,) = total(function, (h.z, h.p, h.w), v, self.classes)
        return curved.to(v) / h.n


def solve_in_few_classes(
    hessian: HeadHessian, b: Tensor, inverse: InverseByClass, settings: FewClassesSettings = SETTINGS
) -> tuple[Tensor, FewClasses]:
    """Solve H S = B among the weights of the classes where B is largest.

    Args:
        hessian: H, in single precision.
        b: right-hand sides (m, C, D), sums of which over the classes are 0.
        inverse: an approximate H⁻¹.
        settings: how many classes, and how exactly.

    Returns:
        S (m, k, D) in these classes, and which they are. One class is always left out: adding the same to all changes
        no prediction.

    Raises:
        ConvergenceError: if the residual stays above the one that is asked for.
    """
    count = min(settings.classes, hessian.classes - 1)
    classes = b.norm(dim=2).topk(count, dim=1).indices
    few = FewClasses(hessian, classes, inverse)
    of_classes = b.gather(1, classes[:, :, None].expand(-1, -1, b.shape[2]))
    values, steps = conjugate_gradients(few, of_classes, settings.residual, settings.steps)
    if steps == settings.steps:
        raise ConvergenceError(
            f"solving with the head's Hessian stopped after {steps} steps (asked: a relative residual of "
            f"{settings.residual}); use a larger L2 or damping"
        )
    return values, few


def completed(values: Tensor, few: FewClasses, b: Tensor) -> Tensor:
    """S (m, C, D) in all classes, from values (m, k, D) in few of them, one step nearer to H S = B (m, C, D)."""
    left = b - few.whole_product(values)
    step = few.inverse.solve(left)
    h = few.hessian
    every = math.ceil(h.n / SETTINGS.curvature_samples)
    some = torch.arange(0, h.n, every, device=h.z.device)
    sources = [rows if rows is None or every == 1 else select_rows(rows, some) for rows in (h.z, h.p, h.w)]
    (curvature,) = total(_curvature_along, sources, step)
    curvature = curvature.to(step) / len(some) + h.ridge * step.square().sum((1, 2))
    length = (step * left).sum((1, 2)) / curvature.clamp_min(torch.finfo(step.dtype).tiny)
    return few.in_all(values) + length[:, None, None] * step


def _curved_between(z: Rows, p: Rows, w: Rows | None, v: Tensor, classes: Tensor) -> tuple[Tensor]:
    """Σ w_i (diag p_i − p_i p_iᵀ) V z_i z_iᵀ between the classes (m, k) of V (m, k, D)."""
    m, k, features = v.shape
    out = v.new_zeros(m * k, features)
    for rows in blocks(z, numbers_read(z) + 3 * m * k, v.element_size()):
        z_rows = z[rows].to(v.dtype)
        u, p_of = _outputs(z_rows, p[rows].to(v.dtype), v, classes)
        with one_thread(u.numel()):
            u = p_of * (u - (p_of * u).sum(-1, keepdim=True))
            if w is not None:
                u *= w[rows].to(v.dtype)[:, None, None]
        out.addmm_(u.view(len(z_rows), -1).T, z_rows)
    return (out.view_as(v),)


def _curved_everywhere(z: Rows, p: Rows, w: Rows | None, v: Tensor, classes: Tensor) -> tuple[Tensor]:
    """Σ w_i (diag p_i − p_i p_iᵀ) V z_i z_iᵀ (m, C, D) for V (m, k, D), which is 0 but in the classes (m, k)."""
    m, _, features = v.shape
    width = p.shape[1]
    out = v.new_zeros(m * width, features)
    for rows in blocks(z, numbers_read(z) + 2 * m * width, v.element_size()):
        z_rows, p_rows = z[rows].to(v.dtype), p[rows].to(v.dtype)
        u, p_of = _outputs(z_rows, p_rows, v, classes)
        with one_thread(m * width * len(z_rows)):
            u *= p_of
            curved = p_rows[:, None, :] * -u.sum(-1, keepdim=True)
            curved.scatter_add_(2, classes.expand(len(z_rows), -1, -1), u)
            if w is not None:
                curved *= w[rows].to(v.dtype)[:, None, None]
        out.addmm_(curved.view(len(z_rows), -1).T, z_rows)
    return (out.view(m, width, features),)


def _outputs(z: Tensor, p: Tensor, v: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """V z and p of samples (i, D) and (i, C), in the classes (m, k) of V (m, k, D): (i, m, k) each."""
    m, k, features = v.shape
    u = (z @ v.reshape(m * k, features).T).view(len(z), m, k)
    return u, p[:, classes.flatten()].view(len(z), m, k)


def _curvature_along(z: Rows, p: Rows, w: Rows | None, v: Tensor) -> tuple[Tensor]:
    """Σ w_i zᵢᵀ Vᵀ (diag p_i − p_i p_iᵀ) V zᵢ (m,) for V (m, C, D), in double precision."""
    m, classes, features = v.shape
    flat = v.reshape(m * classes, features).T
    out = torch.zeros(m, dtype=torch.float64, device=v.device)
    for rows in blocks(z, numbers_read(z) + 2 * m * classes, v.element_size()):
        u = (z[rows].to(v.dtype) @ flat).view(-1, m, classes)
        p_rows = p[rows].to(v.dtype)[:, None, :]
        with one_thread(u.numel()):
            weighted = p_rows * u
            curvature = weighted.mul(u).sum(-1) - weighted.sum(-1).square()
            if w is not None:
                curvature *= w[rows].to(v.dtype)[:, None]
        out += curvature.sum(0, dtype=torch.float64)
    return (out,)
