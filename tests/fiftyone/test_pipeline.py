"""From a collection to scores, result and report: what fails after the scores takes nothing with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fiftyone as fo
import pytest

import audit
from audit.config import AuditConfig
from audit.errors import WriteError
from integrations.fiftyone import audit_dataset
from integrations.pipeline import audit_and_report
from tests.sixty_digits import sixty_digits

Names = Callable[[str], str]


@pytest.fixture
def dataset(dataset_name: Names) -> fo.Dataset:
    """Sixty digits of three classes."""
    return sixty_digits(dataset_name("digits for the pipeline"))


@pytest.fixture
def config(tmp_path: Path) -> AuditConfig:
    return AuditConfig(weights="bundled", device="cpu", cache_dir=str(tmp_path / "cache"))


def out_of_order(*args: object, **kwargs: object) -> None:
    raise ZeroDivisionError("the machine is on fire")


def test_scores_that_do_not_reach_fiftyone_are_saved_reported_and_written_by_the_next_call(
    dataset: fo.Dataset, config: AuditConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "result"
    with monkeypatch.context() as patch:
        patch.setattr("integrations.fiftyone.dataset.write_scores", out_of_order)
        audited = audit_and_report(dataset, "ground_truth", "audit", config, folder)
    assert isinstance(audited.problem, WriteError)
    assert "the machine is on fire" in str(audited.problem)
    saved = audit.AuditResult.load(folder)
    assert [failure.stage for failure in saved.summary.failed_stages] == ["fiftyone"]
    assert saved.scores.equals(audited.result.scores)
    for name in ("report.html", "summary.md"):
        assert "The fields in FiftyOne could not be made (WriteError" in (folder / name).read_text()
    said: list[str] = []
    again = audit_and_report(dataset, "ground_truth", "audit", config, folder, lambda step: said.append(step.note))
    assert again.problem is None
    assert any("explanation was finished by an earlier run" in note for note in said)
    dataset.reload()
    assert dataset.values("audit_suspicion") == saved.scores["suspicion"].tolist()
    assert "could not be made" not in (folder / "report.html").read_text()
    assert not list((tmp_path / "cache" / "checkpoints").iterdir())


def test_a_report_that_cannot_be_written_leaves_result_and_fields(
    dataset: fo.Dataset, config: AuditConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.html.write_report", out_of_order)
    monkeypatch.setattr("audit.pipeline.thumbnails", out_of_order)
    audited = audit_and_report(dataset, "ground_truth", "audit", config, tmp_path / "result")
    assert str(audited.problem).startswith("The report could not be made (ZeroDivisionError: the machine is on fire)")
    saved = audit.AuditResult.load(tmp_path / "result")
    assert [failure.stage for failure in saved.summary.failed_stages] == ["thumbnails", "report"]
    dataset.reload()
    assert dataset.get_run_info("audit").config.state == "complete"


def test_the_result_is_saved_before_anything_is_explained(
    dataset: fo.Dataset, config: AuditConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An explanation that ends the whole process, as the system does where memory runs out, finds scores saved."""

    class OutOfMemory(BaseException):
        pass

    def killed(*args: object, **kwargs: object) -> None:
        raise OutOfMemory

    monkeypatch.setattr("audit.stages.influential_samples", killed)
    with pytest.raises(OutOfMemory):
        audit_dataset(dataset, config=config, save_to=tmp_path / "result")
    saved = audit.AuditResult.load(tmp_path / "result")
    assert len(saved.scores) == 60
    assert saved.summary.source.dataset == dataset.name
    assert not len(saved.explanations)
