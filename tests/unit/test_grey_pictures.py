"""A picture without colour among coloured ones, however it is stored."""

from __future__ import annotations

import numpy as np
from PIL import Image

from audit.findings.bad_pictures import find
from audit.findings.contract import Audited
from audit.images.traits import Traits, traits_of

SIDE, COLOURED = 200, 12


def noise(seed: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (SIDE, SIDE, channels), dtype=np.uint8)


def grey_ones(pictures: list[np.ndarray]) -> list[int]:
    """The rows of those that are found to be grey."""
    traits = Traits.of_rows(np.stack([traits_of(Image.fromarray(picture)) for picture in pictures]))
    names, labels = [str(row) for row in range(len(pictures))], np.arange(len(pictures)) % 2
    split, keys = np.full(len(pictures), "train", dtype=object), np.zeros((len(pictures), 16), dtype=np.uint8)
    audited = Audited(
        ids=names, labels=labels, classes=np.unique(labels), split=split, keys=keys, every_label=labels, traits=traits
    )
    return [finding.samples[0] for finding in find(audited) if finding.kind == "grey"]


def test_grey_is_grey_in_three_channels_and_a_small_mark_in_colour_is_colour() -> None:
    grey = np.repeat(noise(1, channels=1), 3, axis=2)
    marked = grey.copy()
    marked[101:104, 57:60] = (220, 30, 30)
    pictures = [noise(seed) for seed in range(COLOURED)]
    assert grey_ones([*pictures, grey, marked]) == [COLOURED]


def test_where_many_pictures_are_grey_none_is_an_exception() -> None:
    grey = [np.repeat(noise(seed, channels=1), 3, axis=2) for seed in range(COLOURED)]
    assert grey_ones([*grey, *(noise(seed) for seed in range(COLOURED))]) == []
