"""Leverages by Kronecker factors of the curvature as the other samples see it ('kfac').

The leverages of the problem without the sample are M₋ᵢ = M_i (I − w_i A_i M_i)⁻¹. They follow from Kronecker factors
G ⊗ A. Plain K-FAC puts the average curvature G in the place of each sample's own, by which I − A_i M_i is nearly
singular for samples of high leverage. So G is the mean of w_i A_i (I + w_i M₋ᵢ A_i)⁻¹ here, each sample's curvature as
the others see it. It is the fixed point of some steps, as in the deterministic equivalents of El Karoui (Probability
Theory and Related Fields 170, 2018).

With n samples this takes about n (D² + 20 C²) FLOP. Of more than `coupled_classes` classes only the diagonal of G is
computed, which takes n D (D + 2 C).
"""

from __future__ import annotations

import torch
from torch import Tensor

from audit.compute.matrix import blocks
from audit.compute.threads import one_thread
from audit.head.factors import KroneckerFactors, kronecker_factors
from audit.head.hessian import HeadHessian
from audit.head.leave_one_out.common import squares_of, sums_of_squares
from audit.head.settings import LeaveOneOutSettings


def without_the_sample(
    hessian: HeadHessian, start: KroneckerFactors | None, settings: LeaveOneOutSettings = LeaveOneOutSettings()
) -> KroneckerFactors:
    """The factors in whose coordinates M₋ᵢ are nearly diagonal, by fixed-point steps from K-FAC or one from `start`."""
    kfac = start or hessian.kfac
    every = max(1, round(hessian.n / settings.fixed_point_samples))
    squares, p = squares_of(hessian.z[::every], kfac), hessian.p[::every].double()
    w = None if hessian.w is None else hessian.w[::every]
    for _ in range(1 if start else settings.fixed_point_steps):
        if kfac.g_vectors is None:
            kfac = _seen_by_others_apart(hessian, kfac, squares, p, w)
        else:
            kfac = _seen_by_others(hessian, kfac, squares, p, w, settings.likely_classes)
    return kfac


def _seen_by_others(
    hessian: HeadHessian, kfac: KroneckerFactors, squares: Tensor, p: Tensor, w: Tensor | None, likely_classes: int
) -> KroneckerFactors:
    """Kronecker factors whose G is the mean of w A_i (I + w M₋ᵢ A_i)⁻¹ over k samples.

    Of these come their `squares_of` (k, D), p (k, C) and w (k,).

    On contrasts the pseudo-inverse of A_i = diag p − ppᵀ is diag 1/p, so that the mean is of Q − Q11ᵀQ / 1ᵀQ1 with
    Q = (diag 1/(w p) + M₋ᵢ)⁻¹. Of M₋ᵢ, the couplings between a sample's `likely_classes` likeliest classes are
    kept; of the others, whose p is next to nothing, only the diagonal. That takes about C² + likely_classes² C FLOP for
    each sample, and not C³.
    """
    basis = kfac.contrasts.double()
    classes, groups = basis.shape
    likely = min(likely_classes, classes)
    total = torch.zeros(classes, classes, dtype=basis.dtype, device=p.device)
    basis_squares = (basis**2).T
    for rows in blocks(p, 6 * classes + 2 * likely * groups + 4 * likely**2):
        m = sums_of_squares(squares[rows], kfac, hessian.n).double()
        with one_thread(len(m) * likely * groups):
            own = p[rows] if w is None else p[rows] * w[rows, None]
            if likely == classes:
                block = _coupled(basis, m, own)
                total += block.sum(0)
                sums = block.sum(2)
            else:
                q, places = own.topk(likely, dim=1, sorted=False)
                block = _coupled(basis[places], m, q)
                apart = (own / (1 + (m @ basis_squares) * own)).scatter_(1, places, 0.0)
                sums = apart.scatter(1, places, block.sum(2))
                cells = (places[:, :, None] * classes + places[:, None, :]).flatten()
                total.view(-1).index_add_(0, cells, block.flatten())
                total.diagonal().add_(apart.sum(0))
            share = sums / sums.sum(1, keepdim=True).clamp_min(torch.finfo(sums.dtype).tiny)
            total -= share.T @ sums
    mean = total * hessian.n / len(p)
    return kronecker_factors((mean + mean.T) / 2, hessian.n, hessian.moment, hessian.ridge, hessian.z.dtype)


def _coupled(basis: Tensor, m: Tensor, q: Tensor) -> Tensor:
    """(diag 1/q + B diag(m) Bᵀ)⁻¹ (k, L, L) for rows B (L, G) of the contrasts, or (k, L, G), m (k, G) and q (k, L)."""
    root = q.sqrt()
    roots = root[:, :, None] * root[:, None, :]
    matrix = roots * ((basis * m[:, None, :]) @ basis.mT)
    matrix.diagonal(dim1=1, dim2=2).add_(1)
    return torch.cholesky_inverse(torch.linalg.cholesky(matrix)).mul_(roots)


def _seen_by_others_apart(
    hessian: HeadHessian, kfac: KroneckerFactors, squares: Tensor, p: Tensor, w: Tensor | None
) -> KroneckerFactors:
    """As `_seen_by_others` with classes taken apart: M₋ᵢ is diagonal, so that Q is, and of the mean the diagonal is."""
    total = torch.zeros(hessian.classes, dtype=torch.float64, device=p.device)
    for rows in blocks(p, 6 * hessian.classes):
        m = sums_of_squares(squares[rows], kfac, hessian.n).double()
        own = p[rows] if w is None else p[rows] * w[rows, None]
        q = own / (1 + m * own)
        total += (q - q**2 / q.sum(1, keepdim=True).clamp_min(torch.finfo(q.dtype).tiny)).sum(0)
    return kronecker_factors(total * hessian.n / len(p), hessian.n, hessian.moment, hessian.ridge, hessian.z.dtype)
