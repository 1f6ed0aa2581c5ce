"""Solutions in the few classes that matter to a sample, and completed in all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits

from audit.errors import ConvergenceError
from audit.head.class_inverse import ClassInverse
from audit.head.conjugate_gradients import conjugate_gradients
from audit.head.few_classes import SETTINGS, completed, solve_in_few_classes
from audit.head.fit import one_hot, probabilities, residuals, train_head
from audit.head.hessian import HeadHessian
from audit.influence.averaged import inner_products


@pytest.fixture(scope="module")
def problem() -> tuple[HeadHessian, torch.Tensor]:
    """A Hessian in single precision, and the gradients of some samples' losses."""
    data = load_digits()
    x, labels = torch.from_numpy(data.data), torch.from_numpy(data.target)
    head = train_head(x[:1200], labels[:1200], x[1200:], labels[1200:], 10)
    z = head.features(x)
    p = probabilities(z, head.weight)
    wrong = residuals(p, one_hot(labels, 10, p.dtype))
    gradients = wrong[:, :, None] * z[:, None, :]
    return HeadHessian(z[:1200], p[:1200], head.l2).single, gradients[1200:1264].float()


@pytest.mark.parametrize("weighted", [False, True])
def test_between_few_classes_the_hessian_is_a_part_of_the_whole_one(
    problem: tuple[HeadHessian, torch.Tensor], weighted: bool
) -> None:
    hessian, b = problem
    if weighted:
        hessian = HeadHessian(hessian.z, hessian.p, hessian.ridge, torch.linspace(0.5, 2, hessian.n))
    values, few = solve_in_few_classes(hessian, b, hessian.kronecker(apart=True), replace(SETTINGS, residual=1e-3))
    every = few.in_all(values)
    whole = hessian.product(every)
    assert torch.allclose(few.whole_product(values), whole, atol=1e-5 * float(whole.abs().max()))
    among = whole.gather(1, few.classes[:, :, None].expand_as(values))
    assert torch.allclose(few.product(values), among, atol=1e-5 * float(whole.abs().max()))
    wanted = b.gather(1, few.classes[:, :, None].expand_as(values))
    missed = (wanted - among).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
    assert float(missed.max()) <= 2e-3


@pytest.mark.parametrize("by_class", [True, False])
def test_a_step_in_all_classes_is_the_best_of_its_direction(
    problem: tuple[HeadHessian, torch.Tensor], by_class: bool
) -> None:
    hessian, b = problem
    inverse = hessian.by_class if by_class else hessian.kronecker(apart=True)
    assert inverse is not None
    values, few = solve_in_few_classes(hessian, b, inverse)
    complete = completed(values, few, b)
    step = complete - few.in_all(values)
    # The residual that is left is orthogonal to the step, so that no other length of it is nearer in H's norm.
    left = b - hessian.product(complete)
    along = torch.nn.functional.cosine_similarity(left.flatten(1), step.flatten(1))
    assert float(along.abs().max()) < 0.01
    exact = hessian.solve(b.double(), tolerance=1e-6).values.float()

    def error(solution: torch.Tensor) -> torch.Tensor:
        apart = solution - exact
        return (apart * hessian.product(apart)).sum((1, 2)) / (exact * b).sum((1, 2))

    assert bool((error(complete) < error(few.in_all(values))).all())
    assert float(error(complete).median()) < (0.01 if by_class else 0.03)


def test_the_length_of_the_step_is_known_from_some_of_the_samples(
    problem: tuple[HeadHessian, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    hessian, b = problem
    values, few = solve_in_few_classes(hessian, b, hessian.kronecker(apart=True))
    by_all = completed(values, few, b) - few.in_all(values)
    monkeypatch.setattr("audit.head.few_classes.SETTINGS", replace(SETTINGS, curvature_samples=400))
    by_some = completed(values, few, b) - few.in_all(values)
    lengths = by_some.flatten(1).norm(dim=1) / by_all.flatten(1).norm(dim=1)
    assert 0.7 < float(lengths.min()) < float(lengths.max()) < 1.4


def test_the_strongest_samples_are_found(problem: tuple[HeadHessian, torch.Tensor]) -> None:
    hessian, b = problem
    inverse = hessian.by_class
    assert inverse is not None
    values, few = solve_in_few_classes(hessian, b, inverse)
    exact = hessian.solve(b.double(), tolerance=1e-6).values.float()
    wrong = hessian.p - hessian.p.roll(1, 0)
    found, expected = (inner_products(hessian.z, wrong, solved) for solved in (completed(values, few, b), exact))
    for sign in (1, -1):
        mine, best = ((sign * one).topk(5).indices for one in (found, expected))
        kept = (sign * expected).gather(1, mine).sum(1) / (sign * expected).gather(1, best).sum(1)
        assert float(kept.mean()) > 0.995


def test_two_classes_are_solved_by_the_weights_of_one() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(200, 5, generator=generator)
    p = torch.randn(200, 2, generator=generator).softmax(1)
    hessian = HeadHessian(z, p, 1e-3)
    wrong = p[:8] - torch.eye(2)[[0, 1] * 4]
    b = wrong[:, :, None] * z[:8, None, :]
    values, few = solve_in_few_classes(hessian, b, hessian.kronecker(apart=True), replace(SETTINGS, residual=1e-5))
    assert few.classes.shape == (8, 1)
    exact = hessian.solve(b.double(), tolerance=1e-8).values.float()
    assert torch.allclose(completed(values, few, b), exact, atol=0.02 * float(exact.abs().max()))


def test_what_cannot_be_reached_is_an_error(problem: tuple[HeadHessian, torch.Tensor]) -> None:
    hessian, b = problem
    with pytest.raises(ConvergenceError, match="use a larger L2 or damping"):
        solve_in_few_classes(hessian, b, hessian.kronecker(apart=True), replace(SETTINGS, residual=1e-4, steps=1))


def test_the_class_inverse_is_exact_within_a_class(
    problem: tuple[HeadHessian, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    hessian, b = problem
    monkeypatch.setattr("audit.head.class_inverse.LEAST_CURVATURE", 0.0)  # all samples count with their own features
    inverse = ClassInverse.of(hessian.z, hessian.p, hessian.w, hessian.moment, hessian.ridge)
    assert inverse is not None
    for number in (0, 7):
        curvature = hessian.p[:, number] * (1 - hessian.p[:, number]) / hessian.n
        block = hessian.z.T @ (curvature[:, None] * hessian.z) + hessian.ridge * torch.eye(hessian.features)
        assert torch.allclose(inverse.lower[number] @ inverse.lower[number].T, block, atol=1e-5)
        some = b[:3, number, None, :]
        solved = inverse.solve_classes(some, torch.full((3, 1), number))
        assert torch.allclose(solved[:, 0] @ block, some[:, 0], atol=1e-3 * float(some.abs().max()))


def test_the_class_inverse_saves_products(problem: tuple[HeadHessian, torch.Tensor]) -> None:
    hessian, b = problem
    assert hessian.by_class is not None
    _, by_kfac = conjugate_gradients(hessian, b, 1e-3, 100)
    _, by_class = conjugate_gradients(hessian, b, 1e-3, 100, hessian.by_class.solve)
    assert by_class <= by_kfac / 2
