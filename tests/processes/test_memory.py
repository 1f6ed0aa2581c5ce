"""How much memory a process takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.peak_memory import ROOT

MEASURED = """
import sys
import numpy as np, audit
from tests.peak_memory import peak_mib
generator = np.random.default_rng(0)
x = generator.normal(size=(16_000, 8))
labels = (x[:, 0] + generator.normal(size=16_000) > 0).astype(int)
settings = audit.AuditConfig(l2=1e-1, train_size=0.75, validation_size=0.2, test_size=0.05)
result = audit.audit_embeddings(x, labels, config=settings)
before = peak_mib()
audit.influence_matrix(result, x, to=sys.argv[1], memory=160 << 20)
print(round(peak_mib() - before))
"""


def measured(code: str, path: Path) -> int:
    """What a program prints that gets a path."""
    command = [sys.executable, "-c", code, str(path)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)


def test_an_influence_matrix_is_written_within_the_stated_memory(tmp_path: Path) -> None:
    """307 MB of influences through 160 MiB; features and residuals of the samples come on top (3 MB)."""
    matrix = tmp_path / "matrix.npy"
    found = subprocess.run(
        [sys.executable, "-c", MEASURED, str(matrix)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert int(found.stdout) <= 160 + 32
    assert matrix.stat().st_size == 3200 * 12_000 * 8 + 128


def test_keeping_makes_no_second_copy_in_memory(tmp_path: Path) -> None:
    code = (
        "import sys, torch\n"
        "from tests.peak_memory import peak_mib\n"
        "from audit.checkpoint import Checkpoint\n"
        "opened = Checkpoint(sys.argv[1]); opened.begin('key', (), lambda stage, text: None)\n"
        "large = [torch.ones(16 << 20, dtype=torch.float64) for _ in range(3)]\n"
        "before = peak_mib()\n"
        "opened.once('stage', lambda: large)\n"
        "print(round(peak_mib() - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert int(done.stdout) < 200  # MiB, of 384 that are kept
