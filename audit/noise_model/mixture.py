"""Fit the readings' exponents and T to the likelihood of the given labels.

With few samples, ambiguous pictures and wrong labels cannot be told apart. A flat P(true | x) with few mistakes in T
explains the labels as well as a sharp one with many. The sharpness is a common factor on the exponents. Among the
values that are nearly as likely as the likeliest one, and not much larger, the model uses the largest, because an audit
is about the labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from audit.compute.threads import one_thread
from audit.noise_model.given_labels import GivenLabels, posterior_and_evidence
from audit.noise_model.readings import Exponents, Readings
from audit.noise_model.settings import MixtureSettings, NoiseSettings
from audit.noise_model.transition import estimate_transition

FITTED_TOGETHER = ("predictions", "head", "neighbours")
"""The readings whose exponents are fitted whatever they add to the likelihood."""

STARTS = ("head", "predictions")
"""The readings that the fit may start from."""


@dataclass(frozen=True)
class MixtureFit:
    """Exponents and T, and the likelihood and mistakes of the given labels under them.

    Attributes:
        exponents: exponents of the readings.
        transition: T (C, C).
        log_likelihood: of all given labels (nats).
        mistakes: the expected number of wrong labels.
    """

    exponents: Exponents
    transition: Tensor
    log_likelihood: float
    mistakes: float


def fit_mixture(
    readings: Readings, labels: GivenLabels, settings: NoiseSettings = NoiseSettings()
) -> tuple[MixtureFit, MixtureFit]:
    """Fit exponents and T to the likelihood of the given labels.

    Args:
        readings: of k samples in random order. Other readings than those that are FITTED_TOGETHER get an exponent only
            if the evidence for them is very strong.
        labels: of the k samples.
        settings: of the noise model.

    Returns:
        The likeliest fit, and the sharpest one that is nearly as likely.
    """
    joint = readings.only([name for name in readings.names if name in FITTED_TOGETHER])
    likeliest, transition = _likeliest(joint, labels, _start(joint, labels, settings), settings)
    for count in range(len(joint.names) + 1, len(readings.names) + 1):
        start = replace(likeliest, transition=transition)
        wider = readings.only(readings.names[:count])
        fit, following = _likeliest(wider, labels, start, settings, mistakes_settle=False)
        if fit.log_likelihood > likeliest.log_likelihood + settings.decisive_for(len(labels)):
            likeliest, transition = fit, following
    sharpest = likeliest
    for _ in range(settings.mixture.sharpenings):
        sharper = sharpest.exponents.scaled(settings.mixture.sharper)
        fit = fit_transition(readings, replace(sharpest, exponents=sharper, transition=transition), labels, settings)
        if fit.log_likelihood < likeliest.log_likelihood - settings.mixture.rejected:
            break
        sharpest, transition = fit, fit.transition
    return likeliest, sharpest


def _start(readings: Readings, labels: GivenLabels, settings: NoiseSettings) -> MixtureFit:
    """The head alone, or the given predictions alone if there is no head or they make the labels likelier.

    A reading that says nothing makes every label look wrong, and the fit would not get away from there.
    """
    starts = []
    for name in STARTS:
        if name in readings.names:
            exponents = Exponents.alone(name)
            prior = readings.mixed(exponents)
            transition = estimate_transition(prior.T, labels, settings.transition)
            starts.append(_expect(prior, exponents, transition, labels, settings)[0])
    likeliest = max(starts, key=lambda start: start.log_likelihood)
    return replace(likeliest, log_likelihood=-math.inf, mistakes=math.inf)


def fit_transition(readings: Readings, start: MixtureFit, labels: GivenLabels, settings: NoiseSettings) -> MixtureFit:
    """Keep the exponents of a fit, and refit its T by a few steps of EM."""
    fit, transition = start, start.transition
    with one_thread(readings.numbers):
        prior = readings.mixed(start.exponents)
        for _ in range(settings.mixture.refits):
            fit, transition = _expect(prior, start.exponents, transition, labels, settings)
    return fit


def _expect(
    prior: Tensor, exponents: Exponents, transition: Tensor, labels: GivenLabels, settings: NoiseSettings
) -> tuple[MixtureFit, Tensor]:
    """The fit with these exponents, which give the prior (C, k), and T; and the T estimated from its posterior."""
    posterior, evidence = posterior_and_evidence(prior, transition, labels)
    log_likelihood = float(evidence.log().sum(dtype=torch.float64))
    fit = MixtureFit(exponents, transition, log_likelihood, labels.expected_mistakes(posterior.T))
    return fit, estimate_transition(posterior.T, labels, settings.transition)


def _likeliest(
    readings: Readings, labels: GivenLabels, start: MixtureFit, settings: NoiseSettings, mistakes_settle: bool = True
) -> tuple[MixtureFit, Tensor]:
    """The likeliest fit, and the T estimated from its posterior.

    Args:
        readings: of k samples.
        labels: of the k samples.
        start: exponents and T to start from. Log-likelihood and mistakes are infinite if they are unknown.
        settings: of the noise model.
        mistakes_settle: whether to continue until the expected number of mistakes settles; otherwise only the
            likelihood decides when to stop.
    """
    limits = settings.mixture
    exponents, transition = start.exponents, start.transition
    reached, mistakes = start.log_likelihood, start.mistakes
    few = limits.few_samples(len(transition))
    for sample_count, steps in ((few, limits.steps), (len(labels), limits.last_steps)):
        part, whole = slice(0, sample_count), sample_count >= len(labels)
        some = readings.of_samples(part)
        prior = some.mixed(exponents)
        for _ in range(steps):
            with one_thread(prior.numel()):
                exponents, prior = _better_exponents(
                    some, transition, labels.of_samples(part), (exponents, prior), limits
                )
            with one_thread(readings.numbers):
                prior_of_all = prior if whole else readings.mixed(exponents)
                fit, transition = _expect(prior_of_all, exponents, transition, labels, settings)
            gained, reached = fit.log_likelihood - reached, fit.log_likelihood
            settled = not mistakes_settle or abs(fit.mistakes - mistakes) <= limits.settled * fit.mistakes
            if gained <= limits.gained and settled:
                break
            mistakes = fit.mistakes
        if whole:
            break
    return fit, transition


def _better_exponents(
    readings: Readings,
    transition: Tensor,
    labels: GivenLabels,
    start: tuple[Exponents, Tensor],
    limits: MixtureSettings,
) -> tuple[Exponents, Tensor]:
    """One step of Newton's method, from exponents and their prior (C, k) to better exponents and their prior.

    The step goes towards the largest posterior probability of the exponents, given the labels and T.
    """
    names, (exponents, prior) = readings.names, start
    values = exponents.of(names)
    precision = np.full(len(names), 1 / limits.exponent_spread**2)
    posterior, evidence = posterior_and_evidence(prior, transition, labels)

    def loss(values: np.ndarray, evidence: Tensor) -> float:
        unlikely = float((precision * values**2).sum()) / 2
        return unlikely - float(evidence.log().sum(dtype=torch.float64))

    step = _newton_step(values, readings.slopes(exponents), (prior, posterior), precision, limits.exponent_most)
    reached = loss(values, evidence)
    for halving in range(limits.halvings):
        candidate = (values + step / 2**halving).clip(0.0, limits.exponent_most)
        changed = exponents.changed(names, candidate)
        mixed = readings.mixed(changed)
        if loss(candidate, posterior_and_evidence(mixed, transition, labels)[1]) <= reached + limits.alike:
            return changed, mixed
    return start


def _newton_step(
    values: np.ndarray, slopes: Tensor, beliefs: tuple[Tensor, Tensor], precision: np.ndarray, most: float
) -> np.ndarray:
    """The step (r,) from r exponents, by slopes (r, C, k), and prior and posterior (C, k) under these exponents."""
    # d/da log Σ_k p_k T_k = E_posterior[slope] − E_prior[slope], and once more: Var_posterior − Var_prior. The change
    # of the slopes with a is left out, because the halvings make sure that a step helps.
    (prior_means, prior_spread), (means, spread) = (_moments(slopes, under) for under in beliefs)
    gradient = precision * values + (prior_means - means).sum(0)
    curvature = np.diag(precision) + prior_spread
    if np.linalg.eigvalsh(curvature - spread)[0] > precision.min() / 2:
        curvature -= spread
    # An exponent at a bound may only move away from it.
    free = ((values > 0) | (gradient < 0)) & ((values < most) | (gradient > 0))
    step = np.zeros_like(values)
    step[free] = np.linalg.solve(curvature[np.ix_(free, free)], -gradient[free])
    return step


def _moments(slopes: Tensor, under: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Means (k, r) of slopes (r, C, k) under probabilities (C, k), and the sum of their covariances (r, r)."""
    weighted = slopes * under
    means = weighted.sum(1).double().T
    products = weighted.flatten(1) @ slopes.flatten(1).T
    return means.cpu().numpy(), (products - means.T @ means).cpu().numpy()
