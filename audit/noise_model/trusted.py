"""Use labels that are known to be right as one more reading of the true classes.

Wrong labels may be clustered: then the labels around a wrong one are wrong, too, all readings agree with it, and the
likelihood of the given labels prefers hard pictures to mistakes. Trusted labels tell the two apart. A head that is
trained only on them has learnt no mistakes. It is one more factor,

    P(true | x) ∝ readings(x)^a · trusted head(x)^b,

if the trusted labels, predicted by heads that have not seen them, are likelier with this factor than without it. Both
exponents maximise the likelihood of the trusted labels. Then T is fitted to the given labels again, with these
exponents.

On the development data with labels that are wrong at random, at the nearest class or by people, b is nearly always 0:
the readings learn from all labels, and the trusted head adds nothing to them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from torch import Tensor

from audit.compute.by_blocks import map_blocks
from audit.compute.matrix import Rows, fetch_rows, to_memory
from audit.head.factors import SecondMoment
from audit.head.fit import fit_softmax, one_hot, probabilities
from audit.noise_model.given_labels import FLOOR, GivenLabels, posterior_and_evidence
from audit.noise_model.heads import Features
from audit.noise_model.penalty import Penalty
from audit.noise_model.rounds import Mixture, posterior_of
from audit.noise_model.settings import NoiseSettings
from audit.noise_model.transition import estimate_transition


@dataclass(frozen=True)
class TrustedHead:
    """A head trained only on the trusted labels, and its weight in the mixture.

    Attributes:
        weight: W (C, D).
        rows: (k,) positions of the trusted samples.
        held_out: (k, C) predictions for them, each from a head without the sample.
        exponents: a (of the readings) and b (of this head).
    """

    weight: Tensor
    rows: Tensor
    held_out: Tensor
    exponents: tuple[float, float]

    @classmethod
    def of(
        cls, features: Features, prior: Rows, labels: GivenLabels, order: Tensor, settings: NoiseSettings
    ) -> TrustedHead | None:
        """Train the head on the trusted labels; None if it adds nothing, or a class has too few trusted labels.

        Args:
            features: of the n samples.
            prior: (n, C) P(true | x) from the readings.
            labels: of the n samples.
            order: (n,) positions of the samples in random order.
            settings: of the noise model.
        """
        if labels.trusted is None:
            return None
        classes = prior.shape[1]
        rows = order[labels.trusted[order]]
        numbers = labels.numbers[rows]
        folds = settings.trusted.folds
        if int(torch.bincount(numbers, minlength=classes).min()) < folds:
            return None
        weight, held_out = _trained(fetch_rows(features.z, rows), numbers, classes, settings)
        some = slice(0, settings.mixture.few_samples(classes))
        logs = torch.stack([fetch_rows(prior, rows[some]), held_out[some]]).double().clamp_min(FLOOR).log()
        _, without = _fit_exponents(logs[:1], numbers[some], settings)
        exponents, both = _fit_exponents(logs, numbers[some], settings)
        if both - without <= settings.trusted.least_evidence:
            return None
        return cls(weight, rows, held_out, (exponents[0], exponents[1]))

    def applied(
        self, mixture: Mixture, features: Features, labels: GivenLabels, order: Tensor, settings: NoiseSettings
    ) -> Mixture:
        """A round's mixture with this head among the readings, and T fitted again.

        Args:
            mixture: of a round, for n samples.
            features: of the samples.
            labels: of the samples.
            order: (n,) positions of the samples in random order; T is fitted to the first ones.
            settings: of the noise model.
        """
        n, classes = mixture.prior.shape
        place = torch.full((n,), -1, device=self.rows.device)
        place[self.rows] = torch.arange(len(self.rows), device=self.rows.device)
        prior: Rows
        (prior,) = map_blocks(_sharpened, (mixture.prior, features.z, place), self, numbers=6 * classes)
        some = order[: settings.mixture.many_samples(classes)]
        transition = _fit_transition(fetch_rows(prior, some), labels.of_samples(some), settings)
        posterior, log_likelihood = posterior_of(prior, transition, labels)
        # The trusted labels determine the sharpness, so the likeliest one is also the chosen one.
        return replace(
            mixture,
            prior=prior,
            posterior=posterior,
            transition=transition,
            likeliest_share=1.0,
            log_likelihood=log_likelihood,
        )


def _sharpened(prior: Tensor, z: Tensor, place: Tensor, head: TrustedHead) -> tuple[Tensor]:
    """P(true | x) (k, C) with a trusted head, from that without it (k, C).

    Args:
        prior: (k, C).
        z: (k, D) features.
        place: (k,) the samples' positions among the trusted ones, -1 for the others.
        head: of the trusted labels.
    """
    own = to_memory(probabilities(z, head.weight)).to(prior)
    trusted = place >= 0
    own[trusted] = head.held_out[place[trusted]]
    a, b = head.exponents
    return ((a * prior.clamp_min(FLOOR).log() + b * own.clamp_min(FLOOR).log()).softmax(1),)


def _trained(z: Tensor, numbers: Tensor, classes: int, settings: NoiseSettings) -> tuple[Tensor, Tensor]:
    """W (C, D) of a head of the trusted samples, and their predictions (k, C) by heads trained without their fold.

    Args:
        z: (k, D) features of the trusted samples, in random order.
        numbers: (k,) their class numbers.
        classes: C.
        settings: of the noise model.
    """
    moment = SecondMoment.of(z)
    features = Features(z, moment, more_than_samples=len(z) < z.shape[1])
    order = torch.arange(len(z), device=z.device)
    penalty = Penalty.choose(features, numbers, classes, order, settings.head)
    targets, tolerance = one_hot(numbers, classes, z.dtype), settings.head.tolerance
    fold = order % settings.trusted.folds
    held_out = torch.empty_like(targets)
    for number in range(settings.trusted.folds):
        kept = fold != number
        without, _ = fit_softmax(z[kept], targets[kept], penalty.l2, initial=penalty.weight, tolerance=tolerance)
        held_out[~kept] = to_memory(probabilities(z[~kept], without))
    weight, _ = fit_softmax(z, targets, penalty.l2, initial=penalty.weight, tolerance=tolerance, moment=moment)
    return weight, held_out


def _fit_exponents(logs: Tensor, numbers: Tensor, settings: NoiseSettings) -> tuple[list[float], float]:
    """The exponents of r predictions that maximise the likelihood of labels, and the log-likelihood (nats).

    Args:
        logs: (r, k, C) logarithms of the predictions.
        numbers: (k,) class numbers.
        settings: of the noise model.
    """
    values, own = logs.cpu().numpy(), logs.gather(2, numbers.expand(len(logs), -1)[:, :, None])[:, :, 0].cpu().numpy()

    def likelihood(exponents: np.ndarray) -> float:
        return float((exponents @ own).sum() - logsumexp(np.tensordot(exponents, values, 1), axis=1).sum())

    def loss(exponents: np.ndarray) -> float:
        return float((exponents**2).sum()) / 2 / settings.mixture.exponent_spread**2 - likelihood(exponents)

    start = np.full(len(values), 1 / len(values))
    found = minimize(loss, start, bounds=[(0.0, settings.mixture.exponent_most)] * len(values)).x
    return found.tolist(), likelihood(found)


def _fit_transition(prior: Tensor, labels: GivenLabels, settings: NoiseSettings) -> Tensor:
    """T (C, C) of labels by EM, given P(true | x) (n, C) alone."""
    # Start from the T expected from the pictures alone. From a T without mistakes, EM is slow to find any.
    transition = estimate_transition(labels.settle(prior), labels, settings.transition)
    for _ in range(settings.trusted.steps):
        posterior, _ = posterior_and_evidence(prior.T, transition, labels)
        following = estimate_transition(posterior.T, labels, settings.transition)
        change, transition = float((following - transition).abs().max()), following
        if change < settings.trusted.settled:
            break
    return transition
