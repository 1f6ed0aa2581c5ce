"""Databases that die, datasets that vanish, disks that fill up: one line, nothing half-written, and the way on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fiftyone as fo
import pytest
from fiftyone.core.odm import get_db_conn

from audit.config import AuditConfig
from audit.errors import InputError, WriteError
from audit.progress import Step
from integrations.fiftyone import audit_dataset, score_writing, write_result
from integrations.fiftyone.importing import import_images
from integrations.fiftyone.lock import COLLECTION, audit_lock
from integrations.sources.digits import digits
from integrations.sources.labelled_images import LabelledImages
from tests import ROOT
from tests.failed_audits import QUIET, check_nothing_stays
from tests.fiftyone.made_up import delete_elsewhere, made_up_result
from tests.forking import StartedScript, run_script
from tests.mongod import Mongod
from tests.sixty_digits import sixty_digits
from tests.waiting import wait_until

Names = Callable[[str], str]


@pytest.fixture
def dataset(dataset_name: Names) -> fo.Dataset:
    return sixty_digits(dataset_name("faulty digits"))


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    check_nothing_stays()


def nothing_runs() -> bool:
    """Whether the server is at work on nothing of this session's database."""
    database = get_db_conn()
    asked = {"currentOp": 1, "active": True, "ns": {"$regex": f"^{database.name}\\."}}
    return not database.client.admin.command(asked)["inprog"]


def failing_after(samples: int, problem: Callable[[], object]) -> Callable[[Step], None]:
    def tell(step: Step) -> None:
        if step.stage == "fiftyone" and step.done == samples:
            problem()

    return tell


# --- what is bad in the dataset -------------------------------------------------------------------------------------


def test_fiftyone_shows_what_was_left_out_and_what_was_found(dataset: fo.Dataset, tmp_path: Path) -> None:
    config = AuditConfig(weights="bundled", device="cpu")
    audit_dataset(dataset, config=config)
    before = dataset.values("audit_suspicion")
    assert None not in before
    assert set(dataset.values("audit_findings")) == {None}
    original, copied, broken = list(dataset.limit(3))
    (tmp_path / "broken.jpg").write_text("no picture any more")
    copied.filepath = original.filepath  # the same picture under another label
    copied.ground_truth.label = "2" if original.ground_truth.label != "2" else "1"
    broken.filepath = str(tmp_path / "broken.jpg")
    for sample in (copied, broken):
        sample.save()
    audit_dataset(dataset, config=config)
    dataset.reload()
    broken.reload()
    assert (broken.audit_suspicion, broken.audit_flag, broken.audit_status) == (None, None, None)
    assert broken.audit_findings == ["left out: not an image that Pillow can read"]
    for sample in (original, copied):
        assert "duplicate-labels" in dataset[sample.id].audit_findings
    shown = dataset.load_saved_view("audit: findings")
    assert set(shown.values("id")) == {original.id, copied.id, broken.id}
    dataset.delete_run("audit")
    assert not dataset.has_field("audit_findings")
    assert not dataset.has_saved_view("audit: findings")


# --- all at once, or not at all -------------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_the_scores_of_before_and_a_run_that_says_so(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(score_writing, "SAMPLES_AT_ONCE", 20)
    first, second = made_up_result(dataset, seed=1), made_up_result(dataset, seed=2)
    write_result(dataset, first)

    def fail() -> None:
        raise ZeroDivisionError("the machine is on fire")

    with pytest.raises(WriteError) as error:
        write_result(dataset, second, progress=failing_after(40, fail), saved_to=tmp_path / "kept")
    assert "\n" not in str(error.value)
    assert "dataset 'faulty digits' (ZeroDivisionError: the machine is on fire)" in str(error.value)
    assert f"the result is in {str(tmp_path / 'kept')!r}" in str(error.value)
    dataset.reload()
    run = dataset.get_run_info("audit").config
    assert (run.state, run.problem) == ("failed", "ZeroDivisionError: the machine is on fire")
    assert dataset.values("audit_influence") == first.scores["influence"].tolist()
    write_result(dataset, second)
    dataset.reload()
    assert dataset.get_run_info("audit").config.state == "complete"
    assert dataset.values("audit_influence") == second.scores["influence"].tolist()


