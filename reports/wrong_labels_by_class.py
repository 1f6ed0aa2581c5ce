"""Where the wrong labels are: in which classes, and between which classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from audit.result import AuditResult
from reports.claims import claims_of, verified_figure
from reports.ranges import Figure, figure, is_any_number, share_range
from reports.text import Mark, count, unmarked

PAIRS = 3
"""How many pairs of classes the verdict names."""

STANDS_OUT = 0.1
"""Share of the flags that these pairs together must hold to be named."""

MOST_ABOVE = 1.5
"""Times the average share of wrong labels from which a class is named."""

FEWEST = 5
"""Wrong labels that a class needs to be named."""

SHORT = 40
"""Characters of a class name in a sentence."""

NO_PAIR = "No pair of classes stands out among the flags."
ONE_FLAG = "The only flag is {given} → {other}."
MOST_FLAGS = "Most flags are {pairs}."
FREQUENT_FLAGS = "The most frequent flags are {pairs}."
"""What is said of the pairs: none stands out, there is one flag, these are all pairs, and there are more."""


def most_affected_classes(result: AuditResult, mark: Mark = unmarked) -> str:
    """Sentences on the pairs of classes with the most flags, and on the class with the largest expected share of wrong
    labels.

    Empty if nothing is flagged, and if the number of wrong labels is not known at all. Also empty if mislabels were
    injected: they show how labels were changed, and not what the dataset is like.
    """
    summary = result.summary
    if summary.detection is not None or not summary.counts.flagged or claims_of(summary).is_unknown:
        return ""
    parts = [mark("where", pairs_in_words(flagged_pairs(result), summary.counts.flagged))]
    if (worst := _worst_class(result)) is not None:
        parts.append(worst)
    return " ".join(parts)


def flagged_pairs(result: AuditResult) -> list[tuple[str, str, int]]:
    """Given label, suggested label and number of flagged samples, the most frequent pair first."""
    classes, flagged = result.summary.classes, result.flagged
    given, other = (result.class_positions(flagged[column]) for column in ("label", "other_label"))
    keys, numbers = np.unique((given * len(classes) + other)[given != other], return_counts=True)
    order = np.argsort(-numbers, kind="stable")
    return [
        (str(classes[key // len(classes)]), str(classes[key % len(classes)]), int(number))
        for key, number in zip(keys[order], numbers[order], strict=True)
    ]


def pairs_in_words(pairs: list[tuple[str, str, int]], flagged: int) -> str:
    """The first pairs in words, or that no pair stands out if they hold too few of the flags."""
    named = pairs[:PAIRS]
    if sum(number for _, _, number in named) < STANDS_OUT * flagged:
        return NO_PAIR
    if flagged == 1:
        return ONE_FLAG.format(given=_isolated(named[0][0]), other=_isolated(named[0][1]))
    listed = [f"{_isolated(given)} → {_isolated(other)} ({count(number)})" for given, other, number in named]
    text = f"{', '.join(listed[:-1])} and {listed[-1]}" if len(listed) > 1 else listed[0]
    return (MOST_FLAGS if len(named) == len(pairs) else FREQUENT_FLAGS).format(pairs=text)


def wrong_by_class(result: AuditResult) -> dict[Any, Figure]:
    """The number of wrong labels of each class that has samples, by its label.

    The total of the verdict is divided among the classes in proportion to their suspicions, so the numbers add up to
    it; no class gets more than it has samples. Where decisions verified a class, its verified number takes this place.
    """
    groups = result.scores.groupby("label", sort=False)["suspicion"]
    suspicions, sizes = groups.sum(), groups.size()
    total = claims_of(result.summary).mistakes
    parts = [_divided(end, suspicions, sizes) for end in (total.value, total.low, total.high)]
    wrong = {
        label: figure(value, low, high, float(sizes[label]), "modelled")
        for label, value, low, high in zip(suspicions.index, *parts, strict=True)
    }
    verified = result.summary.verified
    for one in verified.by_class if verified is not None else ():
        if one.label in wrong:
            wrong[one.label] = verified_figure(one.mistakes, one.samples)
    return wrong


def _divided(total: float, suspicions: pd.Series, sizes: pd.Series) -> np.ndarray:
    """A number of wrong labels (classes,) for each class, in proportion to its suspicions and at most its size."""
    weights, room = suspicions.to_numpy(dtype=float), sizes.to_numpy(dtype=float)
    weights = np.maximum(weights, 1e-12)
    given = np.zeros(len(room))
    for _ in range(len(room)):
        left = total - given.sum()
        open_ = given < room
        if left <= 1e-9 or not open_.any():
            break
        given = np.minimum(room, given + np.where(open_, left * weights / weights[open_].sum(), 0.0))
    return given


def _worst_class(result: AuditResult) -> str | None:
    """The class with the largest share of wrong labels, if that share is far above the average."""
    wrong, total = wrong_by_class(result), claims_of(result.summary).mistakes
    named = {label: number for label, number in wrong.items() if number.value >= FEWEST}
    if not named:
        return None
    worst = max(named, key=lambda label: named[label].value / named[label].most)
    number = named[worst]
    if number.value / number.most < MOST_ABOVE * total.value / len(result.scores) or is_any_number(number):
        return None
    of_class = share_range(number.scaled(1 / number.most, 1.0))
    return (
        f"Of all classes {_isolated(worst)} is expected to have the largest share of wrong labels: {of_class} of its "
        f"{count(number.most)} ({number.seal})."
    )


def _isolated(label: object) -> str:
    """A class name for use in a sentence: shortened, and isolated so that its text direction does not affect the
    sentence."""
    name = str(label).strip() or "(empty)"
    return f"\u2068{name if len(name) <= SHORT else name[: SHORT - 1] + '…'}\u2069"
