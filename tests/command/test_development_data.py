"""The main job on photographs of two classes, where INFLUENCE_AUDIT_DATA names the folder of the development data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from audit.result import AuditResult
from tests.benchmarks.data import data_set
from tests.command.forked_command import forked_command


@pytest.mark.development_data
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_main_job_finds_injected_mislabels_among_photographs(
    tmp_path: Path, dataset_name: Callable[[str], str], seed: int
) -> None:
    name = dataset_name(f"photographs-{seed}")
    arguments = ("--inject", "0.1", "--seed", str(seed), "--dataset", name, "-o", tmp_path / "r")
    done = forked_command("run", data_set("tiny-imagenet-tables-boats"), *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = AuditResult.load(tmp_path / "r").summary
    assert summary.heads.given.test.f1 >= 0.95
    assert summary.detection.precision >= 0.85
    assert summary.detection.recall >= 0.85
