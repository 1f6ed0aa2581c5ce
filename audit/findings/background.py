"""Classes that the background of their pictures gives away: a model may learn the background instead of the object.

The border of a picture is an eighth of its width on each side. Two readings of the border are tried: the look of most
of it (colour, texture and how even it is, wherever they are), which finds frames and backgrounds, and the colour and
texture of each place, which finds marks that are always in one corner. Each is compared with the same reading of the
centre, because objects that fill the picture tell their class at the border as well.

A reading scores each picture for each class without having seen it. It recognises a picture of a class if hardly any
picture of the other classes has as high a score. Natural classes are hardly ever recognised by their borders: of
CIFAR-10's airplanes and ships, which are before blue, a tenth.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from audit.findings.contract import Audited, Finding
from audit.images.traits import COLOUR_SIDE, SIDE, Measure, Traits


@dataclass(frozen=True, kw_only=True)
class BackgroundSettings:
    """When the background gives a class away. Chosen on five datasets without such a class, and planted ones."""

    # Pictures of a class that can be looked at.
    fewest: int = 20
    # Classes that are looked at, the largest first, and pictures of each at least and of all together.
    most_classes: int = 100
    fewest_of_many: int = 40
    most: int = 2000
    # Suspicion from which a picture is left out, because its label may be another class's.
    suspicious: float = 0.5
    # Share of the other pictures that may be taken for the class.
    taken: float = 0.01
    # Share of the class that the border recognises at least.
    recognised: float = 0.5
    # By how much the look of the border is ahead of that of the centre.
    ahead: float = 0.05
    # How many times as many pictures the places of the border recognise as those of the centre.
    times: float = 2.0
    # Standard errors of that share.
    errors: float = 2.0
    # Nearest pictures by look that vote.
    neighbours: int = 20
    # Parts of the pictures by which places are cross-validated, and the ridge as a share of the mean variance.
    folds: int = 5
    ridge: float = 0.1


SETTINGS = BackgroundSettings()
_BORDER = np.ones((COLOUR_SIDE, COLOUR_SIDE), dtype=bool)
_BORDER[1:-1, 1:-1] = False
_CENTRE = np.zeros((COLOUR_SIDE, COLOUR_SIDE), dtype=bool)
_CENTRE[COLOUR_SIDE // 4 : -COLOUR_SIDE // 4, COLOUR_SIDE // 4 : -COLOUR_SIDE // 4] = True

_PARTS = {"border": _BORDER, "centre": _CENTRE}


def find(audited: Audited) -> Iterator[Finding]:
    """Classes whose border tells them from the others, with the pictures that it recognises, the surest first."""
    if audited.traits is None or len(audited.classes) < 2:
        return
    rows, numbers = _looked_at(audited)
    if len(np.unique(numbers)) < 2:
        return
    classes, numbers = np.unique(numbers, return_inverse=True)
    traits = audited.traits.select(rows)
    look = cache(lambda of: _by_look(_look(traits, _PARTS[of]), numbers))
    places = cache(lambda of: _by_places(_places(traits, _PARTS[of]), numbers, audited.seed))
    names, found_of = audited.classes.tolist(), {}
    for number in range(len(classes)):
        own = numbers == number
        by_look, by_places = (_Recognised.of(reading("border")[:, number], own) for reading in (look, places))
        # What the centre tells is found out only where the border tells enough.
        if by_look.surely:
            of_centre = _Recognised.of(look("centre")[:, number], own).share
            if by_look.share > of_centre + SETTINGS.ahead:
                found_of[str(names[classes[number]])] = (by_look.share, of_centre, rows[by_look.order])
                continue
        if by_places.surely:
            of_centre = _Recognised.of(places("centre")[:, number], own).share
            if by_places.share >= SETTINGS.times * of_centre:
                found_of[str(names[classes[number]])] = (by_places.share, of_centre, rows[by_places.order])
    if len(classes) == len(found_of) == 2:
        yield _of_two(found_of)
        return
    for label, (share, of_centre, recognised) in found_of.items():
        yield Finding(
            kind="background",
            evidence=f"the border of the pictures alone recognises {100 * share:.0f} % of those labelled {label!r}, "
            f"and takes {100 * SETTINGS.taken:.0f} % of the others for them; the centre alone recognises "
            f"{100 * of_centre:.0f} %",
            score=share,
            samples=tuple(recognised.tolist()),
            classes=(label,),
        )


def _of_two(found_of: dict[str, tuple[float, float, np.ndarray]]) -> Finding:
    """One finding about the only two classes, as each is recognised by not being the other."""
    (one, other), ((share, of_centre, rows), (other_share, of_other_centre, other_rows)) = found_of, found_of.values()
    return Finding(
        kind="background",
        evidence=f"the border of the pictures alone recognises {100 * share:.0f} % of those labelled {one!r} and "
        f"{100 * other_share:.0f} % of those labelled {other!r}, and takes {100 * SETTINGS.taken:.0f} % of each for "
        f"the other; the centre alone recognises {100 * of_centre:.0f} and {100 * of_other_centre:.0f} %",
        score=min(share, other_share),
        samples=tuple(
            row for pair in itertools.zip_longest(rows.tolist(), other_rows.tolist()) for row in pair if row is not None
        ),
        classes=(one, other),
    )


def _looked_at(audited: Audited) -> tuple[np.ndarray, np.ndarray]:
    """Rows (k,) of pictures that are looked at, and the numbers (k,) of their classes."""
    assert audited.traits is not None
    numbers = np.searchsorted(audited.classes, audited.labels)
    usable = np.isfinite(audited.traits.measures[:, Measure.WIDTH])
    if audited.suspicion is not None:
        usable &= audited.suspicion < SETTINGS.suspicious
    counts = np.bincount(numbers[usable], minlength=len(audited.classes))
    chosen = np.argsort(-counts, kind="stable")[: SETTINGS.most_classes]
    chosen = chosen[counts[chosen] >= SETTINGS.fewest]
    most = max(SETTINGS.fewest_of_many, SETTINGS.most // max(1, len(chosen)))
    random = np.random.default_rng(audited.seed)
    drawn = [np.empty(0, dtype=np.int64)]
    for number in chosen:
        rows = np.flatnonzero(usable & (numbers == number))
        drawn.append(rows if len(rows) <= most else random.choice(rows, most, replace=False))
    rows = np.sort(np.concatenate(drawn))
    return rows, numbers[rows]


def _textures(traits: Traits) -> np.ndarray:
    """How much the shades differ within each pixel of the copies in colour: (n, COLOUR_SIDE, COLOUR_SIDE)."""
    step = SIDE // COLOUR_SIDE
    cells = traits.grey.reshape(-1, COLOUR_SIDE, step, COLOUR_SIDE, step).astype(np.float32)
    textures: np.ndarray = cells.std((2, 4))
    return textures


def _look(traits: Traits, where: np.ndarray) -> np.ndarray:
    """The look of most of a part of each picture (n, f); of the border, also that of its outermost pixels."""
    colours = traits.colour[:, where].astype(np.float32)
    usual = np.median(colours, 1)
    columns = [
        usual,
        np.median(np.abs(colours - usual[:, None]), 1).mean(1, keepdims=True),
        np.median(_textures(traits)[:, where], 1)[:, None],
    ]
    if where is _BORDER:
        grey = traits.grey.astype(np.float32)
        outermost = np.concatenate([grey[:, 0], grey[:, -1], grey[:, 1:-1, 0], grey[:, 1:-1, -1]], 1)
        shade = np.median(outermost, 1, keepdims=True)
        columns += [shade, np.median(np.abs(outermost - shade), 1)[:, None]]
    return _standardised(np.concatenate(columns, 1))


def _places(traits: Traits, where: np.ndarray) -> np.ndarray:
    """Colour and texture of each place in a part of each picture (n, f)."""
    colours = traits.colour[:, where].reshape(len(traits.colour), -1).astype(np.float32)
    return _standardised(np.concatenate([colours, _textures(traits)[:, where]], 1))


def _standardised(values: np.ndarray) -> np.ndarray:
    standardised: np.ndarray = (values - values.mean(0)) / (values.std(0) + 1e-6)
    return standardised


def _by_look(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The share (n, C) of each class among the pictures nearest to each by values (n, f), all classes being alike."""
    counts = np.bincount(numbers)
    count = min(SETTINGS.neighbours, int(counts.min()) // 2)
    squares = (values**2).sum(1)
    distances = squares[:, None] + squares - 2 * values @ values.T
    np.fill_diagonal(distances, np.inf)
    near = np.argpartition(distances, count, axis=1)[:, : count + 1]
    far = np.sqrt(np.take_along_axis(distances, near, 1).clip(min=0))
    usual = np.median(far, axis=1, keepdims=True) + 1e-6
    weights = np.exp(-((far / usual) ** 2)) / counts[numbers[near]]
    votes = np.zeros((len(values), len(counts)))
    np.add.at(votes, (np.arange(len(values))[:, None], numbers[near]), weights)
    shares: np.ndarray = votes / votes.sum(1, keepdims=True).clip(min=1e-12)
    return shares


def _by_places(values: np.ndarray, numbers: np.ndarray, seed: int) -> np.ndarray:
    """The probability (n, C) of each class by a linear discriminant of values (n, f) that has not seen the picture."""
    classes = int(numbers.max()) + 1
    folds = np.random.default_rng(seed).permutation(len(values)) % SETTINGS.folds
    found = np.zeros((len(values), classes))
    for fold in range(SETTINGS.folds):
        known, held_out = values[folds != fold], values[folds == fold]
        own = np.eye(classes, dtype=np.float32)[numbers[folds != fold]]
        means = own.T @ known / own.sum(0)[:, None].clip(min=1)
        rest = known - own @ means
        within = rest.T @ rest / len(rest)
        within += (SETTINGS.ridge * np.trace(within) / len(within) + 1e-6) * np.eye(len(within), dtype=np.float32)
        weights = np.linalg.solve(within, means.T)
        scores = held_out @ weights - (means.T * weights).sum(0) / 2
        exponents = np.exp(scores - scores.max(1, keepdims=True))
        found[folds == fold] = exponents / exponents.sum(1, keepdims=True)
    return found


@dataclass(frozen=True)
class _Recognised:
    """The pictures of a class that a reading recognises.

    Attributes:
        share: of the class, 0 to 1.
        surely: whether the share is large enough, chance apart.
        order: positions of the pictures, the surest first.
    """

    share: float
    surely: bool
    order: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, own: np.ndarray) -> _Recognised:
        """By scores (n,) of a class, of which the pictures with bool (n,) are."""
        others = np.sort(scores[~own])[::-1]
        recognised = np.flatnonzero(own & (scores > others[int(SETTINGS.taken * len(others))]))
        count = int(own.sum())
        share = len(recognised) / count
        smoothed = (len(recognised) + 1) / (count + 2)  # where all are recognised, there is an error, too
        error = np.sqrt(smoothed * (1 - smoothed) / count)
        order = recognised[np.argsort(-scores[recognised], kind="stable")]
        return cls(share, bool(share - SETTINGS.errors * error > SETTINGS.recognised), order)
