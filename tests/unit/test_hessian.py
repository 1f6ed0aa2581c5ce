"""The head's Hessian and its solutions, against autograd and against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from audit.errors import ConvergenceError, InputError
from audit.head.fit import fit_softmax, one_hot
from audit.head.hessian import HeadHessian
from audit.head.standardise import Standardiser
from tests.head_problems import digits_problem, made_problem, relative


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """These problems are so small that threads waiting for each other would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def objective(z: Tensor, targets: Tensor, weights: Tensor, l2: float) -> Callable[[Tensor], Tensor]:
    def value(weight: Tensor) -> Tensor:
        losses = -(targets * functional.log_softmax(z @ weight.T, 1)).sum(1)
        return (weights * losses).mean() + l2 / 2 * (weight**2).sum()

    return value


@pytest.mark.parametrize("classes", [2, 4])
def test_hessian_vector_product_is_that_of_autograd(classes: int) -> None:
    problem = made_problem(classes=classes)
    weights = torch.rand(60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = problem.z
    hessian = HeadHessian(z, (z @ problem.head.weight.T).softmax(1), 1e-2, weights)
    direction = torch.randn(problem.head.weight.shape, dtype=torch.float64)
    _, expected = torch.autograd.functional.hvp(
        objective(z, problem.train.targets, weights, 1e-2), problem.head.weight, direction
    )
    assert relative(hessian.product(direction[None])[0], expected) < 1e-12


def test_solution_is_that_of_the_dense_hessian_of_autograd() -> None:
    problem = made_problem(classes=4, l2=1e-3)
    z = problem.z
    full = torch.autograd.functional.hessian(
        objective(z, problem.train.targets, torch.ones(60, dtype=torch.float64), 1e-3), problem.head.weight
    ).reshape(24, 24)
    b = torch.randn(2, 4, 6, dtype=torch.float64)  # with a part along (1, ..., 1), which no gradient has
    expected = torch.linalg.solve(full, b.reshape(2, 24).T).T.reshape(b.shape)
    hessian = HeadHessian(z, (z @ problem.head.weight.T).softmax(1), 1e-3)
    for method in ("cholesky", "cg"):
        solution = hessian.solve(b, method, tolerance=1e-12)
        assert solution.method == method
        assert solution.residual <= 1e-12
        assert relative(solution.values, expected) < 1e-8


@pytest.mark.parametrize("l2", [1e-1, 1e-3, 1e-5])
def test_cholesky_and_conjugate_gradients_agree(l2: float) -> None:
    problem = digits_problem()
    z = problem.z
    hessian = HeadHessian(z, (z @ problem.head.weight.T).softmax(1), l2)
    b = torch.randn(3, 10, z.shape[1], dtype=torch.float64)
    answers = [hessian.solve(b, method) for method in ("cholesky", "cg")]
    assert max(answer.residual for answer in answers) <= 1e-8
    assert relative(answers[0].values, answers[1].values) < 1e-8 / l2


def test_single_precision_features_reach_the_same_residual() -> None:
    problem = digits_problem()
    z = problem.z.float()
    hessian = HeadHessian(z, (z @ problem.head.weight.T.float()).softmax(1), 1e-3)
    b = torch.randn(1, 10, z.shape[1], dtype=torch.float64)
    for method in ("cholesky", "cg"):
        assert hessian.solve(b, method).residual <= 1e-8


def test_not_converging_is_an_error_that_says_what_to_do() -> None:
    problem = digits_problem()
    z = problem.z
    hessian = HeadHessian(z, (z @ problem.head.weight.T).softmax(1), 1e-6)
    with pytest.raises(ConvergenceError, match=r"relative residual .* use a larger L2 or damping"):
        hessian.solve(torch.randn(1, 10, z.shape[1], dtype=torch.float64), "cg", max_iterations=2)


def test_separable_data_without_l2_are_refused_and_with_little_l2_solved() -> None:
    x = torch.cat([torch.randn(30, 4) - 10, torch.randn(30, 4) + 10]).double()
    labels = torch.arange(60) // 30
    z = Standardiser.fit(x)(x)
    with pytest.raises(InputError, match="separable data have no optimum"):
        fit_softmax(z, one_hot(labels, 2, z.dtype), 0.0)
    problem = made_problem(n=60, m=0, classes=2, l2=1e-6, x=x, labels=labels)
    assert bool(torch.isfinite(problem.averaged(problem.train, problem.train)).all())
    p = (problem.z @ problem.head.weight.T).softmax(1)
    with pytest.raises(InputError, match="Hessian is singular"):
        HeadHessian(problem.z, p, 0.0)
    damped = HeadHessian(problem.z, p, 0.0, damping=1e-3)
    assert damped.solve(torch.randn(1, 2, 5, dtype=torch.float64)).residual <= 1e-8
