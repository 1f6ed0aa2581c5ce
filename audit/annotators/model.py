"""The noise model of several annotators (Dawid & Skene 1979), with what the pictures say as the prior.

The labels of a sample are noisy observations of its true class, one for each annotator: P(labels | true = k) =
Π_a T_a[k, label by a]. The readings of the noise model (`audit.noise_model.readings`) predict the true class from the
picture: from embeddings, from given predictions, or from both. Each round

1. fits the exponents of the readings and the confusion matrices T_a to the likelihood of all labels by EM;
2. computes the posterior of the true class, given the picture and all labels;
3. trains head and discriminant on this posterior, and lets neighbours vote by it, each without the sample itself.

Without embeddings there is one round. Without predictions either, the prior is the frequency of the classes, and the
model is that of Dawid and Skene.

**Common mistakes.** The labels cannot show mistakes that all annotators make because the picture could be either class.
Suppose that all annotators see one class l, which is the true one with probability 1 − ε, and otherwise drawn from
P(true | picture). Then the labels have the same likelihood for every ε, and P(true | picture, labels) = (1 − ε) q + ε p
with the posterior q and the prior p. As in `audit.noise_model.look_alikes`, the confusions show whether the mistakes of
single annotators follow what pictures look like. If so, the model assumes that as many common mistakes are hidden as it
finds in the consensus, times the share of the confusions that do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from audit.annotators.confusion import estimate_confusions
from audit.annotators.labels import Votes
from audit.compute.matrix import Rows, to_memory
from audit.noise_model.given_labels import FLOOR, GivenLabels
from audit.noise_model.heads import Features
from audit.noise_model.learners import Learners
from audit.noise_model.look_alikes import LookAlikes
from audit.noise_model.readings import Exponents, Readings
from audit.noise_model.settings import NoiseSettings
from audit.noise_model.too_little import evidence_over_frequencies
from audit.noise_model.transition import estimate_transition
from audit.noise_model.votes import NeighbourVotes, principal
from audit.progress import ProgressCallback, Step, silent


@dataclass(frozen=True, kw_only=True)
class EmSettings:
    """How far EM goes."""

    # Of EM and exponents.
    rounds: int = 3
    # Of EM at most.
    steps: int = 100
    # Nats of log-likelihood: EM ends with a step that gains less.
    gained: float = 0.1
    # Of the exponents' optimiser in each step of EM.
    exponent_steps: int = 5


SETTINGS = EmSettings()


@dataclass(frozen=True)
class FittedAnnotators:
    """What the labels of all annotators say together.

    Attributes:
        votes: the labels.
        prior: float32 (n, C) P(true class | picture); class frequencies where there are neither embeddings nor
            predictions.
        confusion: float64 (A, C, C), row = true class, column = label.
        exponents: of the readings.
        log_likelihood: of all labels (nats).
        common: the mistakes that annotators have in common; `rate` is ε.
    """

    votes: Votes
    prior: Tensor
    confusion: Tensor
    exponents: Exponents
    log_likelihood: float
    common: LookAlikes

    def posterior(self, votes: Votes | None = None) -> Tensor:
        """float32 (n, C): P(true class | picture, labels), of the fitted votes or of others for the same samples."""
        together = self.prior.double().clamp_min(FLOOR).log() + (votes or self.votes).log_likelihood(self.confusion)
        posterior = together.softmax(1)
        return ((1 - self.common.rate) * posterior + self.common.rate * self.prior).float()

    def evidence(self) -> float:
        """By how much the model predicts the labels better than each annotator's label frequencies do (nats)."""
        excess = self.log_likelihood
        for number in range(self.votes.annotators):
            given = self.votes.label[self.votes.annotator == number]
            excess += evidence_over_frequencies(given, self.votes.classes, 0.0) if len(given) else 0.0
        return excess


