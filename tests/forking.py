"""Processes that are forked from one which has imported PyTorch and the like already, so that they start at once.

FiftyOne is not among the imports: it connects to its database while it is imported.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.waiting import wait_until

IMPORTED = [
    "audit.pipeline",
    "audit.images.torchvision_backbones",
    "reports.html",
    "integrations.cli.run",
    "integrations.pipeline",
    "pyarrow.parquet",
    "sklearn.datasets",
    "sklearn.linear_model",
    "plotly.graph_objects",
    # what FiftyOne imports before it connects
    *("cv2", "cryptography.x509", "matplotlib.pyplot", "mongoengine", "motor", "pydash", "pymongo", "strawberry"),
    *("IPython.display", "plotly.express", "requests", "eta.core.image", "sse_starlette", "setuptools"),
]
SECONDS = 600


@dataclass(frozen=True)
class Surroundings:
    """What a forked process takes on in place of what it was forked with.

    Attributes:
        words: its arguments, the name of the program first.
        cwd: its folder.
        stdout, stderr: the files that get what it prints.
        environment: all of its environment.
        session: whether it leads a process group of its own, as a command in a terminal does.
    """

    words: list[str]
    cwd: str
    stdout: str
    stderr: str
    environment: dict[str, str]
    session: bool = False

    def take_on(self) -> None:
        """In the forked process: be in these surroundings from now on."""
        if self.session:
            os.setsid()
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.cwd)
        sys.argv = self.words
        for number, path in ((1, self.stdout), (2, self.stderr)):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, number)
            os.close(file)
        # Open for as long as the process lives.
        sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115


@cache
def forked_processes() -> ForkServerContext:
    """What makes such processes; the one that they are forked from starts with the first, and ends with the session."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def start_process(be: Callable[[Surroundings], None], surroundings: Surroundings) -> BaseProcess:
    """Start a process that takes on its surroundings and is something: a function of a module, or it is not found."""
    process = forked_processes().Process(target=be, args=(surroundings,))
    process.start()
    return process


def run_process(
    be: Callable[[Surroundings], None], words: list[str], cwd: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run such a process to its end, as `subprocess.run` does."""
    with tempfile.TemporaryDirectory() as name:
        stdout, stderr = Path(name) / "stdout", Path(name) / "stderr"
        process = start_process(be, Surroundings(words, str(cwd), str(stdout), str(stderr), environment))
        process.join(timeout=SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, SECONDS)
        printed = [path.read_text(encoding="utf-8") for path in (stdout, stderr)]
        return subprocess.CompletedProcess(words, process.exitcode, *printed)


def run_script(
    code: str, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python code to its end, as `python -c` does."""
    variables = dict(os.environ) if environment is None else environment
    return run_process(_script, [code, *arguments], Path.cwd(), variables)


class StartedScript:
    """Python code that runs in such a process, as `python -c` runs it.

    Args:
        folder: where its streams go; made.
        code: what it runs.
        arguments: `sys.argv` from the second on.
        environment: all of its environment; None for that of the tests.
    """

    def __init__(self, folder: Path, code: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.stdout, self.stderr = folder / "stdout", folder / "stderr"
        variables = dict(os.environ) if environment is None else environment
        place = Surroundings([code, *arguments], str(Path.cwd()), str(self.stdout), str(self.stderr), variables)
        self.process = start_process(_script, place)

    @property
    def lines(self) -> list[str]:
        """What it has printed so far, whole lines only."""
        printed = self.stdout.read_text(encoding="utf-8") if self.stdout.exists() else ""
        return printed.split("\n")[:-1]

    def wait_for_lines(self, number: int = 1) -> list[str]:
        """What it has printed, once it is at least so many lines."""
        wait_until(lambda: len(self.lines) >= number or self.process.exitcode is not None, SECONDS, every=0.01)
        assert len(self.lines) >= number, self.stderr.read_text(encoding="utf-8")
        return self.lines

    def wait_for_line(self, start: str) -> str:
        """The first printed line that starts so, once it is there."""

        def found() -> list[str]:
            return [line for line in self.lines if line.startswith(start)]

        wait_until(lambda: found() or self.process.exitcode is not None, SECONDS, every=0.01)
        assert found(), self.stderr.read_text(encoding="utf-8")
        return found()[0]

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self.process.kill()
        self.process.join()

    def wait(self) -> int | None:
        """Wait until it ends; its exit status."""
        self.process.join(timeout=SECONDS)
        return self.process.exitcode


def _script(surroundings: Surroundings) -> None:
    surroundings.take_on()
    code, *arguments = surroundings.words
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<script>", "exec"), {"__name__": "__main__"})
    sys.stdout.flush()
