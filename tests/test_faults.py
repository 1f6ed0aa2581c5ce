"""Databases that die, datasets that vanish, disks that fill up: one line, nothing half-written, and the way on."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import fiftyone as fo
import numpy as np
import psutil
import pytest
from command_process import COMMAND, command
from fiftyone.core.odm import get_db_conn
from made_up import made_up_result

import audit
from audit.config import AuditConfig
from audit.embedding import embed
from audit.errors import InputError, WriteError
from audit.progress import Step
from audit.result import CHANGING
from integrations.digits import digits
from integrations.fiftyone import audit_dataset, score_writing, write_result
from integrations.fiftyone.importing import import_images
from integrations.fiftyone.lock import COLLECTION, audit_lock
from integrations.labelled_images import LabelledImages

Names = Callable[[str], str]
QUIET = os.environ | {"FIFTYONE_DATABASE_VALIDATION": "false"}  # or FiftyOne's first line is about MongoDB's age
KILLS = 20
MONGOD = Path(fo.__file__).parent / "db" / "bin" / "mongod"


@pytest.fixture
def dataset(dataset_name: Names) -> fo.Dataset:
    """Sixty digits of three classes."""
    name = dataset_name("faulty digits")
    listed = list(digits(["0", "1", "2"]))[:60]
    import_images(LabelledImages("digits", "digits", 60, lambda: iter(listed)), name)
    return fo.load_dataset(name)


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Whatever goes wrong, no lock, no staged scores and no sample collection without a dataset is left."""
    yield
    database = get_db_conn()
    left = [name for name in database.list_collection_names() if name.startswith("influence_audit.staged")]
    assert left == []
    assert database[COLLECTION].count_documents({}) == 0


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
    delete = f"import fiftyone as fo; fo.delete_dataset({dataset.name!r})"

    def gone() -> None:
        subprocess.run([sys.executable, "-c", delete], check=True, env=os.environ, capture_output=True)

    with pytest.raises(WriteError, match=r"dataset 'faulty digits' .*deleted meanwhile") as error:
        write_result(dataset, result, progress=failing_after(40, gone))
    assert "\n" not in str(error.value)
    assert collection not in get_db_conn().list_collection_names()


def test_a_process_killed_while_writing_leaves_one_audits_scores_and_no_mixture(
    dataset: fo.Dataset,
) -> None:
    results = [made_up_result(dataset, seed=seed) for seed in (1, 2)]
    influences = [result.scores["influence"].tolist() for result in results]
    write_result(dataset, results[0])
    code = (
        "import itertools, sys, fiftyone as fo\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from made_up import made_up_result\n"
        "from integrations.fiftyone import score_writing, write_result\n"
        "score_writing.SAMPLES_AT_ONCE = 5\n"
        f"dataset = fo.load_dataset({dataset.name!r})\n"
        "results = [made_up_result(dataset, seed=seed) for seed in (1, 2)]\n"
        "print('writing', flush=True)\n"
        "for result in itertools.cycle(results): write_result(dataset, result)\n"
    )
    for wait in (0.05, 0.13, 0.31):
        writer = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=QUIET
        )
        assert writer.stdout is not None
        assert b"writing" in writer.stdout.readline()
        time.sleep(wait)
        writer.kill()
        writer.wait()
        time.sleep(0.3)  # what the server has begun it ends
        dataset.reload()
        assert dataset.values("audit_influence") in influences
    write_result(dataset, results[1])  # its lock is that of a dead process, and what it staged goes
    dataset.reload()
    assert dataset.values("audit_influence") == influences[1]
    assert dataset.get_run_info("audit").config.state == "complete"


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
    again = command(*arguments, cwd=tmp_path, INFLUENCE_AUDIT_CACHE=cache, COLUMNS="200")
    assert again.returncode == 0, again.stderr
    for stage in ("head", "detection", "influence", "explanation", "correction"):
        assert f"{stage} was finished by an earlier run that did not end: not done again" in again.stderr
    summary = audit.AuditResult.load(tmp_path / "result").summary
    assert summary["embedding"]["computed"] == 0
    dataset.reload()
    assert dataset.get_run_info("audit").config.state == "complete"
    assert not list((tmp_path / "cache" / "checkpoints").iterdir())
    assert (tmp_path / "result" / "report.html").exists()


