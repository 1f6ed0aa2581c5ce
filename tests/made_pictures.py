"""Pictures with the statistics of photographs, made from a seed: smooth fields of colour with edges and texture."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def photograph(seed: int, kind: int, side: int = 64) -> Image.Image:
    """A picture of one of two kinds: stripes on a warm ground, or discs on a cool one."""
    random = np.random.default_rng(seed)
    field = np.zeros((side, side, 3))
    for size in (2, 4, 8, 16):
        coarse = Image.fromarray(random.integers(0, 256, (size, size, 3), dtype=np.uint8).astype(np.uint8))
        field += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=float) / size**0.5
    field = 255 * (field - field.min()) / np.ptp(field)
    down, across = np.mgrid[0:side, 0:side] / side
    for _ in range(3):
        x, y, width = random.uniform(0.15, 0.85, 3)
        inside = np.abs(across - x + 0.3 * down) < width / 8
        if kind:
            inside = (across - x) ** 2 + (down - y) ** 2 < (width / 4) ** 2
        field[inside] = random.integers(0, 256, 3)
    field[..., 0 if kind else 2] *= 0.35
    field += random.normal(0, 25, (side, side, 1))  # texture, as photographs have
    return Image.fromarray(field.clip(0, 255).astype(np.uint8))


def encoded(picture: Image.Image, form: str = "PNG", **options: int) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()
