"""The command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMAND = Path(sys.executable).with_name("influence-audit")


def environment_of(additions: dict[str, str]) -> dict[str, str]:
    """The environment of the command: that of the test session, lines of 120 columns, and some variables more."""
    return os.environ | {"COLUMNS": "120"} | additions


def command(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, as a user's shell does."""
    return subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        cwd=cwd,
        env=environment_of(environment),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
