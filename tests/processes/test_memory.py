"""How much memory a process takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MEASURED = """
import audit, resource, torch
from audit.head.fit import Head, Standardiser
from audit.influence.engine import ExactEngine, Labelled
generator = torch.Generator().manual_seed(0)
x = torch.randn(30_000, 16, generator=generator, dtype=torch.float64)
labels = torch.randint(3, (30_000,), generator=generator)
head = Head(torch.zeros(3, 17, dtype=torch.float64), Standardiser.fit(x), 1e-1, "newton", 0.0)
engine = ExactEngine(head, Labelled.of(x, labels, 3))
engine.averaged(engine.train, Labelled.of(x[:10], labels[:10], 3))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
engine.pairwise(Labelled.of(x[:1000], labels[:1000], 3), engine.train, {folder!r}, memory=160 * 2**20)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_streaming_stays_within_the_stated_memory(tmp_path: Path) -> None:
    """240 MB of influences through 160 MiB; features and residuals of the samples come on top (10 MiB)."""
    code = MEASURED.format(folder=str(tmp_path / "pairwise.zarr"))
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) <= 160 + 32


def test_keeping_makes_no_second_copy_in_memory(tmp_path: Path) -> None:
    code = (
        "import resource, sys, torch\n"
        "from audit.checkpoint import Checkpoint\n"
        "opened = Checkpoint(sys.argv[1]); opened.begin('key', (), lambda stage, text: None)\n"
        "large = [torch.ones(16 << 20, dtype=torch.float64) for _ in range(3)]\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "opened.once('stage', lambda: large)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200  # MiB, of 384 that are kept
