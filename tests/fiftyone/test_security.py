"""Labels, names and servers: nothing leaves its folder or this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fiftyone as fo
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import InputError
from tests import ROOT
from tests.fiftyone.made_up import made_up_result
from tests.forking import run_script
from tests.one_line import one_line
from tests.ports import free_port
from tests.waiting import wait_until

PACKAGES = ("audit", "integrations", "reports")

Names = Callable[[str], str]


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


# --- settings, labels -----------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | st.text(max_size=8) | st.floats() | st.integers(-9, 9), min_size=6, max_size=6))
def test_a_label_field_with_anything_in_it_is_read(fuzzed: fo.Dataset, labels: list[Any]) -> None:
    from fiftyone.core.odm import get_db_conn

    from integrations.fiftyone import read_samples

    collection = get_db_conn()[fuzzed._sample_collection_name]
    for sample, label in zip(collection.find(), labels, strict=True):
        try:
            collection.update_one({"_id": sample["_id"]}, {"$set": {"ground_truth.label": label}})
        except UnicodeEncodeError:  # MongoDB cannot hold it
            return
    try:
        samples = read_samples(fuzzed)
    except InputError as error:
        one_line(error)
        return
    assert all(label is None or (isinstance(label, str) and label.strip()) for label in samples.labels)
    assert [label is None for label in samples.labels] == [
        label is None or label != label or not str(label).strip() for label in labels
    ]


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[fo.Dataset]:
    dataset = fo.Dataset("fuzzed labels")
    label = fo.Classification(label="x")
    dataset.add_samples([fo.Sample(filepath=f"/none/{n}.png", ground_truth=label) for n in range(6)], progress=False)
    yield dataset
    fo.delete_dataset("fuzzed labels")


# --- folders --------------------------------------------------------------------------------------------------------

HOSTILE = ("../up", "..", "/etc/passwd", "a/../../b", "a\\..\\b", ".hidden", "a\x00b", "~/x", "$HOME", "a\nb", " ")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_outside_cannot_leave_their_folder(name: str, dataset_name: Names, tmp_path: Path) -> None:
    from integrations.cli.job import folder_name, jobs_of
    from integrations.fiftyone.background_audit import results_home
    from integrations.fiftyone.importing import _image_folder, image_home

    options: dict[str, Any] = {"source": "digits", "audit_key": name, "keep_labels": None}
    options |= dict.fromkeys(("label_field", "dataset", "view", "image_column", "label_column"))
    with pytest.raises(InputError, match="no identifier") as error:
        jobs_of(options, {}, None)
    assert "\n" not in str(error.value)
    root = tmp_path.resolve()
    inside = (root / folder_name(name) / "audit").resolve()
    assert inside.parent.parent == root
    dataset = SimpleNamespace(name=name if re.search(r"\w", name) else f"{name}x")
    for folder, home in ((results_home(dataset, "audit").parent, None), (_image_folder(dataset), image_home())):  # type: ignore[arg-type]
        assert ".." not in folder.parts
        assert home is None or folder.parent == home
        assert re.fullmatch(r"[\w-]+", folder.name)


def test_a_path_that_is_given_in_the_app_stays_in_the_audits_folder(tmp_path: Path) -> None:
    from integrations.fiftyone.plugin.operators.files import path_to_write

    def context(path: str, app: bool) -> Any:
        request = {"operator_uri": "x"} if app else {}
        return SimpleNamespace(params={"path": path}, request_params=request, delegated=False)

    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    for path in ("../x.html", "/etc/x.html", str(tmp_path / "x.html"), "~/x.html", "link/x.html"):
        with pytest.raises(InputError, match="is outside of"):
            path_to_write(context(path, app=True), folder, "report.html")
    assert path_to_write(context("", app=True), folder, "report.html") == (folder / "report.html").resolve()
    assert path_to_write(context("x.html", app=True), folder, "r") == (folder / "x.html").resolve()
    assert path_to_write(context(str(tmp_path / "x.html"), app=False), folder, "r") == (tmp_path / "x.html").resolve()


# --- network --------------------------------------------------------------------------------------------------------

WATCH = """
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
    elif event == "socket.getaddrinfo":
        address = arguments[0]
    else:
        return
    with open(os.environ["WATCH_FILE"], "a") as log:
        log.write(repr(address) + "\\n")
sys.addaudithook(watch)
"""


def addresses(command: list[str], tmp_path: Path, **environment: str) -> set[str]:
    """All that a process and its Python children ask the network for, but for this machine's own addresses."""
    (tmp_path / "site").mkdir(exist_ok=True)
    (tmp_path / "site" / "sitecustomize.py").write_text(WATCH)
    log = tmp_path / "addresses"
    log.unlink(missing_ok=True)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        env=os.environ | {"WATCH_FILE": str(log), "PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    seen = set(log.read_text().splitlines()) if log.exists() else set()
    assert any("127.0.0.1" in address or "localhost" in address for address in seen)  # MongoDB: the watch works
    return {address for address in seen if not re.search(r"127\.0\.0\.1|localhost|'::1'|^'/|^None$", address)}


def test_an_audit_asks_nobody_outside_this_machine_for_anything(tmp_path: Path, dataset_name: Names) -> None:
    arguments = ["run", "digits", "--keep-labels", "3,8", "--weights", "bundled", "-o", "result"]
    arguments += ["--dataset", dataset_name("watched"), "--quiet"]
    program = [sys.executable, "-c", "from integrations.cli import main; main()"]
    assert addresses([*program, *arguments], tmp_path) == set()


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_fiftyones_tracking_stays_as_the_user_set_it(wanted: str, tmp_path: Path) -> None:
    code = (
        "import fiftyone as fo, integrations.fiftyone.dataset, integrations.fiftyone.app, integrations.cli.run\n"
        "from integrations.cli.root import quieten_fiftyone\n"
        "quieten_fiftyone()\n"
        "import os; print(fo.config.do_not_track, os.environ['FIFTYONE_DO_NOT_TRACK'])"
    )
    done = run_script(code, environment=os.environ | {"FIFTYONE_DO_NOT_TRACK": wanted})
    assert done.stdout.split() == [wanted.capitalize(), wanted], done.stderr
    for path in sources():
        assert "do_not_track" not in path.read_text(encoding="utf-8").lower(), path


def listening(pid: int) -> list[Any]:
    """The addresses that a process and its children listen at."""
    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    connections = [connection for process in tree for connection in process.net_connections("inet")]
    return [connection.laddr for connection in connections if connection.status == psutil.CONN_LISTEN]


def test_the_app_listens_to_this_machine_only(dataset_name: Names, tmp_path: Path) -> None:
    dataset = fo.Dataset(dataset_name("listening"), persistent=True)
    label = fo.Classification(label="x")
    dataset.add_samples([fo.Sample(filepath=f"/none/{n}.png", ground_truth=label) for n in range(3)], progress=False)
    write = made_up_result(dataset)
    assert len(write.scores) == 3
    arguments = ["app", dataset.name, "--port", str(free_port()), "--no-browser"]
    program = "from integrations.cli import main; main()"
    server = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout is not None
        assert any("http://127.0.0.1:" in line for line in iter(server.stdout.readline, ""))
        wait_until(lambda: listening(server.pid))
        assert {address.ip for address in listening(server.pid)} <= {"127.0.0.1", "::1"}
    finally:
        server.terminate()
        server.wait(timeout=120)
