"""FiftyOne's database: connected within seconds, or an error that names the server, the reason and the way out.

FiftyOne itself waits half a minute for a server that does not answer, a minute for a mongod of its own that has ended,
and then names neither. So the first use of the database goes through `connect`. Importing this module is cheap.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from audit.extras import require

ANSWER_SECONDS = 4.0  # that a server may take to answer
MOST_SECONDS = 7.0  # the same including the look-up of its name, which has no limit of its own
START_SECONDS = 60.0  # that our own mongod may take to start; one that replays a long journal takes a while
LEAST_FREE_BYTES = 100 << 20  # on its disk; mongod preallocates its journal
VARIABLE = "FIFTYONE_DATABASE_URI"

_ELSEWHERE = "set FIFTYONE_DATABASE_DIR to another folder"

_SERVICE: Any = None  # FiftyOne ends its mongod when this object goes
_asked: set[str] = set()
_connected = False


class DatabaseError(RuntimeError):
    """FiftyOne's database cannot be used; the message names the server, the reason and the way out."""


def require_fiftyone() -> None:
    """Refuse in one line what needs FiftyOne where it is not installed.

    Raises:
        InputError: naming the extra, and the audit that does without it.
    """
    require("fiftyone", "FiftyOne", "audit without it: `influence-audit run SOURCE --no-fiftyone`")


def check_server() -> None:
    """Ask the server that the user named for FiftyOne, if any. FiftyOne, which takes seconds, is not imported.

    Raises:
        DatabaseError: if it does not answer within seconds, or refuses.
    """
    if uri := _configured_uri():
        _ask(uri)


def connect() -> None:
    """Connect FiftyOne to its database, unless it is connected.

    Raises:
        InputError: if FiftyOne is not installed.
        DatabaseError: if the server does not answer within seconds or refuses, or FiftyOne's own mongod does not start.
    """
    global _connected
    if _connected:
        return
    require_fiftyone()
    check_server()
    import fiftyone as fo
    from fiftyone.core.odm.database import get_db_conn

    uri = fo.config.database_uri
    with _quiet("fiftyone"):
        if uri:
            _ask(uri)
        elif not os.environ.get("FIFTYONE_PRIVATE_DATABASE_PORT") and not os.environ.get("FIFTYONE_DISABLE_SERVICES"):
            _start_own(Path(fo.config.database_dir))
    try:
        get_db_conn()
    except (ConnectionError, RuntimeError, OSError) as error:  # as of a database of another FiftyOne
        raise DatabaseError(f"{_server(uri)} cannot be used: {_first_line(error)}; {_remedy(uri)}") from None
    _connected = True


def address_of(uri: str) -> str:
    """The server or servers in a URI, without the user's name and password, nor the options."""
    rest = uri.rpartition("@")[2] if "@" in uri else re.sub(r"^[\w+]*://", "", uri)
    return re.split(r"[/?]", rest)[0] or "its address"


def _server(uri: str | None) -> str:
    return f"MongoDB at {address_of(uri)}" if uri else "FiftyOne's own MongoDB"


def _remedy(uri: str | None) -> str:
    if uri:
        return f"start it, or correct {VARIABLE} (or database_uri in FiftyOne's config)"
    return f"or set {VARIABLE} to a MongoDB server of your own"


def _configured_uri() -> str | None:
    """The server's URI as FiftyOne will find it."""
    if uri := os.environ.get(VARIABLE):
        return uri
    path = Path(os.environ.get("FIFTYONE_CONFIG_PATH") or "~/.fiftyone/config.json").expanduser()
    with suppress(OSError, ValueError, AttributeError):  # FiftyOne says itself what is wrong with its file
        return json.loads(path.read_text(encoding="utf-8")).get("database_uri") or None
    return None


def _ask(uri: str) -> None:
    """Raise an error if a server cannot be used; each server is asked once per process."""
    if uri in _asked:
        return
    outcome: list[Exception] = []
    asked = threading.Event()

    def ask() -> None:
        try:
            _read_something(uri)
        except Exception as error:  # of pymongo, and of looking up names
            outcome.append(error)
        asked.set()

    threading.Thread(target=ask, name="database", daemon=True).start()
    seconds = MOST_SECONDS if _own_seconds(uri) is None else max(MOST_SECONDS, _own_seconds(uri) or 0.0)
    if not asked.wait(seconds):
        raise DatabaseError(f"{_server(uri)} does not answer ({seconds:.0f} s); {_remedy(uri)}")
    if outcome:
        raise DatabaseError(_reason_of(outcome[0], uri)) from None
    _asked.add(uri)


def _read_something(uri: str) -> None:
    """Read one document, for which the server must answer and permit it."""
    import pymongo

    limit = int(1000 * ANSWER_SECONDS)
    waits: dict[str, Any] = {} if _own_seconds(uri) is not None else {"serverSelectionTimeoutMS": limit}
    client: Any = pymongo.MongoClient(uri, connectTimeoutMS=limit, socketTimeoutMS=limit, **waits)
    try:
        client[os.environ.get("FIFTYONE_DATABASE_NAME") or "fiftyone"]["config"].find_one({}, {"_id": 1})
    finally:
        client.close()


def _own_seconds(uri: str) -> float | None:
    """Seconds that the driver may look for a server, if the URI says so; else None."""
    found = re.search(r"[?&]serverselectiontimeoutms=(\d+)", uri, re.IGNORECASE)
    return int(found[1]) / 1000 if found else None


