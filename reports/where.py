"""Where the wrong labels are: in which classes, and between which classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from audit.result import AuditResult
from reports.text import Mark, count, share, unmarked

PAIRS = 3
"""How many pairs of classes the verdict names."""

STANDS_OUT = 0.1
"""Share of the flags that these pairs together must hold to be named."""

_SHORT = 40  # characters of a class name in a sentence


def where(result: AuditResult, mark: Mark = unmarked) -> str:
    """Sentences on the pairs of classes with the most flags, and on the class with the largest share of wrong labels.

    Empty if nothing is flagged, and if mislabels were injected: they show how labels were changed, and not what the
    dataset is like.
    """
    if result.summary.detection is not None or not result.summary.counts.flagged:
        return ""
    parts = [mark("where", pairs_in_words(flagged_pairs(result), result.summary.counts.flagged))]
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
        return "No pair of classes stands out among the flags."
    listed = [f"{_isolated(given)} → {_isolated(other)} ({count(number)})" for given, other, number in named]
    text = f"{', '.join(listed[:-1])} and {listed[-1]}" if len(listed) > 1 else listed[0]
    return f"Most flags are {text}." if len(named) == len(pairs) else f"The commonest flags: {text}."


def wrong_by_class(result: AuditResult) -> pd.Series:
    """The estimated number of wrong labels of each class that has samples. The total in the verdict is divided among
    the classes in proportion to their suspicions, so the numbers add up to it."""
    suspicions = result.scores.groupby("label", sort=False)["suspicion"].sum()
    return suspicions * (result.summary.estimates.mistakes / max(float(suspicions.sum()), 1e-12))


def _worst_class(result: AuditResult) -> str | None:
    """The class with the largest estimated share of wrong labels, if that share is far above the average."""
    wrong, samples = wrong_by_class(result), result.scores.groupby("label", sort=False).size()
    shares = (wrong / samples)[wrong >= 5]
    overall = float(wrong.sum()) / len(result.scores)
    if shares.empty or shares.max() < 1.5 * overall:
        return None
    worst: Any = shares.idxmax()
    return (
        f"Of all classes {_isolated(worst)} has the largest share of wrong labels: an estimated {share(shares[worst])} "
        f"of its {count(samples[worst])}."
    )


def _isolated(label: object) -> str:
    """A class name for use in a sentence: shortened, and isolated so that its text direction does not affect the
    sentence."""
    name = str(label).strip() or "(empty)"
    return f"\u2068{name if len(name) <= _SHORT else name[: _SHORT - 1] + '…'}\u2069"
