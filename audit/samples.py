"""The labelled images that an audit starts from."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audit.config import SPLITS
from audit.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

MINIMUM_PER_CLASS = 3  # one each for training, validation and test

SPLIT_SYNONYMS = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation"}


@dataclass(frozen=True)
class Samples:
    """Labelled images, in order.

    Args:
        ids: n distinct strings.
        images: n images: paths of image files, encoded images as bytes, or PIL images.
        labels: n class names; None where a sample has no label.
        splits: n values of 'train', 'validation', 'test' or None, or None where the source has no splits of its own.

    Raises:
        InputError: if the lengths differ or ids repeat.
    """

    ids: Sequence[str]
    images: Sequence[str | Path | bytes | Image]
    labels: Sequence[str | None]
    splits: Sequence[str | None] | None = None

    def __post_init__(self) -> None:
        lengths = {"ids": len(self.ids), "images": len(self.images), "labels": len(self.labels)}
        if self.splits is not None:
            lengths["splits"] = len(self.splits)
        if len(set(lengths.values())) > 1:
            raise InputError(f"samples have {lengths}; give one of each per sample")
        if len(set(self.ids)) < len(self.ids):
            repeated = Counter(self.ids).most_common(1)[0][0]
            raise InputError(f"sample id {repeated!r} occurs more than once; ids must be distinct")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | np.ndarray) -> Samples:
        """The samples at these positions, in this order."""
        splits = None if self.splits is None else [self.splits[i] for i in rows]
        return Samples(
            [self.ids[i] for i in rows], [self.images[i] for i in rows], [self.labels[i] for i in rows], splits
        )


def standard_split(name: str | None) -> str | None:
    """'train', 'validation' or 'test' for a split's usual names ('val', 'dev', ...), else None."""
    name = SPLIT_SYNONYMS.get((name or "").lower(), (name or "").lower())
    return name if name in SPLITS else None


def image_bytes(image: str | Path | bytes | Image) -> bytes:
    """The bytes that identify an image's content: the file's own, or the pixels' with their size and mode."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | Path):
        return Path(image).read_bytes()
    return repr((image.size, image.mode)).encode() + image.tobytes()


def content_key(content: bytes) -> bytes:
    """16 bytes that identify an image's content (BLAKE2b)."""
    return hashlib.blake2b(content, digest_size=16).digest()


def decode_image(image: str | Path | bytes | Image) -> Image:
    """The image as 8-bit RGB, upright (EXIF), 16-bit greys scaled down.

    Raises:
        OSError, ValueError, SyntaxError: if the image cannot be decoded (Pillow's own errors).
    """
    import PIL.Image
    import PIL.ImageOps

    opened = image
    if isinstance(opened, bytes):
        opened = PIL.Image.open(io.BytesIO(opened))
    elif isinstance(opened, str | Path):
        opened = PIL.Image.open(opened)
    opened = PIL.ImageOps.exif_transpose(opened)
    if opened.mode in ("I", "I;16", "I;16B", "I;16L"):
        opened = PIL.Image.fromarray((np.asarray(opened, dtype=np.float64) / 256).clip(0, 255).astype(np.uint8))
    return opened.convert("RGB")


def check_classes(labels: np.ndarray) -> np.ndarray:
    """The distinct labels in sorted order, shape (C,).

    Raises:
        InputError: if there are fewer than two classes, or a class has fewer than 3 samples, naming it.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if len(classes) else "none"
        raise InputError(f"the labels hold fewer than two classes ({found}); an audit needs two or more")
    small = [f"{c!r} ({k})" for c, k in zip(classes, counts, strict=True) if k < MINIMUM_PER_CLASS]
    if small:
        raise InputError(
            f"{len(small)} class(es) have fewer than {MINIMUM_PER_CLASS} samples: {', '.join(small[:5])}"
            f"{' ...' if len(small) > 5 else ''}; add samples, merge them, or leave them out (--keep-labels)"
        )
    return classes
