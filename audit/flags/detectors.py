"""Detectors: each computes one score per sample from the evidence; larger means more suspicious."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from audit.compute.matrix import BLOCK_BYTES, slices
from audit.errors import InputError


@dataclass(frozen=True)
class Evidence:
    """The evidence that detectors read; n samples, C classes. What rests on embeddings is None if there are none.

    Attributes:
        labels: (n,) class numbers, as given.
        influence: (n,) on the mean validation loss, positive = helps; or None.
        self_influence: (n,) ≥ 0, nats; or None.
        probabilities: (n, C) in-sample predictions: an array, or rows in a file (`audit.compute.scratch`).
        loo_probabilities: (n, C) leave-one-out predictions.
        neighbour_share: (n,) share of the nearest neighbours' vote that the given label has, 0 to 1; or
            None.
        posterior: (n, C) probability of each class being the true one, given image and label.
    """

    labels: np.ndarray
    influence: np.ndarray | None
    self_influence: np.ndarray | None
    probabilities: Any
    loo_probabilities: Any
    neighbour_share: np.ndarray | None
    posterior: Any

    def of_given(self, probabilities: Any) -> np.ndarray:
        """Probability of each sample's given label, (n,)."""
        return of_classes(probabilities, self.labels)


def of_classes(probabilities: Any, classes: np.ndarray) -> np.ndarray:
    """The probability (n,) of one class for each sample, from probabilities (n, C), in float64."""
    found = np.empty(len(classes))
    for rows in slices(len(classes), probabilities[:1].nbytes, BLOCK_BYTES):
        block = np.asarray(probabilities[rows])
        found[rows] = block[np.arange(len(block)), classes[rows]]
    return found


Detector = Callable[[Evidence], np.ndarray | None]
SomeDetector = TypeVar("SomeDetector", bound=Detector)
DETECTORS: dict[str, Detector] = {}


def scores_of(evidence: Evidence) -> dict[str, np.ndarray]:
    """The scores (n,) of all detectors that have the evidence they need, by name."""
    scores = {name: detector(evidence) for name, detector in DETECTORS.items()}
    return {name: score for name, score in scores.items() if score is not None}


def register(name: str) -> Callable[[SomeDetector], SomeDetector]:
    """Make a detector available by name; a name is taken once. A detector returns None if it lacks its evidence.

    Raises:
        InputError: if the name is taken.
    """
    if name in DETECTORS:
        raise InputError(f"detector {name!r} is registered already; choose another name")

    def add(detector: SomeDetector) -> SomeDetector:
        DETECTORS[name] = detector
        return detector

    return add


@register("suspicion")
def suspicion_of(evidence: Evidence) -> np.ndarray:
    """Estimated probability that the given label is wrong, in [0, 1]."""
    return 1 - evidence.of_given(evidence.posterior)


@register("loo_probability")
def leave_one_out(evidence: Evidence) -> np.ndarray:
    """One minus the leave-one-out probability of the given label, in [0, 1]."""
    return 1 - evidence.of_given(evidence.loo_probabilities)


@register("loss")
def loss(evidence: Evidence) -> np.ndarray:
    """In-sample cross-entropy (nats)."""
    return -np.log(evidence.of_given(evidence.probabilities).clip(1e-300))


@register("self_influence")
def self_influence(evidence: Evidence) -> np.ndarray | None:
    """Self-influence (nats)."""
    return evidence.self_influence


@register("influence")
def influence(evidence: Evidence) -> np.ndarray | None:
    """Harm to the mean validation loss: the averaged influence with its sign turned."""
    return None if evidence.influence is None else -evidence.influence


@register("neighbours")
def neighbours(evidence: Evidence) -> np.ndarray | None:
    """Share of the nearest neighbours' vote against the given label, in [0, 1]."""
    return None if evidence.neighbour_share is None else 1 - evidence.neighbour_share