def test_a_dataset_deleted_while_its_scores_are_written_is_said(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_writing, "SAMPLES_AT_ONCE", 20)
    collection = dataset._sample_collection_name
    result = made_up_result(dataset)

    def gone() -> None:
        delete_elsewhere(dataset)

    with pytest.raises(WriteError, match=r"dataset 'faulty digits' .*deleted meanwhile") as error:
        write_result(dataset, result, progress=failing_after(40, gone))
    assert "\n" not in str(error.value)
    assert collection not in get_db_conn().list_collection_names()


def test_a_process_killed_while_writing_leaves_one_audits_scores_and_no_mixture(
    dataset: fo.Dataset, tmp_path: Path
) -> None:
    results = [made_up_result(dataset, seed=seed) for seed in (1, 2)]
    influences = [result.scores["influence"].tolist() for result in results]
    write_result(dataset, results[0])
    code = (
        "import itertools, sys, fiftyone as fo\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.fiftyone.made_up import made_up_result\n"
        "from integrations.fiftyone import score_writing, write_result\n"
        "score_writing.SAMPLES_AT_ONCE = 5\n"
        f"dataset = fo.load_dataset({dataset.name!r})\n"
        "results = [made_up_result(dataset, seed=seed) for seed in (1, 2)]\n"
        "tell = lambda step: print(step.stage, step.done, flush=True)\n"
        "for result in itertools.cycle(results): write_result(dataset, result, progress=tell)\n"
    )
    for steps in (3, 10, 25):  # of 12 parts that each result is written in, and what comes before and after
        writer = StartedScript(tmp_path / f"killed after {steps}", code, environment=QUIET)
        writer.wait_for_lines(steps)
        writer.kill()
        wait_until(nothing_runs)  # what the server has begun it ends
        dataset.reload()
        assert dataset.values("audit_influence") in influences
    write_result(dataset, results[1])  # its lock is that of a dead process, and what it staged goes
    dataset.reload()
    assert dataset.values("audit_influence") == influences[1]
    assert dataset.get_run_info("audit").config.state == "complete"


