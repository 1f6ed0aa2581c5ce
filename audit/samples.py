"""The labelled images that an audit starts from."""

from __future__ import annotations

import hashlib
import io
import stat
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

KEY_BYTES = 16
MOST_PIXELS = 178_956_970  # Pillow's own limit: half a GiB once decoded
MOST_BYTES = 1 << 30
DECODING = 2  # counts the changes to what `decode_image` makes of a file, so that no cache mixes them

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
    """The bytes that identify an image's content: the file's own, or the pixels' with their size and mode.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is empty, larger than MOST_BYTES or no regular file (reading a pipe would never end).
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | Path):
        path = Path(image)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file")
        if not status.st_size:
            raise ValueError("the file is empty")
        if status.st_size > MOST_BYTES:
            raise ValueError(f"the file has {status.st_size} bytes, more than the {MOST_BYTES} that are read")
        return path.read_bytes()
    return repr((image.size, image.mode)).encode() + image.tobytes()


def content_key(content: bytes) -> bytes:
    """16 bytes that identify an image's content (BLAKE2b)."""
    return hashlib.blake2b(content, digest_size=KEY_BYTES).digest()


def decode_image(image: str | Path | bytes | Image) -> Image:
    """The image as 8-bit RGB: upright (EXIF), its first frame, transparency on white, more than 8 bits scaled down.

    Raises:
        OSError, ValueError, SyntaxError: if the image cannot be decoded (Pillow's own errors), has more than
            MOST_PIXELS (found before decoding), or 32-bit pixels whose scale cannot be told.
    """
    import PIL.Image
    import PIL.ImageOps

    opened = image
    if isinstance(opened, str | Path):
        opened = image_bytes(opened)
    if isinstance(opened, bytes):
        try:
            opened = PIL.Image.open(io.BytesIO(opened))
        except PIL.Image.DecompressionBombError as error:
            raise ValueError(f"too large to decode: {error}") from None
        width, height = opened.size
        if width * height > MOST_PIXELS:
            raise ValueError(f"too large to decode: {width} × {height} pixels exceed the limit of {MOST_PIXELS}")
    opened = PIL.ImageOps.exif_transpose(opened)
    if opened.mode == "F" or opened.mode.startswith("I"):
        opened = PIL.Image.fromarray(_eight_bits(np.asarray(opened), opened.mode))
    if opened.has_transparency_data:
        # What lies under transparent pixels is arbitrary, and never meant to be seen.
        visible = opened.convert("RGBA")
        opened = PIL.Image.new("RGBA", visible.size, "white")
        opened.alpha_composite(visible)
    return opened.convert("RGB")


def _eight_bits(pixels: np.ndarray, mode: str) -> np.ndarray:
    """Greys of 16 or 32 bits, or floating point, as uint8; converting them as they are would clip them to white."""
    low, high = float(pixels.min()), float(pixels.max())
    scale = None
    if mode == "F":
        scale = 255.0 if 0 <= low <= high <= 1 else 1.0 if 0 <= low <= high <= 255 else None
    elif mode != "I" or (low >= 0 and 255 < high <= 65535):
        scale = 1 / 256
    if scale is None:
        raise ValueError(
            f"pixels of 32 bits from {low:g} to {high:g}, whose scale cannot be told; save it with 8 or 16"
        )
    return (pixels.astype(np.float64) * scale).astype(np.uint8)


def is_missing(label: object) -> bool:
    """Whether a label says nothing: None, NaN, pd.NA, pd.NaT, a masked value, or blank text."""
    if isinstance(label, str):
        return not label.strip()
    if label is None or label is np.ma.masked or type(label).__name__ == "NAType":
        return True
    try:
        return bool(label != label)
    except (TypeError, ValueError, ArithmeticError):  # an array, say, which is no label either
        return False


def check_classes(labels: np.ndarray) -> np.ndarray:
    """The distinct labels in sorted order, shape (C,).

    Raises:
        InputError: if there are fewer than two classes, or a class has fewer than 3 samples, naming it.
    """
    classes = auditable_classes(labels)
    small = _small_classes(labels)
    if small:
        raise InputError(
            f"{len(small)} class(es) have fewer than {MINIMUM_PER_CLASS} samples: {_first_few(small)}; "
            "add samples, merge them, or leave them out (--keep-labels)"
        )
    return classes


def auditable_classes(labels: np.ndarray) -> np.ndarray:
    """The classes that have 3 samples or more, sorted, shape (C,).

    Raises:
        InputError: if there are fewer than two, saying what there is.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        found = f"only {classes.tolist()[0]!r}" if len(classes) else "none"
        raise InputError(f"the labels hold fewer than two classes ({found}); an audit needs two or more")
    enough = classes[counts >= MINIMUM_PER_CLASS]
    if len(enough) < 2:
        raise InputError(
            f"fewer than two classes have {MINIMUM_PER_CLASS} samples or more; too small: "
            f"{_first_few(_small_classes(labels))}; add samples or merge classes"
        )
    return enough


def _small_classes(labels: np.ndarray) -> list[str]:
    classes, counts = np.unique(labels, return_counts=True)
    return [f"{c!r} ({k})" for c, k in zip(classes.tolist(), counts, strict=True) if k < MINIMUM_PER_CLASS]


def _first_few(texts: list[str]) -> str:
    return ", ".join(texts[:5]) + (" ..." if len(texts) > 5 else "")
