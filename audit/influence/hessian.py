"""The Hessian of the head's training objective: products with it, factors of it, and solutions of H S = B.

Notation: n samples, C classes, D = d + 1 features (the last one constant), z (n, D) features, p (n, C) predicted
probabilities, w (n,) sample weights, λ the L2 penalty. The objective is the weighted mean cross-entropy + λ/2 ‖W‖², and

    H = (1/n) Σ w_i (diag p_i − p_i p_iᵀ) ⊗ z_i z_iᵀ + (λ + damping) I

which is also its Gauss-Newton matrix and its Fisher information (softmax with cross-entropy).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from audit.errors import ConvergenceError

DENSE_PARAMETERS = 6000  # up to here 'auto' factorises H: 6000² float64 are 288 MB
CHUNK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Solution:
    """S with H S = B.

    Attributes:
        values: the shape of B.
        residual: the largest ‖B − H S‖ / ‖B‖ over the right-hand sides.
        method: 'cholesky' or 'cg'.
        iterations: conjugate-gradient steps; 0 for Cholesky.
    """

    values: Tensor
    residual: float
    method: str
    iterations: int


def chunks(n: int, floats_per_row: int, element_bytes: int = 8) -> list[slice]:
    """Slices over n rows, so that temporaries of `floats_per_row` a row stay within CHUNK_BYTES."""
    step = max(1, CHUNK_BYTES // max(1, floats_per_row * element_bytes))
    return [slice(s, min(s + step, n)) for s in range(0, n, step)]


class HeadHessian:
    """H of a head at its parameters.

    Args:
        z: features (n, D).
        probabilities: predicted probabilities p (n, C).
        l2: λ > 0, or 0 with damping.
        weights: sample weights w (n,); None for ones.
        damping: added to the diagonal beside λ.
        moment: the factorised second moment of z, where it is known already.
    """

    def __init__(
        self,
        z: Tensor,
        probabilities: Tensor,
        l2: float,
        weights: Tensor | None = None,
        damping: float = 0.0,
        moment: SecondMoment | None = None,
    ) -> None:
        self.z = z
        self._moment = moment
        self.p = probabilities
        self.w = weights
        self.ridge = l2 + damping
        self.n, self.features = z.shape
        self.classes = probabilities.shape[1]

    @property
    def parameters(self) -> int:
        """C · D."""
        return self.classes * self.features

    def product(self, v: Tensor) -> Tensor:
        """H v for v (k, C, D): two passes over z, no per-sample gradient."""
        k = len(v)
        flat = v.reshape(k * self.classes, self.features)
        out = self.ridge * v
        for rows in chunks(self.n, 2 * k * self.classes, v.element_size()):
            z, p = self.z[rows], self.p[rows, None, :]
            u = (z @ flat.T).view(len(z), k, self.classes)
            u = p * (u - (p * u).sum(-1, keepdim=True))
            if self.w is not None:
                u *= self.w[rows, None, None]
            out += (u.reshape(len(z), -1).T @ z).view_as(v) / self.n
        return out

    @cached_property
    def dense(self) -> Tensor:
        """H as a matrix (C·D, C·D), index c·D + j."""
        size, classes, features = self.parameters, self.classes, self.features
        out = torch.zeros(classes, features, classes, features, dtype=self.z.dtype, device=self.z.device)
        for rows in chunks(self.n, features, self.z.element_size()):
            z, p = self.z[rows], self.p[rows]
            w = p / self.n if self.w is None else p * self.w[rows, None] / self.n
            for c in range(classes):
                for e in range(c, classes):
                    a = w[:, c] * ((1.0 if c == e else 0.0) - p[:, e])
                    out[c, :, e, :] += z.T @ (a[:, None] * z)
        for c in range(classes):
            for e in range(c):
                out[c, :, e, :] = out[e, :, c, :]
        matrix = out.view(size, size)
        matrix.diagonal().add_(self.ridge)
        return matrix

    @cached_property
    def cholesky(self) -> Tensor:
        """Lower Cholesky factor of the dense H.

        Raises:
            ConvergenceError: if H is not positive definite at this precision.
        """
        factor, info = torch.linalg.cholesky_ex(self.dense)
        if int(info) != 0:
            raise ConvergenceError("the head's Hessian is not positive definite; use a larger L2 or damping")
        return factor

    @cached_property
    def kfac(self) -> KroneckerFactors:
        """G ⊗ A + ridge, with G = mean w (diag p − ppᵀ) and A = zᵀz / n: the preconditioner."""
        w = self.p if self.w is None else self.p * self.w[:, None]
        g = (torch.diag(w.sum(0)) - w.T @ self.p) / self.n
        moment = self._moment or SecondMoment.of(self.z)
        g_values, g_vectors = torch.linalg.eigh(g.double())
        scales = 1 / (g_values.clamp_min(0)[:, None] * moment.values[None, :] + self.ridge)
        return KroneckerFactors(g_vectors.to(g.dtype), moment.vectors, scales.to(g.dtype))

    def use_cholesky(self, method: str) -> bool:
        """What 'auto' means for this size."""
        return method == "cholesky" or (method == "auto" and self.parameters <= DENSE_PARAMETERS)

    def solve(self, b: Tensor, method: str = "auto", tolerance: float = 1e-8, max_iterations: int = 1000) -> Solution:
        """Solve H S = B for B (k, C, D).

        Args:
            b: right-hand sides.
            method: 'cholesky', 'cg', or 'auto' by the number of parameters.
            tolerance: largest relative residual that is accepted.
            max_iterations: most conjugate-gradient steps.

        Raises:
            ConvergenceError: if the residual stays above the tolerance, with what to do.
        """
        if self.use_cholesky(method):
            flat = b.reshape(len(b), -1).T
            values = torch.cholesky_solve(flat, self.cholesky).T.reshape(b.shape)
            iterations, used = 0, "cholesky"
        else:
            values, iterations = conjugate_gradients(self, b, tolerance / 2, max_iterations)
            used = "cg"
        norms = b.flatten(1).norm(dim=1)
        errors = (b - self.product(values)).flatten(1).norm(dim=1)
        residual = float((errors / norms.clamp_min(torch.finfo(b.dtype).tiny)).max()) if len(b) else 0.0
        if not residual <= tolerance:
            raise ConvergenceError(
                f"solving with the head's Hessian stopped at relative residual {residual:.1e} (asked: {tolerance:.0e}, "
                f"{used}, {iterations} steps); use a larger L2 or damping"
            )
        return Solution(values, residual, used, iterations)


@dataclass(frozen=True)
class SecondMoment:
    """Eigenvalues (D,), float64 and ≥ 0, and eigenvectors (D, D) of A = zᵀz / n."""

    values: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, z: Tensor) -> SecondMoment:
        """Factorise in double precision, which single precision does not always survive."""
        values, vectors = torch.linalg.eigh((z.T @ z / len(z)).double())
        return cls(values.clamp_min(0), vectors.to(z.dtype))


@dataclass(frozen=True)
class KroneckerFactors:
    """(G ⊗ A + ridge I)⁻¹ through the eigenvectors of G (C, C) and A (D, D)."""

    g_vectors: Tensor
    a_vectors: Tensor
    scales: Tensor

    def solve(self, b: Tensor) -> Tensor:
        """Apply the inverse to b (k, C, D)."""
        inner = self.g_vectors.T @ b @ self.a_vectors
        return self.g_vectors @ (inner * self.scales) @ self.a_vectors.T


def conjugate_gradients(hessian: HeadHessian, b: Tensor, tolerance: float, max_iterations: int) -> tuple[Tensor, int]:
    """K-FAC preconditioned conjugate gradients on all right-hand sides at once.

    Returns:
        S (k, C, D) with ‖B − H S‖ ≤ tolerance · ‖B‖ for each right-hand side unless the steps ran out, and the steps.
    """

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u * v).flatten(1).sum(1)

    def along(scale: Tensor, v: Tensor) -> Tensor:
        return scale[:, None, None] * v

    kfac = hessian.kfac
    x = torch.zeros_like(b)
    r = b.clone()
    s = kfac.solve(r)
    d = s.clone()
    rs = dot(r, s)
    limit = tolerance * b.flatten(1).norm(dim=1)
    tiny = torch.finfo(b.dtype).tiny
    for iteration in range(1, max_iterations + 1):
        if bool((r.flatten(1).norm(dim=1) <= limit).all()):
            return x, iteration - 1
        hd = hessian.product(d)
        alpha = rs / dot(d, hd).clamp_min(tiny)
        x += along(alpha, d)
        r -= along(alpha, hd)
        s = kfac.solve(r)
        rs_next = dot(r, s)
        d = s + along(rs_next / rs.clamp_min(tiny), d)
        rs = rs_next
    return x, max_iterations
