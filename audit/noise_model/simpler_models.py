"""Two simpler models of the given labels, to see how much of the noise model's answer comes from the labels.

Labels alone do not tell a hard picture with the right label from an easy picture with a wrong label. So the number of
mistakes depends on the model. Both models here take the noise model's P(true | x) with another sharpness t,

    P_t(true = k | x) ∝ P(true = k | x)^t,

and explain the rest by wrong labels:

- **uniform slips**: each label is wrong with the same probability, and then any other class is equally likely;
- **class confusions**: each class has its own row of a transition matrix T.

A small t says that pictures are hard and labels right, a large t that pictures are easy and labels wrong. Every t
counts that makes the given labels nearly as likely as the best one. None of the models is true, so "nearly as likely"
allows for more than chance: a number of nats for each sample (the coarsened posterior of Miller & Dunson, Journal of
the American Statistical Association 114, 2019). A model is ruled out if the other one makes the labels likelier by more
than that. Class confusions have many more parameters, and fit few labels better whatever is true. So they rule uniform
slips out only with one nat for each of them, where that is more than the nats a sample (Akaike, IEEE Trans. Automatic
Control 19, 1974).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from audit.compute.matrix import Rows, fetch_rows, to_memory
from audit.head.hessian import chunks
from audit.noise_model.given_labels import FLOOR, GivenLabels, posterior_and_evidence
from audit.noise_model.settings import NoiseSettings, SimplerSettings
from audit.noise_model.transition import estimate_transition

UNIFORM_SLIPS, CLASS_CONFUSIONS, NOISE_MODEL = "uniform slips", "class confusions", "noise model"


@dataclass(frozen=True)
class Belief:
    """What a model says of n labels.

    Attributes:
        wrong: (n,) probability that the given label is wrong.
        other: (n,) probability that another, chosen class is the right one.
    """

    wrong: np.ndarray
    other: np.ndarray


@dataclass(frozen=True)
class SimplerModel:
    """A model at every sharpness that counts.

    Attributes:
        name: UNIFORM_SLIPS or CLASS_CONFUSIONS.
        beliefs: the likeliest first.
        log_likelihood: of the given labels, at the likeliest sharpness (nats, over all samples).
        ruled_out: whether the other model makes the labels much likelier.
    """

    name: str
    beliefs: tuple[Belief, ...]
    log_likelihood: float
    ruled_out: bool


@dataclass(frozen=True)
class _Fit:
    """A model's T (C, C) at one sharpness, and the log-likelihood of the labels that it was fitted to (nats)."""

    sharpness: float
    transition: Tensor
    log_likelihood: float


def simpler_models(
    prior: Rows,
    labels: GivenLabels,
    others: np.ndarray,
    seed: int = 0,
    settings: NoiseSettings = NoiseSettings(),
) -> tuple[SimplerModel, SimplerModel]:
    """Fit both models.

    Args:
        prior: (n, C) P(true | x) of the noise model.
        labels: of the n samples.
        others: (n,) class numbers, another class for each sample.
        seed: for drawing the samples that the models are fitted to, if these are not all.
        settings: of the noise model.
    """
    limits = settings.simpler
    n, classes = prior.shape
    count = min(n, limits.fitted_samples(classes))
    some = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:count].to(prior.device)
    if count == n:
        some = torch.arange(n, device=prior.device)
    logs, part = _logs(fetch_rows(prior, some), settings), labels.of_samples(some)
    smoothing = replace(settings.transition, concentration_entries=limits.concentration_entries)
    fits = {
        UNIFORM_SLIPS: _at_every_sharpness(logs, part, _error_rate, count, limits),
        CLASS_CONFUSIONS: _at_every_sharpness(
            logs, part, lambda q, given: estimate_transition(q, given, smoothing), count, limits
        ),
    }
    best = max(fit.log_likelihood for of_model in fits.values() for fit in of_model)
    beliefs = _beliefs(prior, labels, torch.from_numpy(others).to(prior.device), fits, settings)
    mistakes = float(beliefs[CLASS_CONFUSIONS][0].wrong.sum(dtype=np.float64)) * count / n
    parameters = {UNIFORM_SLIPS: _further_parameters(classes, mistakes), CLASS_CONFUSIONS: 0.0}
    uniform, confusions = (
        SimplerModel(
            name,
            tuple(beliefs[name]),
            of_model[0].log_likelihood * n / count,
            of_model[0].log_likelihood < best - limits.tolerance(count, parameters[name]),
        )
        for name, of_model in fits.items()
    )
    return uniform, confusions


def _further_parameters(classes: int, mistakes: float) -> float:
    """How many parameters more class confusions have than uniform slips.

    Each class has an error rate of its own. Of the shares of wrong labels, no more count than there are mistakes that
    could have fitted them.
    """
    return classes - 1 + min(classes * (classes - 2), mistakes)


