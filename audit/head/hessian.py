"""The Hessian of the head's training objective: products with it, factors of it, and solutions of H S = B.

Notation: n samples, C classes, D = d + 1 features (the last one constant), z (n, D) features, p (n, C) predicted
probabilities, w (n,) sample weights, λ the L2 penalty. The objective is the weighted mean cross-entropy + λ/2 ‖W‖², and

    H = (1/n) Σ w_i (diag p_i − p_i p_iᵀ) ⊗ z_i z_iᵀ + (λ + damping) I

which is also its Gauss-Newton matrix and its Fisher information (softmax with cross-entropy). Adding one vector to the
weights of all classes changes no prediction: on such directions H is (λ + damping) I, so that all factors are of
size (C − 1)·D, in coordinates in which the Kronecker-factored H (K-FAC) is the identity. With many classes, only the
diagonal of the factor between classes is computed, and nothing of size C².
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from audit.compute.matrix import RemoteRows, Rows, blocks, hold, numbers_read, slices, total
from audit.compute.threads import one_thread
from audit.errors import ConvergenceError, InputError
from audit.head.class_inverse import ClassInverse
from audit.head.conjugate_gradients import conjugate_gradients
from audit.head.factors import KroneckerFactors, SecondMoment, class_variances, contrasts, kronecker_factors
from audit.head.settings import HessianSettings

CHUNK_BYTES = 64 * 2**20  # that the temporaries of one block of rows may take (`chunks`)


@dataclass(frozen=True)
class Solution:
    """S with H S = B.

    Attributes:
        values: the shape of B.
        residual: the largest ‖B − H S‖ / ‖B‖ over the right-hand sides.
        method: 'cholesky' or 'cg': what preconditioned the steps.
        iterations: conjugate-gradient steps; for Cholesky those of the refinement.
    """

    values: Tensor
    residual: float
    method: str
    iterations: int


def chunks(n: int, floats_per_row: int, element_bytes: int = 8) -> list[slice]:
    """Slices over n rows, so that temporaries of `floats_per_row` a row stay within CHUNK_BYTES."""
    return slices(n, floats_per_row * element_bytes, CHUNK_BYTES)


class HeadHessian:
    """H of a head at its parameters.

    Args:
        z: features (n, D), float32 or float64; not necessarily in memory.
        probabilities: predicted probabilities p (n, C), likewise.
        l2: λ > 0, or 0 with damping.
        weights: sample weights w (n,) ≥ 0; None for ones.
        damping: added to the diagonal beside λ.
        moment: the factorised second moment of z, where it is known already.

    Attributes:
        settings: how systems with H are solved; the same for all.

    Raises:
        InputError: if l2 + damping is not above 0, since H is singular then.
    """

    settings: ClassVar[HessianSettings] = HessianSettings()

    def __init__(
        self,
        z: Rows,
        probabilities: Rows,
        l2: float,
        weights: Rows | None = None,
        damping: float = 0.0,
        moment: SecondMoment | None = None,
    ) -> None:
        if not l2 + damping > 0:
            raise InputError(
                f"l2 + damping is {l2 + damping}; give more than 0, since the head's Hessian is singular otherwise"
            )
        self.z: Any = z
        self._moment = moment
        self.p: Any = probabilities
        self.w: Any = weights
        self.ridge = l2 + damping
        self.n, self.features = z.shape
        self.classes = probabilities.shape[1]

    @property
    def parameters(self) -> int:
        """C · D."""
        return self.classes * self.features

    @cached_property
    def moment(self) -> SecondMoment:
        """The factorised second moment of z."""
        return self._moment or SecondMoment.of(self.z)

    @cached_property
    def single(self) -> HeadHessian:
        """The same in single precision: itself if it is."""
        if self.z.dtype == torch.float32:
            return self
        weights = None if self.w is None else self.w.float()
        moment = self.__dict__.get("moment", self._moment)
        return HeadHessian(self.z.float(), hold(self.p.float()), self.ridge, weights, moment=moment)

    def product(self, v: Tensor) -> Tensor:
        """H v for v (k, C, D), in v's precision: two passes over z, no per-sample gradient."""
        (curved,) = total(_curved, (self.z, self.p, self.w), v)
        return self.ridge * v + curved.to(v) / self.n

    def precondition(self, v: Tensor) -> Tensor:
        """An approximate H⁻¹ v for v (k, C, D), by K-FAC."""
        return self.kfac.solve(v)

    @cached_property
    def kfac(self) -> KroneckerFactors:
        """G ⊗ A + ridge, with G = mean w (diag p − ppᵀ) and A = zᵀz / n; of many classes, the diagonal of G."""
        return self.kronecker(apart=self.classes > self.settings.coupled_classes)

    @cached_property
    def by_class(self) -> ClassInverse | None:
        """An approximate H⁻¹ that is exact within each class; None where it does not pay off, or cannot be computed."""
        single, limits = self.single, self.settings
        if self is not single:
            return single.by_class
        large = self.features > limits.by_class_features or self.classes * self.features**2 > limits.by_class_numbers
        if large or isinstance(self.z, RemoteRows) or self.moment.vectors is None:
            return None
        return ClassInverse.of(self.z, self.p, self.w, self.moment, self.ridge)

    def kronecker(self, apart: bool) -> KroneckerFactors:
        """K-FAC on contrasts between classes, or with the diagonal of G."""
        (curvature,) = total(class_variances if apart else _class_curvature, (self.p, self.w))
        return kronecker_factors(curvature, self.n, self.moment, self.ridge, self.z.dtype)

    @property
    def factor_flop(self) -> float:
        """FLOP for computing the dense factor."""
        size = float((self.classes - 1) * self.features)
        product_blocks = self.settings.product_blocks
        return self.n * size**2 * (product_blocks + 1) / (2 * product_blocks) + size**3 / 3

    @cached_property
    def factor(self) -> DenseFactor:
        """The Cholesky factor of H.

        Raises:
            ConvergenceError: if H is not positive definite in double precision.
        """
        if self.factor_flop > self.settings.double_flop:
            factor = DenseFactor.of(self, torch.float32)
            if factor is not None:
                return factor
        factor = DenseFactor.of(self, torch.float64)
        if factor is None:
            raise ConvergenceError("the head's Hessian is not positive definite; use a larger L2 or damping")
        return factor

    def use_cholesky(self, method: str, right_hand_sides: float = math.inf) -> bool:
        """Whether a method means Cholesky; 'auto' decides by the size and the number of right-hand sides."""
        if method != "auto":
            return method == "cholesky"
        if isinstance(self.z, RemoteRows):
            return False
        if "factor" in self.__dict__:
            return True
        limits = self.settings
        steps = limits.usual_cg_steps * 4.0 * self.n * self.parameters * right_hand_sides
        return self.parameters <= limits.dense_parameters and self.factor_flop <= max(steps, limits.double_flop / 20)

    def solve(self, b: Tensor, method: str = "auto", tolerance: float = 1e-8, max_iterations: int = 1000) -> Solution:
        """Solve H S = B for B (k, C, D).

        Conjugate gradients in single precision correct a solution whose residual is taken in double precision
        (iterative refinement). Where float32 makes no further progress, float64 continues.

        Args:
            b: right-hand sides, float64 for residuals below 1e-6.
            method: 'cholesky' (preconditioned with the factor of H), 'cg' (with an approximate inverse, class by class,
                or with K-FAC), or 'auto' by cost.
            tolerance: largest relative residual that is accepted.
            max_iterations: most conjugate-gradient steps.

        Raises:
            ConvergenceError: if the residual stays above the tolerance, with what to do.
        """
        dense = self.use_cholesky(method, len(b))
        used = "cholesky" if dense else "cg"
        norms = b.flatten(1).norm(dim=1).clamp_min(torch.finfo(b.dtype).tiny)
        values, r, residual, iterations = torch.zeros_like(b), b, 1.0 if bool((b != 0).any()) else 0.0, 0
        # A factor in double precision needs one step; in single precision it takes several, of half the time each.
        working = self if dense and self.factor.lower.dtype == torch.float64 else self.single
        while residual > tolerance / 2 and iterations < max_iterations:
            precondition = (self.factor if dense else self.by_class or working.kfac).solve
            reach = max(tolerance / 4 / residual, 1e-4 if working.z.dtype == torch.float32 else 1e-10)
            unit = (r / norms[:, None, None] / residual).to(working.z.dtype)
            step, steps = conjugate_gradients(working, unit, reach, max_iterations - iterations, precondition)
            candidate = values + step.to(b.dtype) * (norms[:, None, None] * residual)
            new_r = b - self.product(candidate)
            new_residual = float((new_r.flatten(1).norm(dim=1) / norms).max())
            iterations += max(steps, 1)
            gained = new_residual < residual
            if gained:
                values, r = candidate, new_r
            if not new_residual < residual / 4:
                if working is self:
                    residual = min(residual, new_residual) if gained else residual
                    break
                working = self
            residual = new_residual if gained else residual
        if not residual <= tolerance:
            raise ConvergenceError(
                f"solving with the head's Hessian stopped at relative residual {residual:.1e} (asked: {tolerance:.0e}, "
                f"{used}, {iterations} steps); use a larger L2 or damping"
            )
        return Solution(values, residual, used, iterations)