def test_a_file_that_a_killed_process_left_goes_at_once_and_one_being_written_stays(
    dataset: fo.Dataset, tmp_path: Path
) -> None:
    result = made_up_result(dataset, seed=1)
    writing = (
        "import sys, time\nfrom pathlib import Path\nfrom audit.storage import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as path:\n    path.write_text('half')\n    print(flush=True)\n"
        "    time.sleep(600)"
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
        assert {path.name for path in tmp_path.glob(".*")} == {going_on.name}
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


def outcome(folder: Path) -> tuple[list[object], dict[str, object]]:
    """All that a result says but for when and how fast, and for what FiftyOne calls samples and files."""
    result = audit.AuditResult.load(folder)
    scores, findings = (table.reset_index(drop=True) for table in (result.scores, result.findings))
    assert (folder / "report.html").read_text().rstrip().endswith("</html>")
    summary = {name: value for name, value in result.summary.items() if name not in CHANGING}
    config = {name: value for name, value in result.summary["config"].items() if name != "cache_dir"}
    source = {name: value for name, value in result.summary["source"].items() if name not in ("dataset", "slug")}
    tables = [scores.drop(columns="filepath").to_dict("list"), len(findings), result.controls.to_dict("list")]
    return tables, summary | {"config": config, "source": source}


def test_the_command_killed_at_twenty_random_moments_ends_as_if_nobody_had_disturbed_it(
    dataset_name: Names, tmp_path: Path
) -> None:
    """From the import to the report: what is killed leaves nothing half-written, and the same command goes on."""

    def start(dataset: str, place: Path) -> subprocess.Popen[str]:
        part = ["--keep-labels", "3,8", "--weights", "bundled", "--inject", "0.1"]
        return subprocess.Popen(
            [str(COMMAND), "run", "digits", *part, "--dataset", dataset, "-o", str(place / "result")],
            cwd=tmp_path,
            env=os.environ
            | {"INFLUENCE_AUDIT_CACHE": str(place / "cache"), "INFLUENCE_AUDIT_HOME": str(place / "home")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    names = [dataset_name("undisturbed"), dataset_name("undisturbed as well")]
    places = [tmp_path / "first", tmp_path / "second"]
    began = time.monotonic()
    for process in [start(name, place) for name, place in zip(names, places, strict=True)]:  # two, as later
        said = process.communicate()[1]
        assert process.returncode == 0, said
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
        random, place = Random(seed), tmp_path / killed
        kills = ended = 0
        while True:
            process = start(killed, place)
            try:
                said = process.communicate(timeout=random.uniform(0.3, 0.95) * seconds if kills < KILLS / 2 else None)[
                    1
                ]
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
                with database:
                    check_killed(killed, place / "result")
                continue
            assert process.returncode == 0, said
            ended += 1
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


@contextmanager
def database(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A MongoDB of one's own, that may be killed."""
    folder.mkdir(exist_ok=True)
    command = [MONGOD, "--dbpath", folder, "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    server = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        yield server
    finally:
        server.kill()
        server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


WRITE = """
import os, signal, sys, time, fiftyone as fo
sys.path.insert(0, {tests!r})
from made_up import made_up_result
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


def test_mongod_killed_while_scores_are_written_is_said_and_mended_by_the_next_run(tmp_path: Path) -> None:
    port = free_port()
    uri = f"mongodb://127.0.0.1:{port}/?serverSelectionTimeoutMS=1500"
    environment = QUIET | {"FIFTYONE_DATABASE_URI": uri}

    def write(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = WRITE.format(tests=str(Path(__file__).parent))
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, timeout=120
        )

    with database(tmp_path / "db", port) as server:
        failed = write(str(server.pid))
    said = failed.stdout.splitlines()
    assert failed.returncode == 1, failed.stderr
    assert said[0].startswith("ERROR the scores could not be written into dataset 'mortal' (MongoDB at 127.0.0.1:")
    assert "does not answer); the result is in '/kept'; run the same command again" in said[0]
    assert len(said) == 2  # one line, and the seconds
    assert float(said[1].split()[1]) < 30
    with database(tmp_path / "db", port):
        mended = write()
    assert mended.stdout.splitlines() == ["STATE complete", "WHOLE True", "LEFT []"], mended.stderr


def test_a_command_that_finds_no_database_says_so_in_one_line(tmp_path: Path) -> None:
    uri = f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=500"
    done = command("run", "digits", "--quiet", cwd=tmp_path, FIFTYONE_DATABASE_URI=uri)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("failed")]
    assert "MongoDB does not answer" in line or "ould not connect to" in line
    assert "Traceback" not in done.stderr


# --- two at once ----------------------------------------------------------------------------------------------------


def test_a_second_audit_under_the_same_key_is_refused_by_name_until_the_first_is_over(dataset: fo.Dataset) -> None:
    code = (
        "import time, fiftyone as fo\n"
        "from integrations.fiftyone.lock import audit_lock\n"
        f"with audit_lock(fo.load_dataset({dataset.name!r}), 'audit'):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    first = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=QUIET)
    try:
        assert first.stdout is not None
        assert b"held" in first.stdout.readline()
        with pytest.raises(InputError) as error:
            audit_dataset(dataset, audit_key="audit", config=AuditConfig(weights="bundled", device="cpu"))
        message = str(error.value)
        assert f"dataset 'faulty digits' is being audited under 'audit' already, by process {first.pid} on" in message
        assert "choose another --audit-key" in message
        assert "\n" not in message
        write_result(dataset, made_up_result(dataset), "other")  # another key is free
        with pytest.raises(InputError, match="is being audited under 'audit' already"):
            write_result(dataset, made_up_result(dataset))
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
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


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs with room for 16 KiB; where mounting is not permitted, files of this process may grow to 4 KiB only."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode == 0:
        yield folder
        subprocess.run(["umount", str(folder)], check=True)  # which fails where a file of it is still open
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def arrays() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    return generator.normal(size=(300, 8)) + 3 * np.eye(3, 8)[labels], labels


def test_a_full_disk_is_said_in_one_line_and_leaves_no_result_that_looks_whole(full_disk: Path) -> None:
    notes: list[str] = []
    config = AuditConfig(cache_dir=str(full_disk / "cache"))
    result = audit.audit_embeddings(*arrays(), config=config, progress=lambda step: notes.append(step.note))
    assert ["cannot be kept in" in note for note in notes if note] == [True]
    with pytest.raises(WriteError, match=r"the result cannot be written into .*; make room") as error:
        result.save(full_disk / "result")
    assert "\n" not in str(error.value)
    assert not (full_disk / "result" / "summary.json").exists()
    assert not list((full_disk / "result").glob("*.tmp")) + list((full_disk / "result").glob(".*.tmp"))
    with pytest.raises(InputError, match="holds no complete audit result"):
        audit.AuditResult.load(full_disk / "result")


def test_embeddings_that_find_no_room_say_where_to_make_some(full_disk: Path) -> None:
    from audit.backbone import load_backbone

    images = list(digits(["3"]))[:40]
    samples = audit.Samples([str(n) for n in range(40)], [i.image for i in images], ["3"] * 40)  # type: ignore[misc]
    with pytest.raises(InputError, match=r"embedding cache .* cannot be written .*; give another \(--cache-dir\)"):
        embed(samples, load_backbone(weights="bundled", device="cpu"), 16, full_disk / "cache")


def test_the_command_says_a_full_disk_in_one_line(full_disk: Path, tmp_path: Path, dataset: fo.Dataset) -> None:
    if not psutil.disk_usage(str(full_disk)).total < 1 << 20:
        pytest.skip("no right to mount a tmpfs here: a limit on file sizes does not reach the command's own process")
    arguments = ("run", f"fiftyone:{dataset.name}", "--weights", "bundled", "-o", full_disk / "result")
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("failed")]
    assert "No space left on device" in line
    assert "Traceback" not in done.stderr
    dataset.reload()
    assert dataset.list_runs() == []  # nothing reached FiftyOne
