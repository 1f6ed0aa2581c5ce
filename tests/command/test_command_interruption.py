"""Ctrl+C ends the command within a second wherever it is, leaves no half of a file, and the next run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import fiftyone as fo
import psutil
import pytest

from audit.result import AuditResult
from tests.command.command_process import COMMAND
from tests.command.forked_command import forked_command, start_forked
from tests.mongod import skip_beside_fiftyones_own_database
from tests.waiting import wait_for_work, wait_until, within

SECONDS = 1.0
ARGUMENTS = ("run", "digits", "--keep-labels", "0,1,2,3", "--weights", "bundled", "--batch-size", "16")


def exit_status(process: BaseProcess) -> int | None:
    process.join(timeout=60)
    return process.exitcode


class Interrupted:
    """A run of the command that gets SIGINT; its keeper of MongoDB, if it starts one, gets it too, as in a terminal.

    Args:
        arguments: of the command.
        folder: where it runs.
        fresh: in a fresh interpreter, with all its imports to make; otherwise forked from one that has made them.
        environment: variables more.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, fresh: bool = False, **environment: str) -> None:
        self.folder = folder
        self.stderr = folder / "stderr"
        self.stderr.unlink(missing_ok=True)
        variables = os.environ | {"INFLUENCE_AUDIT_CACHE": str(folder / "cache")} | environment
        if fresh:
            with self.stderr.open("w") as errors:
                started = subprocess.Popen(
                    [str(COMMAND), *arguments],
                    cwd=folder,
                    env=variables,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    start_new_session=True,
                )
            self.pid, self.wait = started.pid, partial(started.wait, timeout=60)
        else:
            streams = {"stdout": folder / "stdout", "stderr": self.stderr}
            forked = start_forked(*arguments, cwd=folder, **streams, environment=variables, session=True)
            self.pid, self.wait = forked.pid or 0, partial(exit_status, forked)

    def wait_for(self, stage: str) -> None:
        wait_until(lambda: self.stderr.exists() and stage in self.stderr.read_text(encoding="utf-8"), every=0.01)

    def interrupt(self, number: int = signal.SIGINT) -> list[str]:
        """What it said at last, without the last line."""
        with within(SECONDS):
            os.killpg(self.pid, number)
            code = self.wait()
        assert code == 128 + number
        errors = self.stderr.read_text(encoding="utf-8")
        last = errors.splitlines()[-1]
        word = "interrupted" if number == signal.SIGINT else "terminated"
        assert last == f"{word}; run the same command again to go on: embeddings and stages that were finished are kept"
        assert "Traceback" not in errors
        assert not list(self.folder.rglob("*.tmp"))
        return errors.splitlines()[:-1]


def test_ctrl_c_at_any_stage_and_then_going_on(tmp_path: Path, dataset_name: Callable[[str], str]) -> None:
    name = dataset_name("interrupted")
    arguments = (*ARGUMENTS, "--dataset", name)
    imports = Interrupted(arguments, tmp_path, fresh=True)
    wait_until(lambda: "libtorch" in Path(f"/proc/{imports.pid}/maps").read_text(), every=0.005)
    imports.interrupt()
    for stage, work, number in (  # so many seconds of a processor into the stage
        ("embedding images", 0.5, signal.SIGINT),
        ("detecting mislabels", 0.2, signal.SIGTERM),
        ("writing to FiftyOne", 0.0, signal.SIGINT),
    ):
        run = Interrupted(arguments, tmp_path)
        run.wait_for(stage)
        wait_for_work(run.pid, work)
        run.interrupt(number)
        assert list((tmp_path / "cache").rglob("*.safetensors"))  # what was embedded before is kept
    results = tmp_path / "audit-results" / name / "audit"
    assert not (results / "report.html").exists()
    done = forked_command(*arguments, "-q", cwd=tmp_path, INFLUENCE_AUDIT_CACHE="cache")
    assert done.returncode == 0, done.stderr
    assert AuditResult.load(results).summary.embedding.computed == 0
    assert len(fo.load_dataset(name)) == 720
    assert "audit_suspicion" in fo.load_dataset(name).get_field_schema()


FINALISER = """
import os, signal
from integrations.cli.interruption import Interruption

class Finalised:
    def __del__(self):
        {0}
        sum(range(100))

interruption = Interruption()
Finalised()
{1}
"""


@pytest.mark.parametrize("in_finaliser", ["os.kill(os.getpid(), signal.SIGINT)", "raise ValueError('of its own')"])
def test_a_signal_in_a_finaliser_ends_the_process_without_a_traceback(in_finaliser: str) -> None:
    killed = "kill" in in_finaliser
    done = subprocess.run(
        [sys.executable, "-c", FINALISER.format(in_finaliser, "signal.pause()" if killed else "pass")],
        capture_output=True,
        text=True,
    )
    if killed:
        assert done.returncode == 130
        assert done.stderr.startswith("interrupted; run the same command again")
        assert len(done.stderr.splitlines()) == 1
    else:
        assert done.returncode == 0
        assert "ValueError: of its own" in done.stderr


def test_an_interrupted_batch_leaves_a_page_of_what_is_done_and_what_is_not(
    tmp_path: Path, dataset_name: Callable[[str], str]
) -> None:
    names = [dataset_name(name) for name in ("first", "second")]
    tables = [f'[[audit]]\nsource = "digits"\ndataset = "{name}"\nkeep_labels = "3,8"\n' for name in names]
    (tmp_path / "two.toml").write_text('weights = "bundled"\n' + "".join(tables))
    run = Interrupted(("run", "--config", "two.toml"), tmp_path)
    run.wait_for("audit 2 of 2")
    run.wait_for("embedding images")
    assert run.interrupt()[-1] == "what is done and what is not: audit-results/index.html"
    page = (tmp_path / "audit-results" / "index.html").read_text(encoding="utf-8")
    assert "1 of 2 are not done" in page
    assert "run the same command again" in page
    assert page.count(">not done</span>") == 1
    assert f'href="{names[0]}/audit/report.html"' in page
    assert (tmp_path / "audit-results" / names[0] / "audit" / "report.html").is_file()


def test_ctrl_c_while_mongod_starts_leaves_no_mongod(tmp_path: Path) -> None:
    skip_beside_fiftyones_own_database()
    own = {"FIFTYONE_DATABASE_URI": "", "FIFTYONE_DATABASE_DIR": str(tmp_path / "database")}
    run = Interrupted((*ARGUMENTS, "--dataset", "never-made"), tmp_path, fresh=True, **own)
    started: list[psutil.Process] = []

    def mongod_started() -> bool:
        assert psutil.Process(run.pid).status() != psutil.STATUS_ZOMBIE
        started[:] = psutil.Process(run.pid).children(recursive=True)
        return any(process.name().startswith("mongod") for process in started)

    wait_until(mongod_started)
    run.interrupt()
    _, alive = psutil.wait_procs(started, timeout=60)
    assert not alive
