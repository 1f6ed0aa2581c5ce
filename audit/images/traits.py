"""What the audit notes of each picture while it is decoded: small copies in grey and colour, and measures of quality.

Brightness, entropy, shape and size are measured as cleanvision does (github.com/cleanlab/cleanvision), so that its
thresholds hold for them. Its measure of blur includes the border of the picture and the number of shades, and misses
most blurred pictures of 64 pixels; the measure here is the strength of the edges for the picture's contrast.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter

from audit.images.decoding import decode_image
from audit.images.embedding import EmbeddingCache, default_cache_dir
from audit.images.pillow_warnings import listening

if TYPE_CHECKING:
    from audit.data.samples import Samples

SIDE = 24  # pixels of the grey copy: enough to align two pictures, and less than an embedding
COLOUR_SIDE = 8  # pixels of the copy in colour: enough to tell the border of a picture from its centre
MOST_SIDE = 256  # pixels of the longer side on which brightness is measured
BLUR_SIDE = 64  # and sharpness
SQUARES = np.arange(256, dtype=np.float32) ** 2
LAPLACIAN = ImageFilter.Kernel((3, 3), (-1, -1, -1, -1, 8, -1, -1, -1, -1), 1, 128)
VERSION = 4  # raised when a trait is computed differently, so that no cache mixes versions


class Measure(IntEnum):
    """The measures of a picture, as columns."""

    DARKEST = 0  # brightness that 1 % of the pixels do not reach, 0 to 1
    DARK = 1  # … 5 %
    BRIGHTEST = 2  # … 99 %
    ENTROPY = 3  # of the colours, bits
    SHARPNESS = 4  # standard deviation of the edges (Laplacian), as a multiple of that of the shades
    CONTRAST = 5  # standard deviation of the shades, of 255
    COLOUR = 6  # mean difference between the largest and the smallest channel, in shades of 255
    WIDTH = 7  # pixels
    HEIGHT = 8


PIXELS = SIDE * SIDE + COLOUR_SIDE * COLOUR_SIDE * 3  # bytes of both copies, kept four to a number
FEATURES = PIXELS // 4 + len(Measure)


@dataclass(frozen=True)
class Traits:
    """The traits of n pictures; of one that could not be read again, copies are black and measures are not a number.

    Attributes:
        grey: uint8 (n, SIDE, SIDE), the whole picture squeezed into a square, 0 is black.
        colour: uint8 (n, COLOUR_SIDE, COLOUR_SIDE, 3), the same in red, green and blue.
        measures: float32 (n, len(Measure)).
    """

    grey: np.ndarray
    colour: np.ndarray
    measures: np.ndarray

    @classmethod
    def of_rows(cls, rows: np.ndarray) -> Traits:
        """From rows (n, FEATURES) as `traits_of` makes them."""
        measures = np.ascontiguousarray(rows[:, PIXELS // 4 :], dtype=np.float32)
        pixels = np.ascontiguousarray(rows[:, : PIXELS // 4], dtype=np.float32).view(np.uint8)
        pixels[np.isnan(measures).all(1)] = 0
        grey, colour = pixels[:, : SIDE * SIDE], pixels[:, SIDE * SIDE :]
        return cls(grey.reshape(-1, SIDE, SIDE), colour.reshape(-1, COLOUR_SIDE, COLOUR_SIDE, 3), measures)

    def select(self, rows: np.ndarray) -> Traits:
        """Those of some pictures."""
        return Traits(self.grey[rows], self.colour[rows], self.measures[rows])


def traits_of(picture: Image.Image) -> np.ndarray:
    """The traits of an RGB picture: float32 (FEATURES,), the bytes of its grey and colour copies, then its measures."""
    width, height = picture.size
    scale = MOST_SIDE / max(width, height)
    small = picture
    if scale < 1:
        small = picture.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BOX)
    measures = (*_brightness(small), small.entropy(), *_sharpness(small), _colour(small), width, height)
    copies = (_squeezed(small.convert("L"), SIDE), _squeezed(small, COLOUR_SIDE))
    pixels = np.concatenate([np.asarray(copy, dtype=np.uint8).ravel() for copy in copies])
    return np.concatenate([pixels.view(np.float32), np.array(measures, dtype=np.float32)])


def _squeezed(picture: Image.Image, side: int) -> Image.Image:
    """The whole picture as a square."""
    enlarged = min(picture.size) < side
    return picture.resize((side, side), Image.Resampling.BILINEAR if enlarged else Image.Resampling.BOX)


def _brightness(picture: Image.Image) -> np.ndarray:
    """The 1st, 5th and 99th percentile of the perceived brightness, 0 to 1."""
    red, green, blue = (SQUARES[np.asarray(channel).ravel()] for channel in picture.split())
    # Weighed one by one: a product of matrices would start threads for each picture.
    squared = np.float32(0.241) * red + np.float32(0.691) * green + np.float32(0.068) * blue
    places = [int(share * (len(squared) - 1)) for share in (0.01, 0.05, 0.99)]
    squared.partition(places)
    return np.sqrt(squared[places]) / 255


def _sharpness(picture: Image.Image) -> tuple[float, float]:
    """Strength of the edges for the contrast, and the contrast, of the picture at most BLUR_SIDE pixels long."""
    ratio = max(picture.size) / BLUR_SIDE
    if ratio > 1:
        picture = picture.resize((max(int(picture.width // ratio), 1), max(int(picture.height // ratio), 1)))
    grey = picture.convert("L")
    edges = np.asarray(grey.filter(LAPLACIAN), dtype=np.float32)[1:-1, 1:-1]  # the filter leaves the border as it is
    contrast = float(np.asarray(grey, dtype=np.float32).std())
    return float(edges.std()) / (contrast + 2) if edges.size else 0.0, contrast


def _colour(picture: Image.Image) -> float:
    """Mean difference of the channels over all pixels: a small coloured mark on a grey picture is colour."""
    red, green, blue = (np.asarray(channel) for channel in picture.split())
    largest, smallest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return float((largest - smallest).mean())


class _Width:
    """What the cache asks of a backbone: how long its rows are."""

    features = FEATURES


class TraitNotes:
    """Takes note of the traits of decoded pictures, once for each content, and keeps them in the cache.

    Args:
        cache_dir: folder of the cache; None for the user's.
    """

    def __init__(self, cache_dir: str | Path | None) -> None:
        folder = Path(cache_dir or default_cache_dir()) / "traits" / str(VERSION)
        self._cache = EmbeddingCache(folder, _Width())
        self._noted: dict[bytes, np.ndarray] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._noted or key in self._cache

    def note(self, key: bytes, picture: Image.Image) -> None:
        """Take note of a decoded picture, by its content key. Several threads may do so at once."""
        if key in self:
            return
        try:
            self._noted[key] = traits_of(picture)
        except (OSError, ValueError, ArithmeticError):  # no reason to lose the picture's label
            self._noted[key] = np.full(FEATURES, np.nan, dtype=np.float32)

    def save(self) -> None:
        """Write to the cache what is not in it."""
        fresh = [key for key in self._noted if key not in self._cache]
        if fresh:
            self._cache.add(fresh, np.stack([self._noted[key] for key in fresh]))
            self._cache.flush()

    def of(self, samples: Samples, keys: np.ndarray) -> Traits:
        """The traits of samples (n) with content keys uint8 (n, 16).

        Pictures that nobody noted, because another process embedded them, are decoded now.
        """
        names = [key.tobytes() for key in keys]
        first = {key: row for row, key in reversed(list(enumerate(names)))}
        unread = [(row, key) for key, row in first.items() if key not in self]
        with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2)) as pool, listening():
            list(pool.map(lambda image: self._read(samples.images[image[0]], image[1]), unread))
        rows = np.full((len(names), FEATURES), np.nan, dtype=np.float32)
        cached = {row: key for row, key in enumerate(names) if key not in self._noted and key in self._cache}
        for row, key in enumerate(names):
            if key in self._noted:
                rows[row] = self._noted[key]
        self._cache.read(cached, rows)
        return Traits.of_rows(rows)

    def _read(self, image: Any, key: bytes) -> None:
        try:
            picture = decode_image(image)
        except (OSError, ValueError, SyntaxError):
            return  # it was there when it was embedded; it has no traits
        self.note(key, picture)
