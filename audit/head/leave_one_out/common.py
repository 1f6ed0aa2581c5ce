"""Shared by the methods of leave-one-out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audit.compute.matrix import Rows
from audit.head.factors import KroneckerFactors


@dataclass(frozen=True)
class LeaveOneOut:
    """Leave-one-out predictions.

    Attributes:
        probabilities: (n, C); not necessarily in memory.
        self_influence: rᵀ M r (n,), ≥ 0: about the rise of the sample's own loss on leaving it out (nats); NaN where
            only predictions were asked for.
        method: 'exact' leverages, those of the self-consistent Kronecker-factored Hessian ('kfac'), or those of each
            class's own block of it ('blocks').
        factors: in whose coordinates 'kfac' has the leverages; None with the others.
    """

    probabilities: Any
    self_influence: Tensor
    method: str
    factors: KroneckerFactors | None = None


def nothing_yet(z: Rows, logits: Rows) -> tuple[Tensor, Tensor]:
    """Empty probabilities (n, C), and self-influence (n,) filled with NaN."""
    probabilities = torch.empty(logits.shape, dtype=z.dtype, device=z.device)
    return probabilities, torch.full((len(z),), torch.nan, dtype=z.dtype, device=z.device)


def weights_of(z: Tensor, weights: Tensor | None, trained_on: Tensor | None) -> Tensor:
    """Weights (k,) in the precision of z (k, D), 0 for samples that were not in training."""
    w = torch.ones(len(z), dtype=z.dtype, device=z.device) if weights is None else weights.to(z)
    return w if trained_on is None else torch.where(trained_on, w, 0)


def diagonals(z: Tensor, kfac: KroneckerFactors, n: int) -> Tensor:
    """Diagonals of M (k, C − 1) for samples z (k, D): sums of squares, for which float32 is accurate enough."""
    return sums_of_squares(squares_of(z, kfac), kfac, n).to(z.dtype)


def squares_of(z: Tensor, kfac: KroneckerFactors) -> Tensor:
    """Squares of z (k, D) in the eigenvectors of the features, which all factors of the same features share."""
    return kfac.rotate(z.float()) ** 2


def sums_of_squares(squares: Tensor, kfac: KroneckerFactors, n: int) -> Tensor:
    """Diagonals of M (k, C − 1) from `squares_of` (k, D)."""
    return squares @ kfac.scales.float().T / n


def without_itself(leverages: Tensor, curvature: Tensor, most: float = 0.999) -> Tensor:
    """Diagonals of M₋ᵢ from those of M and the samples' own curvature, w p (1 − p).

    The product of both, a sample's share of the curvature that it is seen through, is below 1; `most` keeps rounding
    from making it 1.
    """
    return leverages / (1 - (curvature * leverages).clamp_max(most))


def own_class(residuals: Tensor) -> Tensor:
    """The label's class (k,), from residuals p − t (k, C)."""
    return residuals.argmin(1)
