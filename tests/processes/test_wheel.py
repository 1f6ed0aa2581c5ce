"""The package as pip builds and installs it: all files are in it, and it works away from the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import ROOT

PACKAGES = ("audit", "integrations", "reports")
WORK = """
import audit, numpy as np
from sklearn.datasets import load_digits
from audit.images.load_backbone import load_backbone
from reports.html import write_report
digits = load_digits()
result = audit.audit_embeddings(digits.data[:300], digits.target[:300])
write_report(result, "report.html")
print(audit.__file__)
print(load_backbone(weights="bundled", device="cpu").weights)
"""


def pip(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "--no-input", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, since setuptools leaves folders beside what it builds."""
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", built, copy)
    (found,) = built.iterdir()
    return found


def files_of(folders: Sequence[str]) -> set[str]:
    """Every file of the packages that is no cache of Python's."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    assert {name for name in names if ".dist-info/" not in name} == files_of(PACKAGES)
    (metadata,) = [name for name in names if name.endswith("/METADATA")]
    assert metadata.replace("METADATA", "licenses/LICENSE") in names


def test_the_installed_package_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip("install", "--no-deps", "--no-compile", "--target", installed, wheel)
    environment = {"PYTHONPATH": str(installed), "HOME": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1"}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "influence-audit" in run(sys.executable, installed / "bin" / "influence-audit", "--help")
    place, weights = run(sys.executable, "-c", WORK).split()
    assert Path(place).is_relative_to(installed)
    assert weights == "bundled"
    assert (elsewhere / "report.html").stat().st_size > 10_000
