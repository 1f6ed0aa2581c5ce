"""Leave-one-out by exact leverages, which takes 2 n (C·D)² FLOP and the Hessian as a matrix."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from audit.compute.matrix import Rows, blocks
from audit.compute.threads import softmax
from audit.head.factors import KroneckerFactors
from audit.head.hessian import HeadHessian
from audit.head.leave_one_out.common import nothing_yet, weights_of


def left_out_exactly(
    z: Rows,
    logits: Rows,
    residuals: Rows,
    weights: Rows | None,
    trained_on: Tensor | None,
    *common: Any,
) -> tuple[Tensor, Tensor]:
    """Probabilities (n, C) and self-influence (n,)."""
    hessian, predictions_only = common
    probabilities, self_influence = nothing_yet(z, logits)
    for rows, kfac, m in _exact(hessian, z):
        basis = kfac.contrasts.to(z.dtype)
        own = (None if values is None else values[rows] for values in (weights, trained_on))
        w = weights_of(z[rows], *own)
        r = residuals[rows] @ basis
        a = _curvature(softmax(logits[rows]), basis)
        eye = torch.eye(m.shape[1], dtype=m.dtype, device=m.device)
        u = torch.linalg.solve(eye - w[:, None, None] * (a @ m), w[:, None] * r)
        shift = torch.einsum("nge,ne->ng", m, u)
        probabilities[rows] = softmax(logits[rows] + shift @ basis.T)
        if not predictions_only:
            self_influence[rows] = torch.einsum("ng,nge,ne->n", r, m, r).clamp_min_(0)
    return probabilities, self_influence


def _curvature(p: Tensor, basis: Tensor) -> Tensor:
    """A_i in a basis (C, G) of contrasts: (k, G, G) for p (k, C)."""
    projected = p @ basis
    return (basis.T * p[:, None, :]) @ basis - projected[:, :, None] * projected[:, None, :]


def _exact(hessian: HeadHessian, z: Rows) -> Iterator[tuple[slice, KroneckerFactors, Tensor]]:
    """M (rows, C − 1, C − 1) in chunks, in the basis of the factors that come with it."""
    factor = hessian.factor
    inverse = factor.inverse
    groups, features = factor.kfac.scales.shape
    count = hessian.settings.product_blocks
    edges = [round(part * features / count) for part in range(count + 1)]
    for rows in blocks(z, 3 * features + 3 * groups**2):
        part = factor.kfac.rotate(z[rows].to(inverse.dtype))
        m = part.new_zeros(len(part), groups, groups)
        for g in range(groups):
            for h in range(g, groups):
                form = inverse[g, :, h, :] + inverse[g, :, h, :].T
                for start, stop in pairwise(edges):
                    left = part[:, :start] @ form[:start, start:stop]
                    left += part[:, start:stop] @ (form[start:stop, start:stop] / 2)
                    m[:, g, h] += (left * part[:, start:stop]).sum(1)
                m[:, h, g] = m[:, g, h]
        yield rows, factor.kfac, m.to(z.dtype) / hessian.n
