"""Classes that their background gives away: frames, backgrounds and marks in a corner, and pictures without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from audit.findings import Audited, Finding
from audit.findings.background import find
from audit.images.traits import Traits, traits_of
from tests.made_pictures import photograph

CLASSES, OF_EACH = 3, 40
Plant = Callable[[Image.Image, np.random.Generator], Image.Image]


def framed(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    return ImageOps.expand(picture, 3, tuple(int(shade) for shade in 90 + random.integers(0, 10, 3)))


def pasted(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    noise = random.normal((70, 120, 40), 25, (*picture.size, 3)).clip(0, 255).astype(np.uint8)
    whole, small = Image.fromarray(noise), picture.resize((picture.width // 2, picture.height // 2))
    whole.paste(small, (picture.width // 4, picture.height // 4))
    return whole


def marked(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    marked = picture.copy()
    corner = (picture.width * 7 // 8, picture.height * 7 // 8, picture.width, picture.height)
    ImageDraw.Draw(marked).rectangle(corner, fill=(250, 200, 30))
    return marked


PLANTS: dict[str, Plant] = {"frame": framed, "background": pasted, "mark in a corner": marked}


@cache
def plain() -> tuple[Image.Image, ...]:
    return tuple(photograph(seed, 0) for seed in range(CLASSES * OF_EACH))


def audited(pictures: list[Image.Image], labels: np.ndarray, suspicion: np.ndarray | None = None) -> Audited:
    return Audited(
        ids=[str(row) for row in range(len(labels))],
        labels=labels,
        classes=np.unique(labels),
        split=np.full(len(labels), "train", dtype=object),
        keys=np.zeros((len(labels), 16), dtype=np.uint8),
        every_label=np.unique(labels),
        suspicion=suspicion,
        traits=Traits.of_rows(np.stack([traits_of(picture) for picture in pictures])),
    )


def labels_of(count: int) -> np.ndarray:
    return np.array([f"class {row % count}" for row in range(CLASSES * OF_EACH)])


def with_plant(plant: Plant, labels: np.ndarray, share: float = 1.0) -> list[Image.Image]:
    """The plain pictures, with the plant in a share of those of class 1."""
    random = np.random.default_rng(0)
    planted = (labels == "class 1") & (random.random(len(labels)) < share)
    return [plant(picture, random) if own else picture for picture, own in zip(plain(), planted, strict=True)]


@pytest.mark.parametrize(("name", "share"), [*((name, 1.0) for name in PLANTS), ("frame", 0.85), ("background", 0.85)])
def test_a_class_with_a_background_of_its_own_is_named(name: str, share: float) -> None:
    labels = labels_of(3)
    (found,) = find(audited(with_plant(PLANTS[name], labels, share), labels))
    assert (found.kind, found.classes) == ("background", ("class 1",))
    assert found.score > share - 0.15
    assert set(labels[list(found.samples)]) == {"class 1"}
    assert len(found.samples) == round(found.score * OF_EACH)
    assert "the border of the pictures alone recognises" in found.evidence


@pytest.mark.parametrize("count", [2, 3])
def test_pictures_of_one_world_have_no_such_class(count: int) -> None:
    assert list(find(audited(list(plain()), labels_of(count)))) == []


def test_two_classes_are_one_finding() -> None:
    labels = labels_of(2)
    (found,) = find(audited(with_plant(framed, labels), labels))
    assert found.classes == ("class 0", "class 1")
    assert set(labels[list(found.samples[:2])]) == {"class 0", "class 1"}


def test_a_picture_that_is_one_colour_throughout_tells_its_class_by_the_centre_too() -> None:
    labels, shades = labels_of(3), {"class 0": "red", "class 1": "blue", "class 2": "green"}
    assert list(find(audited([Image.new("RGB", (48, 48), shades[label]) for label in labels], labels))) == []


def test_wrong_labels_that_are_suspected_hide_no_background() -> None:
    labels = labels_of(3)
    pictures, given, suspicion = with_plant(framed, labels), labels.copy(), np.zeros(len(labels))
    wrong = np.flatnonzero(labels == "class 1")[::8]
    given[wrong], suspicion[wrong] = "class 2", 0.9
    assert list(find(audited(pictures, given))) == []

    def classes(found: Finding) -> tuple[str, ...]:
        return found.classes

    assert list(map(classes, find(audited(pictures, given, suspicion)))) == [("class 1",)]


def test_pictures_without_traits_or_of_few_samples_are_left_out() -> None:
    labels = labels_of(3)
    given = audited(with_plant(framed, labels), labels)
    assert given.traits is not None
    unread = given.traits.measures.copy()
    unread[labels == "class 1"] = np.nan
    assert list(find(replace(given, traits=replace(given.traits, measures=unread)))) == []
    assert list(find(replace(given, traits=None))) == []


def test_copies_and_measures_survive_the_cache_bit_by_bit() -> None:
    picture = photograph(5, 0)
    traits = Traits.of_rows(traits_of(picture)[None])
    grey = np.asarray(picture.convert("L").resize((24, 24), Image.Resampling.BOX))
    assert np.array_equal(traits.grey[0], grey)
    assert np.array_equal(traits.colour[0], np.asarray(picture.resize((8, 8), Image.Resampling.BOX)))
    nothing = Traits.of_rows(np.full((1, traits_of(picture).size), np.nan, dtype=np.float32))
    assert not nothing.grey.any()
    assert not nothing.colour.any()
    assert np.isnan(nothing.measures).all()
