"""The embedded source: scikit-learn's 1797 handwritten digits, which need no network."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from integrations.sources.class_choice import chosen_classes
from integrations.sources.labelled_images import LabelledImage, LabelledImages

CLASSES = tuple("0123456789")


def digits(keep_labels: Sequence[str] | None = None) -> LabelledImages:
    """The digits as 64 x 64 PNG images with the labels '0' to '9', without splits.

    Args:
        keep_labels: the digits to keep; all by default.

    Raises:
        InputError: if a label to keep is not a digit.
    """
    from sklearn.datasets import load_digits

    kept = chosen_classes(keep_labels, CLASSES, "the digits")
    table = load_digits()
    labels = [CLASSES[target] for target in table.target]
    rows = [row for row, label in enumerate(labels) if kept is None or label in kept]

    def read() -> Iterator[LabelledImage]:
        for row in rows:
            yield LabelledImage(f"digits/{row:04d}", _png(table.images[row]), labels[row], None)

    return LabelledImages("digits", "digits", len(rows), read, kept)


def _png(pixels: object, side: int = 64) -> bytes:
    """Intensities 0 to 16, shape (8, 8), as a PNG; eight pixels are too small for the App's grid."""
    import numpy as np
    from PIL import Image

    grey = (np.asarray(pixels) * (255 / 16)).round().astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(grey).resize((side, side), Image.Resampling.BICUBIC).save(encoded, "PNG")
    return encoded.getvalue()
