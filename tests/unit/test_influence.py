"""The influence engine against autograd, against real refits, against itself, and against bad input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional

from audit import AuditConfig, audit_embeddings
from audit.errors import ConvergenceError, InputError
from audit.head.fit import Head, Standardiser, cross_entropy, fit_softmax, one_hot, train_head
from audit.head.hessian import HeadHessian, SecondMoment
from audit.images.backbone import load_backbone
from audit.images.embedding import embed
from audit.influence.engine import ExactEngine, Labelled, helpful_and_harmful
from audit.influence.pixels import pixels_to_embedding

SCIKIT_DIGITS = 10


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """These problems are so small that threads waiting for each other would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Problem:
    """A head at its optimum, with what it was trained on and a validation split."""

    head: Head
    train: Labelled
    validation: Labelled
    labels: Tensor

    @property
    def z(self) -> Tensor:
        return self.head.features(self.train.inputs)

    @property
    def z_validation(self) -> Tensor:
        return self.head.features(self.validation.inputs)

    @cached_property
    def moment(self) -> SecondMoment:
        """For refits, which have it in common."""
        return SecondMoment.of(self.z)


def made_problem(
    n: int = 60,
    m: int = 12,
    features: int = 5,
    classes: int = 3,
    l2: float = 1e-2,
    seed: int = 0,
    weights: Tensor | None = None,
    x: Tensor | None = None,
    labels: Tensor | None = None,
) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    if x is None or labels is None:
        centres = torch.randn(classes, features, generator=generator, dtype=torch.float64)
        labels = torch.randint(classes, (n + m,), generator=generator)
        x = centres[labels] + torch.randn(n + m, features, generator=generator, dtype=torch.float64)
    standardiser = Standardiser.fit(x[:n])
    train = Labelled.of(x[:n], labels[:n], classes)
    weight, norm = fit_softmax(standardiser(x[:n]), train.targets, l2, weights=weights, tolerance=1e-11)
    head = Head(weight, standardiser, l2, "newton", norm)
    return Problem(head, train, Labelled.of(x[n:], labels[n:], classes), labels[:n])


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


# --- the Hessian and its solutions --------------------------------------------------------------------------------


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
def test_cholesky_and_conjugate_gradients_agree(l2: float, digits_problem: Problem) -> None:
    z = digits_problem.z
    hessian = HeadHessian(z, (z @ digits_problem.head.weight.T).softmax(1), l2)
    b = torch.randn(3, 10, z.shape[1], dtype=torch.float64)
    answers = [hessian.solve(b, method) for method in ("cholesky", "cg")]
    assert max(answer.residual for answer in answers) <= 1e-8
    assert relative(answers[0].values, answers[1].values) < 1e-8 / l2


def test_single_precision_features_reach_the_same_residual(digits_problem: Problem) -> None:
    z = digits_problem.z.float()
    hessian = HeadHessian(z, (z @ digits_problem.head.weight.T.float()).softmax(1), 1e-3)
    b = torch.randn(1, 10, z.shape[1], dtype=torch.float64)
    for method in ("cholesky", "cg"):
        assert hessian.solve(b, method).residual <= 1e-8


def test_factor_in_single_precision_gives_the_same_leave_one_out(
    digits_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.head.hessian.DOUBLE_FLOP", 0.0)
    single = ExactEngine(digits_problem.head, digits_problem.train).leave_one_out(digits_problem.validation, "exact")
    monkeypatch.setattr("audit.head.hessian.DOUBLE_FLOP", 1e18)
    double = ExactEngine(digits_problem.head, digits_problem.train).leave_one_out(digits_problem.validation, "exact")
    assert float((single.probabilities - double.probabilities).abs().max()) < 1e-4
    assert relative(single.loss_change, double.loss_change) < 1e-4


def test_not_converging_is_an_error_that_says_what_to_do(digits_problem: Problem) -> None:
    z = digits_problem.z
    hessian = HeadHessian(z, (z @ digits_problem.head.weight.T).softmax(1), 1e-6)
    with pytest.raises(ConvergenceError, match=r"relative residual .* use a larger L2 or damping"):
        hessian.solve(torch.randn(1, 10, z.shape[1], dtype=torch.float64), "cg", max_iterations=2)


# --- averaged and pairwise influence ------------------------------------------------------------------------------


def test_averaged_is_the_mean_of_pairwise(digits_problem: Problem) -> None:
    engine = ExactEngine(digits_problem.head, digits_problem.train)
    averaged = engine.averaged(digits_problem.train, digits_problem.validation)
    pairwise = engine.pairwise(digits_problem.validation, digits_problem.train)
    assert pairwise.shape == (len(digits_problem.validation), len(digits_problem.train))
    assert relative(pairwise.mean(0), averaged) < 1e-7


def test_self_influence_is_the_diagonal_of_pairwise_and_not_negative() -> None:
    problem = made_problem(classes=4)
    engine = ExactEngine(problem.head, problem.train)
    diagonal = engine.pairwise(problem.train, problem.train).diagonal() / len(problem.train)
    values = engine.self_influence(problem.train)
    assert relative(values, diagonal) < 1e-8
    assert float(values.min()) >= 0


def test_helpful_and_harmful_are_the_ends_of_a_row_overall_and_within_a_class() -> None:
    row = torch.tensor([0.5, -2.0, 3.0, 0.0, -1.0])
    helpful, harmful = helpful_and_harmful(row, 3)
    assert helpful.tolist() == [2, 0]
    assert harmful.tolist() == [1, 4]
    helpful, harmful = helpful_and_harmful(row, 3, within=[0, 3, 4])
    assert (helpful.tolist(), harmful.tolist()) == ([0], [4])
    helpful, harmful = helpful_and_harmful(torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0, 1.0]), 2)
    assert (helpful.tolist(), harmful.tolist()) == ([4, 0], [1, 3])  # of equals, the first ones
    assert [len(places) for places in helpful_and_harmful(row, 0)] == [0, 0]


