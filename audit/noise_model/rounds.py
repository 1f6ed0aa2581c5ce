"""One round of the noise model, and the rule that says which round is the last."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from audit.compute.by_blocks import map_blocks
from audit.compute.matrix import Rows, blocks, fetch_rows, total
from audit.noise_model.discriminant import Discriminant
from audit.noise_model.given_labels import FLOOR, GivenLabels, posterior_and_evidence
from audit.noise_model.mixture import MixtureFit, fit_mixture, fit_transition
from audit.noise_model.readings import Readings
from audit.noise_model.settings import NoiseSettings
from audit.noise_model.transition import estimate_again
from audit.noise_model.votes import NeighbourVotes, mean_belief


@dataclass(frozen=True)
class ReadingsSource:
    """What the mixture of a round is fitted to.

    Attributes:
        sources: matrices with a row for each of n samples; None for one that does not exist.
        reader: the readings of k samples, from their rows of the sources, and `floor`, the floor c of their mixture.
        classes: C.
    """

    sources: tuple[Rows | None, ...]
    reader: Callable[..., Readings]
    classes: int

    def readings(self, rows: Tensor, floor: float) -> Readings:
        """The readings of some samples, with the floor c of their mixture."""
        return self.reader(*(None if of is None else fetch_rows(of, rows) for of in self.sources), floor=floor)


@dataclass(frozen=True)
class Predictors:
    """The sources of a round's readings, for all n samples.

    Attributes:
        first_head: (n, C) leave-one-out predictions of the head that was trained on the given labels.
        later_head: (n, C) leave-one-out predictions of this round's head; None in the first round.
        beliefs: (n, C) class probabilities of each sample, for which it votes as a neighbour.
        votes: the votes of the neighbours.
        targets: (n, C) that the discriminant was fitted to.
        discriminant: predictions (n, C) of least squares, and the discriminant of the classes fitted to them.
        given: (n, C) predictions of the user's own; None if there are none.
    """

    first_head: Rows
    later_head: Rows | None
    beliefs: Rows
    votes: NeighbourVotes
    targets: Rows
    discriminant: tuple[Rows, Discriminant]
    given: Rows | None = None

    def source(self) -> ReadingsSource:
        """What the mixture is fitted to."""
        predicted, discriminant = self.discriminant
        of_samples = (self.first_head, self.later_head, self.votes.places, self.votes.shares, predicted, self.targets)
        reader = partial(_read, beliefs=self.votes.of_references(self.beliefs), discriminant=discriminant)
        return ReadingsSource((*of_samples, self.given), reader, self.first_head.shape[1])


def _read(
    first_head: Tensor,
    later_head: Tensor | None,
    places: Tensor,
    shares: Tensor,
    predicted: Tensor,
    targets: Tensor,
    given: Tensor | None,
    *,
    beliefs: Tensor,
    discriminant: Discriminant,
    floor: float,
) -> Readings:
    """The readings of k samples, from their rows of the sources of `Predictors`, and the references' beliefs (m, C)."""
    return Readings.of(
        floor,
        predictions=given,
        head=first_head if later_head is None else later_head,
        neighbours=mean_belief(places, shares, beliefs),
        discriminant=discriminant(predicted, targets),
        first_head=None if later_head is None else first_head,
    )


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

    prior: Rows
    posterior: Rows
    transition: Tensor
    likeliest_share: float
    fit: MixtureFit
    log_likelihood: float


def mix(
    source: ReadingsSource, labels: GivenLabels, known: MixtureFit | None, order: Tensor, settings: NoiseSettings
) -> Mixture:
    """Fit the mixture to some samples, and apply it to all.

    Args:
        source: of the readings of all n samples.
        labels: of all n samples.
        known: a fit whose exponents are kept, so that only T is fitted, starting from its T; None to fit both.
        order: (n,) positions of the samples in random order.
        settings: of the noise model.
    """
    floor, some = settings.mixture.prediction_floor, order[: settings.mixture.many_samples(source.classes)]
    readings = source.readings(some, floor)
    if known is None:
        likeliest, fitted = fit_mixture(readings, labels.of_samples(some), settings)
    else:
        likeliest = fitted = fit_transition(readings, known, labels.of_samples(some), settings)
    transition, likeliest_share = fitted.transition, likeliest.mistakes / max(fitted.mistakes, FLOOR)
    prior: Rows
    if len(some) == len(labels):
        of_some = readings.mixed(fitted.exponents)
        prior = torch.empty_like(of_some.T, memory_format=torch.contiguous_format)
        prior[some] = of_some.T
    else:
        del readings
        (prior,) = map_blocks(
            _prior, source.sources, source.reader, fitted.exponents, floor, numbers=12 * source.classes
        )
        transition = estimate_again(prior, transition, labels, settings.transition)
    posterior, log_likelihood = posterior_of(prior, transition, labels)
    return Mixture(prior, posterior, transition, likeliest_share, fitted, log_likelihood)


def _prior(*rows_and_common: Any) -> tuple[Tensor]:
    """P(true | x) (k, C) from rows of the sources of the readings, their reader, the exponents and the floor."""
    *rows, reader, exponents, floor = rows_and_common
    return (reader(*rows, floor=floor).mixed(exponents).T,)


def posterior_of(prior: Rows, transition: Tensor, labels: GivenLabels) -> tuple[Rows, float]:
    """The posterior (n, C) of a prior (n, C) under T (C, C), and the mean log-likelihood of the labels (nats)."""
    posterior, evidence = map_blocks(
        _posterior, (prior, labels.numbers, labels.trusted), transition, numbers=6 * prior.shape[1]
    )
    (log_likelihood,) = total(_sum_of_logarithms, (evidence,))
    return posterior, float(log_likelihood) / len(labels)


def _posterior(prior: Tensor, numbers: Tensor, trusted: Tensor | None, transition: Tensor) -> tuple[Tensor, Tensor]:
    posterior, evidence = posterior_and_evidence(prior.T, transition, GivenLabels(numbers, trusted))
    return posterior.T, evidence[:, None]


def _sum_of_logarithms(evidence: Rows) -> tuple[Tensor]:
    out = torch.zeros((), dtype=torch.float64, device=evidence.device)
    for rows in blocks(evidence, 2):
        out += evidence[rows].log().sum(dtype=torch.float64)
    return (out,)


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