class AnnotatorsModel:
    """The model of one set of embeddings, predictions, both or neither.

    Args:
        x: (n, d) embeddings; None if there are none.
        predictions: float32 (n, C) probabilities by a model that was not trained on the sample; None if there are none.
        classes: C.
        seed: for drawing the samples that choose penalties, exponents and neighbours.
        settings: of the noise model.
    """

    def __init__(
        self,
        x: Rows | None,
        predictions: Tensor | None,
        classes: int,
        seed: int = 0,
        settings: NoiseSettings = NoiseSettings(),
    ) -> None:
        self.predictions, self.classes, self.seed, self.settings = predictions, classes, seed, settings
        self.features: Features | None = None
        if x is not None:
            x = x.float()
            self.features = Features.of(x, settings.head.held_bytes)
            self.neighbours = NeighbourVotes(
                principal(x, classes, settings.neighbours), classes, seed, settings.neighbours
            )

    def fit(self, votes: Votes, progress: ProgressCallback = silent) -> FittedAnnotators:
        """Fit the model to all labels.

        Args:
            votes: of the n samples.
            progress: called after each round.
        """
        order = torch.randperm(votes.samples, generator=torch.Generator().manual_seed(self.seed))
        shares = votes.counts() + 1 / votes.classes
        em = _by_frequencies(votes, shares / shares.sum(1, keepdim=True))
        rounds = SETTINGS.rounds if self.features is not None else 1
        for number, readings in enumerate(self._readings(em, order), 1):
            em.fit(readings, order[: self.settings.mixture.few_samples(self.classes)], self.settings)
            progress(Step("annotators", number, rounds, "rounds"))
        fitted = FittedAnnotators(
            votes, em.prior.float(), em.confusion, em.exponents, em.log_likelihood, LookAlikes.none()
        )
        return fitted if em.exponents == Exponents() else replace(fitted, common=self._common(fitted))

    def _readings(self, em: _Em, order: Tensor) -> Iterator[Readings]:
        """The readings of each round, which learn from the posterior of the round before."""
        floor = self.settings.mixture.prediction_floor
        predictions = None if self.predictions is None else self.predictions.cpu()
        if self.features is None:
            if predictions is not None:
                yield Readings.of(floor, predictions=predictions)
            return
        device = self.features.z.device
        learners, _ = Learners.choose(
            self.features, em.posterior.argmax(1).to(device), self.classes, order.to(device), self.settings
        )
        for _ in range(SETTINGS.rounds):
            believed = em.posterior.float().to(device)
            head, learners = learners.left_out_by_believed(believed)
            predicted, discriminant = learners.discriminant(believed)
            yield Readings.of(
                floor,
                predictions=predictions,
                head=to_memory(head).cpu(),
                neighbours=self.neighbours(believed).cpu(),
                discriminant=discriminant(to_memory(predicted), believed).cpu(),
            )

    def _common(self, fitted: FittedAnnotators) -> LookAlikes:
        """The mistakes that annotators have in common, from the confusions of all of their labels."""
        votes, posterior = fitted.votes, fitted.posterior()
        given = GivenLabels(votes.label)
        believed = posterior[votes.sample]
        transition = estimate_transition(believed, given, self.settings.transition)
        found = LookAlikes.of(fitted.prior[votes.sample], believed, transition, given, self.settings)
        if not found.rate:
            return found
        mistakes = float((1 - posterior.amax(1)).sum(dtype=torch.float64))
        open_pictures = float((1 - fitted.prior.square().sum(1)).sum(dtype=torch.float64))
        return replace(found, rate=min(1.0, found.share * mistakes / max(open_pictures, FLOOR)))


@dataclass
class _Em:
    """Expectation and maximisation: the state between steps."""

    votes: Votes
    posterior: Tensor
    prior: Tensor
    confusion: Tensor
    exponents: Exponents
    log_likelihood: float

    def fit(self, readings: Readings | None, some: Tensor, settings: NoiseSettings) -> None:
        """Steps until the likelihood of the labels settles.

        Args:
            readings: of the n samples; None for class frequencies as the prior.
            some: positions (k,) of the samples that the exponents are fitted to.
            settings: of the noise model.
        """
        few = None
        if readings is not None:
            few = Readings({name: reading[:, some] for name, reading in readings.logs.items()}, readings.floor)
            if not any(self.exponents.of(readings.names)):
                self.exponents = Exponents.alone(readings.names[0])
        reached = -np.inf
        for _ in range(SETTINGS.steps):
            self.confusion = estimate_confusions(self.votes.confusions(self.posterior))
            of_labels = self.votes.log_likelihood(self.confusion)
            if readings is None or few is None:
                self.prior = self.posterior.mean(0, keepdim=True).clamp_min(FLOOR).expand_as(self.posterior)
            else:
                self.exponents = _better_exponents(few, self.exponents, of_labels[some], settings)
                self.prior = readings.mixed(self.exponents).T.double().clamp_min(FLOOR)
            together = self.prior.log() + of_labels
            evidence = together.logsumexp(1)
            self.posterior = (together - evidence[:, None]).exp()
            self.log_likelihood = float(evidence.sum())
            if self.log_likelihood - reached < SETTINGS.gained:
                break
            reached = self.log_likelihood


def _by_frequencies(votes: Votes, posterior: Tensor) -> _Em:
    """The model of Dawid and Skene, from a posterior (n, C) to start with."""
    em = _Em(votes, posterior, posterior, torch.empty(0), Exponents(), -np.inf)
    em.fit(None, torch.arange(0), NoiseSettings())
    return em


def _better_exponents(readings: Readings, start: Exponents, of_labels: Tensor, settings: NoiseSettings) -> Exponents:
    """Exponents with a higher posterior probability, given log P(labels | true class) (k, C)."""
    names, limits = readings.names, settings.mixture
    likelihood = (of_labels - of_labels.amax(1, keepdim=True)).exp().T.float()

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        exponents = start.changed(names, values)
        prior = readings.mixed(exponents)
        joint = prior * likelihood
        evidence = joint.sum(0).clamp_min(FLOOR)
        moved = joint / evidence - prior
        gradient = (readings.slopes(exponents) * moved).sum((1, 2)).double().numpy()
        unlikely = float((values**2).sum()) / (2 * limits.exponent_spread**2)
        return unlikely - float(evidence.log().sum(dtype=torch.float64)), values / limits.exponent_spread**2 - gradient

    bounds = [(0.0, limits.exponent_most)] * len(names)
    options = {"maxiter": SETTINGS.exponent_steps}
    found = minimize(loss, start.of(names), jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    return start.changed(names, np.asarray(found.x))