problems = st.builds(
    made_problem,
    n=st.integers(20, 60),
    m=st.integers(4, 20),
    features=st.integers(1, 8),
    classes=st.integers(2, 5),
    l2=st.sampled_from([1e-1, 1e-2, 1e-3]),
    seed=st.integers(0, 1000),
)


def influence_of(problem: Problem) -> Tensor:
    return ExactEngine(problem.head, problem.train).averaged(problem.train, problem.validation)


@settings(max_examples=25, deadline=None)
@given(problem=problems, share=st.floats(0.2, 0.8))
def test_influence_is_linear_in_the_validation_set(problem: Problem, share: float) -> None:
    engine, m = ExactEngine(problem.head, problem.train), len(problem.validation)
    cut = max(1, min(m - 1, round(share * m)))
    parts = [
        Labelled(problem.validation.inputs[rows], problem.validation.targets[rows])
        for rows in (slice(0, cut), slice(cut, m))
    ]
    first, second = (engine.averaged(problem.train, part) for part in parts)
    whole = engine.averaged(problem.train, problem.validation)
    torch.testing.assert_close((cut * first + (m - cut) * second) / m, whole, rtol=1e-6, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(problem=problems, seed=st.integers(0, 1000))
def test_sample_order_does_not_matter(problem: Problem, seed: int) -> None:
    order = torch.randperm(len(problem.train), generator=torch.Generator().manual_seed(seed))
    shuffled = Labelled(problem.train.inputs[order], problem.train.targets[order])
    influence = ExactEngine(problem.head, shuffled).averaged(shuffled, problem.validation)
    torch.testing.assert_close(influence, influence_of(problem)[order], rtol=1e-6, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(problem=problems, seed=st.integers(0, 1000))
def test_renaming_classes_does_not_matter(problem: Problem, seed: int) -> None:
    head = problem.head
    order = torch.randperm(len(head.weight), generator=torch.Generator().manual_seed(seed))
    renamed = Head(head.weight[order], head.standardiser, head.l2, head.trainer, head.gradient_norm)
    train, validation = (Labelled(part.inputs, part.targets[:, order]) for part in (problem.train, problem.validation))
    engine = ExactEngine(renamed, train)
    torch.testing.assert_close(engine.averaged(train, validation), influence_of(problem), rtol=1e-6, atol=1e-7)
    original = ExactEngine(head, problem.train)
    for method in ("exact", "kfac", "blocks"):
        torch.testing.assert_close(
            engine.leave_one_out(method=method, most_refits=0).probabilities,
            original.leave_one_out(method=method, most_refits=0).probabilities[:, order],
            rtol=0,
            atol=1e-6 if method == "exact" else 1e-4,
        )


@settings(max_examples=25, deadline=None)
@given(problem=problems)
def test_pairwise_is_symmetric_where_training_samples_are_the_validation(problem: Problem) -> None:
    matrix = ExactEngine(problem.head, problem.train).pairwise(problem.train, problem.train)
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-6, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(problem=problems, rows=st.integers(1, 60))
def test_chunk_size_does_not_matter(problem: Problem, rows: int) -> None:
    from audit.influence import hessian as module

    def everything() -> tuple[Tensor, ...]:
        engine = ExactEngine(problem.head, problem.train)
        left_out = engine.leave_one_out(problem.validation, "exact", most_refits=0)
        return (
            engine.pairwise(problem.validation, problem.train, memory=2**30),
            left_out.probabilities,
            left_out.loss_change,
            engine.leave_one_out(method="kfac").probabilities,
            engine.leave_one_out(method="blocks").probabilities,
        )

    expected = everything()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_BYTES", rows * 8 * problem.z.shape[1])
        for found, value in zip(everything(), expected, strict=True):
            torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), problem=problems)
