"""How much detail a picture holds, and so how well two pictures must agree to be copies.

Two photographs hardly ever agree by chance, two handwritten digits often. What counts is not the stored size: a picture
of 8 x 8 pixels holds no more once it is enlarged, a soft picture holds little, and so does one short stroke on an empty
page. So the detail of a picture is measured by how far it can be shrunk and enlarged again without loss, and by how
many of its pixels differ from the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from audit.images.traits import SIDE


@dataclass(frozen=True, kw_only=True)
class DetailSettings:
    """When a picture holds full detail. Chosen on tiny-imagenet-20, roman-numeral and scikit-learn's digits."""

    # Sides to which a picture is shrunk.
    sides: tuple[int, ...] = (20, 16, 12, 10, 8, 6, 4)
    # Share of a picture's variance that may be lost when it is shrunk and enlarged again.
    lost: float = 0.02
    # Share of the pixels that carry the variance in a picture that is full of detail.
    filled: float = 0.15
    # Pictures that are measured at once.
    block: int = 4096


SETTINGS = DetailSettings()


def detail(grey: np.ndarray) -> np.ndarray:
    """The detail of pictures, from nearly 0 (empty) to 1 (full), shape (n,).

    Args:
        grey: uint8 (n, SIDE, SIDE).
    """
    measured = np.zeros(len(grey))
    for start in range(0, len(grey), SETTINGS.block):
        pictures = torch.from_numpy(np.ascontiguousarray(grey[start : start + SETTINGS.block])).float()
        filled = (_spread(pictures) / SETTINGS.filled).clamp(max=1)
        measured[start : start + len(pictures)] = ((_finest_side(pictures) / SIDE) ** 2 * filled).numpy()
    return measured


def _finest_side(pictures: Tensor) -> Tensor:
    """The smallest side (n,) to which pictures (n, SIDE, SIDE) can be shrunk without loss."""
    variance = pictures.var((1, 2), unbiased=False).clamp_min(1e-3)
    finest = torch.full((len(pictures),), float(SIDE))
    turned = pictures.transpose(1, 2).contiguous()
    for side in SETTINGS.sides:
        lost = torch.stack([(turned - again).square().mean((1, 2)) for again in _enlarged_again(pictures, side)])
        finest[lost.amin(0) / variance < SETTINGS.lost] = side
    return finest


def _enlarged_again(pictures: Tensor, side: int) -> list[Tensor]:
    """Pictures shrunk to a side and enlarged again, in the ways in which small pictures are usually enlarged.

    They are turned over their diagonal, because products with a matrix on the right take half of the time.
    """
    return [(pictures @ ways.T).transpose(1, 2) @ ways.T for ways in _ways(side)]


@cache
def _ways(side: int) -> list[Tensor]:
    """What each way of shrinking to a side and enlarging again makes of a line of pixels: (SIDE, SIDE) each."""
    lines = torch.eye(SIDE)[:, None, :, None].expand(-1, -1, -1, SIDE)  # even across
    small = torch.nn.functional.adaptive_avg_pool2d(lines, side)
    sharp = torch.nn.functional.interpolate(small, size=(SIDE, SIDE), mode="nearest")
    smooth = torch.nn.functional.interpolate(small, size=(SIDE, SIDE), mode="bicubic")
    waves = _cosines()[:side]
    return [*(enlarged[:, 0, :, 0].T.contiguous() for enlarged in (sharp, smooth)), waves.T @ waves]


def _cosines() -> Tensor:
    """The orthonormal cosine transform (SIDE, SIDE), a frequency a row, the lowest first."""
    places, frequencies = np.arange(SIDE) + 0.5, np.arange(SIDE)[:, None]
    waves = np.cos(np.pi * frequencies * places / SIDE) * np.sqrt(2 / SIDE)
    waves[0] /= np.sqrt(2)
    return torch.from_numpy(waves.astype(np.float32))


def _spread(pictures: Tensor) -> Tensor:
    """The share (n,) of the pixels that carry a picture's variance: 1 if all do alike, 1 / SIDE² if one pixel does."""
    flat = pictures.flatten(1)
    shares = []
    for middle in (flat.mean(1, keepdim=True), flat.median(1, keepdim=True).values):
        squares = (flat - middle).square()
        shares.append(squares.sum(1) ** 2 / squares.square().sum(1).clamp_min(1e-6) / flat.shape[1])
    return torch.minimum(*shares)