def _curved(z: Rows, p: Rows, w: Rows | None, v: Tensor) -> tuple[Tensor]:
    """Σ w_i (diag p_i − p_i p_iᵀ) V z_i z_iᵀ for V (k, C, D), in V's precision."""
    k, classes, features = v.shape
    flat = v.reshape(k * classes, features)
    out = torch.zeros_like(flat)
    own = numbers_read(z) if z.dtype == v.dtype else features
    for rows in blocks(z, 2 * k * classes + own, v.element_size()):
        z_rows, p_rows = z[rows].to(v.dtype), p[rows].to(v.dtype)[:, None, :]
        u = (z_rows @ flat.T).view(len(z_rows), k, classes)
        with one_thread(u.numel()):
            u = p_rows * (u - (p_rows * u).sum(-1, keepdim=True))
            if w is not None:
                u *= w[rows][:, None, None]
        out.addmm_(u.view(len(z_rows), -1).T, z_rows)
    return (out.view_as(v),)


def _class_curvature(p: Rows, w: Rows | None) -> tuple[Tensor]:
    """Σ w_i (diag p_i − p_i p_iᵀ) (C, C), in double precision."""
    classes = p.shape[1]
    out = torch.zeros(classes, classes, dtype=torch.float64, device=p.device)
    for rows in blocks(p, 3 * classes):
        p_rows = p[rows]
        weighted = p_rows if w is None else p_rows * w[rows][:, None]
        out += torch.diag(weighted.sum(0)) - weighted.T @ p_rows
    return (out,)


