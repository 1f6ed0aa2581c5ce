"""Classes that are probably two: their pictures lie in two clusters, as far apart as two classes of the dataset.

The pictures of a class are split in two by two-means. Any heap can be split, so the split is made on one half of the
pictures, and on the other half the distance between the two parts is measured in standard deviations within them
(Ashman's D). The same is done with the pictures of two classes together, for some pairs: that is how far apart two
classes of this dataset are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from audit.findings.comparison import in_leading_directions
from audit.findings.contract import Audited, Finding
from audit.head.factors import eigh


@dataclass(frozen=True, kw_only=True)
class SplitClassSettings:
    """When a class counts as two. Chosen on four datasets, three of which have no such class."""

    # Samples of a class that can be split.
    fewest: int = 40
    # Samples of a class, or of a pair, that are split.
    most: int = 500
    # Classes that are looked at, the largest first, and pairs of them.
    most_classes: int = 200
    pairs: int = 30
    # Standard deviations between the parts; a heap without clusters has 2.7 to 3.6.
    apart: float = 4.0
    # Of the samples, in the smaller part.
    smallest: float = 0.1
    # Principal directions in which the split is looked for.
    directions: int = 16
    # Beginnings of two-means.
    beginnings: int = 3


SETTINGS = SplitClassSettings()


@dataclass(frozen=True)
class _Split:
    """A split in two: the distance between the parts in standard deviations, and the second part, bool (n,)."""

    apart: float
    second: np.ndarray


def find(audited: Audited) -> Iterator[Finding]:
    """Classes in two clusters, each with the samples of the smaller one, the in the order of the dataset."""
    if audited.x is None or len(audited.classes) < 2:
        return
    numbers = np.searchsorted(audited.classes, audited.labels)
    counts = np.bincount(numbers, minlength=len(audited.classes))
    chosen = [number for number in np.argsort(-counts, kind="stable") if counts[number] >= SETTINGS.fewest]
    chosen = chosen[: SETTINGS.most_classes]
    if len(chosen) < 2:
        return
    random = np.random.default_rng(audited.seed)
    rows_of = {number: _some(np.flatnonzero(numbers == number), SETTINGS.most, random) for number in chosen}
    usual = _usual_distance(audited, list(rows_of.values()), random)
    for number, rows in rows_of.items():
        split = _split(_unit(audited, rows), random)
        share = split.second.mean()
        if split.apart < max(SETTINGS.apart, usual) or min(share, 1 - share) < SETTINGS.smallest:
            continue
        second = split.second if share <= 0.5 else ~split.second
        label = str(audited.classes.tolist()[number])
        yield Finding(
            kind="class-in-two",
            evidence=f"{100 * second.mean():.0f} % of the {audited.noun} labelled {label!r} are in one cluster, "
            f"{split.apart:.1f} standard deviations from the others; two classes are usually {usual:.1f} apart",
            score=float(np.clip(1 - SETTINGS.apart / (2 * split.apart), 0, 1)),
            samples=tuple(rows[second].tolist()),
            classes=(label,),
        )


def _usual_distance(audited: Audited, rows_of: list[np.ndarray], random: np.random.Generator) -> float:
    """How far apart two classes usually are, as their pictures together are split."""
    found = []
    for _ in range(min(SETTINGS.pairs, len(rows_of) * (len(rows_of) - 1) // 2)):
        one, other = random.choice(len(rows_of), 2, replace=False)
        size = min(len(rows_of[one]), len(rows_of[other]), SETTINGS.most // 2)
        both = np.concatenate([_some(rows_of[which], size, random) for which in (one, other)])
        found.append(_split(_unit(audited, both), random).apart)
    return float(np.median(found))


def _unit(audited: Audited, rows: np.ndarray) -> np.ndarray:
    """The embeddings of rows (n,) at length 1, in their leading directions: (n, k)."""
    values = in_leading_directions(audited)[torch.from_numpy(rows)].float()
    unit: np.ndarray = torch.nn.functional.normalize(values, dim=1).cpu().numpy()
    return unit


def _split(values: np.ndarray, random: np.random.Generator) -> _Split:
    """The best split of values (n, d): found on one half of them, and measured on the other."""
    order = random.permutation(len(values))
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    middle = values[first].mean(0)
    count = min(SETTINGS.directions, len(first) // 4, values.shape[1])
    reduced = (values - middle) @ _directions(values[first] - middle, count)
    centres, part = _two_means(reduced[first], random)
    nothing = _Split(0.0, np.zeros(len(values), dtype=bool))
    if not 1 < part.sum() < len(part) - 1:
        return nothing
    within = reduced[first] - centres[part.astype(int)]
    spread = np.atleast_2d(within.T @ within / len(within))
    spread += 0.1 * np.trace(spread) / len(spread) * np.eye(len(spread)) + 1e-9 * np.eye(len(spread))
    along = np.linalg.solve(spread, centres[1] - centres[0])
    places, border = reduced @ along, centres.mean(0) @ along
    low, high = (places[second][side] for side in (places[second] < border, places[second] >= border))
    if min(len(low), len(high)) < 3:
        return nothing
    return _Split(float((high.mean() - low.mean()) / np.sqrt((low.var() + high.var()) / 2 + 1e-12)), places >= border)


def _directions(centred: np.ndarray, count: int, rounds: int = 4) -> np.ndarray:
    """The leading principal directions (d, count) of values (n, d), by subspace iteration (Halko et al. 2011)."""
    beside = min(count + 8, *centred.shape)
    basis = np.random.default_rng(0).standard_normal((centred.shape[1], beside)).astype(centred.dtype)
    for _ in range(rounds):
        basis = np.linalg.qr(centred.T @ (centred @ basis))[0]
    within = centred @ basis
    vectors = eigh(torch.from_numpy(within.T @ within).double())[1][:, -count:].numpy()
    directions: np.ndarray = basis @ vectors.astype(centred.dtype)
    return directions


def _two_means(values: np.ndarray, random: np.random.Generator, rounds: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Two centres (2, k) of values (n, k), and which values are nearer to the second: the best of some beginnings."""
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for _ in range(SETTINGS.beginnings):
        centres = values[random.choice(len(values), 2, replace=False)]
        former = np.empty(0, dtype=bool)
        for _ in range(rounds):
            apart = centres[1] - centres[0]
            part = values @ apart > centres.mean(0) @ apart
            if part.all() or not part.any() or np.array_equal(part, former):
                break
            former = part
            centres = np.stack([values[~part].mean(0), values[part].mean(0)])
        cost = float(((values - centres[part.astype(int)]) ** 2).sum())
        if best is None or cost < best[0]:
            best = (cost, centres, part)
    assert best is not None
    return best[1], best[2]


def _some(rows: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(random.choice(rows, most, replace=False))
