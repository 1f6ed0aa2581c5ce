"""The command among things that go wrong around it: other people's files, encodings, servers, names, disks."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fiftyone as fo
import pytest

from integrations.cli.outputs import is_export
from integrations.fiftyone.review import EXPORT_COLUMNS
from integrations.sources.digits import digits
from tests.command.command_process import COMMAND, command, environment_of
from tests.command.forked_command import forked_command
from tests.mongod import MONGOD, Mongod, skip_beside_fiftyones_own_database
from tests.ports import free_port

CLASSES = {"0": "=HYPERLINK(1)", "1": "@SUM(A1)", "2": "カ é"}
SECONDS = 30  # FiftyOne itself waits a minute, and other tests keep the processors busy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Ninety digits in classes with names that spreadsheets and terminals mind, PostScript among them; no audit yet."""
    root = tmp_path_factory.mktemp("surroundings")
    for each in list(digits(["0", "1", "2"]))[:90]:
        place = root / "odd classes" / CLASSES[str(each.label)]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{each.source_id.split('/')[1]}.png").write_bytes(each.image)  # type: ignore[arg-type]
    (root / "odd classes" / CLASSES["0"] / "photo.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n")
    yield root
    if fo.dataset_exists("odd-classes"):
        fo.delete_dataset("odd-classes")