@dataclass(frozen=True)
class DenseFactor:
    """Cholesky factor L of H in the coordinates T, W = U (√scales ∘ T) Vᵀ, of its Kronecker factors.

    There K-FAC is the identity, so that single precision loses little. Double precision does without: its factors are
    those of the identity.

    Attributes:
        kfac: the Kronecker factors on contrasts, in L's precision.
        lower: L ((C − 1)·D, (C − 1)·D), index g·D + j.
    """

    kfac: KroneckerFactors
    lower: Tensor

    @classmethod
    def of(cls, hessian: HeadHessian, dtype: torch.dtype) -> DenseFactor | None:
        """Assemble and factorise in this precision; None if the matrix is not positive definite in it."""
        if dtype == torch.float64:
            kfac = _identity_factors(hessian)
        else:
            found = (
                hessian.kfac if hessian.classes <= hessian.settings.coupled_classes else hessian.kronecker(apart=False)
            )
            vectors = hessian.moment.vectors
            kfac = KroneckerFactors(
                found.contrasts.to(dtype),
                None if vectors is None else vectors.to(dtype),
                found.scales.to(dtype),
                found.ridge,
            )
        u = kfac.contrasts
        groups, features = kfac.scales.shape
        matrix = torch.zeros(groups, features, groups, features, dtype=dtype, device=u.device)
        for rows in chunks(hessian.n, 3 * features, u.element_size()):
            z, p = kfac.rotate(hessian.z[rows].to(dtype)), hessian.p[rows].to(dtype)
            scaled = 1 / hessian.n if hessian.w is None else hessian.w[rows].to(dtype) / hessian.n
            pu = p @ u
            for g in range(groups):
                for h in range(g, groups):
                    curvature = (p @ (u[:, g] * u[:, h]) - pu[:, g] * pu[:, h]) * scaled
                    _add_symmetric_product(matrix[g, :, h, :], z, curvature)
        root = kfac.scales.sqrt()
        for g in range(groups):
            for h in range(g, groups):
                block = matrix[g, :, h, :]
                block.copy_(torch.triu(block) + torch.triu(block, 1).T)
                if g == h:
                    block.diagonal().add_(kfac.ridge)
                block *= root[g, :, None] * root[h, None, :]
                if g != h:
                    matrix[h, :, g, :] = block.T
        size = groups * features
        lower, info = torch.linalg.cholesky_ex(matrix.view(size, size))
        return cls(kfac, lower) if int(info) == 0 else None

    def solve(self, b: Tensor) -> Tensor:
        """Apply H⁻¹ to b (k, C, D)."""
        u = self.kfac.contrasts
        root = self.kfac.scales.sqrt()
        inner = self.kfac.rotate(u.T @ b.to(u.dtype)) * root
        solved = torch.cholesky_solve(inner.flatten(1).T, self.lower).T.reshape(inner.shape)
        return self.kfac.rotate_back(u @ (solved * root)).to(b.dtype) + b.mean(1, keepdim=True) / self.kfac.ridge

    @cached_property
    def inverse(self) -> Tensor:
        """H⁻¹ (C − 1, D, C − 1, D) in the eigenvectors U and V."""
        groups, features = self.kfac.scales.shape
        root = self.kfac.scales.sqrt()
        inverse = torch.cholesky_inverse(self.lower).view(groups, features, groups, features)
        return inverse * root[:, :, None, None] * root


def _identity_factors(hessian: HeadHessian) -> KroneckerFactors:
    """Coordinates that leave features and contrasts as they are, in double precision."""
    u = contrasts(hessian.classes, torch.float64, hessian.z.device)
    scales = torch.ones(u.shape[1], hessian.features, dtype=u.dtype, device=u.device)
    return KroneckerFactors(u, None, scales, hessian.ridge)


def _add_symmetric_product(out: Tensor, z: Tensor, a: Tensor) -> None:
    """Add zᵀ diag(a) z to out (D, D), on and above its diagonal (some of what is below is touched too)."""
    scaled = a[:, None] * z
    count = HeadHessian.settings.product_blocks
    edges = [round(part * z.shape[1] / count) for part in range(count + 1)]
    for start, stop in pairwise(edges):
        out[start:stop, start:].addmm_(z[:, start:stop].T, scaled[:, start:])
