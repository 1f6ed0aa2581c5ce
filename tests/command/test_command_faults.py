"""The command is killed, finds no database, finds no room on the disk: nothing half-written, and the way on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import fiftyone as fo
import psutil
import pytest

import audit
from audit.errors import InputError
from audit.summary.parts import to_json
from audit.summary.summary import CHANGING
from tests.command.command_process import COMMAND
from tests.command.forked_command import forked_command, start_forked
from tests.failed_audits import QUIET, check_nothing_stays
from tests.ports import free_port
from tests.sixty_digits import sixty_digits

Names = Callable[[str], str]
KILLS = 12  # of two commands side by side; `tests.processes.test_killed_audit` kills the audit itself twenty times


@pytest.fixture
def dataset(dataset_name: Names) -> fo.Dataset:
    return sixty_digits(dataset_name("faulty digits"))


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    check_nothing_stays()


# --- all at once, or not at all -------------------------------------------------------------------------------------


def test_the_command_killed_goes_on_where_it_was(dataset: fo.Dataset, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    arguments = ("run", f"fiftyone:{dataset.name}", "--weights", "bundled", "-o", str(tmp_path / "result"))
    environment = QUIET | {"INFLUENCE_AUDIT_CACHE": cache, "COLUMNS": "200"}
    killed = subprocess.Popen(
        [str(COMMAND), *arguments], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert killed.stderr is not None
    assert any("writing to FiftyOne" in line for line in iter(killed.stderr.readline, ""))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stderr.close()
    again = forked_command(*arguments, cwd=tmp_path, INFLUENCE_AUDIT_CACHE=cache, COLUMNS="200")
    assert again.returncode == 0, again.stderr
    for stage in ("head", "detection", "influence", "explanation", "correction"):
        assert f"{stage} was finished by an earlier run that was interrupted: not done again" in again.stderr
    summary = audit.AuditResult.load(tmp_path / "result").summary
    assert summary.embedding.computed == 0
    dataset.reload()
    assert dataset.get_run_info("audit").config.state == "complete"
    assert not list((tmp_path / "cache" / "checkpoints").iterdir())
    assert (tmp_path / "result" / "report.html").exists()


def outcome(folder: Path) -> tuple[list[object], dict[str, object]]:
    """All that a result says but for when and how fast, and for what FiftyOne calls samples and files."""
    result = audit.AuditResult.load(folder)
    scores, findings = (table.reset_index(drop=True) for table in (result.scores, result.findings))
    assert (folder / "report.html").read_text().rstrip().endswith("</html>")
    source = replace(result.summary.source, dataset="", slug="", options={})
    whole = to_json(replace(result.summary, config=result.summary.config.replace(cache_dir=None), source=source))
    summary = {name: value for name, value in whole.items() if name not in CHANGING}
    tables = [scores.drop(columns="filepath").to_dict("list"), len(findings), result.controls.to_dict("list")]
    return tables, summary


def test_the_command_killed_at_random_moments_ends_as_if_nobody_had_disturbed_it(
    dataset_name: Names, tmp_path: Path
) -> None:
    """From the import to the report: what is killed leaves nothing half-written, and the same command goes on."""

    def start(dataset: str, place: Path) -> BaseProcess:
        place.mkdir(exist_ok=True)
        part = ("--keep-labels", "3,8", "--weights", "bundled", "--image-size", "32", "--inject", "0.1")
        homes = {"INFLUENCE_AUDIT_CACHE": str(place / "cache"), "INFLUENCE_AUDIT_HOME": str(place / "home")}
        return start_forked(
            *("run", "digits", *part, "--dataset", dataset, "-o", place / "result"),
            cwd=tmp_path,
            stdout=place / "stdout",
            stderr=place / "stderr",
            environment=os.environ | homes,
        )

    def assert_ended(process: BaseProcess, place: Path) -> None:
        process.join(timeout=600)
        assert process.exitcode == 0, (place / "stderr").read_text()

    names = [dataset_name("undisturbed"), dataset_name("undisturbed as well")]
    places = [tmp_path / "first", tmp_path / "second"]
    forked_command("--version", cwd=tmp_path)  # from here on, what is forked has its imports
    began = time.monotonic()
    first, second = (start(name, place) for name, place in zip(names, places, strict=True))  # two, as later
    assert_ended(first, places[0])
    assert_ended(second, places[1])
    seconds = time.monotonic() - began
    wanted = outcome(places[0] / "result")
    assert outcome(places[1] / "result") == wanted
    influences = fo.load_dataset(names[0]).values("audit_influence")
    database = threading.Lock()  # FiftyOne is not made for threads

    def check_killed(killed: str, result: Path) -> None:
        if not (result / "summary.json").exists():
            with pytest.raises(InputError, match="no complete audit result"):
                audit.AuditResult.load(result)
        if fo.dataset_exists(killed):
            half = fo.load_dataset(killed)
            half.reload()
            if half.has_field("audit_influence"):
                assert half.values("audit_influence") in (influences, [None] * len(half))

    def check_ended(killed: str, place: Path) -> None:
        assert outcome(place / "result") == wanted
        whole = fo.load_dataset(killed)
        whole.reload()
        assert whole.values("audit_influence") == influences
        assert whole.get_run_info("audit").config.state == "complete"
        assert not [path for path in place.rglob("*") if path.suffix == ".tmp"]

    def kill_often(killed: str, seed: int) -> int:
        """Kill the command half of the times, and let it end; how often it ended."""
        random, place, usual = Random(seed), tmp_path / killed, seconds
        kills = ended = 0
        while True:
            fresh, began = not place.exists(), time.monotonic()
            process = start(killed, place)
            process.join(timeout=random.uniform(0.3, 0.95) * usual if kills < KILLS / 2 else 600)
            if process.exitcode is None:
                process.kill()
                process.join()
                kills += 1
                with database:
                    check_killed(killed, place / "result")
                continue
            assert_ended(process, place)
            ended += 1
            if fresh:  # a whole command takes as long as the machine is busy with other things
                usual = time.monotonic() - began
            with database:
                check_ended(killed, place)
                if kills >= KILLS / 2:
                    return ended
                fo.delete_dataset(killed)
            shutil.rmtree(place)

    killed = [dataset_name("killed at random"), dataset_name("killed as well")]
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(kill_often, killed, (5, 6)))


# --- mongod dies ----------------------------------------------------------------------------------------------------


def test_a_command_that_finds_no_database_says_so_in_one_line(tmp_path: Path) -> None:
    uri = f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=500"
    done = forked_command("run", "digits", "--quiet", cwd=tmp_path, FIFTYONE_DATABASE_URI=uri)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("failed")]
    assert "MongoDB at 127.0.0.1:" in line
    assert "does not answer (connection refused); start it" in line
    assert "Traceback" not in done.stderr


# --- a full disk ----------------------------------------------------------------------------------------------------


def test_the_command_says_a_full_disk_in_one_line(full_disk: Path, tmp_path: Path, dataset: fo.Dataset) -> None:
    if not psutil.disk_usage(str(full_disk)).total < 1 << 20:
        pytest.skip("no right to mount a tmpfs here: a limit on file sizes does not reach the command's own process")
    arguments = ("run", f"fiftyone:{dataset.name}", "--weights", "bundled", "-o", full_disk / "result")
    done = forked_command(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("failed")]
    assert "No space left on device" in line
    assert "Traceback" not in done.stderr
    dataset.reload()
    assert dataset.list_runs() == []  # nothing reached FiftyOne
