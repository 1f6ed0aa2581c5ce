"""MongoDB servers of the tests' own: one for the whole session, and others that a test may kill.

FiftyOne connects to its server while it is imported, so the session's server must run before a test file that imports
FiftyOne is read. That is why the folders of such tests start it in their conftest.py, and no other folder does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure

from tests.forking import run_script
from tests.ports import free_port

MONGOD = Path(sysconfig.get_path("purelib")) / "fiftyone" / "db" / "bin" / "mongod"
ATTEMPTS = 5  # another process may take a free port before the server does


def skip_beside_fiftyones_own_database() -> None:
    """Leave a test out where FiftyOne would join a database of its own that runs already, of a user's App, say."""
    from fiftyone.service.util import find_processes_by_args

    if list(find_processes_by_args(["--51-service", "db"])):
        pytest.skip("FiftyOne has its database running on this machine already, and would join it: not tested")


class Mongod:
    """A server whose files outlive it.

    Args:
        folder: its files; its log is beside them.
        port: where it listens; by default a free port.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.log = folder.with_suffix(".log")
        for _ in range(ATTEMPTS):
            self.port = port or free_port()
            if self.start():
                return
        raise pytest.UsageError(f"mongod did not start; its log ends:\n{self.log.read_text()[-2000:]}")

    @property
    def uri(self) -> str:
        """Its address, as FIFTYONE_DATABASE_URI takes it."""
        return f"mongodb://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that is to use this server."""
        # Without validation, or FiftyOne's first line is about the age of its own mongod.
        return os.environ | {"FIFTYONE_DATABASE_URI": self.uri, "FIFTYONE_DATABASE_VALIDATION": "false"}

    def start(self) -> bool:
        """Start it, again on the same files, and wait until it answers; False where it ended instead."""
        places = ["--dbpath", str(self.folder), "--logpath", str(self.log)]
        address = ["--port", str(self.port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
        self.process = subprocess.Popen([str(MONGOD), *places, *address], stdout=subprocess.DEVNULL)
        with MongoClient(self.uri, serverSelectionTimeoutMS=500) as client:
            while self.process.poll() is None:
                try:
                    client.admin.command("ping")
                except ConnectionFailure:
                    continue
                return True
        return False

    def write_down(self) -> None:
        """Write to its files all that it holds, as it does by itself once a minute.

        Its journal keeps what is written between, but not the numbers of documents that the App asks for: without
        this, a dataset of the last minute is empty to the App after the server was killed.
        """
        with MongoClient(self.uri) as client:
            client.admin.command("fsync")

    def run(self, script: str) -> Any:
        """Run Python on its data; what it prints last, read as JSON."""
        done = run_script(script, environment=self.environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def kill(self) -> None:
        """End it without giving it time to put anything in order."""
        self.process.kill()
        self.process.wait()


@cache
def start_session_database(folder: str) -> None:
    """Let FiftyOne use a server of this session alone, or the one that FIFTYONE_DATABASE_URI names already.

    By itself FiftyOne would join whichever of its kind runs on this machine.
    """
    if os.environ.get("FIFTYONE_DATABASE_URI") or not MONGOD.is_file():
        return
    os.environ.update(
        {name: value for name, value in Mongod(Path(folder)).environment.items() if name.startswith("FIFTYONE_")}
    )
