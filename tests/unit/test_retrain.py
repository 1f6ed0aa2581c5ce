"""Heads that are trained again together are those that each labelling gives alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from audit.errors import ConvergenceError
from audit.head.factors import SecondMoment
from audit.head.fit import Head, TrainingFeatures, cross_entropy, fit_softmax, one_hot, train_head
from audit.head.fit_together import LEFT_OUT, Problem, fit_together, mean_losses
from audit.head.retrain import Relabelling, RetrainSettings, retrained_heads
from audit.head.settings import PathSettings, TogetherSettings

CLASSES = 10
TRAIN = slice(0, 1200)
HELD_OUT = slice(1200, 1797)


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings, right labels, and labels of which a tenth are wrong."""
    data = load_digits()
    random = np.random.default_rng(0)
    wrong = random.random(len(data.target)) < 0.1
    given = np.where(wrong, random.integers(0, CLASSES, len(wrong)), data.target)
    return torch.from_numpy(data.data), torch.from_numpy(data.target), torch.from_numpy(given)


@pytest.fixture(scope="module")
def before(digits: tuple[torch.Tensor, ...]) -> Head:
    x, _, given = digits
    return train_head(x[TRAIN], given[TRAIN], x[HELD_OUT], given[HELD_OUT], CLASSES)


def labellings(digits: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """The given labels without the wrong ones, the right labels, and the given labels without most of a class."""
    _, right, given = digits
    fewer = given.clone()
    fewer[(given == 3) & (torch.arange(len(given)) % 20 > 0)] = LEFT_OUT
    return [torch.where(right == given, given, LEFT_OUT), right, fewer]


@pytest.mark.parametrize("held_numbers", [2**26, 1])
def test_heads_fitted_together_are_those_fitted_alone(
    digits: tuple[torch.Tensor, ...], before: Head, held_numbers: int
) -> None:
    z = before.features(digits[0][TRAIN])
    labels = [one[TRAIN] for one in labellings(digits)]
    penalties = [before.l2, before.l2 / 10, before.l2]
    problems = [Problem(one, l2, before.weight, 1e-5) for one, l2 in zip(labels, penalties, strict=True)]
    settings = TogetherSettings(held_numbers=held_numbers)
    fits = fit_together(z.float(), problems, SecondMoment.of(z), settings)
    for one, l2, fit in zip(labels, penalties, fits, strict=True):
        kept = one != LEFT_OUT
        alone, _ = fit_softmax(z[kept], one_hot(one[kept], CLASSES, z.dtype), l2)
        assert fit.error is None
        assert fit.norm <= 1e-5
        assert torch.allclose(fit.weight.double(), alone, atol=3e-5 / l2)


def test_losses_are_those_of_each_heads_own_samples(digits: tuple[torch.Tensor, ...], before: Head) -> None:
    z = before.features(digits[0][HELD_OUT])
    labels = [one[HELD_OUT] for one in labellings(digits)]
    found = mean_losses(z.float(), labels, [before.weight] * len(labels))
    for one, loss in zip(labels, found, strict=True):
        kept = one != LEFT_OUT
        assert loss == pytest.approx(cross_entropy(z[kept], before.weight, one_hot(one[kept], CLASSES, z.dtype)), 1e-5)


def test_the_penalty_is_as_good_as_that_of_a_search_from_the_start(
    digits: tuple[torch.Tensor, ...], before: Head
) -> None:
    x, _, _ = digits
    relabellings = [Relabelling(one[TRAIN], one[HELD_OUT]) for one in labellings(digits)]
    moment = TrainingFeatures.of(x[TRAIN]).moment
    for one, head in zip(
        relabellings, retrained_heads(before, x[TRAIN], x[HELD_OUT], relabellings, moment), strict=True
    ):
        assert isinstance(head, Head)
        kept, held = one.labels != LEFT_OUT, one.held_out != LEFT_OUT
        again = train_head(x[TRAIN][kept], one.labels[kept], x[HELD_OUT][held], one.held_out[held], CLASSES)
        targets = one_hot(one.held_out[held], CLASSES, x.dtype)
        found, best = (cross_entropy(of.features(x[HELD_OUT][held]), of.weight, targets) for of in (head, again))
        assert found <= best + 2 / int(held.sum())
        assert dict(head.l2_path)[head.l2] == pytest.approx(found, rel=1e-2)
        assert len(head.l2_path) <= RetrainSettings().tries


def test_a_given_penalty_is_kept(digits: tuple[torch.Tensor, ...], before: Head) -> None:
    x, right, _ = digits
    (head,) = retrained_heads(before, x[TRAIN], x[HELD_OUT], [Relabelling(right[TRAIN], right[HELD_OUT], 0.5)])
    assert isinstance(head, Head)
    assert (head.l2, head.l2_path) == (0.5, [])


def test_a_head_that_does_not_converge_is_an_error_and_the_others_are_kept(
    digits: tuple[torch.Tensor, ...], before: Head
) -> None:
    x, right, _ = digits
    lost = torch.full_like(before.weight, math.nan)
    relabellings = [
        Relabelling(right[TRAIN], right[HELD_OUT], before.l2, lost),
        Relabelling(right[TRAIN], right[HELD_OUT], before.l2),
    ]
    error, head = retrained_heads(before, x[TRAIN], x[HELD_OUT], relabellings)
    assert isinstance(error, ConvergenceError)
    assert "use a larger L2" in str(error)
    assert isinstance(head, Head)


def test_of_many_samples_some_choose_the_penalty_and_all_are_fitted(
    digits: tuple[torch.Tensor, ...], before: Head
) -> None:
    x = digits[0]
    relabellings = [Relabelling(one[TRAIN], one[HELD_OUT]) for one in labellings(digits)]
    settings = RetrainSettings(path=PathSettings(samples=500))
    heads = retrained_heads(before, x[TRAIN], x[HELD_OUT], relabellings, settings=settings)
    by_all = retrained_heads(before, x[TRAIN], x[HELD_OUT], relabellings)
    z = before.features(x[TRAIN])
    for of, head, other in zip(relabellings, heads, by_all, strict=True):
        assert isinstance(head, Head)
        assert isinstance(other, Head)
        assert abs(math.log10(head.l2 / other.l2)) <= 1.01
        kept = of.labels != LEFT_OUT
        alone, _ = fit_softmax(z[kept], one_hot(of.labels[kept], CLASSES, z.dtype), head.l2)
        targets = one_hot(of.labels[kept], CLASSES, z.dtype)
        assert cross_entropy(z[kept], head.weight, targets) == pytest.approx(
            cross_entropy(z[kept], alone, targets), abs=2e-4
        )
