"""The labelled images that an audit starts from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audit.config import SPLITS
from audit.errors import InputError
from audit.images.decoding import KEY_BYTES, content_key, decode_image, image_bytes

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = [
    "KEY_BYTES",
    "MINIMUM_PER_CLASS",
    "Samples",
    "auditable_classes",
    "check_classes",
    "content_key",
    "decode_image",
    "image_bytes",
    "is_missing",
    "standard_split",
]

MINIMUM_PER_CLASS = 3  # one each for training, validation and test

SPLIT_SYNONYMS = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation"}


@dataclass(frozen=True)
class Samples:
    """Labelled images, in order.

    Args:
        ids: n distinct strings.
        images: n images: paths of image files, encoded images as bytes, Pillow images, or pixels as arrays or torch
            tensors: (height, width), (height, width, 3) or (height, width, 4), for tensors also (3, height, width);
            uint8, uint16, bool, or floating point from 0 to 1.
        labels: n class names; None where a sample has no label.
        splits: n values of 'train', 'validation', 'test' or None, or None where the source has no splits of its own.

    Raises:
        InputError: if the lengths differ or ids repeat.
    """

    ids: Sequence[str]
    images: Sequence[str | Path | bytes | Image | np.ndarray | Tensor]
    labels: Sequence[str | None]
    splits: Sequence[str | None] | None = None

    def __post_init__(self) -> None:
        lengths = {"ids": len(self.ids), "images": len(self.images), "labels": len(self.labels)}
        if self.splits is not None:
            lengths["splits"] = len(self.splits)
        if len(set(lengths.values())) > 1:
            raise InputError(f"ids, images and labels differ in length ({lengths}); give one of each per sample")
        if len(set(self.ids)) < len(self.ids):
            repeated = Counter(self.ids).most_common(1)[0][0]
            raise InputError(f"sample id {repeated!r} occurs more than once; ids must be distinct")

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: Sequence[int] | np.ndarray) -> Samples:
        """The samples at these positions, in this order."""
        splits = None if self.splits is None else [self.splits[i] for i in rows]
        return Samples(
            [self.ids[i] for i in rows], [self.images[i] for i in rows], [self.labels[i] for i in rows], splits
        )


def standard_split(name: str | None) -> str | None:
    """'train', 'validation' or 'test' for a split's usual names ('val', 'dev', ...), else None."""
    name = SPLIT_SYNONYMS.get((name or "").lower(), (name or "").lower())
    return name if name in SPLITS else None


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