@pytest.fixture(scope="module")
def audited(folder: Path) -> subprocess.CompletedProcess[str]:
    """An audit that prints in latin-1, of 40 columns."""
    environment = {"PYTHONIOENCODING": "latin-1", "COLUMNS": "40", "TERM": "dumb"}
    done = subprocess.run(
        [str(COMMAND), "run", "odd classes", "--weights", "bundled", "-o", "out"],
        cwd=folder,
        env=environment_of({}) | environment,
        capture_output=True,
        encoding="latin-1",
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_an_output_that_is_not_utf8_gets_plain_characters(audited: subprocess.CompletedProcess[str]) -> None:
    assert "wrong labels" in audited.stdout.replace("\n", " ")
    assert "suspicion >=" in audited.stdout.replace("\n", " ")
    assert "\\u30ab \xe9" in audited.stdout
    assert "Traceback" not in audited.stderr
    assert "Warning" not in audited.stderr


def test_postscript_is_left_out_and_listed(folder: Path, audited: subprocess.CompletedProcess[str]) -> None:
    summary = json.loads((folder / "out" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["counts"]["samples"], summary["counts"]["unreadable"]) == (90, 1)


def test_class_names_are_safe_in_every_csv(folder: Path, audited: subprocess.CompletedProcess[str]) -> None:
    tables = [(folder / "out" / "scores.csv").read_text(encoding="utf-8")]
    assert ",'=HYPERLINK(1)," in tables[0]
    for options in ((), ("--all",), ("--format", "cleanlab")):
        done = forked_command("export", "out", *options, cwd=folder)
        assert done.returncode == 0, done.stderr
        tables.append(done.stdout)
    for table in tables:
        cells = [cell for row in csv.reader(table.splitlines()) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]


def test_json_is_json_in_any_encoding(folder: Path, audited: subprocess.CompletedProcess[str]) -> None:
    done = command("compare", "out", "out", "--json", cwd=folder, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "カ é" in json.dumps(json.loads(done.stdout), ensure_ascii=False)


def test_a_reader_that_has_gone_leaves_the_exit_code(folder: Path, audited: subprocess.CompletedProcess[str]) -> None:
    line = f"'{COMMAND}' export out --all -q | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=folder, env=environment_of({}), capture_output=True, text=True)
    assert done.stdout.splitlines()[0].startswith("id,filepath")
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_somebody_elses_files_are_never_overwritten(folder: Path, audited: subprocess.CompletedProcess[str]) -> None:
    mine = folder / "mine"
    mine.mkdir()
    for name in ("scores.csv", "index.html"):
        (mine / name).write_text("my own\n")
    for arguments in (
        ("run", "odd classes", "-o", "mine"),
        ("run", "odd classes", "-o", "mine", "--dry-run"),
        ("run", "odd classes", "-o", "."),
        ("run", "odd classes", "digits", "-o", "mine"),
        ("demo", "-o", "mine"),
        ("report", "out", "-o", "mine/index.html"),
        ("compare", "out", "out", "-o", "mine/index.html"),
        ("export", "out", "-o", "mine/scores.csv"),
        ("explain", "out", "0001.png", "--heat-map", "mine/scores.csv"),
    ):
        done = forked_command(*arguments, cwd=folder)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), (arguments, done.stderr)
        assert "give a" in done.stderr
    assert {path.name: path.read_text() for path in mine.iterdir()} == {
        "scores.csv": "my own\n",
        "index.html": "my own\n",
    }
    for _ in range(2):  # an earlier export is ours
        assert forked_command("export", "out", "-o", "mine/flagged.csv", cwd=folder).returncode == 0
    assert is_export(",".join(EXPORT_COLUMNS).encode(), mine)


def test_a_full_disk_behind_standard_output_is_said(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([str(COMMAND), "config"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("failed: ")
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("\ufeffnonsense = 1\n".encode(), "there is no option 'nonsense'"),
        ("source = 'x'\n".encode("utf-16"), "is not in UTF-8 (UTF-16, it seems); save it as UTF-8"),
        ("source = 'x'\n".encode("utf-16-le"), "is not in UTF-8 (UTF-16, it seems); save it as UTF-8"),
        (b"\nsource = 'caf\xe9'\n", "is not in UTF-8 (line 2 has the byte 0xe9); save it as UTF-8"),
    ],
)
def test_a_config_file_in_any_encoding_is_read_or_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "audit.toml").write_bytes(content)
    done = forked_command("run", "--config", "audit.toml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- the database ---------------------------------------------------------------------------------------------------


def refused_in_time(*arguments: str, cwd: Path, uri: str) -> str:
    """The line that the command ends with, which it does in time and without a result."""
    forked_command("--version", cwd=cwd)  # from here on, what is forked has its imports
    began = time.monotonic()
    done = forked_command(*arguments, cwd=cwd, FIFTYONE_DATABASE_URI=uri)
    assert time.monotonic() - began < SECONDS
    assert done.returncode == 1
    assert done.stdout == ""
    *begun, line = done.stderr.splitlines()
    assert len(begun) <= 1  # what it is about to do
    assert "s3cret" not in line
    assert not list(cwd.glob("audit-results"))
    return line


def test_a_server_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    def check(address: str, reason: str, *arguments: str) -> None:
        line = refused_in_time(*arguments, cwd=tmp_path, uri=f"mongodb://joe:s3cret@{address}/?appName=x")
        assert line.startswith(f"failed: MongoDB at {address} does not answer")
        assert reason in line
        assert "start it, or correct FIFTYONE_DATABASE_URI" in line

    servers = ((f"127.0.0.1:{free_port()}", "connection refused"), ("no.such.host.invalid:1", "name"))
    commands = (("run", "digits", "--json"), ("app", "digits"), ("export", "fiftyone:digits"))
    with ThreadPoolExecutor(3) as pool:  # they mostly wait for an answer
        asked = [pool.submit(check, *server, *words) for server in servers for words in commands]
        for one in asked:
            one.result()


def test_a_server_that_says_nothing_is_named(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert f"MongoDB at {address} does not answer (no answer" in refused_in_time(
            "run", "digits", cwd=tmp_path, uri=f"mongodb://{address}"
        )


@pytest.mark.parametrize("uri", ["http://joe:s3cret@host", "mongodb://joe:s3cret@x:9@host/x", "mongodb://"])
def test_what_is_no_address_is_said_without_the_password(uri: str, tmp_path: Path) -> None:
    line = refused_in_time("run", "digits", cwd=tmp_path, uri=uri)
    assert "FIFTYONE_DATABASE_URI is no address of a MongoDB server" in line
    assert "mongodb://HOST:PORT" in line


def test_a_server_that_asks_for_a_password_says_so(tmp_path: Path) -> None:
    from pymongo import MongoClient

    server = Mongod(tmp_path / "guarded")
    with MongoClient(server.uri) as client:
        client.admin.command("createUser", "joe", pwd="right", roles=["root"])
    server.kill()
    log, options = tmp_path / "auth.log", ["--auth", "--bind_ip", "127.0.0.1", "--nounixsocket"]
    places = ["--dbpath", str(server.folder), "--logpath", str(log), "--port", str(server.port)]
    guarded = subprocess.Popen([str(MONGOD), *places, *options], stdout=subprocess.DEVNULL)
    try:
        with MongoClient(server.uri, serverSelectionTimeoutMS=30_000) as client:
            client.admin.command("ping")
        for user in ("", "joe:s3cret@"):
            line = refused_in_time("run", "digits", cwd=tmp_path, uri=f"mongodb://{user}127.0.0.1:{server.port}")
            assert "refuses the user name or password, or asks for one; correct FIFTYONE_DATABASE_URI" in line
    finally:
        guarded.kill()
        guarded.wait()


def test_a_mongod_that_ends_at_once_says_why(mongod: Mongod, tmp_path: Path) -> None:
    """Its folder is in use by another one."""
    skip_beside_fiftyones_own_database()
    variables = {name: value for name, value in os.environ.items() if name != "FIFTYONE_DATABASE_URI"}
    done = subprocess.run(
        [str(COMMAND), "app", "digits"],
        env=variables | {"FIFTYONE_DATABASE_DIR": str(mongod.folder)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    _, line = done.stderr.splitlines()  # the first says what it is about to do
    assert line.startswith("failed: FiftyOne's own MongoDB does not start (mongod ended: ")
    assert "Another mongod instance is already running" in line
    assert "set FIFTYONE_DATABASE_DIR to another folder, or set FIFTYONE_DATABASE_URI" in line
