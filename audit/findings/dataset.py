"""Faults of the dataset as a whole: its classes, its splits, and labels that follow from the files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from audit.findings import background, split_classes
from audit.findings.contract import Audited, Finding
from audit.findings.many import one_or_each
from audit.images.traits import Measure


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """When a class, a pair of classes, a split or the files count as faulty. All are choices."""

    # Samples of a class from which it can be learnt and measured.
    fewest: int = 10
    # Of the largest class.
    smallest_share: float = 0.01
    # Samples of a split from which a difference is estimated.
    fewest_in_split: int = 50
    # The largest class may have so many times the samples of the usual one.
    most_times: int = 10
    # Share of balanced cases in which two classes are told apart, below which they are alike.
    alike: float = 0.6
    # Share of all pairs of classes that may be alike, before it is the embeddings that tell nothing.
    most_alike: float = 0.5
    # Share of balanced cases in which two splits are told apart, above which they differ.
    shifted: float = 0.6
    # How far from chance to certainty a classifier of the files alone may come.
    follows: float = 0.2
    # Runs of one label, as a share of the samples, in a list that is sorted by class.
    sorted: float = 0.05
    # Of each split or in all that a classifier is fitted to.
    most_samples: int = 2000
    # Standard errors by which chance must be exceeded.
    errors: float = 3.0
    # Cross-validation.
    folds: int = 5
    # Pairs of classes, classes in two, and classes with a background that are named.
    named: int = 20
    # Small classes that have a finding each; more have one together.
    each: int = 5


SETTINGS = DatasetSettings()


def find(audited: Audited) -> Iterator[Finding]:
    """What is wrong with classes, splits and files."""
    numbers = np.searchsorted(audited.classes, audited.labels)
    yield from _sizes(audited, numbers)
    yield from _alike(audited, numbers)
    yield from _shifts(audited)
    yield from _shortcuts(audited, numbers)
    yield from _clearest(split_classes.find(audited), "classes are in two clusters")
    yield from _clearest(background.find(audited), "classes are given away")


def _sizes(audited: Audited, numbers: np.ndarray) -> Iterator[Finding]:
    counts = np.bincount(numbers, minlength=len(audited.classes))
    largest = counts.max()
    small = np.flatnonzero((counts < SETTINGS.fewest) | (counts < SETTINGS.smallest_share * largest))
    names = audited.classes.tolist()
    yield from one_or_each(
        [
            Finding(
                kind="small-class",
                evidence=f"class {names[number]!r} has {counts[number]} samples; the largest has {largest}",
                score=float(1 - counts[number] / largest),
                classes=(str(names[number]),),
            )
            for number in small[np.argsort(counts[small], kind="stable")]
        ],
        f"{len(small):,} of {len(names):,} classes are small, and have up to {counts[small].max(initial=0)} samples; "
        f"the largest has {largest}",
        SETTINGS.each,
    )
    usual = np.median(counts) if len(counts) > 2 else counts.min()
    if largest > SETTINGS.most_times * usual:
        name = names[counts.argmax()]
        yield Finding(
            kind="imbalance",
            evidence=f"class {name!r} has {largest} of {len(numbers)} samples; the usual class has {usual:.0f}",
            score=float(1 - usual / largest),
            classes=(str(name),),
        )


def _clearest(found: Iterator[Finding], fault: str) -> Iterator[Finding]:
    """The findings with the highest scores, which say how many there are of the fault."""
    ordered = sorted(found, key=lambda finding: -finding.score)
    worth = f"{len(ordered)} {fault}; the {SETTINGS.named} clearest are named" if len(ordered) > SETTINGS.named else ""
    yield from (replace(finding, worth=worth) for finding in ordered[: SETTINGS.named])


def _alike(audited: Audited, numbers: np.ndarray) -> Iterator[Finding]:
    """Pairs of classes that the readings, which have not seen the label, do not tell apart."""
    if audited.prior is None:
        return
    prior, count = np.asarray(audited.prior), len(audited.classes)
    right, errors = np.full((count, count), np.nan), np.full((count, count), np.nan)
    for number in range(count):
        rows = prior[numbers == number]
        if len(rows) < SETTINGS.fewest:
            continue
        wins = (rows[:, [number]] > rows).mean(0)
        right[number], errors[number] = wins, wins * (1 - wins) / len(rows)
    told = (right + right.T) / 2
    error = np.sqrt(errors + errors.T) / 2
    pairs = [(int(a), int(b)) for a, b in np.argwhere(np.triu(told + error < SETTINGS.alike, 1))]
    if len(pairs) > SETTINGS.most_alike * count * (count - 1) / 2:
        return
    names, sizes = audited.classes.tolist(), np.bincount(numbers, minlength=count)
    others = f"{len(pairs)} pairs are alike; the {SETTINGS.named} most alike are named"
    for one, other in sorted(pairs, key=lambda pair: told[pair])[: SETTINGS.named]:
        yield Finding(
            kind="classes-alike",
            evidence=f"{names[one]!r} and {names[other]!r} are told apart in {100 * told[one, other]:.0f} % of "
            "balanced cases; chance is 50 %",
            score=float(np.clip(2 - 2 * told[one, other], 0, 1)),
            worth=others if len(pairs) > SETTINGS.named else "",
            classes=tuple(str(names[number]) for number in sorted((one, other), key=lambda number: -sizes[number])),
        )


def _shifts(audited: Audited) -> Iterator[Finding]:
    """Held-out splits of the source that a classifier tells from the training split by the embeddings."""
    own = audited.own_split
    if own is None or audited.x is None or "train" not in set(own):
        return
    random = np.random.default_rng(audited.seed)
    train = _some(np.flatnonzero(own == "train"), random)
    for name in ("validation", "test"):
        rows = _some(np.flatnonzero(own == name), random)
        if min(len(rows), len(train)) < SETTINGS.fewest_in_split:
            continue
        import torch

        both = np.concatenate([train, rows])
        values = audited.x[torch.from_numpy(both)].double().cpu().numpy()
        is_held_out = np.repeat([0, 1], [len(train), len(rows)])
        right, error = _told_apart(values, is_held_out, audited.seed)
        if right > SETTINGS.shifted and right - SETTINGS.errors * error > 0.5:
            yield Finding(
                kind="split-shift",
                evidence=f"a classifier tells {name} pictures from training pictures in {100 * right:.0f} % of "
                "balanced cases; chance is 50 %",
                score=float(np.clip(2 * right - 1, 0, 1)),
            )


def _shortcuts(audited: Audited, numbers: np.ndarray) -> Iterator[Finding]:
    """What predicts the label without the picture."""
    told = {
        "the size and shape of the picture": _size_columns(audited),
        "the type of the file": _type_columns(audited),
    }
    for what, columns in told.items():
        if columns is not None:
            yield from _shortcut(what, columns, numbers, audited.seed)
    yield from _order(numbers)


def _size_columns(audited: Audited) -> np.ndarray | None:
    if audited.traits is None:
        return None
    sides = np.log(audited.traits.measures[:, [Measure.WIDTH, Measure.HEIGHT]].astype(np.float64))
    sides = np.nan_to_num(np.column_stack([sides, sides[:, 0] - sides[:, 1]]))
    return sides if np.ptp(sides, axis=0).any() else None


def _type_columns(audited: Audited) -> np.ndarray | None:
    if not any(audited.files or ()):
        return None
    types = [os.path.splitext(path or "")[1].lower() for path in audited.files or ()]
    known = np.unique(types)
    return np.array([[kind == one for one in known] for kind in types], dtype=float) if 1 < len(known) <= 32 else None


def _shortcut(what: str, columns: np.ndarray, numbers: np.ndarray, seed: int) -> Iterator[Finding]:
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    random = np.random.default_rng(seed)
    rows = _some(np.arange(len(numbers)), random)
    enough = np.bincount(numbers[rows], minlength=numbers.max() + 1) >= SETTINGS.folds
    rows = rows[enough[numbers[rows]]]
    if enough.sum() < 2:
        return
    tree = DecisionTreeClassifier(max_leaf_nodes=4 * int(enough.sum()), class_weight="balanced", random_state=seed)
    folds = StratifiedKFold(SETTINGS.folds, shuffle=True, random_state=seed)
    right = cross_val_predict(tree, columns[rows], numbers[rows], cv=folds) == numbers[rows]
    yield from _if_it_follows(what, right, numbers[rows])


def _order(numbers: np.ndarray, beside: int = 3) -> Iterator[Finding]:
    """Whether the label follows from those of the samples beside it. A list that is sorted by class tells nothing."""
    runs = 1 + int((np.diff(numbers) != 0).sum())
    classes = len(np.unique(numbers))
    sorted_by_class = runs <= max(
        4 * classes, SETTINGS.sorted * len(numbers)
    )  # perhaps in each split, with a few exceptions
    if sorted_by_class or len(numbers) < 10 * beside:
        return
    votes = np.zeros((len(numbers), numbers.max() + 1))
    for step in range(1, beside + 1):
        np.add.at(votes, (np.arange(step, len(numbers)), numbers[:-step]), 1 / step)
        np.add.at(votes, (np.arange(len(numbers) - step), numbers[step:]), 1 / step)
    yield from _if_it_follows("the order of the samples", votes.argmax(1) == numbers, numbers)


def _if_it_follows(what: str, right: np.ndarray, numbers: np.ndarray) -> Iterator[Finding]:
    accuracy, error = _balanced(right, numbers)
    chance = 1 / len(np.unique(numbers))
    gained = (accuracy - chance) / (1 - chance)
    if gained > SETTINGS.follows and accuracy - SETTINGS.errors * error > chance:
        yield Finding(
            kind="shortcut",
            evidence=f"{what} predicts the label in {100 * accuracy:.0f} % of balanced cases; "
            f"chance is {100 * chance:.0f} %",
            score=float(np.clip(gained, 0, 1)),
        )


def _told_apart(values: np.ndarray, classes: np.ndarray, seed: int, most_directions: int = 32) -> tuple[float, float]:
    """The balanced accuracy of a linear classifier of two groups, cross-validated, and its standard error."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    directions = min(most_directions, values.shape[1], len(values) // 2)
    model = make_pipeline(
        PCA(directions, random_state=seed), StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500)
    )
    folds = StratifiedKFold(SETTINGS.folds, shuffle=True, random_state=seed)
    return _balanced(cross_val_predict(model, values, classes, cv=folds) == classes, classes)


def _balanced(right: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """The mean over classes of the share that is right, and its standard error."""
    counts = np.bincount(classes)
    there = counts > 0
    shares = np.bincount(classes, weights=right)[there] / counts[there]
    smoothed = (shares * counts[there] + 1) / (counts[there] + 2)  # a class that is all right has an error, too
    error = math.sqrt(float((smoothed * (1 - smoothed) / counts[there]).sum())) / int(there.sum())
    return float(shares.mean()), error


def _some(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """At most `most_samples` of the rows, in order."""
    return (
        rows
        if len(rows) <= SETTINGS.most_samples
        else np.sort(random.choice(rows, SETTINGS.most_samples, replace=False))
    )