def test_sample_weights_are_repeated_samples(data: st.DataObject, problem: Problem) -> None:
    n = len(problem.train)
    counts = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    if int(counts.sum()) == 0:
        counts[0] = 1
    total, l2 = int(counts.sum()), problem.head.l2
    weights = counts.double() * n / total  # the objective is a mean over n, its repetition one over the total
    rows = torch.repeat_interleave(torch.arange(n), counts)
    z, targets = problem.z, problem.train.targets
    weighted, _ = fit_softmax(z, targets, l2, weights=weights, tolerance=1e-10)
    repeated, _ = fit_softmax(z[rows], targets[rows], l2, tolerance=1e-10)
    torch.testing.assert_close(weighted, repeated, rtol=0, atol=1e-6)

    def influence(train: Labelled, weight: Tensor, sample_weights: Tensor | None) -> tuple[Tensor, Tensor]:
        head = Head(weight, problem.head.standardiser, l2, "newton", 0.0)
        engine = ExactEngine(head, train, sample_weights)
        change = engine.leave_one_out(problem.validation, "exact", most_refits=0).loss_change
        assert change is not None
        return engine.averaged(problem.train, problem.validation), change

    repeated_train = Labelled(problem.train.inputs[rows], targets[rows])
    averaged, change = influence(problem.train, weighted, weights)
    averaged_repeated, change_repeated = influence(repeated_train, repeated, None)
    torch.testing.assert_close(averaged, averaged_repeated, rtol=1e-4, atol=1e-4)
    once = counts[rows] == 1
    torch.testing.assert_close(change[rows][once], change_repeated[once], rtol=1e-4, atol=1e-6)
    assert bool((change[counts == 0] == 0).all())


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_every_answer_takes_sample_weights(solver: str) -> None:
    """A sample of weight 2 is two samples of weight 1, for each of them."""
    problem = made_problem(n=60, m=12)
    counts = torch.arange(60) % 3
    rows = torch.repeat_interleave(torch.arange(60), counts)
    repeated = Labelled(problem.train.inputs[rows], problem.train.targets[rows])
    weight, _ = fit_softmax(problem.z[rows], repeated.targets, 1e-2, tolerance=1e-11)
    head = Head(weight, problem.head.standardiser, 1e-2, "newton", 0.0)
    weighted = ExactEngine(head, problem.train, counts.double(), solver=solver)  # sum 60: the same mean
    plain = ExactEngine(head, repeated, solver=solver)
    torch.testing.assert_close(
        weighted.averaged(problem.train, problem.validation), plain.averaged(problem.train, problem.validation)
    )
    torch.testing.assert_close(
        weighted.pairwise(problem.validation, problem.train), plain.pairwise(problem.validation, problem.train)
    )
    torch.testing.assert_close(weighted.self_influence(problem.train), plain.self_influence(problem.train))
    once = counts[rows] == 1
    for method in ("exact", "kfac", "blocks"):
        one, other = (engine.leave_one_out(problem.validation, method, most_refits=0) for engine in (weighted, plain))
        # The approximations take each sample's curvature as seen without it: one of two copies is not both of them.
        allowed = 1e-5 if method == "exact" else 0.01
        assert float((one.probabilities[rows] - other.probabilities)[once].abs().mean()) < allowed
        assert float((one.loss_change[rows] - other.loss_change)[once].abs().mean()) < allowed


@pytest.mark.parametrize("classes", [2, 37, 1000])
def test_two_to_a_thousand_classes(classes: int) -> None:
    n = max(200, classes)
    problem = made_problem(n=n, m=20, features=6, classes=classes, l2=1e-1)
    assert problem.head.gradient_norm <= 1e-6
    engine = ExactEngine(problem.head, problem.train)
    averaged = engine.averaged(problem.train, problem.validation)
    assert engine.residual is not None
    assert engine.residual <= 1e-8
    rows = slice(0, 3)
    few = Labelled(problem.train.inputs[rows], problem.train.targets[rows])
    pairwise = engine.pairwise(problem.validation, few)
    torch.testing.assert_close(pairwise.mean(0), averaged[rows], rtol=1e-5, atol=1e-6)
    left_out = engine.leave_one_out(problem.validation)
    assert left_out.loss_change is not None
    for row in range(2):
        own, change = refit_without(problem, row)
        assert float((own - left_out.probabilities[row]).abs().max()) <= 0.01
        assert float(left_out.loss_change[row]) == pytest.approx(change, rel=0.1, abs=1e-6)


