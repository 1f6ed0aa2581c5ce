"""The influence that audits compute, against its definition, against itself, and against bad input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import AuditConfig, audit_embeddings
from audit.errors import InputError
from audit.head.fit import fit_softmax, train_head
from audit.head.hessian import HeadHessian
from audit.head.settings import HessianSettings
from audit.head.stable import StableSolver
from audit.images.load_backbone import load_backbone
from audit.influence.averaged import inner_products, mean_gradient
from audit.influence.engine import Influence, Labelled
from audit.influence.exact import ExactEngine
from audit.influence.make_engine import make_engine
from audit.influence.pixels import influence_of_pixels, pixels_to_embedding
from audit.influence.ranking import helpful_and_harmful
from tests.head_problems import Problem, digits_problem, made_problem, relative


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """These problems are so small that threads waiting for each other would take most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def asked(problem: Problem, solver: str = "auto") -> Influence:
    """What an audit asks of the exact engine: of training and validation samples, in this order."""
    samples, train, validation = problem.everything()
    engine = make_engine("exact", problem.head, samples, train, StableSolver(problem.hessian, solver))
    return engine.averaged(samples, validation, problem.validation.targets)


# --- the engine that audits ask -----------------------------------------------------------------------------------


def test_training_samples_have_the_mean_of_their_influence_on_each_validation_sample() -> None:
    problem = digits_problem()
    found = asked(problem)
    expected = problem.pairwise(problem.validation, problem.train)
    assert expected.shape == (len(problem.validation), len(problem.train))
    assert relative(found.values[: len(problem.train)], expected.mean(0)) < 1e-7
    assert found.residual is not None
    assert found.residual <= 1e-8
    assert found.damping == 0


def test_a_validation_sample_does_not_count_for_lowering_its_own_loss() -> None:
    problem = made_problem(m=13)
    own = asked(problem).values[len(problem.train) :]
    matrix = problem.pairwise(problem.validation, problem.validation)
    for place in range(13):
        others = matrix[1 - place % 2 :: 2, place]  # of the half that it is not in
        assert float(own[place]) == pytest.approx(float(others.mean()), rel=1e-6)


def test_the_solution_gives_the_influence_of_any_sample() -> None:
    problem = made_problem(m=13)
    found = asked(problem)
    assert found.solution is not None
    z, wrong = problem.material(problem.train)
    assert relative(inner_products(z, wrong, found.solution[None])[0], found.values[:60]) < 1e-10
    arrays = found.arrays()
    assert set(arrays) == {"solution", "validation_targets"}
    np.testing.assert_array_equal(arrays["validation_targets"], problem.validation.targets)


def test_validation_targets_that_are_too_many_are_not_kept() -> None:
    problem = made_problem()
    samples, _, validation = problem.everything()
    engine = ExactEngine(problem.head, StableSolver(problem.hessian), most_target_bytes=12 * 3 * 8 - 1)
    found = engine.averaged(samples, validation, problem.validation.targets)
    assert set(found.arrays()) == {"solution"}


def test_it_is_the_derivative_of_the_validation_loss_by_the_weight_of_a_sample() -> None:
    """Koh & Liang's definition, by refits of a head whose training sample has a little less weight."""
    problem = made_problem()
    influence = asked(problem).values[:60]
    step, n = 1e-4, 60
    for row in range(0, 60, 12):
        losses = []
        for change in (-step, step):
            weights = torch.ones(n, dtype=torch.float64)
            weights[row] += change
            weight, _ = fit_softmax(problem.z, problem.train.targets, problem.head.l2, weights=weights, tolerance=1e-12)
            losses.append(
                float(torch.nn.functional.cross_entropy(problem.z_validation @ weight.T, problem.validation.targets))
            )
        assert float(influence[row]) == pytest.approx(-n * (losses[1] - losses[0]) / (2 * step), rel=1e-3, abs=1e-5)


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


