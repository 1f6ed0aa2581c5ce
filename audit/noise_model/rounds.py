"""One round of the noise model, and the rule that says which round is the last."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from audit.head.hessian import chunks
from audit.noise_model.discriminant import Discriminant
from audit.noise_model.given_labels import FLOOR, GivenLabels, posterior_and_evidence
from audit.noise_model.mixture import MixtureFit, fit_mixture, fit_transition
from audit.noise_model.readings import Readings
from audit.noise_model.settings import NoiseSettings
from audit.noise_model.transition import estimate_transition
from audit.noise_model.votes import NeighbourVotes


class ReadingsSource(Protocol):
    """What the mixture of a round is fitted to."""

    def readings(self, rows: slice | Tensor, floor: float) -> Readings:
        """The readings of some samples, with the floor c of their mixture."""

    def room(self) -> tuple[Tensor, Tensor]:
        """Two arrays (n, C) that the prior and the posterior may overwrite."""


@dataclass(frozen=True)
class Predictors:
    """The sources of a round's readings, for all n samples.

    Attributes:
        first_head: (n, C) leave-one-out predictions of the head that was trained on the given labels.
        later_head: (n, C) leave-one-out predictions of this round's head; None in the first round.
        beliefs: (n, C) class probabilities of each sample, for which it votes as a neighbour.
        votes: the votes of the neighbours.
        discriminant: the discriminant of the classes.
        given: (n, C) predictions of the user's own; None if there are none.
    """

    first_head: Tensor
    later_head: Tensor | None
    beliefs: Tensor
    votes: NeighbourVotes
    discriminant: Discriminant
    given: Tensor | None = None

    def readings(self, rows: slice | Tensor, floor: float) -> Readings:
        """The readings of some samples, with the floor c of their mixture."""
        return Readings.of(
            floor,
            predictions=None if self.given is None else self.given[rows],
            head=self.first_head[rows] if self.later_head is None else self.later_head[rows],
            neighbours=self.votes(self.beliefs, rows),
            discriminant=self.discriminant(rows),
            first_head=None if self.later_head is None else self.first_head[rows],
        )

    def room(self) -> tuple[Tensor, Tensor]:
        """Two arrays (n, C) that may be overwritten: from the second round on, `later_head` and `beliefs`."""
        if self.later_head is None:
            return torch.empty_like(self.first_head), torch.empty_like(self.first_head)
        return self.later_head, self.beliefs


@dataclass(frozen=True)
class Mixture:
    """The result of a round for all n samples.

    Attributes:
        prior: (n, C) probability of each class being the true one, given the image.
        posterior: (n, C) the same, given image and label.
        transition: T (C, C).
        likeliest_share: expected number of mistakes at the likeliest sharpness, divided by that at the chosen
            sharpness.
        fit: the fit of the mixture, for the samples that it was fitted to.
        log_likelihood: mean of log P(given label | x), nats.
    """

    prior: Tensor
    posterior: Tensor
    transition: Tensor
    likeliest_share: float
    fit: MixtureFit
    log_likelihood: float


def mix(
    predictors: ReadingsSource, labels: GivenLabels, known: MixtureFit | None, order: Tensor, settings: NoiseSettings
) -> Mixture:
    """Fit the mixture to some samples, and apply it to all.

    Prior and posterior overwrite the `room` of the readings' source, because two more arrays (n, C) would take most of
    the model's memory.

    Args:
        predictors: of all n samples.
        labels: of all n samples.
        known: a fit whose exponents are kept, so that only T is fitted, starting from its T; None to fit both.
        order: (n,) positions of the samples in random order.
        settings: of the noise model.
    """
    floor, (prior, posterior) = settings.mixture.prediction_floor, predictors.room()
    classes = prior.shape[1]
    some = order[: settings.mixture.many_samples(classes)]
    readings = predictors.readings(some, floor)
    if known is None:
        likeliest, fitted = fit_mixture(readings, labels.of_samples(some), settings)
    else:
        likeliest = fitted = fit_transition(readings, known, labels.of_samples(some), settings)
    transition, likeliest_share = fitted.transition, likeliest.mistakes / max(fitted.mistakes, FLOOR)
    parts = chunks(len(labels), 12 * classes, 4)
    if len(some) == len(labels):
        prior[some] = readings.mixed(fitted.exponents).T
    else:
        del readings
        for rows in parts:
            prior[rows] = predictors.readings(rows, floor).mixed(fitted.exponents).T
        for rows in parts:
            posterior[rows] = posterior_and_evidence(prior[rows].T, transition, labels.of_samples(rows))[0].T
        transition = estimate_transition(posterior, labels, settings.transition)
    log_likelihood = 0.0
    for rows in parts:
        after, evidence = posterior_and_evidence(prior[rows].T, transition, labels.of_samples(rows))
        posterior[rows] = after.T
        log_likelihood += float(evidence.log().sum(dtype=torch.float64))
    return Mixture(prior, posterior, transition, likeliest_share, fitted, log_likelihood / len(labels))


@dataclass(frozen=True)
class Round:
    """The report of a round; see `Diagnosis.rounds`."""

    head_weight: float
    first_head_weight: float
    neighbour_weight: float
    discriminant_weight: float
    predictions_weight: float
    log_likelihood: float
    moved: float

    @classmethod
    def of(cls, mixture: Mixture, moved: float) -> Round:
        """The report of a round's mixture; `moved` is the mean change of the posterior of the given label."""
        exponents = mixture.fit.exponents
        return cls(
            exponents.head,
            exponents.first_head,
            exponents.neighbours,
            exponents.discriminant,
            exponents.predictions,
            mixture.log_likelihood,
            moved,
        )


class StoppingRule:
    """Decides which round is the last.

    There are `least` rounds, or fewer if the posteriors stop changing. More follow, up to `most`, as long as there is
    very strong evidence that the last round added something, or the expected number of mistakes still changes.
    """

    def __init__(self, samples: int, known_rounds: int, settings: NoiseSettings) -> None:
        limits = settings.rounds
        self.least, self.most = (known_rounds, known_rounds) if known_rounds else (limits.usual, limits.most)
        self._samples, self._decisive, self._limits = samples, settings.decisive_for(samples), limits
        self._best_log_likelihood, self._mistakes = -math.inf, math.inf

    def ends_with(self, number: int, log_likelihood: float, mistakes: float, moved: float) -> bool:
        """Whether this round is the last. Call it once per round.

        Args:
            number: number of the round, from 1.
            log_likelihood: mean log-likelihood of the given labels (nats).
            mistakes: their expected number.
            moved: mean change of the posterior of the given label.
        """
        gained = self._samples * (log_likelihood - self._best_log_likelihood)
        # A change by less than one mistake does not count: it happens with few samples, and means nothing.
        allowed = max(1.0, self._limits.unsettled * mistakes)
        settled = gained <= self._decisive and abs(mistakes - self._mistakes) <= allowed
        self._best_log_likelihood, self._mistakes = max(self._best_log_likelihood, log_likelihood), mistakes
        return moved < self._limits.settled or (settled and number >= self.least) or number >= self.most
