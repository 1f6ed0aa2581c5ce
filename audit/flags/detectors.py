"""Detectors: each computes one score per sample from the evidence; larger means more suspicious."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from audit.errors import InputError


@dataclass(frozen=True)
class Evidence:
    """The evidence that detectors read; n samples, C classes.

    Attributes:
        labels: (n,) class numbers, as given.
        influence: (n,) on the mean validation loss, positive = helps.
        self_influence: (n,) ≥ 0, nats.
        probabilities: (n, C) in-sample predictions.
        loo_probabilities: (n, C) leave-one-out predictions.
        neighbour_share: (n,) share of the nearest neighbours' vote that the given label has, 0 to 1.
        posterior: (n, C) probability of each class being the true one, given image and label.
    """

    labels: np.ndarray
    influence: np.ndarray
    self_influence: np.ndarray
    probabilities: np.ndarray
    loo_probabilities: np.ndarray
    neighbour_share: np.ndarray
    posterior: np.ndarray

    def of_given(self, probabilities: np.ndarray) -> np.ndarray:
        """Probability of each sample's given label, (n,)."""
        return of_classes(probabilities, self.labels)


def of_classes(probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The probability (n,) of one class for each sample, from probabilities (n, C), in float64."""
    return probabilities[np.arange(len(classes)), classes].astype(np.float64)


Detector = Callable[[Evidence], np.ndarray]
DETECTORS: dict[str, Detector] = {}


def register(name: str) -> Callable[[Detector], Detector]:
    """Make a detector available by name; a name is taken once.

    Raises:
        InputError: if the name is taken.
    """
    if name in DETECTORS:
        raise InputError(f"detector {name!r} is registered already; choose another name")

    def add(detector: Detector) -> Detector:
        DETECTORS[name] = detector
        return detector

    return add


@register("suspicion")
def suspicion(evidence: Evidence) -> np.ndarray:
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
def self_influence(evidence: Evidence) -> np.ndarray:
    """Self-influence (nats)."""
    return evidence.self_influence


@register("influence")
def influence(evidence: Evidence) -> np.ndarray:
    """Harm to the mean validation loss: the averaged influence with its sign turned."""
    return -evidence.influence


@register("neighbours")
def neighbours(evidence: Evidence) -> np.ndarray:
    """Share of the nearest neighbours' vote against the given label, in [0, 1]."""
    return 1 - evidence.neighbour_share