def test_a_file_that_a_killed_process_left_goes_at_once_and_one_being_written_stays(
    dataset: fo.Dataset, tmp_path: Path
) -> None:
    result = made_up_result(dataset, seed=1)
    writing = (
        "import signal, sys\nfrom pathlib import Path\nfrom audit.files.storage import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as path:\n    path.write_text('half')\n    print(flush=True)\n"
        "    signal.pause()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", writing, str(tmp_path / name)], stdout=subprocess.PIPE)
        for name in ("thumbnails.parquet", "report.html")
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
        killed, going_on = (tmp_path / f".{Path(process.args[-1]).name}.{process.pid}.tmp" for process in processes)
        processes[0].kill()
        processes[0].wait()
        assert killed.read_text() == going_on.read_text() == "half"
        result.save(tmp_path)
        assert not killed.exists()
        assert going_on.read_text() == "half"
        assert {path.name for path in tmp_path.glob(".*.tmp")} == {going_on.name}
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_an_import_that_ends_before_its_dataset_is_marked_leaves_nothing_under_its_name(
    dataset_name: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = list(digits(["0", "1"]))[:10]
    images = LabelledImages("digits", "digits", 10, lambda: iter(listed))
    name, before = dataset_name("half-made digits"), set(fo.list_datasets())
    with monkeypatch.context() as patch:
        patch.setattr(fo.Dataset, "save", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            import_images(images, name)
    assert not fo.dataset_exists(name)
    (left,) = set(fo.list_datasets()) - before
    assert not fo.load_dataset(left).persistent  # so that FiftyOne removes it
    fo.delete_dataset(left)
    assert len(import_images(images, name)) == 10
    assert fo.load_dataset(name).persistent


# --- mongod dies ----------------------------------------------------------------------------------------------------


WRITE = """
import os, signal, sys, time, fiftyone as fo
sys.path.insert(0, {root!r})
from tests.fiftyone.made_up import made_up_result
from audit.errors import WriteError
from integrations.fiftyone import score_writing, write_result
score_writing.SAMPLES_AT_ONCE = 20
if fo.dataset_exists("mortal"):
    dataset = fo.load_dataset("mortal")
else:
    dataset = fo.Dataset("mortal", persistent=True)
    labels = [fo.Classification(label=str(n % 3)) for n in range(60)]
    dataset.add_samples(
        [fo.Sample(filepath=f"/none/{{n}}.png", ground_truth=label) for n, label in enumerate(labels)], progress=False
    )
def kill(step):
    if len(sys.argv) > 1 and step.done == 40:
        os.kill(int(sys.argv[1]), signal.SIGKILL)
result = made_up_result(dataset)
began = time.monotonic()
try:
    write_result(dataset, result, progress=kill, saved_to="/kept")
except WriteError as error:
    print("ERROR", error)
    print("SECONDS", time.monotonic() - began)
    os._exit(1)
dataset.reload()
print("STATE", dataset.get_run_info("audit").config.state)
print("WHOLE", dataset.values("audit_influence") == result.scores["influence"].tolist())
print("LEFT", [n for n in fo.core.odm.get_db_conn().list_collection_names() if "staged" in n])
"""


def test_mongod_killed_while_scores_are_written_is_said_and_mended_by_the_next_run(mongod: Mongod) -> None:
    environment = mongod.environment
    environment["FIFTYONE_DATABASE_URI"] += "/?serverSelectionTimeoutMS=1500"

    def write(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = WRITE.format(root=str(ROOT))
        return run_script(code, *arguments, environment=environment)

    failed = write(str(mongod.process.pid))
    mongod.process.wait()
    said = failed.stdout.splitlines()
    assert failed.returncode == 1, failed.stderr
    assert said[0].startswith("ERROR the scores could not be written into dataset 'mortal' (MongoDB at 127.0.0.1:")
    assert "does not answer); the result is in '/kept'; run the same command again" in said[0]
    assert len(said) == 2  # one line, and the seconds
    assert float(said[1].split()[1]) < 30
    assert mongod.start()
    mended = write()
    assert mended.stdout.splitlines() == ["STATE complete", "WHOLE True", "LEFT []"], mended.stderr


# --- two at once ----------------------------------------------------------------------------------------------------


def test_a_second_audit_under_the_same_key_is_refused_by_name_until_the_first_is_over(
    dataset: fo.Dataset, tmp_path: Path
) -> None:
    code = (
        "import signal, fiftyone as fo\n"
        "from integrations.fiftyone.lock import audit_lock\n"
        f"with audit_lock(fo.load_dataset({dataset.name!r}), 'audit'):\n"
        "    print('held', flush=True)\n"
        "    signal.pause()\n"
    )
    first = StartedScript(tmp_path / "first", code, environment=QUIET)
    try:
        assert first.wait_for_lines()[-1] == "held"
        with pytest.raises(InputError) as error:
            audit_dataset(dataset, audit_key="audit", config=AuditConfig(weights="bundled", device="cpu"))
        message = str(error.value)
        holder = first.process.pid
        assert f"dataset 'faulty digits' is being audited under 'audit' already, by process {holder} on" in message
        assert "choose another --audit-key" in message
        assert "\n" not in message
        write_result(dataset, made_up_result(dataset), "other")  # another key is free
        with pytest.raises(InputError, match="is being audited under 'audit' already"):
            write_result(dataset, made_up_result(dataset))
    finally:
        first.kill()
    write_result(dataset, made_up_result(dataset))  # a killed process holds nothing
    assert dataset.get_run_info("audit").config.state == "complete"


def test_a_lock_of_another_machine_ends_when_it_falls_silent(dataset: fo.Dataset) -> None:
    locks = get_db_conn()[COLLECTION]
    now = get_db_conn().command("hello")["localTime"]
    elsewhere = {"owner": "x", "place": "another-machine/pid:[1]", "pid": os.getpid(), "born": 0.0, "since": now}
    locks.insert_one({"_id": f"{dataset._doc.id}.audit", **elsewhere, "seen": now})
    with pytest.raises(InputError, match="on another-machine since"), audit_lock(dataset, "audit"):
        pass
    locks.update_one({}, {"$set": {"seen": now.replace(year=now.year - 1)}})
    with audit_lock(dataset, "audit"):
        assert locks.find_one({"_id": f"{dataset._doc.id}.audit"})["pid"] == os.getpid()
