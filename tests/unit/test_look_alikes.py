"""Mistakes that follow the picture: what the likelihood cannot see of them, and how their pattern gives them away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audit.head.fit import one_hot
from audit.noise_model.given_labels import GivenLabels
from audit.noise_model.look_alikes import LookAlikes
from audit.noise_model.model import NoiseModel
from audit.noise_model.settings import NoiseSettings
from audit.noise_model.transition import estimate_transition

CLASSES = 6
N = 6000
DECISIVE = NoiseSettings().decisive_for(N)


def pictures(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (N, 12) of classes that are alike in threes, P(true | x) (N, C), and the true classes."""
    rng = np.random.default_rng(seed)
    threes = 3 * rng.normal(size=(CLASSES // 3, 12)).repeat(3, axis=0)
    centres = threes + 0.5 * rng.normal(size=(CLASSES, 12))
    true = rng.integers(CLASSES, size=N)
    x = centres[true] + rng.normal(size=(N, 12))
    logs = -((x[:, None] - centres) ** 2).sum(2) / 2
    prior = np.exp(logs - logs.max(1, keepdims=True))
    return x, prior / prior.sum(1, keepdims=True), true


def drawn(rng: np.random.Generator, probabilities: np.ndarray) -> np.ndarray:
    """A class for each row of probabilities (k, C)."""
    return (probabilities.cumsum(1) > rng.random((len(probabilities), 1))).argmax(1)


def mislabelled(kind: str, rate: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings, P(true | x), true classes and labels: with mistakes of a kind in this share of the labels."""
    x, prior, true = pictures()
    rng = np.random.default_rng(seed)
    wrong = rng.random(N) < rate
    if kind == "uniform":
        other = (true + rng.integers(1, CLASSES, N)) % CLASSES
    elif kind == "systematic":  # one class, whose pictures look like it, whatever this picture shows
        other = true // 3 * 3 + (true + 1) % 3
    else:  # of classes as often as pictures are alike, and, as often again, of pictures that are
        alike = np.stack([prior[true == k].mean(0) for k in range(CLASSES)])
        np.fill_diagonal(alike, 0)
        other = drawn(rng, (alike / alike.sum(1, keepdims=True))[true])
        at_pictures = rng.random(N) < rate / (1 - (prior**2).sum(1)).mean()
        other, wrong = np.where(at_pictures, drawn(rng, prior), other), wrong | at_pictures
    return x, prior, true, np.where(wrong, other, true)


def found(prior: np.ndarray, given: np.ndarray) -> LookAlikes:
    """Look-alikes under the true P(true | x) and the T that EM ends in."""
    p, labels = torch.from_numpy(prior), GivenLabels(torch.from_numpy(given))
    transition = estimate_transition(0.8 * one_hot(labels.numbers, CLASSES, torch.float64) + 0.2 * p, labels)
    for _ in range(200):
        posterior = p * transition.T[labels.numbers]
        posterior /= posterior.sum(1, keepdim=True)
        transition = estimate_transition(posterior, labels)
    return LookAlikes.of(p, posterior, transition, labels)


def test_with_look_alikes_the_posterior_is_that_of_labels_that_were_drawn_from_pictures() -> None:
    _, prior, _ = pictures()
    rng = np.random.default_rng(2)
    p, numbers = torch.from_numpy(prior), torch.from_numpy(rng.integers(CLASSES, size=N))
    transition = torch.from_numpy(rng.dirichlet(np.ones(CLASSES), CLASSES)) / 2 + torch.eye(CLASSES) / 2
    rate = 0.3
    exact = p * ((1 - rate) * transition.T[numbers] + rate * p.gather(1, numbers[:, None]))
    exact /= exact.sum(1, keepdim=True)
    seen = (1 - rate) * transition + rate * torch.eye(CLASSES)  # what labels show of both
    posterior = p * seen.T[numbers]
    posterior /= posterior.sum(1, keepdim=True)
    trusted = torch.arange(N) < 10
    before = posterior.clone()
    posterior = LookAlikes(rate, 1.0, 99.0).added(posterior, p, seen, GivenLabels(numbers, trusted))
    torch.testing.assert_close(posterior[10:], exact[10:])
    assert torch.equal(posterior[:10], before[:10])


@pytest.mark.parametrize("kind", ["uniform", "systematic"])
def test_mistakes_without_a_look_at_the_picture_are_hardly_any_look_alikes(kind: str) -> None:
    _, prior, _, given = mislabelled(kind, 0.15)
    look_alikes = found(prior, given)
    assert look_alikes.share < 0.1
    assert look_alikes.rate < 0.03
    if kind == "uniform":  # where confusions are known but for chance
        assert look_alikes.evidence < DECISIVE
        assert look_alikes.rate == 0


def test_mistakes_that_follow_how_alike_classes_look_come_with_look_alikes() -> None:
    _, prior, true, given = mislabelled("people", 0.1)
    look_alikes = found(prior, given)
    assert look_alikes.evidence > 2 * DECISIVE
    # Not too many: where one class looks most like another, part of them passes for a systematic mistake.
    assert 0.4 < look_alikes.rate / (0.1 / (1 - (prior**2).sum(1)).mean()) < 1.1
    assert (given != true).mean() == pytest.approx(0.2, abs=0.03)


def test_the_number_of_peoples_mistakes_is_seen_with_them_alone() -> None:
    x, _, true, given = mislabelled("people", 0.1)
    labels = torch.from_numpy(given)
    diagnosis = NoiseModel(torch.from_numpy(x), CLASSES).diagnose(labels)
    assert diagnosis.look_alikes.rate > 0
    by_labels = diagnosis.prior * diagnosis.transition.T[labels]
    by_labels /= by_labels.sum(1, keepdim=True)
    with_them, without = (
        float(1 - posterior.gather(1, labels[:, None]).mean()) for posterior in (diagnosis.posterior, by_labels)
    )
    wrong = (given != true).mean()
    assert without < 0.6 * wrong
    assert 0.7 * wrong < with_them < 1.1 * wrong


def test_two_classes_show_no_pattern() -> None:
    prior = torch.full((100, 2), 0.5)
    numbers = torch.arange(100) % 2
    transition = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    posterior = prior * transition.T[numbers] / 0.5
    assert LookAlikes.of(prior, posterior, transition, GivenLabels(numbers)) == LookAlikes.none()
