"""Locks: one audit at a time under one key of one dataset, on all machines that share the database.

A lock is a document in FiftyOne's database. If two processes ask at once, MongoDB creates it for one of them. Its owner
renews it every few seconds. A killed process leaves its lock behind: on the same machine the next process sees at once
that the owner is gone, on another machine after SILENT_SECONDS.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import psutil
import pymongo
from fiftyone.core.odm import get_db_conn
from pymongo.errors import DuplicateKeyError, PyMongoError

from audit.errors import InputError

if TYPE_CHECKING:
    from pymongo.collection import Collection

COLLECTION = "influence_audit.locks"
BEAT_SECONDS = 10.0  # between two signs of life of a lock's owner
SILENT_SECONDS = 60.0  # without one, after which the owner counts as gone
FAREWELL_SECONDS = 3.0  # that releasing the lock may take where the database does not answer

one_at_a_time = threading.RLock()
"""For threads of one process: FiftyOne has one object for a dataset in it, and a thread that reloads it sets back what
another one is changing there, as renaming and deleting an audit do field by field."""


@contextmanager
def audit_lock(dataset: fo.Dataset, audit_key: str) -> Iterator[None]:
    """Hold the lock of a dataset and an audit key.

    Raises:
        InputError: if another audit holds it, naming the dataset, the key and the process.
    """
    locks = get_db_conn()[COLLECTION]
    name = f"{dataset._doc.id}.{audit_key}"
    process = psutil.Process()
    mine = {"owner": uuid.uuid4().hex, "place": _place(), "pid": process.pid, "born": process.create_time()}
    while True:
        try:
            locks.insert_one({"_id": name, **mine, "since": _now(), "seen": _now()})
            break
        except DuplicateKeyError:
            other = locks.find_one({"_id": name})
            if other is not None and _is_alive(other):
                raise InputError(
                    f"dataset {dataset.name!r} is being audited under {audit_key!r} already, by process {other['pid']} "
                    f"on {other['place'].split('/')[0]} since {other['since']:%H:%M:%S} UTC; wait for it, or choose "
                    "another --audit-key"
                ) from None
            if other is not None:
                locks.delete_one({"_id": name, "owner": other["owner"]})
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(locks, {"_id": name, "owner": mine["owner"]}, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        # The server may be gone: then the next audit sees that we are.
        with suppress(PyMongoError), pymongo.timeout(FAREWELL_SECONDS):
            locks.delete_one({"_id": name, "owner": mine["owner"]})


def _beat(locks: Collection, own: dict[str, Any], ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        with suppress(PyMongoError):
            locks.update_one(own, {"$currentDate": {"seen": True}})


def _is_alive(lock: dict[str, Any]) -> bool:
    if lock["place"] == _place():
        try:
            return abs(psutil.Process(lock["pid"]).create_time() - lock["born"]) < 1
        except psutil.NoSuchProcess:
            return False
    return (_now() - lock["seen"]).total_seconds() < SILENT_SECONDS


def _now() -> datetime:
    """The server's time: the machines' own clocks may differ."""
    return get_db_conn().command("hello")["localTime"]


def _place() -> str:
    """What tells machines, and containers of one machine, apart: process numbers mean something in one of them only."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{os.readlink(namespace) if namespace.exists() else ''}"