@pytest.mark.parametrize(("method", "most", "of_unlikely"), [("kfac", 0.03, 0.001), ("blocks", 0.005, 0.01)])
def test_leave_one_out_of_many_classes_that_are_alike_is_near_refits(
    method: str, most: float, of_unlikely: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 classes in 40 groups that are hard to tell apart, 6 samples each."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.randn(40, 32, generator=generator, dtype=torch.float64).repeat_interleave(5, 0)
    centres = groups + 0.2 * torch.randn(200, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(200, (1400,), generator=generator)
    x = centres[labels] + torch.randn(1400, 32, generator=generator, dtype=torch.float64)
    problem = made_problem(n=1200, classes=200, l2=1e-2, x=x, labels=labels)
    engine = ExactEngine(problem.head, problem.train)
    found = engine.leave_one_out(problem.validation, method)
    assert found.method == method
    assert found.loss_change is not None
    p = problem.head.probabilities(problem.train.inputs)
    rows = torch.randperm(1200, generator=generator)[:12]
    refits = [refit_without(problem, row) for row in rows.tolist()]
    real, changes = torch.stack([own for own, _ in refits]), [change for _, change in refits]
    error, in_sample = (float((values[rows] - real).abs().amax(1).mean()) for values in (found.probabilities, p))
    assert error < most
    assert error < 10 * most * in_sample
    assert spearmanr(found.loss_change[rows], changes).statistic >= 0.98
    monkeypatch.setattr("audit.head.leave_one_out.LIKELY_CLASSES", 200)
    all_likely = engine.leave_one_out(method=method)
    assert float((found.probabilities - all_likely.probabilities).abs().max()) < of_unlikely


def test_classes_that_are_taken_apart_lead_to_the_same_influence(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = made_problem(n=240, m=20, features=12, classes=60)

    def answers() -> tuple[Tensor, Tensor]:
        engine = ExactEngine(problem.head, problem.train, solver="cg")
        return engine.averaged(problem.train, problem.validation), engine.leave_one_out(method="kfac").probabilities

    together, left_out = answers()
    monkeypatch.setattr("audit.head.hessian.CLASSES_APART", 30)
    apart, left_out_apart = answers()
    torch.testing.assert_close(apart, together, rtol=1e-6, atol=1e-7)
    in_sample = problem.head.probabilities(problem.train.inputs)
    assert float((left_out_apart - left_out).abs().max()) < 0.2 * float((in_sample - left_out).abs().max())


def test_blocks_through_features_and_through_samples_are_the_same() -> None:
    from audit.head.leave_one_out import _leverages_in_block

    generator = torch.Generator().manual_seed(0)
    makers, z = (torch.randn(rows, 40, generator=generator, dtype=torch.float64) for rows in (90, 70))
    v, base = torch.rand(90, generator=generator).double(), torch.rand(40, generator=generator).double() + 0.1
    for some in (slice(0, 90), slice(0, 5), slice(0, 0)):
        block = torch.diag(base) + (makers[some] * v[some, None]).T @ makers[some]
        expected = (z @ torch.linalg.inv(block) * z).sum(1)
        for dtype, allowed in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
            found = _leverages_in_block(makers[some].to(dtype), v[some], base, z.to(dtype))
            torch.testing.assert_close(found.double(), expected, rtol=allowed, atol=0)


def test_a_logit_is_followed_to_the_optimum_of_its_block_without_the_sample() -> None:
    from audit.head.leave_one_out import _bends_in_block

    generator = torch.Generator().manual_seed(0)
    makers = torch.randn(30, 12, generator=generator, dtype=torch.float64)
    p, w, base = (torch.rand(size, generator=generator).double() * 0.8 + 0.1 for size in (30, 30, 12))
    left_out = torch.tensor([3, 0, 7, 29])
    pulls = torch.tensor([-2.0, -0.9, -0.3, 0.6], dtype=torch.float64)
    itself = left_out[:, None] == torch.arange(30)
    found = _bends_in_block(makers, p, w, base, makers[left_out], pulls, itself)
    for number, row in enumerate(left_out.tolist()):
        others = torch.arange(30) != row
        m, weights = makers[others], w[others]
        delta, moved = torch.zeros(12, dtype=torch.float64), []
        for _ in range(30):
            q = (p[others].logit() + m @ delta).sigmoid()
            gradient = base * delta - pulls[number] * makers[row] + m.T @ (weights * (q - p[others]))
            curvature = torch.diag(base) + (m * (weights * q * (1 - q))[:, None]).T @ m
            delta = delta - torch.linalg.solve(curvature, gradient)
            moved.append(float(makers[row] @ delta))
        assert float(gradient.norm()) < 1e-9
        assert float(found[number]) == pytest.approx(moved[-1] - moved[0], abs=2e-3)


def test_wrong_labels_of_small_classes_have_the_probability_that_refits_give_them() -> None:
    """60 classes of 4 samples and 48 features, a tenth of the labels wrong."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(60, 48, generator=generator, dtype=torch.float64)
    true = torch.arange(250) % 60
    x = centres[true] + 0.6 * torch.randn(250, 48, generator=generator, dtype=torch.float64)
    rows = torch.randperm(240, generator=generator)[:24]
    labels = true.clone()
    labels[rows] = (labels[rows] + 17) % 60
    problem = made_problem(n=240, classes=60, l2=5e-3, x=x, labels=labels)
    of_label = ExactEngine(problem.head, problem.train).leave_one_out(method="blocks").probabilities
    real = torch.stack([refit_without(problem, row)[0][labels[row]] for row in rows.tolist()]).log()
    found = of_label[rows, labels[rows]].log()
    assert float(real.mean()) < -5
    assert float((found - real).abs().mean()) < 0.3
    assert float((found - real).mean()) == pytest.approx(0, abs=0.2)


# --- real refits --------------------------------------------------------------------------------------------------


def refit_without(problem: Problem, row: int) -> tuple[Tensor, float]:
    """What a head that is trained without a training sample predicts for it (C,), and the change of validation loss.

    A weight of 0 removes the sample; dividing by n − 1 as well would change L2 for all the others.
    """
    head, z, z_validation = problem.head, problem.z, problem.z_validation
    weights = torch.ones(len(z), dtype=torch.float64)
    weights[row] = 0
    refit, _ = fit_softmax(
        z, problem.train.targets, head.l2, weights=weights, initial=head.weight, moment=problem.moment
    )
    before, after = (cross_entropy(z_validation, weight, problem.validation.targets) for weight in (head.weight, refit))
    return (z[row] @ refit.T).softmax(0), after - before


@pytest.fixture(scope="module")
def scikit_digits() -> tuple[Tensor, Tensor]:
    """All 1797 digits as raw pixels, shuffled, one label in ten wrong."""
    from sklearn.datasets import load_digits

    images, given_labels = load_digits(return_X_y=True)
    x, labels = torch.from_numpy(images), torch.from_numpy(given_labels).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, labels = x[order], labels[order]
    labels[::10] = (labels[::10] + 1) % SCIKIT_DIGITS
    return x, labels


@pytest.fixture(scope="module")
def digits_problem(scikit_digits: tuple[Tensor, Tensor]) -> Problem:
    """A thousand of them."""
    x, labels = scikit_digits
    return tuned_problem(x[:1000], labels[:1000], SCIKIT_DIGITS)


@pytest.fixture(scope="module")
def embedded_problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """Two classes of digits as the bundled backbone's embeddings, fewer than features, one label in ten wrong."""
    from integrations.sources.digits import digits

    backbone = load_backbone(weights="bundled", device="cpu")
    from audit.data.samples import Samples

    images = list(digits(["3", "8"]))[:300]
    samples = Samples([str(i) for i in range(300)], [i.image for i in images], [i.label for i in images])
    embedded = embed(samples, backbone, cache_dir=tmp_path_factory.mktemp("cache"))
    labels = torch.tensor([int(image.label == "8") for image in images])
    labels[::10] = 1 - labels[::10]
    return tuned_problem(torch.from_numpy(embedded.values).double(), labels, 2)


def tuned_problem(x: Tensor, labels: Tensor, classes: int) -> Problem:
    """With the L2 that the audit itself would choose."""
    n = round(0.8 * len(x))
    l2 = train_head(x[:n], labels[:n], x[n:], labels[n:], classes).l2
    return made_problem(n=n, classes=classes, l2=l2, x=x, labels=labels)


@pytest.mark.parametrize("name", ["digits_problem", "embedded_problem"])
def test_leave_one_out_is_what_refitting_without_the_sample_gives(name: str, request: pytest.FixtureRequest) -> None:
    problem: Problem = request.getfixturevalue(name)
    engine = ExactEngine(problem.head, problem.train)
    predicted = engine.leave_one_out(problem.validation, most_refits=0)
    assert predicted.method == "exact"
    assert predicted.refitted is None
    assert predicted.loss_change is not None
    influence = engine.averaged(problem.train, problem.validation)
    rows = torch.randperm(len(problem.train), generator=torch.Generator().manual_seed(1))[:120]
    errors, changes = [], []
    for row in rows.tolist():
        own, real_change = refit_without(problem, row)
        errors.append(float((own - predicted.probabilities[row]).abs().max()))
        changes.append(real_change)
    assert np.mean(errors) <= 0.01
    assert np.max(errors) <= 0.05
    change = predicted.loss_change[rows].numpy()
    assert 0.97 <= np.polyfit(change, changes, 1)[0] <= 1.03
    assert spearmanr(change, changes).statistic >= 0.99
    # Influence is the same without the sample's own leverage: positive where leaving it out raises the loss.
    assert spearmanr(influence[rows].numpy(), changes).statistic >= 0.9


def test_samples_that_alone_have_a_feature_are_refitted(scikit_digits: tuple[Tensor, Tensor]) -> None:
    """Pixels that are dark in all images but one stand 22 to 39 standard deviations out in that one."""
    x, labels = scikit_digits
    problem = made_problem(n=1500, classes=10, l2=1e-2, x=x[:1700], labels=labels[:1700])
    engine = ExactEngine(problem.head, problem.train)
    closed, found = (engine.leave_one_out(problem.validation, "exact", most_refits=most) for most in (0, 100))
    assert found.refitted is not None
    assert 3 <= len(found.refitted) <= 60
    enlarged = torch.argsort(found.amplification, descending=True)[:4]
    assert bool(torch.isin(enlarged, found.refitted).all())
    assert float(problem.z[enlarged].abs().amax(1).min()) > 15
    rows = [*enlarged.tolist(), *range(12)]
    refits = [refit_without(problem, row) for row in rows]
    own, change = [own for own, _ in refits], [change for _, change in refits]
    own_error, own_error_closed = (
        float((result.probabilities[rows] - torch.stack(own)).abs().max()) for result in (found, closed)
    )
    assert own_error <= 0.02 < 0.05 < own_error_closed, "the closed form alone is not within the bound"
    assert found.loss_change is not None
    assert 0.97 <= np.polyfit(found.loss_change[rows].numpy(), change, 1)[0] <= 1.03


@pytest.mark.parametrize("name", ["digits_problem", "embedded_problem"])
def test_kronecker_leave_one_out_is_near_the_exact_one_and_far_from_in_sample(
    name: str, request: pytest.FixtureRequest
) -> None:
    problem: Problem = request.getfixturevalue(name)
    engine = ExactEngine(problem.head, problem.train)
    exact, approximate = (engine.leave_one_out(problem.validation, method) for method in ("exact", "kfac"))
    assert approximate.method == "kfac"
    in_sample = problem.head.probabilities(problem.train.inputs)
    error = (approximate.probabilities - exact.probabilities).abs().amax(1).mean()
    assert float(error) < 0.025
    assert float(error) < 0.4 * float((in_sample - exact.probabilities).abs().amax(1).mean())
    assert exact.loss_change is not None
    assert approximate.loss_change is not None
    assert spearmanr(exact.loss_change, approximate.loss_change).statistic > 0.95
    assert spearmanr(exact.self_influence, approximate.self_influence).statistic > 0.95


def test_leave_one_out_leaves_samples_alone_that_were_not_in_training() -> None:
    from audit.head.leave_one_out import leave_one_out

    problem = made_problem()
    z = problem.z
    logits = z @ problem.head.weight.T
    p = logits.softmax(1)
    trained_on = torch.arange(60) % 2 == 0
    hessian = HeadHessian(z, p, problem.head.l2, trained_on.double())
    for method in ("exact", "kfac", "blocks"):
        found = leave_one_out(hessian, z, logits, p - problem.train.targets, trained_on=trained_on, method=method)
        torch.testing.assert_close(found.probabilities[~trained_on], p[~trained_on])
        assert not torch.allclose(found.probabilities[trained_on], p[trained_on], atol=1e-3)


@pytest.mark.parametrize("method", ["exact", "kfac", "blocks"])
def test_leave_one_out_predictions_alone_are_the_same(method: str) -> None:
    from audit.head.leave_one_out import leave_one_out

    problem = made_problem()
    logits = problem.z @ problem.head.weight.T
    p = logits.softmax(1)
    hessian = HeadHessian(problem.z, p, problem.head.l2)
    found, alone = (
        leave_one_out(
            hessian, problem.z, logits, p - problem.train.targets, method=method, predictions_only=predictions_only
        )
        for predictions_only in (False, True)
    )
    assert torch.equal(alone.probabilities, found.probabilities)
    assert bool(torch.isfinite(found.self_influence).all())
    assert bool(torch.isnan(torch.stack([alone.self_influence, alone.amplification])).all())


# --- perturbation -------------------------------------------------------------------------------------------------


def test_perturbation_is_the_derivative_of_influence_by_the_pixels() -> None:
    backbone = pixels_to_embedding(load_backbone(weights="bundled", image_size=32, device="cpu")).double()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(30, 3, 32, 32, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        x = backbone(pixels)
    labels = torch.arange(30) % 2
    head = train_head(x[:20], labels[:20], x[20:], labels[20:], 2, l2=1.0)
    engine = ExactEngine(head, Labelled.of(x[:20], labels[:20], 2))
    validation = Labelled.of(x[20:], labels[20:], 2)
    image = Labelled.of(pixels[:1], labels[:1], 2)
    heat = engine.perturbation(image, validation, backbone)
    assert heat.shape == (3, 32, 32)
    direction = torch.randn(3, 32, 32, generator=generator, dtype=torch.float64)
    moved = []
    for step in (-1e-5, 1e-5):
        with torch.no_grad():
            embedding = backbone(pixels[:1] + step * direction)
        moved.append(float(engine.averaged(Labelled.of(embedding, labels[:1], 2), validation)))
    assert float((heat * direction).sum()) == pytest.approx((moved[1] - moved[0]) / 2e-5, rel=1e-4)
    with pytest.raises(InputError, match="one image"):
        engine.perturbation(Labelled.of(x[:1], labels[:1], 2), validation, backbone)


# --- matrices that do not fit -------------------------------------------------------------------------------------


def test_pairwise_on_disk_is_pairwise_in_memory(digits_problem: Problem, tmp_path: Path) -> None:
    engine = ExactEngine(digits_problem.head, digits_problem.train)
    validation, train = digits_problem.validation, digits_problem.train
    folder = tmp_path / "pairwise.zarr"
    stored = engine.pairwise(validation, train, folder, memory=132 * 2**20)
    assert stored.shape == (len(validation), len(train))
    assert stored.chunks[0] < len(validation), "the memory allowed holds fewer rows than there are"
    expected = engine.pairwise(validation, train)
    torch.testing.assert_close(torch.from_numpy(stored[:]), expected, rtol=1e-6, atol=1e-7)
    with pytest.raises(InputError, match="exists already"):
        engine.pairwise(validation, train, folder)


def test_pairwise_that_does_not_fit_asks_for_a_folder(digits_problem: Problem) -> None:
    engine = ExactEngine(digits_problem.head, digits_problem.train)
    with pytest.raises(InputError, match="give a folder"):
        engine.pairwise(digits_problem.validation, digits_problem.train, memory=2**20)
    with pytest.raises(InputError, match="do not do for one row"):
        engine.pairwise(digits_problem.validation, digits_problem.train, "unused", memory=2**20)


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_embeddings_that_are_not_finite_are_refused(bad: float) -> None:
    x = torch.zeros(4, 3)
    x[2, 1] = bad
    with pytest.raises(InputError, match=r"inputs of 1 row\(s\) are NaN or infinite \(2\); leave them out"):
        Labelled.of(x, torch.zeros(4, dtype=torch.long), 2)


def test_shapes_that_do_not_match_are_refused() -> None:
    problem = made_problem()
    engine = ExactEngine(problem.head, problem.train)
    with pytest.raises(InputError, match="of the same n"):
        Labelled(torch.zeros(4, 5), torch.zeros(3, 3))
    wide = Labelled(torch.zeros(4, 6, dtype=torch.float64), torch.zeros(4, 3, dtype=torch.float64))
    with pytest.raises(InputError, match=r"the head takes \(n, 5\) and \(n, 3\)"):
        engine.averaged(wide, problem.validation)
    with pytest.raises(InputError, match="no validation samples"):
        engine.averaged(problem.train, Labelled(problem.train.inputs[:0], problem.train.targets[:0]))
    with pytest.raises(InputError, match="weights have shape"):
        ExactEngine(problem.head, problem.train, torch.ones(3))
    with pytest.raises(InputError, match="weight is negative"):
        ExactEngine(problem.head, problem.train, -torch.ones(60))
    with pytest.raises(InputError, match="labels run from 0 to 7"):
        Labelled.of(torch.zeros(2, 3), torch.tensor([0, 7]), 3)


def test_separable_data_without_l2_are_refused_and_with_little_l2_solved() -> None:
    x = torch.cat([torch.randn(30, 4) - 10, torch.randn(30, 4) + 10]).double()
    labels = torch.arange(60) // 30
    z = Standardiser.fit(x)(x)
    with pytest.raises(InputError, match="separable data have no optimum"):
        fit_softmax(z, one_hot(labels, 2, z.dtype), 0.0)
    problem = made_problem(n=60, m=0, classes=2, l2=1e-6, x=x, labels=labels)
    engine = ExactEngine(problem.head, problem.train)
    influence = engine.averaged(problem.train, problem.train)
    assert bool(torch.isfinite(influence).all())
    unregularised = Head(problem.head.weight, problem.head.standardiser, 0.0, "adam", 0.0)
    with pytest.raises(InputError, match="Hessian is singular"):
        ExactEngine(unregularised, problem.train)
    assert bool(
        torch.isfinite(ExactEngine(unregularised, problem.train, damping=1e-3).self_influence(problem.train)).all()
    )


@pytest.mark.parametrize(("bad", "row"), [(float("nan"), 3), (float("inf"), 0)])
def test_an_audit_of_embeddings_that_are_not_finite_is_refused(bad: float, row: int) -> None:
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    x[row, 2] = bad
    with pytest.raises(InputError, match=f"1 embedding.* NaN or infinity, the first in row {row}"):
        audit_embeddings(x, np.arange(40) % 2)


def test_an_audit_stands_constant_features_repeated_samples_and_a_class_missing_from_validation() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    x = generator.normal(size=(60, 80)) + 3 * np.eye(3, 80)[labels]  # fewer samples than features
    x[:, 5] = 7.0
    x[1] = x[0]
    held_out = generator.normal(size=(20, 80)) + 3 * np.eye(3, 80)[labels[:20] + np.arange(20) % 2]
    held_out[:, 5] = 7.0
    result = audit_embeddings(x, labels, validation=(held_out, np.arange(20) % 2))
    assert np.isfinite(result.scores[["influence", "self_influence", "loo_probability", "suspicion"]]).all(axis=None)
    same = result.scores["influence"].iloc[:2]
    assert same.iloc[0] == pytest.approx(same.iloc[1], rel=1e-6)


def test_single_precision_as_on_a_gpu_gives_the_same_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    x, labels = (part[:400] for part in load_digits(return_X_y=True))
    double = audit_embeddings(x, labels, config=AuditConfig(inject=0.1))
    monkeypatch.setattr("audit.data.arrays.WORKING_PRECISION", {"cpu": torch.float32})
    single = audit_embeddings(x, labels, config=AuditConfig(inject=0.1))
    assert (double.scores["flag"] == single.scores["flag"]).mean() >= 0.99
    for column in ("influence", "self_influence", "loo_probability"):
        assert double.scores[column].corr(single.scores[column], "spearman") > 0.999
    assert single.summary["influence"]["residual"] <= 1e-8


def test_constant_features_change_nothing() -> None:
    plain = made_problem()
    inputs = torch.cat([plain.train.inputs, plain.validation.inputs])
    labels = torch.cat([plain.labels, plain.validation.targets.argmax(1)])
    constant = made_problem(x=torch.cat([inputs, torch.full((72, 2), 7.0, dtype=torch.float64)], 1), labels=labels)
    torch.testing.assert_close(influence_of(constant), influence_of(plain), rtol=1e-6, atol=1e-7)


def test_a_class_missing_from_validation_or_training_is_no_obstacle() -> None:
    problem = made_problem(n=60, m=30, classes=3)
    present = problem.validation.targets[:, 2] == 0
    validation = Labelled(problem.validation.inputs[present], problem.validation.targets[present])
    engine = ExactEngine(problem.head, problem.train)
    pairwise = engine.pairwise(problem.validation, problem.train)[present].mean(0)
    torch.testing.assert_close(engine.averaged(problem.train, validation), pairwise, rtol=1e-6, atol=1e-7)

    labels = torch.cat([problem.labels % 2, problem.validation.targets.argmax(1)])  # class 2 only in validation
    untrained = made_problem(n=60, m=30, x=torch.cat([problem.train.inputs, problem.validation.inputs]), labels=labels)
    assert bool(torch.isfinite(influence_of(untrained)).all())


def test_fewer_samples_than_features_and_duplicated_samples() -> None:
    problem = made_problem(n=20, m=10, features=50)
    twice = torch.cat([torch.arange(20), torch.arange(20)])
    doubled = Labelled(problem.train.inputs[twice], problem.train.targets[twice])
    once = ExactEngine(problem.head, problem.train)
    both = ExactEngine(problem.head, doubled)  # each sample twice is the same objective
    influence = both.averaged(doubled, problem.validation)
    torch.testing.assert_close(influence[:20], influence[20:])
    torch.testing.assert_close(influence[:20], once.averaged(problem.train, problem.validation), rtol=1e-6, atol=1e-7)
    left_out = both.leave_one_out(method="exact").probabilities
    torch.testing.assert_close(left_out[:20], left_out[20:])
    in_sample, alone = (
        problem.head.probabilities(problem.train.inputs),
        once.leave_one_out(method="exact").probabilities,
    )
    own = problem.train.targets.bool()
    # A copy that stays in training vouches for the label of the one that is left out.
    assert bool((left_out[:20][own] >= alone[own]).all())
    assert bool((left_out[:20][own] <= in_sample[own]).all())


def test_no_samples_have_no_influence() -> None:
    problem = made_problem()
    engine = ExactEngine(problem.head, problem.train)
    nothing = Labelled(problem.train.inputs[:0], problem.train.targets[:0])
    assert engine.averaged(nothing, problem.validation).shape == (0,)
    assert engine.pairwise(problem.validation, nothing).shape == (12, 0)
    assert engine.pairwise(nothing, problem.train).shape == (0, 60)