def log_likelihood_of(prior: Rows, transition: Tensor, labels: GivenLabels) -> float:
    """The log-likelihood of labels (nats) under P(true | x) (n, C) and T (C, C)."""
    found = 0.0
    for rows in chunks(len(prior), 4 * prior.shape[1]):
        _, evidence = posterior_and_evidence(prior[rows].T, transition, labels.of_samples(rows))
        found += float(evidence.log().sum(dtype=torch.float64))
    return found


def _logs(prior: Tensor, settings: NoiseSettings) -> Tensor:
    """Logarithms (C, k) of P(true | x) (k, C), none of which rules a class out."""
    floor = settings.mixture.prediction_floor
    return prior.T.double().mul(1 - floor).add_(floor / prior.shape[1]).log_()


def _at_every_sharpness(
    logs: Tensor,
    labels: GivenLabels,
    estimate: Callable[[Tensor, GivenLabels], Tensor],
    count: int,
    limits: SimplerSettings,
) -> list[_Fit]:
    """The fits at every sharpness that counts, the likeliest first.

    Args:
        logs: (C, k) logarithms of P(true | x).
        labels: of the k samples.
        estimate: T from a posterior (k, C) and the labels.
        count: k.
        limits: of the simpler models.
    """
    fits = [_fit(logs, 1.0, labels, estimate, limits)]
    for direction in (1, -1):
        missed, step = 0, 0
        while missed < limits.missed and abs(step) < limits.most_steps:
            step += direction
            fit = _fit(logs, 2.0 ** (step / limits.steps_to_double), labels, estimate, limits)
            fits.append(fit)
            best = max(each.log_likelihood for each in fits)
            missed = missed + 1 if fit.log_likelihood < best - limits.tolerance(count) else 0
    fits.sort(key=lambda fit: -fit.log_likelihood)
    return [fit for fit in fits if fit.log_likelihood >= fits[0].log_likelihood - limits.tolerance(count)]


def _fit(
    logs: Tensor,
    sharpness: float,
    labels: GivenLabels,
    estimate: Callable[[Tensor, GivenLabels], Tensor],
    limits: SimplerSettings,
) -> _Fit:
    """T by EM at one sharpness."""
    prior = (sharpness * logs).softmax(0)
    # Start from the T expected from the pictures alone. From a T without mistakes, EM is slow to find any.
    transition = estimate(to_memory(labels.settle(prior.T)), labels)
    mistakes, log_likelihood = -1.0, 0.0
    for _ in range(limits.em_steps):
        posterior, evidence = posterior_and_evidence(prior, transition, labels)
        log_likelihood = float(evidence.log().sum())
        former, mistakes = mistakes, labels.expected_mistakes(posterior.T)
        if abs(mistakes - former) <= limits.settled * max(1.0, mistakes):
            break
        transition = estimate(posterior.T, labels)
    return _Fit(sharpness, transition, log_likelihood)


def _error_rate(posterior: Tensor, labels: GivenLabels) -> Tensor:
    """T (C, C) of uniform slips, whose rate is expected from a posterior (k, C)."""
    classes = posterior.shape[1]
    wrong = 1 - labels.beliefs_in(posterior)
    if labels.trusted is not None:
        wrong = wrong[~labels.trusted]
    rate = wrong.mean().clamp_min(1 / (2 * max(1, len(wrong))))
    even = torch.full((classes, classes), 1 / (classes - 1), dtype=posterior.dtype, device=posterior.device)
    return rate * even.fill_diagonal_(0.0) + (1 - rate) * torch.eye(classes, dtype=even.dtype, device=even.device)


def _beliefs(
    prior: Rows, labels: GivenLabels, others: Tensor, fits: dict[str, list[_Fit]], settings: NoiseSettings
) -> dict[str, list[Belief]]:
    """What each fit says of all n samples, in chunks."""
    n = len(prior)
    found = {
        name: [Belief(np.empty(n, np.float32), np.empty(n, np.float32)) for _ in of_model]
        for name, of_model in fits.items()
    }
    for rows in chunks(n, 6 * prior.shape[1]):
        logs, given, other = _logs(prior[rows], settings), labels.of_samples(rows), others[rows]
        for name, of_model in fits.items():
            for fit, belief in zip(of_model, found[name], strict=True):
                posterior, _ = posterior_and_evidence(
                    (fit.sharpness * logs).softmax(0).clamp_min(FLOOR), fit.transition, given
                )
                belief.wrong[rows] = (1 - given.beliefs_in(posterior.T)).clamp_(0, 1).cpu().numpy()
                belief.other[rows] = posterior.gather(0, other[None])[0].cpu().numpy()
    return found
