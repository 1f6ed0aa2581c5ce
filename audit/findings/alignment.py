"""How well two pictures agree once one of them is cropped, and perhaps mirrored, to fit the other.

Pictures are small grey copies. Agreement is the correlation of their pixels, so that brightness and contrast do not
matter. A grid of crops is tried on few pixels; the best crop is then refined on more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AlignmentSettings:
    """How crops are tried."""

    # Sides of the crops that are tried, as shares of the picture's.
    scales: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7)
    # Disagreement on few pixels up to which a crop is refined.
    promising: float = 0.3
    # How far a refinement moves a crop, as shares of the side.
    steps: tuple[float, ...] = (0.05, 0.025)
    # Pairs that are aligned at once.
    block: int = 512


SETTINGS = AlignmentSettings()
COARSE, FINE = 8, 16  # pixels of a side on which crops are compared


def disagreement(grey: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """One minus the best correlation of each pair, 0 (the same picture) to 2; shape (p,).

    Args:
        grey: uint8 (n, side, side).
        pairs: (p, 2) positions.
    """
    pictures = _smoothed(torch.from_numpy(np.ascontiguousarray(grey)))
    found = np.empty(len(pairs))
    for start in range(0, len(pairs), SETTINGS.block):
        rows = torch.from_numpy(np.asarray(pairs[start : start + SETTINGS.block]))
        one, other = pictures[rows[:, 0]], pictures[rows[:, 1]]
        best = torch.stack(
            [_best_crop(a, b if upright else b.flip(3)) for a, b in ((one, other), (other, one)) for upright in (1, 0)]
        )
        found[start : start + SETTINGS.block] = 1 - best.amax(0).numpy()
    return found


def _smoothed(grey: Tensor) -> Tensor:
    """float32 (n, 1, side, side), smoothed so that sampling between pixels loses nothing."""
    pictures = grey[:, None].float()
    weights = torch.tensor([0.25, 0.5, 0.25])
    kernel = (weights[:, None] * weights)[None, None]
    return torch.nn.functional.conv2d(torch.nn.functional.pad(pictures, (1, 1, 1, 1), "replicate"), kernel)


def _best_crop(picture: Tensor, target: Tensor) -> Tensor:
    """The best correlation (p,) of a crop of each picture (p, 1, s, s) with its target."""
    crops = _grid()[None].expand(len(picture), -1, -1)
    correlations = (_cropped(picture, crops, COARSE) * _cropped(target, _whole(target), COARSE)).sum(2)
    best, place = correlations.max(1)
    promising = (1 - best < SETTINGS.promising).nonzero()[:, 0]
    if len(promising):
        kept = crops[promising, place[promising]]
        best[promising] = _refined(picture[promising], target[promising], kept)
    return best


def _refined(picture: Tensor, target: Tensor, crops: Tensor) -> Tensor:
    """The best correlation (p,) near crops (p, 3)."""
    wanted = _cropped(target, _whole(target), FINE)
    moves = torch.cartesian_prod(*[torch.tensor([0.0, -1.0, 1.0])] * 3)
    best = torch.full((len(crops),), -1.0)
    for step in SETTINGS.steps:
        tried = crops[:, None] + step * moves
        correlations = (_cropped(picture, tried, FINE) * wanted).sum(2)
        found, place = correlations.max(1)
        crops = tried[torch.arange(len(tried)), place]
        best = torch.maximum(best, found)
    return best


def _grid() -> Tensor:
    """The crops (k, 3) that are tried: scale, and centre from -1 to 1 across and down."""
    crops = []
    for scale in SETTINGS.scales:
        offsets = (-(1 - scale), 0.0, 1 - scale) if scale < 1 else (0.0,)
        crops += [(scale, across, down) for across in offsets for down in offsets]
    return torch.tensor(crops)


def _whole(pictures: Tensor) -> Tensor:
    return torch.tensor([1.0, 0.0, 0.0]).expand(len(pictures), 1, 3)


def _cropped(pictures: Tensor, crops: Tensor, side: int) -> Tensor:
    """Crops (p, k, 3) of pictures (p, 1, s, s): (p, k, side²), of mean 0 and length 1; 0 where there is no contrast."""
    count, tried, _ = crops.shape
    places = (torch.arange(side) + 0.5) / side * 2 - 1
    across = crops[..., 0, None] * places + crops[..., 1, None]
    down = crops[..., 0, None] * places + crops[..., 2, None]
    grid = torch.stack(
        [across[:, :, None, :].expand(-1, -1, side, -1), down[:, :, :, None].expand(-1, -1, -1, side)], -1
    )
    sampled = torch.nn.functional.grid_sample(
        pictures, grid.reshape(count, tried * side, side, 2), padding_mode="border", align_corners=False
    ).reshape(count, tried, side * side)
    centred = sampled - sampled.mean(2, keepdim=True)
    return centred / centred.norm(dim=2, keepdim=True).clamp_min(1.0)
