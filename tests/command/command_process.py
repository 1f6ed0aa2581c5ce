"""The command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMAND = Path(sys.executable).with_name("influence-audit")


def command(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "120", "INFLUENCE_AUDIT_CACHE": os.environ["INFLUENCE_AUDIT_CACHE"]} | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
