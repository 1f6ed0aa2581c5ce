"""Commands say what they are about to do before imports that take seconds, and nothing with -q."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from audit import __version__
from tests import ROOT
from tests.command.command_process import COMMAND, environment_of

HEAVY = ("torch", "torchvision", "pandas", "pyarrow", "fiftyone", "datasets", "sklearn")
SAYS_SO = "import os, sys\nsys.stderr.write(f'imports {__name__}\\n')\nsys.stderr.flush()\nos._exit(7)\n"
"""A module that says that it is imported, and ends the process: what would take seconds is not waited for."""

COMMANDS = {
    ("run", "digits", "--no-fiftyone"): "starting the audit of digits",
    ("run", "digits", "--dry-run"): "planning the audit of digits",
    ("run", "labels.csv", "--backbone", "none", "--predictions", "p.npy"): "starting the audit of labels.csv",
    ("report", "result"): "writing the report of 'result'",
    ("report", "pictures"): "writing the report of 'pictures'",
    ("compare", "result", "result"): "comparing 'result' and 'result'",
    ("compare", "result", "--history", "history"): "comparing 'result' and the run before it",
    ("compare", "--history", "history"): "comparing the last two runs of 'history'",
    ("explain", "result", "1.png"): "explaining '1.png' of 'result'",
    ("explain", "result", "--matrix", "m.npy"): "explaining 'result'",
    ("verify", "result"): "checking the audit of 'result'",
    ("apply", "result", "-o", "corrected.csv"): "applying decisions on 'result'",
    ("export", "result"): "exporting from 'result'",
    ("export", "result", "--to", "cvat", "-o", "tasks"): "exporting from 'result'",
    ("export", "fiftyone:pictures", "-o", "decisions.csv"): "exporting from 'fiftyone:pictures'",
    ("app", "pictures"): "starting the App on 'pictures'",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what looks like a result by its names, and modules that say that they are imported."""
    folder = tmp_path_factory.mktemp("first-line")
    (folder / "result").mkdir()
    (folder / "result" / "summary.json").write_text("{}")
    (folder / "modules").mkdir()
    for name in ("labels.csv", "p.npy"):
        (folder / name).touch()
    for name in HEAVY:
        (folder / "modules" / f"{name}.py").write_text(SAYS_SO)
    return folder


def lines(place: Path, *words: str) -> list[str]:
    """What a command prints on standard error until it imports the first heavy module."""
    done = subprocess.run(
        [str(COMMAND), *words],
        cwd=place,
        env=environment_of({"PYTHONPATH": f"{place / 'modules'}:{ROOT}"}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, ""), done.stderr
    return done.stderr.splitlines()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_first_line_comes_before_what_takes_seconds(words: tuple[str, ...], place: Path) -> None:
    first, second = lines(place, *words)
    assert first == f"influence-audit {__version__}: {COMMANDS[words]}"
    assert second.startswith("imports ")


@pytest.mark.parametrize("name", ["run", "report", "compare", "explain", "verify", "apply", "export"])
def test_a_quiet_command_says_no_first_line(name: str, place: Path) -> None:
    words = next(words for words in COMMANDS if words[0] == name)
    (only,) = lines(place, *words, "-q")
    assert only.startswith("imports ")
