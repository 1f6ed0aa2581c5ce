"""The command in a process of its own that is forked from one which has imported PyTorch and the like already.

It is the same entry point with arguments, folder, environment and streams of its own, and saves the five seconds of a
processor that these imports take. What a fresh interpreter does is tested with `tests.command.command_process`.
"""

from __future__ import annotations

import atexit
import subprocess
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.command.command_process import COMMAND, environment_of
from tests.forking import Surroundings, run_process, start_process


def start_forked(
    *arguments: str | Path, cwd: Path, stdout: Path, stderr: Path, environment: dict[str, str], session: bool = False
) -> BaseProcess:
    """Start the command; what it prints goes to the two files. `session`: in a process group of its own."""
    words = [str(COMMAND), *map(str, arguments)]
    return start_process(_command, Surroundings(words, str(cwd), str(stdout), str(stderr), environment, session))


def forked_command(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, as `tests.command.command_process.command` does."""
    return run_process(_command, [str(COMMAND), *map(str, arguments)], cwd, environment_of(environment))


def _command(surroundings: Surroundings) -> None:
    surroundings.take_on()
    from integrations.cli import main

    try:
        main()
    except BaseException:  # `main` ends with SystemExit; its own atexit function then ends the process with its code
        atexit._run_exitfuncs()
        raise
