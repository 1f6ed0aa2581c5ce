"""What every source of labelled images gives: a name, a description, and its images one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from integrations.sources.left_out import LeftOutImage

_FORMATS = "jpg jpeg jpe jfif png bmp gif webp tif tiff ppm pgm pbm avif jp2"

IMAGE_SUFFIXES = frozenset(f".{name}" for name in _FORMATS.split())
"""How the name of an image file ends (compared in lower case)."""


DEFAULT_LABEL_FIELD = "ground_truth"
"""The field of a FiftyOne dataset that holds its labels, unless another is asked for."""


class LabelledImage(NamedTuple):
    """One image of a source.

    Args:
        source_id: what the source calls it, e.g. 'train/000012'; distinct within the source and stable between reads.
        image: its encoded bytes, the file it is in, or None where the source has none.
        label: its class name, or None.
        split: 'train', 'validation', 'test', or None.
    """

    source_id: str
    image: bytes | Path | None
    label: str | None
    split: str | None


@dataclass(frozen=True)
class LabelledImages:
    """A source of labelled images that is not a FiftyOne dataset; iterating reads it, again each time.

    Args:
        name: a short name, from which the FiftyOne dataset gets its own.
        description: where the images come from, in the form that `resolve_source` reads, e.g. 'folder:/data/pets'.
        count: how many images there are.
        read: makes an iterator over them.
        kept_labels: the class names that were asked for, or None where all were.
        notes: what the user should know about this source, a sentence each.
        left_out: pictures of the source that are not among the images, and rows without one, with the reason.
        layout: how the source was understood, in a sentence; '' where there is only one way.
        labels: of the images, in their order, where they are known without reading the images.
        label_column: the column that the labels are from; None where the source has no columns.
        rows: what the source calls all of its rows, in its order: those without a picture and of other classes, too.
            None where these are the images.
    """

    name: str
    description: str
    count: int
    read: Callable[[], Iterator[LabelledImage]]
    kept_labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOutImage, ...] = ()
    layout: str = ""
    labels: tuple[str | None, ...] | None = None
    label_column: str | None = None
    rows: tuple[str, ...] | None = None

    @property
    def order(self) -> list[str]:
        """What the source calls its rows, in the order that a file with a row for each has."""
        return [image.source_id for image in self] if self.rows is None else list(self.rows)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[LabelledImage]:
        return self.read()
