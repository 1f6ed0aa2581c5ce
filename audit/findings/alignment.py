"""How well two pictures agree once one of them is cropped, and perhaps mirrored, to fit the other.

Pictures are small grey copies. Agreement is the correlation of their pixels, so that brightness and contrast do not
matter. A grid of crops is tried on few pixels; the best crop is then refined on more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

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
    # The same as a multiple of the disagreement that is of interest.
    times: float = 12.0
    # Disagreement after a first step, as a multiple of that of interest, up to which the last ones are taken.
    last_times: float = 3.0
    # Disagreement on few pixels, as a multiple of the least of a pair, up to which an orientation is refined.
    nearly: float = 1.2
    # How far a refinement moves a crop, as shares of the side.
    steps: tuple[float, ...] = (0.05, 0.025)
    # Pairs that are aligned at once.
    block: int = 4096


SETTINGS = AlignmentSettings()
COARSE, FINE = 8, 16  # pixels of a side on which crops are compared


def disagreement(grey: np.ndarray, pairs: np.ndarray, limits: np.ndarray | None = None) -> np.ndarray:
    """One minus the best correlation of each pair, 0 (the same picture) to 2; shape (p,).

    Args:
        grey: uint8 (n, side, side).
        pairs: (p, 2) positions.
        limits: (p,) disagreements of interest: of a pair that disagrees far more, only a coarse measure is taken.
    """
    limits = np.full(len(pairs), np.inf) if limits is None else limits
    found = np.empty(len(pairs))
    order = np.argsort(pairs[:, 0], kind="stable")  # so that a block has few different pictures
    for start in range(0, len(pairs), SETTINGS.block):
        block = order[start : start + SETTINGS.block]
        rows, places = np.unique(pairs[block], return_inverse=True)
        pictures = _smoothed(torch.from_numpy(np.ascontiguousarray(grey[rows])))
        pairs_of_block = torch.from_numpy(places.reshape(-1, 2))
        found[block] = 1 - _best_of_pairs(pictures, pairs_of_block, torch.from_numpy(limits[block])).numpy()
    return found


def _smoothed(grey: Tensor) -> Tensor:
    """float32 (n, side, side), smoothed so that sampling between pixels loses nothing."""
    side = grey.shape[1]
    weights = torch.zeros(side, side)
    for step, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
        weights.index_put_(
            (torch.arange(side), (torch.arange(side) + step).clamp(0, side - 1)), torch.tensor(weight), accumulate=True
        )
    return weights @ grey.float() @ weights.T


def _best_of_pairs(pictures: Tensor, pairs: Tensor, limits: Tensor) -> Tensor:
    """The best correlation (p,) of a crop of one picture (m, s, s) of each pair (p, 2) with the other, or its mirror.

    It is refined where the coarse disagreement is not far above limits (p,).
    """
    whole, crops = _whole(pictures, COARSE), _coarse_crops(pictures)
    targets = torch.stack([whole, whole.flip(2)], 1).flatten(2).transpose(1, 2)  # upright and mirrored
    tries: list[tuple[Tensor, Tensor, bool]] = []
    coarse: list[Tensor] = []
    starts: list[Tensor] = []
    for one, other in (pairs.T, pairs.flip(1).T):
        found, crop = (crops[one] @ targets[other]).max(1)
        coarse += found.unbind(1)
        starts += crop.unbind(1)
        tries += [(one, other, False), (one, other, True)]
    best = torch.stack(coarse)
    likeliest, promising = best.amax(0), (SETTINGS.times * limits).clamp(max=SETTINGS.promising)
    for number, (one, other, mirrored) in enumerate(tries):
        apart = 1 - best[number]
        near = (apart < promising) & (apart <= SETTINGS.nearly * (1 - likeliest) + 1e-3)
        rows = near.nonzero()[:, 0]
        if len(rows):
            target = pictures[other[rows]]
            start = _grid()[starts[number][rows]]
            target = target.flip(2) if mirrored else target
            best[number, rows] = _refined(pictures[one[rows]], target, start, limits[rows])
    return best.amax(0)


def _refined(picture: Tensor, target: Tensor, crops: Tensor, limits: Tensor) -> Tensor:
    """The best correlation (p,) of crops near (p, 3) of each picture (p, s, s) with its target (p, s, s).

    The last steps are taken where they may bring the disagreement to limits (p,).
    """
    wanted = _whole(target, FINE).reshape(len(target), -1, 1)
    best = torch.full((len(crops),), -1.0)
    steps = torch.tensor([0.0, -1.0, 1.0])
    for step in SETTINGS.steps:
        rows = (1 - best <= torch.where(best < 0, torch.inf, SETTINGS.last_times * limits)).nonzero()[:, 0]
        pictures, near, looked_for = picture[rows], crops[rows], wanted[rows]
        correlations = []
        for change in step * steps:
            scale = (near[:, 0] + change)[:, None]
            down, across = (
                _samplers(scale, near[:, axis, None] + step * steps, FINE, picture.shape[1]) for axis in (2, 1)
            )
            tried = _contrasts(_sampled(pictures, down, across))
            correlations.append((tried.flatten(1, 2) @ looked_for)[..., 0])
        found, place = torch.cat(correlations, 1).max(1)  # by scale, then down, then across
        moves = torch.stack([place // 9, place % 3, place // 3 % 3], 1)
        crops[rows] = near + step * steps[moves]
        best[rows] = torch.maximum(best[rows], found)
    return best


@cache
def _grid() -> Tensor:
    """The crops (k, 3) that are tried: scale, and centre from -1 to 1 across and down."""
    crops = []
    for scale in SETTINGS.scales:
        offsets = (-(1 - scale), 0.0, 1 - scale) if scale < 1 else (0.0,)
        crops += [(scale, across, down) for down in offsets for across in offsets]
    return torch.tensor(crops)


def _coarse_crops(pictures: Tensor) -> Tensor:
    """The crops of `_grid` of pictures (m, s, s), on few pixels: (m, k, COARSE²), of mean 0 and length 1."""
    found = []
    for scale in SETTINGS.scales:
        offsets = torch.tensor([-(1 - scale), 0.0, 1 - scale] if scale < 1 else [0.0])
        samplers = _samplers(torch.tensor([scale]), offsets, COARSE, pictures.shape[1])
        found.append(_contrasts(_sampled(pictures, samplers, samplers)).flatten(1, 2))
    return torch.cat(found, 1)


def _whole(pictures: Tensor, side: int) -> Tensor:
    """Whole pictures (m, s, s) on fewer pixels: (m, side, side), of mean 0 and length 1."""
    sampler = _samplers(torch.ones(1), torch.zeros(1), side, pictures.shape[1])
    return _contrasts(_sampled(pictures, sampler, sampler)).reshape(len(pictures), side, side)


def _samplers(scale: Tensor, offsets: Tensor, side: int, pixels: int) -> Tensor:
    """Linear interpolation of `pixels` at `side` places: weights (..., k, side, pixels).

    Args:
        scale: (..., 1) of the part that is sampled, as a share of the whole.
        offsets: (..., k) its centre, from -1 to 1.
        side: places.
        pixels: of the picture; beyond its border, the last one counts.
    """
    places = (torch.arange(side) + 0.5) / side * 2 - 1
    at = scale[..., None] * places + offsets[..., None]
    at = (((at + 1) * pixels - 1) / 2).clamp(0, pixels - 1)
    return (1 - (at[..., None] - torch.arange(pixels)).abs()).clamp_min(0)


def _sampled(pictures: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Pictures (m, s, s) sampled by each of samplers (..., k, t, s) down and across: (m, k, k, t, t)."""
    k, side, m = *down.shape[-3:-1], len(pictures)
    rows = down.flatten(-3, -2) @ pictures  # (m, k t, s)
    columns = (rows @ across.flatten(-3, -2).transpose(-1, -2)).view(m, k, side, k, side)
    return columns.transpose(2, 3)


def _contrasts(sampled: Tensor) -> Tensor:
    """Samples (m, k, k, t, t) as vectors (m, k, k, t²) of mean 0 and length 1; 0 where there is no contrast."""
    flat = sampled.flatten(-2)
    centred = flat - flat.mean(-1, keepdim=True)
    return centred / centred.norm(dim=-1, keepdim=True).clamp_min(1.0)
