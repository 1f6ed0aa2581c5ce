"""Standardised embeddings, on which the head is trained, and the check that a head can be trained on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from audit.compute.matrix import Rows, blocks, derive, map_rows, total
from audit.errors import InputError


@dataclass(frozen=True)
class Standardiser:
    """Centres and scales embeddings and appends a constant, so that one L2 penalty suits all features.

    Attributes:
        mean: (d,).
        scale: (d,), 1 where a feature is constant.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, x: Rows) -> Standardiser:
        """Mean and standard deviation of x (n, d)."""
        (sums,) = total(_sums, (x,))
        mean = (sums / len(x)).to(x.dtype)
        (squares,) = total(_squares_around, (x,), mean)
        faint = squares < 1e-28 * len(x)  # their squares are too small for single precision
        if x.dtype == torch.float32 and bool(faint.any()):
            squares = torch.where(faint, total(_squares_around, (x,), mean.double())[0], squares)
        scale = (squares / len(x)).sqrt().to(x.dtype)
        # Scaling a feature that varies by rounding only would turn rounding into noise.
        constant = scale <= 1e-6 * torch.maximum(mean.abs(), scale).clamp_min(torch.finfo(x.dtype).tiny)
        return cls(mean, torch.where(constant, torch.ones_like(scale), scale))

    @classmethod
    def unchanged(cls, x: Rows) -> Standardiser:
        """Leaves x (n, d) as it is, and only appends the constant."""
        zero = torch.zeros(x.shape[1], dtype=x.dtype, device=x.device)
        return cls(zero, torch.ones_like(zero))

    def __call__(self, x: Rows) -> Any:
        """z (n, d + 1); read when it is asked for where x is not in memory."""
        if isinstance(x, Tensor):  # if embeddings are in memory, so are features
            return self._features(x)
        return derive(self._features, x, width=x.shape[1] + 1)

    def _features(self, x: Tensor) -> Tensor:
        return functional.pad((x - self.mean.to(x)).div_(self.scale.to(x)), (0, 1), value=1.0)


def _sums(x: Rows) -> tuple[Tensor]:
    out = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for rows in blocks(x, x.shape[1]):
        out += x[rows].sum(0, dtype=torch.float64)
    return (out,)


def _squares_around(x: Rows, mean: Tensor) -> tuple[Tensor]:
    out = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for rows in blocks(x, 3 * x.shape[1]):
        out += ((x[rows] - mean) ** 2).sum(0, dtype=torch.float64)
    return (out,)


def check_embeddings(x: Rows, ids: Sequence[str], most_times_usual: float = 1e6, usual_exponent: int = 40) -> int:
    """Refuse embeddings that no head can be trained on.

    Args:
        x: (n, d), in double precision.
        ids: of the n samples, for messages.
        most_times_usual: how many times the usual magnitude an embedding may have. Beside a larger one, single
            precision sees hardly any difference between the others.
        usual_exponent: embeddings between 2 to plus and minus this power need no division.

    Returns:
        The power of two to divide them by: 0, but for embeddings whose squares would be too large or too small for
        single precision.

    Raises:
        InputError: if an embedding holds NaN or infinity, or dwarfs the others, with the first such row.
    """
    (largest,) = map_rows(_largest, (x,))
    finite = torch.isfinite(largest)
    if not bool(finite.all()):
        bad = torch.nonzero(~finite).flatten()
        raise InputError(
            f"{len(bad)} embedding(s) hold NaN or infinity, the first in row {ids[int(bad[0])]}; leave them out"
        )
    usual = float(largest.median()) if len(largest) else 0.0
    huge = torch.nonzero(largest > most_times_usual * usual).flatten()
    if usual and len(huge):
        raise InputError(
            f"{len(huge)} embedding(s) are more than {most_times_usual:,.0f} times as large as usual, the first in row "
            f"{ids[int(huge[0])]}, beside which the others cannot be told apart; leave them out"
        )
    exponent = math.frexp(float(largest.max()))[1] if len(largest) and float(largest.max()) else 0
    return exponent if abs(exponent) > usual_exponent else 0


def _largest(x: Rows) -> tuple[Tensor]:
    """The largest magnitude (n,) in each row; NaN where there is one."""
    out = torch.empty(len(x), dtype=torch.float64)
    for rows in blocks(x, 2 * x.shape[1]):
        out[rows] = x[rows].abs().amax(1).double().cpu()
    return (out,)
