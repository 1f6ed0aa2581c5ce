"""How much memory a process takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


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
