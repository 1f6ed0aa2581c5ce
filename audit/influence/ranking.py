"""The strongest among the influences of many samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def helpful_and_harmful(
    influence: Tensor, count: int, within: Sequence[int] | Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Positions of the strongest helpers and of the strongest harmers, strongest first.

    Args:
        influence: (n,): a row of the pairwise matrix for the training samples that help and harm a validation sample,
            a column for the validation samples that a training sample helps and harms.
        count: most positions of each kind.
        within: positions to choose from, e.g. those of one class; None for all.
    """
    places = None if within is None else torch.as_tensor(within, device=influence.device)
    chosen = influence if places is None else influence[places]
    helpful, harmful = _above_zero(chosen, count), _above_zero(-chosen, count)
    return (helpful, harmful) if places is None else (places[helpful], places[harmful])


def _above_zero(values: Tensor, count: int) -> Tensor:
    """Positions of the largest of what is above 0, largest first and of equals the first one first."""
    least = torch.topk(values, min(count, len(values))).values.amin().clamp_min(0) if count and len(values) else 0
    places = torch.nonzero((values >= least) & (values > 0)).flatten()  # without sorting all of them
    return places[torch.argsort(values[places], descending=True, stable=True)[:count]]
