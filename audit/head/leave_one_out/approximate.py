"""Leave-one-out by the diagonals of the leverages, without a matrix for each sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from audit.compute.threads import one_thread, softmax
from audit.head.factors import KroneckerFactors
from audit.head.leave_one_out.common import diagonals, own_class, weights_of, without_itself
from audit.head.settings import LeaveOneOutSettings


def left_out_approximately(
    z: Tensor,
    logits: Tensor,
    residuals: Tensor,
    weights: Tensor | None,
    trained_on: Tensor | None,
    leverages: Tensor | None,
    bend: Tensor | None,
    *common: Any,
) -> tuple[Tensor, Tensor]:
    """Probabilities (k, C) and self-influence (k, 1), with only the diagonals of M₋ᵢ.

    Without `leverages`, the diagonals are those of the factors. `bend` (k,) is added to the logit of `own_class`: how
    much farther than one Newton step it moves.
    """
    kfac, n, predictions_only, settings = common
    p, w = softmax(logits), weights_of(z, weights, trained_on)[:, None]
    m = diagonals(z, kfac, n) if leverages is None else without_itself(leverages, w * p * (1 - p))
    with one_thread(logits.numel()):
        r = kfac.contrast(residuals)
        left_out = logits + kfac.contrast_back(m * w * r)
        if bend is not None:
            left_out.scatter_add_(1, own_class(residuals)[:, None], bend[:, None])
        probabilities = softmax(left_out)
        if predictions_only:
            return probabilities, torch.full_like(probabilities[:, :1], torch.nan)
        return probabilities, _self_influence(p, m, w, r, kfac, settings).clamp_min_(0)[:, None]


def _curved(p: Tensor, v: Tensor, kfac: KroneckerFactors) -> Tensor:
    """A_i v_i (k, G) for p (k, C) and v (k, G), without computing A_i."""
    weighted = p * kfac.contrast_back(v)
    return kfac.contrast(weighted - p * weighted.sum(1, keepdim=True))


def _self_influence(
    p: Tensor, m: Tensor, w: Tensor, r: Tensor, kfac: KroneckerFactors, settings: LeaveOneOutSettings
) -> Tensor:
    """The self-influence rᵀ (M₋ᵢ⁻¹ + w A_i)⁻¹ r (k,), for leverages M₋ᵢ = diag m without the sample.

    By conjugate gradients on (I + w √M A √M) t = √M r for all samples at once; the eigenvalues lie between 1 and
    1 + max m / 2. The error of the quadratic form is the square of the residual's.
    """
    root = m.sqrt()
    b = root * r
    t, residual = torch.zeros_like(b), b.clone()
    direction = b.clone()
    rs = (b * b).sum(1, keepdim=True)
    limit = settings.self_influence_residual**2 * rs
    tiny = torch.finfo(b.dtype).tiny
    for _ in range(settings.self_influence_steps):
        if bool((rs <= limit).all()):
            break
        moved = direction + w * root * _curved(p, root * direction, kfac)
        alpha = rs / (direction * moved).sum(1, keepdim=True).clamp_min(tiny)
        t += alpha * direction
        residual -= alpha * moved
        rs, before = (residual * residual).sum(1, keepdim=True), rs
        direction = residual + rs / before.clamp_min(tiny) * direction
    return (b * t).sum(1)
