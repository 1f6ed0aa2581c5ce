"""Solutions for many right-hand sides from one common space."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits

from audit.errors import ConvergenceError
from audit.head.class_inverse import ClassInverse
from audit.head.common_space import solve_in_common_space
from audit.head.fit import one_hot, probabilities, residuals, train_head
from audit.head.hessian import HeadHessian, conjugate_gradients
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


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-3])
def test_the_residual_is_reached_with_fewer_products_than_conjugate_gradients_need(
    problem: tuple[HeadHessian, torch.Tensor], tolerance: float
) -> None:
    hessian, b = problem
    values, products = solve_in_common_space(hessian, b, tolerance)
    missed = (b - hessian.product(values)).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)
    assert float(missed.max()) <= 1.05 * tolerance
    _, steps = conjugate_gradients(hessian, b, tolerance, 100)
    assert products < steps


def test_right_hand_sides_that_repeat_each_other_or_are_nothing_are_solved(
    problem: tuple[HeadHessian, torch.Tensor],
) -> None:
    hessian, b = problem
    repeated = torch.cat([b[:4], 1000 * b[:4], torch.zeros_like(b[:1])])
    values, _ = solve_in_common_space(hessian, repeated, 1e-3)
    exact = hessian.solve(b[:4].double(), tolerance=1e-6).values.float()
    assert torch.allclose(values[:4], exact, atol=2e-2 * float(exact.abs().max()))
    assert torch.allclose(values[4:8] / 1000, values[:4], atol=1e-3 * float(exact.abs().max()))
    assert not values[8].any()


def test_what_cannot_be_reached_is_an_error(problem: tuple[HeadHessian, torch.Tensor]) -> None:
    hessian, b = problem
    with pytest.raises(ConvergenceError, match="use a larger L2 or damping"):
        solve_in_common_space(hessian, b, 1e-3, most_blocks=1)


def test_the_class_inverse_is_exact_within_a_class(
    problem: tuple[HeadHessian, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    hessian, _ = problem
    monkeypatch.setattr("audit.head.class_inverse.LEAST_CURVATURE", 0.0)  # all samples count with their own features
    inverse = ClassInverse.of(hessian, 64)
    assert inverse is not None
    for number in (0, 7):
        curvature = hessian.p[:, number] * (1 - hessian.p[:, number]) / hessian.n
        block = hessian.z.T @ (curvature[:, None] * hessian.z) + hessian.ridge * torch.eye(hessian.features)
        assert torch.allclose(inverse.lower[number] @ inverse.lower[number].T, block, atol=1e-5)
    assert ClassInverse.of(hessian, 1) is None  # for one solution, it takes longer than it saves


def test_the_class_inverse_saves_products_and_finds_the_strongest_samples(
    problem: tuple[HeadHessian, torch.Tensor],
) -> None:
    hessian, b = problem
    inverse = ClassInverse.of(hessian, len(b))
    assert inverse is not None
    _, by_kfac = solve_in_common_space(hessian, b, 8e-3)
    values, by_class = solve_in_common_space(hessian, b, 8e-3, inverse.solve)
    assert by_class < by_kfac
    exact = hessian.solve(b.double(), tolerance=1e-6).values
    wrong = hessian.p - hessian.p.roll(1, 0)
    found, expected = (inner_products(hessian.z, wrong, solved) for solved in (values, exact.float()))
    for sign in (1, -1):
        mine, theirs = ((sign * one).topk(5).indices.tolist() for one in (found, expected))
        assert sum(len(set(one) & set(other)) for one, other in zip(mine, theirs, strict=True)) >= 0.99 * 5 * len(b)