def _reason_of(error: Exception, uri: str) -> str:
    """The reason in one line. It never holds the user's name or password."""
    from pymongo import errors

    if isinstance(error, errors.OperationFailure):
        if error.code in (13, 18, 8000):
            return (
                f"{_server(uri)} refuses the user name or password, or asks for one; correct {VARIABLE} "
                "(mongodb://USER:PASSWORD@HOST:PORT/?authSource=admin)"
            )
        return f"{_server(uri)} refuses ({_first_line(error)}); {_remedy(uri)}"
    if "DNS" in str(error):  # of mongodb+srv
        return f"{_server(uri)} is not found (there is no server of this name); {_remedy(uri)}"
    if isinstance(error, errors.InvalidURI | errors.ConfigurationError | ValueError):
        return (
            f"{VARIABLE} is no address of a MongoDB server ({_hidden(_first_line(error), uri)}); "
            "it takes mongodb://HOST:PORT, with USER:PASSWORD@ before HOST where the server asks for them"
        )
    if isinstance(error, errors.ServerSelectionTimeoutError | errors.NetworkTimeout):
        return f"{_server(uri)} does not answer ({_cause(error)}); {_remedy(uri)}"
    return f"{_server(uri)} cannot be used ({_hidden(_first_line(error), uri)}); {_remedy(uri)}"


def _cause(error: Exception) -> str:
    """The system's reason out of the driver's long text."""
    text = _first_line(error)
    if re.search(r"Name or service not known|nodename nor servname|Temporary failure in name|No address", text):
        return "there is no server of this name"
    if "Connection refused" in text:
        return "connection refused"
    if "timed out" in text or "timeout" in text.lower().split(" (configured")[0]:
        return f"no answer for {ANSWER_SECONDS:.0f} s"
    return text.split(" (configured")[0].split(", Timeout")[0]


def _hidden(text: str, uri: str) -> str:
    """A text of the driver's without the part of the URI that holds the password."""
    secret = re.sub(r"^[\w+]*://", "", uri).rpartition("@")[0]
    for part in filter(None, {secret, *secret.split(":", 1)}):
        text = text.replace(part, "***")
    return text


def _start_own(folder: Path) -> None:
    """Join FiftyOne's running mongod, or start one, and tell FiftyOne its port."""
    global _SERVICE
    from fiftyone.core.service import DatabaseService, ServiceException

    log = folder / "log" / "mongo.log"
    try:
        _check_program(DatabaseService.find_mongod())
    except (ServiceException, OSError) as error:
        raise _does_not_start(_first_line(error), folder, "install it again (`make setup`)") from None
    try:
        _check_room(folder)
        with _output_to_nowhere():  # the service's keeper prints its command when mongod ends
            _SERVICE = DatabaseService()
    except (ServiceException, OSError) as error:
        raise _does_not_start(_first_line(error), folder, f"make room, {_ELSEWHERE}") from None
    port = _port_of(_SERVICE.child, lambda: _last_words(log), folder)
    os.environ["FIFTYONE_PRIVATE_DATABASE_PORT"] = str(port)


def _check_program(program: str) -> None:
    """Whether the machine can run it: it may be built for other libraries."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        raise OSError(f"{program} cannot be run ({reason.removeprefix(f'{program}: ')})")


def _check_room(folder: Path) -> None:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    disk = shutil.disk_usage(there)
    if disk.total and disk.free < LEAST_FREE_BYTES:
        raise OSError(f"its disk is full: less than {LEAST_FREE_BYTES >> 20} MiB free")


def _port_of(keeper: Any, last_words: Callable[[], str], folder: Path) -> int:
    """The port that mongod listens at, once it does; its keeper ends when mongod does."""
    import psutil

    began = time.monotonic()
    while time.monotonic() - began < START_SECONDS:
        try:
            if keeper.status() == psutil.STATUS_ZOMBIE:
                break
            for process in keeper.children(recursive=True):
                for connection in process.net_connections(kind="tcp"):
                    if connection.status == psutil.CONN_LISTEN:
                        return int(connection.laddr.port)
        except psutil.NoSuchProcess:
            if not keeper.is_running():
                break
        except psutil.Error:
            pass
        time.sleep(0.05)
    else:
        raise _does_not_start(f"no answer for {START_SECONDS:.0f} s{last_words()}", folder)
    raise _does_not_start(f"mongod ended{last_words()}", folder)


def _last_words(log: Path) -> str:
    """What mongod wrote into its log as the reason for ending, ': ' before it; '' where there is none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("s") in ("E", "F"):
            attributes = entry.get("attr") or {}
            detail = attributes.get("error") or attributes.get("message") or ""
            if not detail and entry.get("msg") in ("\n\n***aborting after fassert() failure\n\n", "Got signal"):
                continue
            detail = detail if isinstance(detail, str) else json.dumps(detail)
            return ": " + " ".join(f"{entry.get('msg', '')} {detail}".split())[:300]
    return ""


def _does_not_start(reason: str, folder: Path, remedy: str = "") -> DatabaseError:
    return DatabaseError(
        f"FiftyOne's own MongoDB does not start ({reason.rstrip('. ')}; database folder {str(folder)!r}); "
        f"{remedy or _ELSEWHERE}, {_remedy(None)}"
    )


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence everything that a library logs below an error."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _output_to_nowhere() -> Iterator[None]:
    """Processes started meanwhile have no standard output and error."""
    kept = {}
    for number in (1, 2):
        with suppress(OSError):  # one that is closed has nowhere to print to
            kept[number] = os.dup(number)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in kept:
            os.dup2(nowhere, number)
        yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)


def _first_line(error: BaseException) -> str:
    return " ".join((str(error).splitlines() or [""])[0].split()) or type(error).__name__
