"""Ill-conditioned Hessians, penalties that few samples cannot tell apart, and stages that fail without the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import audit
from audit.errors import ConvergenceError
from audit.head.fit import probabilities, strongest_as_good, train_head
from audit.head.hessian import HeadHessian
from audit.head.stable import StableSolver
from audit.summary.surroundings import FailedStage
from reports.html import render_report
from reports.markdown import render_markdown

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    """Sixty easy samples of two classes."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    return random.normal(size=(60, 40)) + 8 * labels[:, None] * np.eye(40)[0], labels


@pytest.fixture(scope="module")
def separated(arrays: Arrays) -> HeadHessian:
    """Of a head that was trained with next to no penalty on samples that it tells apart."""
    x, labels = (torch.from_numpy(values) for values in arrays)
    head = train_head(x, labels, x, labels, 2, l2=1e-7)
    z = head.features(x)
    return HeadHessian(z, probabilities(z, head.weight), head.l2)


def test_what_conjugate_gradients_cannot_solve_the_dense_factor_does(
    separated: HeadHessian, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = torch.randn(3, 2, separated.features, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    solve = HeadHessian.solve

    def only_dense(self: HeadHessian, b: torch.Tensor, method: str, tolerance: float) -> object:
        if method != "cholesky":
            raise ConvergenceError("cg, 1000 steps")
        return solve(self, b, method, tolerance)

    notes: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(HeadHessian, "solve", only_dense)
        solver = StableSolver(separated, "cg", notes.append)
        solution = solver.solve(b, 1e-6)
    assert (solution.method, solver.damping, notes) == ("cholesky", 0.0, [])
    missed = (b - separated.product(solution.values)).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)
    assert float(missed.max()) <= 1e-6


def test_what_nothing_solves_is_damped_as_little_as_it_takes_and_said(
    separated: HeadHessian, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = torch.randn(1, 2, separated.features, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    solve = HeadHessian.solve

    def only_damped(self: HeadHessian, b: torch.Tensor, method: str, tolerance: float) -> object:
        if self.ridge < 9e-6:
            raise ConvergenceError("not positive definite")
        return solve(self, b, method, tolerance)

    monkeypatch.setattr(HeadHessian, "solve", only_damped)
    notes: list[str] = []
    solver = StableSolver(separated, "auto", notes.append)
    solution = solver.solve(b, 1e-6)
    assert solver.hessian.ridge == pytest.approx(1e-5)
    assert solver.damping == pytest.approx(1e-5 - 1e-7)
    assert "9.9e-06 was added to its diagonal" in notes[-1]
    missed = b - solver.hessian.product(solution.values)
    assert float(missed.norm() / b.norm()) <= 1e-6
    solver.solve(b, 1e-6)
    assert len(notes) == 2  # one a step of damping, and none for the next solve


def test_six_samples_do_not_ask_for_no_penalty_at_all() -> None:
    easy = [(10.0**-power, 0.3 * 10.0**-power) for power in range(8)]
    assert strongest_as_good(easy, 6) == pytest.approx(0.1)  # the total loss of six is within half a nat from there on
    assert strongest_as_good(easy, 60_000) == pytest.approx(1e-5)
    rising = [(1.0, 0.9), (0.1, 0.5), (0.01, 0.6)]
    assert strongest_as_good(rising, 1000) == 0.1


@pytest.mark.parametrize("seed", range(4))
def test_easy_samples_and_a_copy_under_the_other_label_are_audited_and_explained(arrays: Arrays, seed: int) -> None:
    x, labels = arrays
    result = audit.audit_embeddings(np.r_[x, x[:1]], np.r_[labels, 1 - labels[:1]], config=audit.AuditConfig(seed=seed))
    assert result.summary.failed_stages == ()
    assert result.flagged.index.tolist() == ["60"]
    assert len(result.explanations)


def failing(*args: object, **kwargs: object) -> object:
    raise ConvergenceError("stopped at relative residual 1e-1")


def test_explanations_and_corrections_that_fail_leave_the_scores_and_are_made_by_the_next_run(
    arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_digits(n_class=3)
    labels = data.target[:150].copy()
    labels[:6] = (labels[:6] + 1) % 3
    config = audit.AuditConfig(cache_dir=str(tmp_path))
    whole = audit.audit_embeddings(data.data[:150], labels, config=config)
    assert not list((tmp_path / "checkpoints").iterdir())
    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("audit.stages.influential_samples", failing)
        patch.setattr("audit.stages.Correction.measure", failing)
        result = audit.audit_embeddings(
            data.data[:150], labels, config=config, progress=lambda step: said.append(step.note)
        )
    reason = "(ConvergenceError: stopped at relative residual 1e-1); run the same command again to make them."
    assert result.summary.failed_stages == (
        FailedStage(stage="explanation", reason=f"The explanations could not be made {reason}"),
        FailedStage(
            stage="correction", reason=f"The measurements of what correcting is worth could not be made {reason}"
        ),
    )
    assert f"The explanations could not be made {reason}" in said
    np.testing.assert_array_equal(result.scores["suspicion"], whole.scores["suspicion"])
    loaded = audit.AuditResult.load(result.save(tmp_path / "result"))
    page = render_report(loaded)
    assert "The explanations could not be made" in page
    assert "could not be made" in render_markdown(loaded)
    again = audit.audit_embeddings(data.data[:150], labels, config=config, progress=lambda step: said.append(step.note))
    assert any("detection was finished by an earlier run" in note for note in said)
    assert again.summary.failed_stages == ()
    assert again.explanations.equals(whole.explanations)
    assert again.summary.correction == whole.summary.correction
    assert not list((tmp_path / "checkpoints").iterdir())
