"""What the head predicts for a sample that it was not trained on: closed forms against real refits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor

from audit.head import hessian as module
from audit.head.hessian import HeadHessian
from audit.head.leave_one_out.choose_method import leave_one_out
from audit.head.leave_one_out.class_blocks import bends_in_block, leverages_in_block
from audit.head.settings import HessianSettings
from audit.influence.engine import Labelled
from tests.head_problems import (
    Problem,
    digits_problem,
    embedded_problem,
    made_problem,
    refit_without,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """These problems are so small that threads waiting for each other would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("made", [digits_problem, embedded_problem])
def test_leave_one_out_is_what_refitting_without_the_sample_gives(made: Callable[[], Problem]) -> None:
    problem = made()
    found = problem.left_out()
    assert found.method == "exact"
    influence = problem.averaged(problem.train, problem.validation)
    rows = torch.randperm(len(problem.train), generator=torch.Generator().manual_seed(1))[:120]
    refits = [refit_without(problem, row) for row in rows.tolist()]
    errors = (torch.stack([own for own, _ in refits]) - found.probabilities[rows]).abs().amax(1)
    assert float(errors.mean()) <= 0.01
    assert float(errors.max()) <= 0.05
    # Influence leaves the sample's own leverage out: it ranks the real changes of the validation loss.
    assert spearmanr(influence[rows].numpy(), [change for _, change in refits]).statistic >= 0.9


@pytest.mark.parametrize("made", [digits_problem, embedded_problem])
def test_kronecker_leave_one_out_is_near_the_exact_one_and_far_from_in_sample(made: Callable[[], Problem]) -> None:
    problem = made()
    exact, approximate = (problem.left_out(method) for method in ("exact", "kfac"))
    assert approximate.method == "kfac"
    in_sample = problem.head.probabilities(problem.train.inputs)
    error = (approximate.probabilities - exact.probabilities).abs().amax(1).mean()
    assert float(error) < 0.025
    assert float(error) < 0.4 * float((in_sample - exact.probabilities).abs().amax(1).mean())
    assert spearmanr(exact.self_influence, approximate.self_influence).statistic > 0.95


def test_factor_in_single_precision_gives_the_same_leave_one_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for flop in (0.0, 1e18):
        monkeypatch.setattr(HeadHessian, "settings", HessianSettings(double_flop=flop))
        problem = digits_problem()
        problem.__dict__.pop("hessian", None)  # with a factor of its own
        found.append(problem.left_out("exact"))
    single, double = found
    assert float((single.probabilities - double.probabilities).abs().max()) < 1e-4


problems = st.builds(
    made_problem,
    n=st.integers(20, 60),
    m=st.integers(4, 20),
    features=st.integers(1, 8),
    classes=st.integers(2, 5),
    l2=st.sampled_from([1e-1, 1e-2, 1e-3]),
    seed=st.integers(0, 1000),
)


@settings(max_examples=15, deadline=None)
@given(problem=problems, rows=st.integers(1, 60))
def test_chunk_size_does_not_matter(problem: Problem, rows: int) -> None:
    def everything() -> list[Tensor]:
        problem.__dict__.pop("hessian", None)
        return [problem.left_out(method).probabilities for method in ("exact", "kfac", "blocks")]

    expected = everything()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_BYTES", rows * 8 * problem.z.shape[1])
        for found, value in zip(everything(), expected, strict=True):
            torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(problem=problems, seed=st.integers(0, 1000))
def test_renaming_classes_does_not_matter(problem: Problem, seed: int) -> None:
    order = torch.randperm(len(problem.head.weight), generator=torch.Generator().manual_seed(seed))
    z, wrong = problem.material(problem.train)
    logits = z @ problem.head.weight.T
    renamed = HeadHessian(z, logits.softmax(1)[:, order], problem.head.l2)
    for method in ("exact", "kfac", "blocks"):
        torch.testing.assert_close(
            leave_one_out(renamed, z, logits[:, order], wrong[:, order], method=method).probabilities,
            problem.left_out(method).probabilities[:, order],
            rtol=0,
            atol=1e-6 if method == "exact" else 1e-4,
        )


def test_a_sample_of_weight_two_is_two_samples() -> None:
    counts = torch.arange(60) % 3
    rows = torch.repeat_interleave(torch.arange(60), counts)
    weighted = made_problem(weights=counts.double())  # sum 60: the same mean
    plain = repeated(weighted, rows)
    once = counts[rows] == 1
    for method in ("exact", "kfac", "blocks"):
        one, other = weighted.left_out(method), plain.left_out(method)
        # The approximations take each sample's curvature as seen without it: one of two copies is not both of them.
        allowed = 1e-5 if method == "exact" else 0.01
        assert float((one.probabilities[rows] - other.probabilities)[once].abs().mean()) < allowed


def repeated(problem: Problem, rows: Tensor) -> Problem:
    """The same head on these rows of its training samples."""
    train = Labelled(problem.train.inputs[rows], problem.train.targets[rows])
    return replace(problem, train=train, labels=problem.labels[rows], weights=None)


def test_a_copy_that_stays_vouches_for_the_label_of_the_one_that_is_left_out() -> None:
    problem = made_problem(n=20, m=10, features=50)
    left_out = repeated(problem, torch.cat([torch.arange(20), torch.arange(20)])).left_out("exact").probabilities
    torch.testing.assert_close(left_out[:20], left_out[20:])
    in_sample, alone = problem.head.probabilities(problem.train.inputs), problem.left_out("exact").probabilities
    own = problem.train.targets.bool()
    assert bool((left_out[:20][own] >= alone[own]).all())
    assert bool((left_out[:20][own] <= in_sample[own]).all())


def test_blocks_through_features_and_through_samples_are_the_same() -> None:

    generator = torch.Generator().manual_seed(0)
    makers, z = (torch.randn(rows, 40, generator=generator, dtype=torch.float64) for rows in (90, 70))
    v, base = torch.rand(90, generator=generator).double(), torch.rand(40, generator=generator).double() + 0.1
    for some in (slice(0, 90), slice(0, 5), slice(0, 0)):
        block = torch.diag(base) + (makers[some] * v[some, None]).T @ makers[some]
        expected = (z @ torch.linalg.inv(block) * z).sum(1)
        for dtype, allowed in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
            found = leverages_in_block(makers[some].to(dtype), v[some], base, z.to(dtype))
            torch.testing.assert_close(found.double(), expected, rtol=allowed, atol=0)


def test_a_logit_is_followed_to_the_optimum_of_its_block_without_the_sample() -> None:

    generator = torch.Generator().manual_seed(0)
    makers = torch.randn(30, 12, generator=generator, dtype=torch.float64)
    p, w, base = (torch.rand(size, generator=generator).double() * 0.8 + 0.1 for size in (30, 30, 12))
    left_out = torch.tensor([3, 0, 7, 29])
    pulls = torch.tensor([-2.0, -0.9, -0.3, 0.6], dtype=torch.float64)
    itself = left_out[:, None] == torch.arange(30)
    found = bends_in_block(makers, p, w, base, makers[left_out], pulls, itself)
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
    of_label = problem.left_out("blocks").probabilities
    real = torch.stack([refit_without(problem, row)[0][labels[row]] for row in rows.tolist()]).log()
    found = of_label[rows, labels[rows]].log()
    assert float(real.mean()) < -5
    assert float((found - real).abs().mean()) < 0.3
    assert float((found - real).mean()) == pytest.approx(0, abs=0.2)


def test_leave_one_out_leaves_samples_alone_that_were_not_in_training() -> None:
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
    assert bool(torch.isnan(alone.self_influence).all())
