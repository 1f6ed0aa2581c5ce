"""Kronecker factors of the head's Hessian (K-FAC): eigenvectors of features and of classes, in which it is diagonal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from audit.compute.matrix import Rows, blocks, total
from audit.compute.threads import one_thread


def _second_moment(z: Rows) -> tuple[Tensor]:
    """Σ z_i z_iᵀ (D, D), added up in double precision."""
    out = torch.zeros(z.shape[1], z.shape[1], dtype=torch.float64, device=z.device)
    for rows in blocks(z, 2 * z.shape[1]):
        z_rows = z[rows]
        out += z_rows.T @ z_rows
    return (out,)


@dataclass(frozen=True)
class SecondMoment:
    """Eigenvalues (D,), float64 and ≥ 0, and eigenvectors (D, D) of A = zᵀz / n; None for those of the identity."""

    values: Tensor
    vectors: Tensor | None

    @classmethod
    def of(cls, z: Rows) -> SecondMoment:
        """Factorise in double precision, which single precision does not always survive."""
        (moment,) = total(_second_moment, (z,))
        values, vectors = eigh(moment / len(z))
        return cls(values.clamp_min(0), vectors.to(z.dtype))

    def leading(self, count: int) -> SecondMoment:
        """The `count` largest eigenvalues, with their eigenvectors (D, count)."""
        assert self.vectors is not None
        return SecondMoment(self.values[-count:], self.vectors[:, -count:])

    def rotate(self, z: Tensor) -> Tensor:
        """z (k, D) in the eigenvectors, in z's precision."""
        return z if self.vectors is None else z @ self.vectors.to(z)


def class_variances(p: Rows, w: Rows | None) -> tuple[Tensor]:
    """Σ w_i p_i (1 − p_i) (C,), in double precision."""
    out = torch.zeros(p.shape[1], dtype=torch.float64, device=p.device)
    for rows in blocks(p, 3 * p.shape[1]):
        p_rows = p[rows]
        variances = p_rows * (1 - p_rows)
        out += (variances if w is None else variances * w[rows][:, None]).sum(0, dtype=torch.float64)
    return (out,)


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of a symmetric matrix; thousands of small steps, too small for several threads."""
    with one_thread():
        values, vectors = torch.linalg.eigh(matrix)
    return values, vectors


def contrasts(classes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """An orthonormal basis (C, C − 1) of what is orthogonal to (1, ..., 1) (Helmert's)."""
    rows = torch.arange(1, classes, dtype=torch.float64)
    basis = torch.triu(torch.ones(classes, classes - 1, dtype=torch.float64)) - torch.diag_embed(rows, -1)[:, :-1]
    return (basis / (rows * (rows + 1)).sqrt()).to(device, dtype)


def kronecker_factors(
    curvature: Tensor, n: int, moment: SecondMoment, ridge: float, dtype: torch.dtype
) -> KroneckerFactors:
    """(G ⊗ A + ridge I) for G = curvature / n: (C, C), whose rows sum to zero, or its diagonal (C,)."""
    vectors = None
    if curvature.ndim == 1:
        values = curvature.double() / n
    else:
        basis = contrasts(len(curvature), torch.float64, curvature.device)
        values, vectors = eigh(basis.T @ (curvature.double() / n) @ basis)
        vectors = (basis @ vectors).to(dtype)
    scales = 1 / (values.clamp_min(0)[:, None] * moment.values[None, :] + ridge)
    return KroneckerFactors(vectors, moment.vectors, scales.to(dtype), ridge)


@dataclass(frozen=True)
class KroneckerFactors:
    """(G ⊗ A + ridge I)⁻¹ through the eigenvectors of G and A, in whose coordinates it is diagonal.

    Attributes:
        g_vectors: U (C, C − 1), orthogonal to (1, ..., 1); None for the identity (C, C).
        a_vectors: V (D, D); None for the identity.
        scales: 1 / (g a + ridge) (C − 1 or C, D), for the eigenvalues g of G and a of A.
        ridge: what the inverse is 1 / ridge for on the direction (1, ..., 1).
    """

    g_vectors: Tensor | None
    a_vectors: Tensor | None
    scales: Tensor
    ridge: float

    def solve(self, b: Tensor) -> Tensor:
        """Apply the inverse to b (k, C, D)."""
        scales = self.scales.to(b.dtype)
        common = b.mean(1, keepdim=True)
        if self.g_vectors is None:
            found = self.rotate_back(self.rotate(b - common) * scales)
            found -= found.mean(1, keepdim=True)
        else:
            u = self.g_vectors.to(b.dtype)
            found = self.rotate_back(u @ (self.rotate(u.T @ b) * scales))
        return found + common / self.ridge

    def solve_classes(self, b: Tensor, classes: Tensor) -> Tensor:
        """Apply the inverse to b (m, k, D), the parts of some classes (m, k); only without coupling between classes."""
        assert self.g_vectors is None
        return self.rotate_back(self.rotate(b) * self.scales.to(b.dtype)[classes])

    @property
    def contrasts(self) -> Tensor:
        """U where it is not the identity."""
        assert self.g_vectors is not None
        return self.g_vectors

    def contrast(self, x: Tensor) -> Tensor:
        """x U for x (..., C), in x's precision."""
        return x if self.g_vectors is None else x @ self.g_vectors.to(x.dtype)

    def contrast_back(self, x: Tensor) -> Tensor:
        """x Uᵀ for x (..., C − 1 or C), in x's precision."""
        return x if self.g_vectors is None else x @ self.g_vectors.to(x.dtype).T

    def rotate(self, x: Tensor) -> Tensor:
        """x V for x (..., D), in x's precision."""
        return x if self.a_vectors is None else x @ self.a_vectors.to(x.dtype)

    def rotate_back(self, x: Tensor) -> Tensor:
        """x Vᵀ for x (..., D), in x's precision."""
        return x if self.a_vectors is None else x @ self.a_vectors.to(x.dtype).T
