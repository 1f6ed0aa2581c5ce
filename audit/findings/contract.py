"""The contract of findings: what a check looks at, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from audit.errors import InputError
from audit.progress import ProgressCallback, silent

if TYPE_CHECKING:
    import numpy as np

    from audit.images.traits import Traits
    from audit.summary.counts import LeakedSplit

T = TypeVar("T")

KEEP: Final = "keep"
"""Decide that nothing is wrong: leave the samples as they are."""
REMOVE: Final = "remove"
"""Decide to remove the sample; of a group, all but the one that is kept."""
MERGE: Final = "merge"
"""Decide that the samples of a group, or two classes, have one label: that of the sample or class that is kept."""
MOVE: Final = "move"
"""Decide to move held-out samples into the training split."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of fault.

    Attributes:
        name: in tables, options and FiftyOne, for example 'near-leak'.
        title: what people read, in the plural.
        meaning: what the fault is, in a sentence.
        advice: what to do about it, in a sentence.
        threshold: from where on it is reported, in a sentence; '' where it is counted, not estimated.
        group: a check that `--fail-on` takes it to belong to, where another check finds it; '' for its own.
        decisions: what a person may decide on it: KEEP, REMOVE, MERGE or MOVE.
        precision: why no precision is estimated, in a sentence; '' where the check estimates it.
    """

    name: str
    title: str
    meaning: str
    advice: str
    threshold: str = ""
    group: str = ""
    decisions: tuple[str, ...] = (REMOVE, KEEP)
    precision: str = ""


@dataclass(frozen=True, kw_only=True)
class EstimatedPrecision:
    """Which share of the findings of a kind is right.

    Attributes:
        low, high: the range of the estimate, 0 to 1.
        basis: what it was estimated from, in a sentence.
    """

    low: float
    high: float
    basis: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fault that a check found.

    Attributes:
        kind: the name of its kind.
        evidence: what was seen, in a sentence.
        score: how sure or how strong it is, from 0 to 1; 1 where it was counted.
        samples: positions of the samples that have it, the most telling first; none for a fault of classes.
        worth: what acting on it is worth, in a sentence; '' where that is not known.
        classes: labels that it is about, for a fault of classes; of two that may be one, the larger first. At most two
            where there are samples.
    """

    kind: str
    evidence: str
    score: float = 1.0
    samples: tuple[int, ...] = ()
    worth: str = ""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What a check may look at: the samples and what the audit knows of them.

    Attributes:
        ids: n distinct ids.
        labels: (n,) given labels.
        classes: (C,) distinct labels, sorted.
        split: (n,) 'train', 'validation' or 'test', as the audit used them.
        own_split: (n,) the source's own splits, None where a sample has none; None if the source has no splits.
        keys: uint8 (n, 16), the same for samples with the same content.
        every_label: distinct labels of all samples, those that are left out included.
        noun: what the samples are, 'images' or 'rows'.
        x: embeddings (n, d), rows as in `audit.compute.matrix`; None in an audit by predictions alone.
        prior: (n, C) probability of each class given the picture alone; None where it is unknown.
        suspicion: (n,) probability that each label is wrong, 0 to 1; None before it is known.
        self_influence: (n,) ≥ 0, nats; None without a head.
        loo_probability: (n,) probability of the label by a head that has not seen the sample; None before it is known.
        traits: grey copies and measures of the pictures; None where no backbone looked at pictures.
        is_right: tells for rows (k,) whether the head predicts their given label, bool (k,); None without a head.
        files: (n,) paths of the images, None where a sample is no file.
        asked: names of the kinds that the chosen checks find, so that checks share what others need anyway.
        seed: of everything that is random.
        progress: is told what is being done.
        columns: filled by checks: score columns (n,) that the result adds to its scores, by name.
        leaks: filled by checks: what copies of training samples do to the head's scores.
        precisions: filled by checks: how many of the findings of a kind are right, by kind, where it can be estimated.
        made: what checks share, by name; see `once`.
    """

    ids: list[str]
    labels: np.ndarray
    classes: np.ndarray
    split: np.ndarray
    keys: np.ndarray
    every_label: np.ndarray
    noun: str = "images"
    own_split: np.ndarray | None = None
    x: Any = None
    prior: Any = None
    suspicion: np.ndarray | None = None
    self_influence: np.ndarray | None = None
    loo_probability: np.ndarray | None = None
    traits: Traits | None = None
    is_right: Callable[[np.ndarray], np.ndarray] | None = None
    files: list[str | None] | None = None
    asked: frozenset[str] = frozenset()
    seed: int = 0
    progress: ProgressCallback = silent
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    leaks: list[LeakedSplit] = field(default_factory=list)
    precisions: dict[str, EstimatedPrecision] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[Audited], T]) -> T:
        """What `make` makes of this, made only once for all checks."""
        if name not in self.made:
            self.made[name] = make(self)
        made: T = self.made[name]
        return made


@dataclass(frozen=True, kw_only=True)
class Check:
    """One way of looking for faults.

    Attributes:
        name: what `--findings` and `--fail-on` call it, for example 'duplicates'.
        kinds: of the faults that it finds.
        find: looks for them.
        always: whether it is made even if it was not chosen, because it costs nothing and the labels depend on it.
    """

    name: str
    kinds: tuple[Kind, ...]
    find: Callable[[Audited], Iterable[Finding]]
    always: bool = False

    def made(self, audited: Audited) -> list[Finding]:
        """The findings, checked.

        Raises:
            InputError: if a finding is of a kind that the check does not name, or its score is not from 0 to 1.
        """
        names, found = {kind.name for kind in self.kinds}, []
        for finding in self.find(audited):
            if finding.kind not in names:
                raise InputError(
                    f"check {self.name!r} found {finding.kind!r}, a kind it does not name; add it to kinds"
                )
            if not 0 <= finding.score <= 1:
                raise InputError(f"check {self.name!r} gave a score of {finding.score}; scores are from 0 to 1")
            found.append(finding)
        return found
