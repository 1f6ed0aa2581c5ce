"""`influence-audit explain`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audit import AuditResult
from audit.data.samples import Samples
from tests.command.forked_command import forked_command
from tests.explained_digits import audited, digit_files
from tests.one_line import error_line


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return digit_files(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def result(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    return audited(samples, tmp_path_factory.mktemp("cache"))


def test_the_command_explains_a_sample(result: AuditResult, tmp_path: Path) -> None:
    result.save(tmp_path / "result")
    flagged = result.flagged
    sample = flagged.index[flagged["split"] == "train"][0]
    name = Path(flagged.at[sample, "filepath"]).name
    found = forked_command("explain", "result", f"/{name}", "--count", "2", "--heat-map", "heat.webp", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert f"{sample} is labelled" in found.stdout
    assert "speak against the label" in found.stdout
    assert "Validation samples that it harms" in found.stdout
    assert (tmp_path / "heat.webp").read_bytes()[8:12] == b"WEBP"
    unknown = forked_command("explain", "result", "nobody.png", cwd=tmp_path)
    assert unknown.returncode != 0
    assert "it is no sample's id, and no file's path ends with it" in error_line(unknown.stderr)


def test_the_command_writes_the_influence_matrix(result: AuditResult, tmp_path: Path) -> None:
    result.save(tmp_path / "result")
    found = forked_command("explain", "result", "--matrix", "matrix.npy", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    split = result.scores["split"]
    rows, columns = (split == "validation").sum(), (split == "train").sum()
    assert f"matrix.npy: {rows} validation samples (rows) × {columns} training samples (columns)" in found.stdout
    assert "matrix.parquet" in found.stdout
    matrix = np.load(tmp_path / "matrix.npy")
    scored = result.scores["influence"][split == "train"].to_numpy()
    assert matrix.mean(0) == pytest.approx(scored, rel=1e-6, abs=1e-9 * np.abs(scored).max())
    for arguments, problem in (
        ((), "no sample was given"),
        (("--heat-map", "heat.webp"), "of one sample"),
        (("--matrix", "matrix.csv"), "a name that ends with .npy"),
    ):
        refused = forked_command("explain", "result", *arguments, cwd=tmp_path)
        assert refused.returncode == 2
        assert problem in error_line(refused.stderr)
