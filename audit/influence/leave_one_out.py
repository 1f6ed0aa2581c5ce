"""What the head would predict for a sample had it not been trained on it, in closed form.

With M_i = (I ⊗ z_i)ᵀ (nH)⁻¹ (I ⊗ z_i) (C, C) and A_i = diag p_i − p_i p_iᵀ, leaving out sample i of weight w_i moves
its own logits by Δ_i = M_i (I − w_i A_i M_i)⁻¹ w_i r_i: one Newton step of the problem without it (Rad & Maleki,
arXiv 1801.10243).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from audit.influence.hessian import HeadHessian, chunks

EXACT_FLOP = 1e12  # 'auto' affords the exact leverages up to here: some 15 s on two cores


@dataclass(frozen=True)
class LeaveOneOut:
    """Predictions without the sample.

    Attributes:
        probabilities: (n, C).
        self_influence: rᵀ M r (n,), ≥ 0: about the rise of the sample's own loss on leaving it out (nats).
        method: 'exact' leverages, or those of the Kronecker-factored Hessian ('kfac').
    """

    probabilities: Tensor
    self_influence: Tensor
    method: str


def leave_one_out(
    hessian: HeadHessian,
    z: Tensor,
    logits: Tensor,
    residuals: Tensor,
    weights: Tensor | None = None,
    trained_on: Tensor | None = None,
    method: str = "auto",
) -> LeaveOneOut:
    """Leave-one-out predictions of samples.

    Args:
        hessian: of the training objective.
        z, logits, residuals: (n, D), (n, C) and p − t (n, C) of the samples.
        weights: the samples' weights w (n,) in the objective; None for ones.
        trained_on: bool (n,), False where the sample was not in training: its prediction stays as it is; None for all
            True.
        method: 'exact', 'kfac', or 'auto' by cost.
    """
    if method == "auto":
        flop = len(z) * float(hessian.parameters) ** 2
        method = "exact" if hessian.use_cholesky("auto") and flop <= EXACT_FLOP else "kfac"
    leverages = _exact_leverages(hessian, z) if method == "exact" else _kfac_leverages(hessian, z)
    out = logits.clone()
    self_influence = logits.new_empty(len(z))
    eye = torch.eye(hessian.classes, dtype=z.dtype, device=z.device)
    for rows, m in leverages:
        r = residuals[rows]
        self_influence[rows] = torch.einsum("nc,nce,ne->n", r, m, r)
        w = z.new_ones(len(r)) if weights is None else weights[rows]
        if trained_on is not None:
            w = torch.where(trained_on[rows], w, 0)
        p = logits[rows].softmax(1)
        a = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        pulled = torch.linalg.solve(eye - w[:, None, None] * (a @ m), w[:, None] * r)
        out[rows] += torch.einsum("nce,ne->nc", m, pulled)
    return LeaveOneOut(out.softmax(1), self_influence.clamp_min_(0), method)


def _exact_leverages(hessian: HeadHessian, z: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """M (rows, C, C) in chunks, from the dense inverse: about n C² D² FLOP."""
    classes, features = hessian.classes, hessian.features
    inverse = torch.cholesky_inverse(hessian.cholesky).view(classes, features, classes, features)
    for rows in chunks(len(z), 3 * features + classes**2, z.element_size()):
        part = z[rows]
        m = z.new_empty(len(part), classes, classes)
        for c in range(classes):
            for e in range(c, classes):
                m[:, c, e] = ((part @ inverse[c, :, e, :]) * part).sum(1)
                m[:, e, c] = m[:, c, e]
        yield rows, m / hessian.n


def _kfac_leverages(hessian: HeadHessian, z: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """M (rows, C, C) in chunks, from the Kronecker factors: n (D² + C D + C³) FLOP."""
    kfac = hessian.kfac
    for rows in chunks(len(z), 2 * hessian.features + 3 * hessian.classes**2, z.element_size()):
        squares = (z[rows] @ kfac.a_vectors) ** 2
        diagonal = squares @ kfac.scales.T / hessian.n
        yield rows, (kfac.g_vectors * diagonal[:, None, :]) @ kfac.g_vectors.T