@settings(max_examples=25, deadline=None)
@given(problem=problems, seed=st.integers(0, 1000))
def test_sample_order_does_not_matter(problem: Problem, seed: int) -> None:
    order = torch.randperm(len(problem.train), generator=torch.Generator().manual_seed(seed))
    train = Labelled(problem.train.inputs[order], problem.train.targets[order])
    shuffled = replace(problem, train=train, labels=problem.labels[order])
    expected, found = asked(problem).values, asked(shuffled).values
    torch.testing.assert_close(found[: len(order)], expected[: len(order)][order], rtol=1e-6, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(problem=problems, seed=st.integers(0, 1000))
def test_renaming_classes_does_not_matter(problem: Problem, seed: int) -> None:
    head = problem.head
    order = torch.randperm(len(head.weight), generator=torch.Generator().manual_seed(seed))
    train, validation = (Labelled(part.inputs, part.targets[:, order]) for part in (problem.train, problem.validation))
    renamed = replace(problem, head=replace(head, weight=head.weight[order]), train=train, validation=validation)
    torch.testing.assert_close(asked(renamed).values, asked(problem).values, rtol=1e-6, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(problem=problems)
def test_pairwise_is_symmetric_where_training_samples_are_the_validation(problem: Problem) -> None:
    matrix = problem.pairwise(problem.train, problem.train)
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-6, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(problem=problems, rows=st.integers(1, 60))
def test_chunk_size_does_not_matter(problem: Problem, rows: int) -> None:
    from audit.head import hessian as module

    expected = asked(problem).values
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_BYTES", rows * 8 * problem.z.shape[1])
        torch.testing.assert_close(asked(problem).values, expected, rtol=1e-6, atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), problem=problems)
def test_sample_weights_are_repeated_samples(data: st.DataObject, problem: Problem) -> None:
    n = len(problem.train)
    counts = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    if int(counts.sum()) == 0:
        counts[0] = 1
    weights = counts.double() * n / int(counts.sum())  # the objective is a mean over n, its repetition over the total
    rows = torch.repeat_interleave(torch.arange(n), counts)
    z, targets, l2 = problem.z, problem.train.targets, problem.head.l2
    weighted, _ = fit_softmax(z, targets, l2, weights=weights, tolerance=1e-10)
    repeated, _ = fit_softmax(z[rows], targets[rows], l2, tolerance=1e-10)
    torch.testing.assert_close(weighted, repeated, rtol=0, atol=1e-6)
    once = replace(problem, head=replace(problem.head, weight=weighted), weights=weights)
    often = replace(
        problem,
        head=replace(problem.head, weight=repeated),
        train=Labelled(problem.train.inputs[rows], targets[rows]),
        labels=problem.labels[rows],
    )
    torch.testing.assert_close(asked(once).values[:n][rows], asked(often).values[: len(rows)], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 37, 1000])
def test_two_to_a_thousand_classes(classes: int) -> None:
    problem = made_problem(n=max(200, classes), m=20, features=6, classes=classes, l2=1e-1)
    assert problem.head.gradient_norm <= 1e-6
    found = asked(problem)
    assert found.residual is not None
    assert found.residual <= 1e-8
    few = Labelled(problem.train.inputs[:3], problem.train.targets[:3])
    pairwise = problem.pairwise(problem.validation, few)
    torch.testing.assert_close(pairwise.mean(0), found.values[:3], rtol=1e-5, atol=1e-6)


