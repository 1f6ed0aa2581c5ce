"""The command in a process of its own that is forked from one which has imported PyTorch and the like already.

It is the same entry point with arguments, folder, environment and streams of its own, and saves the five seconds of a
processor that these imports take. What a fresh interpreter does is tested with `tests.command.command_process`.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.command.command_process import COMMAND, environment_of
from tests.forking import forked_processes


def start_forked(
    *arguments: str | Path, cwd: Path, stdout: Path, stderr: Path, environment: dict[str, str]
) -> BaseProcess:
    """Start the command; what it prints goes to the two files."""
    words = [str(COMMAND), *map(str, arguments)]
    process = forked_processes().Process(target=_run, args=(words, str(cwd), str(stdout), str(stderr), environment))
    process.start()
    return process


def forked_command(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, as `tests.command.command_process.command` does."""
    with tempfile.TemporaryDirectory() as name:
        stdout, stderr = Path(name) / "stdout", Path(name) / "stderr"
        variables = environment_of(environment)
        process = start_forked(*arguments, cwd=cwd, stdout=stdout, stderr=stderr, environment=variables)
        process.join(timeout=600)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([str(word) for word in arguments], 600)
        printed = [path.read_text(encoding="utf-8") for path in (stdout, stderr)]
        return subprocess.CompletedProcess([str(word) for word in arguments], process.exitcode, *printed)


def _run(words: list[str], cwd: str, stdout: str, stderr: str, environment: dict[str, str]) -> None:
    """In the forked process: take on the arguments, the folder, the environment and the streams, and be the command."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = words
    for number, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # for as long as the process lives
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    from integrations.cli import main

    try:
        main()
    except BaseException:  # `main` ends with SystemExit; its own atexit function then ends the process with its code
        atexit._run_exitfuncs()
        raise
