"""The head: trained to its optimum, the same one that scikit-learn finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from audit.errors import ConvergenceError
from audit.head.fit import choose_l2, cross_entropy, fit_softmax, one_hot, train_head
from audit.head.settings import FitSettings
from audit.head.standardise import Standardiser


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.from_numpy(images), torch.from_numpy(labels).long()


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4, 1e-6])
def test_gradient_norm_at_the_optimum(digits: tuple[torch.Tensor, torch.Tensor], l2: float) -> None:
    x, labels = digits
    z, targets = Standardiser.fit(x)(x), one_hot(labels, 10, x.dtype)
    weight, norm = fit_softmax(z, targets, l2)
    weight = weight.requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(z @ weight.T, labels) + l2 / 2 * (weight**2).sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    assert norm <= 1e-6
    assert float(gradient.norm()) == pytest.approx(norm, abs=1e-12)


def test_single_precision_reaches_the_tolerance(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, labels = digits
    z, targets = Standardiser.fit(x)(x), one_hot(labels, 10, x.dtype)
    double, _ = fit_softmax(z, targets, 1e-3)
    single, norm = fit_softmax(z.float(), targets.float(), 1e-3)
    assert single.dtype == torch.float32
    assert norm <= 1e-6
    assert float((single - double).norm() / double.norm()) < 1e-3


@pytest.mark.parametrize("l2", [1e-3, 1e-5, 1e-7])
def test_the_audited_head_is_the_same_whatever_the_order_of_the_samples(
    digits: tuple[torch.Tensor, torch.Tensor], l2: float
) -> None:
    """Workers, blocks and threads add up in another order; influence follows the weights to as many digits."""
    x, labels = digits
    order = torch.randperm(1500, generator=torch.Generator().manual_seed(0))
    heads = [train_head(x[rows], labels[rows], x[1500:], labels[1500:], 10, l2) for rows in (torch.arange(1500), order)]
    largest = max(float(head.weight.abs().max()) for head in heads)
    assert float((heads[0].weight - heads[1].weight).abs().max()) < 1e-5 * largest
    assert all(head.gradient_norm < 1e-7 for head in heads)


def test_a_goal_that_rounding_does_not_allow_ends_where_rounding_does(
    digits: tuple[torch.Tensor, torch.Tensor],
) -> None:
    x, labels = digits
    z, targets = Standardiser.fit(x)(x), one_hot(labels, 10, x.dtype)
    _, norm = fit_softmax(z, targets, 1e-3, goal=1e-30)
    assert norm < 1e-13
    _, single = fit_softmax(z.float(), targets.float(), 1e-3, goal=1e-30)
    assert single < 1e-6


@pytest.mark.parametrize("classes", [2, 10])
def test_optimum_is_that_of_scikit_learn(digits: tuple[torch.Tensor, torch.Tensor], classes: int) -> None:
    x, labels = digits
    x, labels = x[labels < classes], labels[labels < classes]
    z = Standardiser.fit(x)(x)
    l2 = 1e-2
    weight, _ = fit_softmax(z, one_hot(labels, classes, x.dtype), l2)
    peer = LogisticRegression(C=1 / (l2 * len(z)), fit_intercept=False, tol=1e-10, max_iter=5000).fit(z, labels)
    expected = peer.predict_proba(z.numpy())
    if classes == 2:  # scikit-learn has one vector for two classes, whose penalty is that of ours at twice the L2
        peer = LogisticRegression(C=2 / (l2 * len(z)), fit_intercept=False, tol=1e-10, max_iter=5000).fit(z, labels)
        expected = peer.predict_proba(z.numpy())
    assert np.abs((z @ weight.T).softmax(1).numpy() - expected).max() < 1e-5


def test_sample_weights_and_soft_targets(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, labels = digits
    z, targets = Standardiser.fit(x)(x), one_hot(labels, 10, x.dtype)
    soft = 0.9 * targets + 0.01
    weights = torch.rand(len(x), generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    weight, norm = fit_softmax(z, soft, 1e-2, weights=weights)
    moved = weight.requires_grad_(True)
    losses = -(soft * (z @ moved.T).log_softmax(1)).sum(1)
    (gradient,) = torch.autograd.grad((weights * losses).mean() + 0.005 * (moved**2).sum(), moved)
    assert norm <= 1e-6
    assert float(gradient.norm()) == pytest.approx(norm, abs=1e-12)


def test_l2_is_the_one_of_least_held_out_loss(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, labels = digits
    z, targets = Standardiser.fit(x)(x), one_hot(labels, 10, x.dtype)
    train, held = slice(0, 1000), slice(1000, None)
    l2, path = choose_l2(z[train], targets[train], lambda weight: cross_entropy(z[held], weight, targets[held]))
    for tried, loss in path:
        weight, _ = fit_softmax(z[train], targets[train], tried)
        assert cross_entropy(z[held], weight, targets[held]) == pytest.approx(loss, abs=2e-3)
    assert l2 == min(path, key=lambda pair: pair[1])[0]
    head = train_head(x[train], labels[train], x[held], labels[held], 10)
    assert head.gradient_norm <= 1e-6
    assert len(head.curve) > 2


def test_no_step_raises_the_objective(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    # Pixels that are hardly ever dark are outliers of up to forty standard deviations, for which Newton overshoots.
    x, labels = digits
    z = Standardiser.fit(x.float())(x.float())
    objectives: list[float] = []

    def watch(weight: torch.Tensor, loss: float) -> None:
        objectives.append(loss + l2 / 2 * float((weight.double() ** 2).sum()))

    for seed, l2 in [(15, 0.03), (18, 0.003), (21, 0.003)]:
        generator = torch.Generator().manual_seed(seed)
        wrong = torch.rand(len(labels), generator=generator) < 0.1
        given = one_hot(torch.where(wrong, (labels + 1) % 10, labels), 10, z.dtype)
        far, _ = fit_softmax(z, given, l2, tolerance=1e-3)
        objectives.clear()
        _, norm = fit_softmax(
            z, 0.7 * one_hot(labels, 10, z.dtype) + 0.03, l2, initial=3 * far, tolerance=1e-3, watch=watch
        )
        assert norm <= 1e-3
        assert len(objectives) > 5
        assert max(np.diff(objectives)) < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_few_samples_that_believe_in_little_are_fitted(digits: tuple[torch.Tensor, torch.Tensor], seed: int) -> None:
    """Soft targets of separable samples: far from the optimum, Newton's steps are too long by orders of magnitude."""
    x, labels = digits
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    some = order[labels[order] < 2][:40]
    z, targets = Standardiser.fit(x[some].float())(x[some].float()), one_hot(labels[some], 2, torch.float32)
    certain, _ = fit_softmax(z, targets, 1e-7, tolerance=1e-3)
    noise = torch.randn(targets.shape, generator=torch.Generator().manual_seed(seed))
    for initial in (None, certain):
        _, norm = fit_softmax(z, (3 * targets + 2 * noise).softmax(1), 1e-7, initial=initial, tolerance=1e-3)
        assert norm <= 1e-3


def test_running_out_of_steps_is_an_error_that_says_what_to_do(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, labels = digits
    with pytest.raises(ConvergenceError, match="in 2 steps; use a larger L2"):
        fit_softmax(Standardiser.fit(x)(x), one_hot(labels, 10, x.dtype), 1e-4, settings=FitSettings(newton_steps=2))
