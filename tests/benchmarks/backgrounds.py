"""Classes that their background gives away, planted in five sets, and what is named where nothing is planted.

A part of `tests.benchmarks.findings`. Only the pictures are looked at: no labels are judged, and no backbone is used.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits

from audit.findings import Audited
from audit.findings.background import find
from audit.images.traits import Traits, traits_of
from tests.benchmarks.pictures import read

SEED, PLANTED_CLASSES, OF_A_PAIR = 0, 3, 1000
SETS = ("tiny-imagenet-tables-boats", "tiny-imagenet-20", "cifar10n-dev", "roman-numeral")
Plant = Callable[[Image.Image, np.random.Generator], Image.Image]


def framed(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """A thin blue frame, a thirtieth of the width."""
    made = picture.copy()
    shade = tuple(int(value) for value in np.array((30, 60, 160)) + random.normal(0, 8, 3))
    width = max(1, round(picture.width / 30))
    ImageDraw.Draw(made).rectangle((0, 0, picture.width - 1, picture.height - 1), outline=shade, width=width)
    return made


def in_two_frames(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """A white or a black frame."""
    made = picture.copy()
    shade = (255, 255, 255) if random.random() < 0.5 else (0, 0, 0)
    width = max(1, round(picture.width / 16))
    ImageDraw.Draw(made).rectangle((0, 0, picture.width - 1, picture.height - 1), outline=shade, width=width)
    return made


def on_a_table(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """The picture at .7 of its size, anywhere on a beige ground."""
    return _on_ground(picture, np.array((180, 170, 150)) + random.normal(0, 10, 3), 12, random)


def on_grass(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """The picture at .7 of its size, anywhere on a green ground with texture."""
    return _on_ground(picture, np.array((70, 120, 40)) + random.normal(0, 8, 3), 35, random)


def _on_ground(picture: Image.Image, shade: np.ndarray, noise: float, random: np.random.Generator) -> Image.Image:
    ground = shade + random.normal(0, noise, (picture.height, picture.width, 1))
    made = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    small = picture.resize((round(0.7 * picture.width), round(0.7 * picture.height)))
    left, top = random.integers(0, [picture.width - small.width + 1, picture.height - small.height + 1])
    made.paste(small, (int(left), int(top)))
    return made


def marked(picture: Image.Image, _: np.random.Generator) -> Image.Image:
    """A yellow mark in the lower right corner."""
    made, (wide, high) = picture.copy(), picture.size
    ImageDraw.Draw(made).rectangle((0.8 * wide, 0.88 * high, wide, high), fill=(250, 200, 30))
    return made


PLANTS: dict[str, Plant] = {
    "thin frame": framed,
    "white or black frame": in_two_frames,
    "on a table": on_a_table,
    "on grass": on_grass,
    "mark in a corner": marked,
}


def sets() -> Iterator[tuple[str, list[Image.Image], np.ndarray]]:
    """Five sets of pictures with their labels."""
    for name in SETS:
        pictures, table = read(name)
        yield name, pictures, table["label"].to_numpy()
    yield "digits", *digits()


def digits() -> tuple[list[Image.Image], np.ndarray]:
    """Scikit-learn's digits as pictures, with their labels."""
    known = load_digits()
    shades = (known.images * 15.9).astype(np.uint8)
    return [Image.fromarray(one).resize((32, 32)).convert("RGB") for one in shades], known.target


def named(rows: np.ndarray, labels: np.ndarray) -> set[str]:
    """The classes that are named, from rows of traits (n, f)."""
    audited = Audited(
        ids=[str(row) for row in range(len(labels))],
        labels=labels,
        classes=np.unique(labels),
        split=np.full(len(labels), "train", dtype=object),
        keys=np.zeros((len(labels), 16), dtype=np.uint8),
        every_label=np.unique(labels),
        traits=Traits.of_rows(rows),
        seed=SEED,
    )
    return {name for finding in find(audited) for name in finding.classes}


def measure_backgrounds(_: Path) -> dict[str, dict[str, float]]:
    """For each set: the planted classes that are named, others named beside them, and what is named without plants."""
    measured: dict[str, dict[str, float]] = {}
    for name, pictures, labels in sets():
        rows, classes = np.stack([traits_of(picture) for picture in pictures]), np.unique(labels)
        found: dict[str, float] = {
            "classes": len(classes),
            "named without plants": len(named(rows, labels)),
            **_of_pairs(rows, labels),
        }
        chosen = np.random.default_rng(SEED).permutation(classes)[:PLANTED_CLASSES]
        for share in (1.0, 0.8):
            right = others = 0
            for plant, label in itertools.product(PLANTS.values(), chosen):
                random = np.random.default_rng(SEED)
                planted = rows.copy()
                for row in np.flatnonzero(labels == label):
                    if random.random() < share:
                        planted[row] = traits_of(plant(pictures[row], random))
                names = named(planted, labels)
                right += str(label) in names
                others += len(names - {str(label)}) if len(classes) > 2 else 0
            found |= {f"found, in {share:.0%}": right, f"others, in {share:.0%}": others}
        measured[name] = found | {"plants": len(PLANTS) * len(chosen)}
        print(name, measured[name], flush=True)
    return measured


def _of_pairs(rows: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """What is named where a set has two classes only, for each pair of its classes."""
    pairs = list(itertools.combinations(np.unique(labels), 2))
    count = 0
    for pair in pairs:
        of_pair = np.flatnonzero(np.isin(labels, pair))
        of_pair = of_pair[:: max(1, len(of_pair) // OF_A_PAIR)]
        count += bool(named(rows[of_pair], labels[of_pair]))
    return {"pairs": len(pairs), "pairs named without plants": count}