def test_classes_that_are_taken_apart_lead_to_the_same_influence(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = made_problem(n=240, m=20, features=12, classes=60)
    together, left_out = asked(problem, "cg").values, problem.left_out("kfac").probabilities
    monkeypatch.setattr(HeadHessian, "settings", HessianSettings(coupled_classes=30))
    other = replace(problem)  # with a Hessian of its own
    apart, left_out_apart = asked(other, "cg").values, other.left_out("kfac").probabilities
    torch.testing.assert_close(apart, together, rtol=1e-6, atol=1e-7)
    in_sample = problem.head.probabilities(problem.train.inputs)
    assert float((left_out_apart - left_out).abs().max()) < 0.2 * float((in_sample - left_out).abs().max())


# --- pixels -------------------------------------------------------------------------------------------------------


def test_influence_of_pixels_is_the_derivative_of_influence() -> None:
    backbone = pixels_to_embedding(load_backbone(weights="bundled", image_size=32, device="cpu")).double()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(30, 3, 32, 32, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        x = backbone(pixels)
    labels = torch.arange(30) % 2
    head = train_head(x[:20], labels[:20], x[20:], labels[20:], 2, l2=1.0)
    problem = Problem(head, Labelled.of(x[:20], labels[:20], 2), Labelled.of(x[20:], labels[20:], 2), labels[:20])
    solution = problem.hessian.solve(mean_gradient(*problem.material(problem.validation))[None]).values[0]
    target = problem.train.targets[:1]
    heat = influence_of_pixels(backbone, head, solution, pixels[:1], target)
    assert heat.shape == (3, 32, 32)
    direction = torch.randn(3, 32, 32, generator=generator, dtype=torch.float64)
    moved = []
    for step in (-1e-5, 1e-5):
        with torch.no_grad():
            embedding = backbone(pixels[:1] + step * direction)
        moved.append(float(problem.averaged(Labelled(embedding, target), problem.validation)))
    assert float((heat * direction).sum()) == pytest.approx((moved[1] - moved[0]) / 2e-5, rel=1e-4)


# --- bad input ----------------------------------------------------------------------------------------------------


def test_shapes_that_do_not_match_are_refused() -> None:
    problem = made_problem()
    samples, train, validation = problem.everything()
    engine = make_engine("exact", problem.head, samples, train, StableSolver(problem.hessian))
    with pytest.raises(InputError, match="of the same n"):
        Labelled(torch.zeros(4, 5), torch.zeros(3, 3))
    wide = Labelled(torch.zeros(72, 6, dtype=torch.float64), samples.targets)
    with pytest.raises(InputError, match=r"the head takes \(n, 5\) and \(n, 3\)"):
        engine.averaged(wide, validation, problem.validation.targets)
    for few in (0, 1):
        with pytest.raises(InputError, match=f"two or more validation samples, and there are {few}"):
            engine.averaged(samples, validation[:few], problem.validation.targets[:few])
    with pytest.raises(InputError, match="'newton' is unknown; it takes direct, cg"):
        make_engine("pydvl-newton", problem.head, samples, train, StableSolver(problem.hessian))


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
    assert single.summary.influence.residual <= 1e-8


def test_constant_features_change_nothing() -> None:
    plain = made_problem()
    inputs = torch.cat([plain.train.inputs, plain.validation.inputs])
    labels = torch.cat([plain.labels, plain.validation.targets.argmax(1)])
    constant = made_problem(x=torch.cat([inputs, torch.full((72, 2), 7.0, dtype=torch.float64)], 1), labels=labels)
    torch.testing.assert_close(asked(constant).values, asked(plain).values, rtol=1e-6, atol=1e-7)


def test_a_class_missing_from_validation_or_training_is_no_obstacle() -> None:
    problem = made_problem(n=60, m=30, classes=3)
    present = problem.validation.targets[:, 2] == 0
    validation = Labelled(problem.validation.inputs[present], problem.validation.targets[present])
    pairwise = problem.pairwise(problem.validation, problem.train)[present].mean(0)
    found = asked(replace(problem, validation=validation)).values[:60]
    torch.testing.assert_close(found, pairwise, rtol=1e-6, atol=1e-7)

    labels = torch.cat([problem.labels % 2, problem.validation.targets.argmax(1)])  # class 2 only in validation
    untrained = made_problem(n=60, m=30, x=torch.cat([problem.train.inputs, problem.validation.inputs]), labels=labels)
    assert bool(torch.isfinite(asked(untrained).values).all())


def test_fewer_samples_than_features_and_duplicated_samples() -> None:
    problem = made_problem(n=20, m=10, features=50)
    twice = torch.cat([torch.arange(20), torch.arange(20)])
    doubled = Labelled(problem.train.inputs[twice], problem.train.targets[twice])
    both = replace(problem, train=doubled, labels=problem.labels[twice])  # each sample twice is the same objective
    influence = asked(both).values
    torch.testing.assert_close(influence[:20], influence[20:40])
    torch.testing.assert_close(influence[:20], asked(problem).values[:20], rtol=1e-6, atol=1e-7)


def test_no_samples_have_no_influence() -> None:
    problem = made_problem()
    nothing = Labelled(problem.train.inputs[:0], problem.train.targets[:0])
    assert problem.averaged(nothing, problem.validation).shape == (0,)
    assert problem.pairwise(problem.validation, nothing).shape == (12, 0)
