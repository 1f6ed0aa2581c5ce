"""Files that are written completely or not at all."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file to write, which replaces `path` once it is written without an error.

    It is locked meanwhile, so that other processes can tell it from a file that a killed process left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _locked(temporary):
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Create a file and hold its lock, on systems that have locks."""
    if fcntl is None:
        yield
        return
    with open(path, "wb") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def remove_abandoned(folder: Path, name: str = "*") -> None:
    """Remove the temporary files that killed processes left in a folder.

    Args:
        folder: where the files were to be.
        name: a glob pattern of the names that they were to take.
    """
    for path in folder.glob(f".{name}.[0-9]*.tmp"):
        with suppress(OSError):
            if _is_abandoned(path):
                path.unlink()


def _is_abandoned(path: Path, seconds: float = 3600.0) -> bool:
    """Whether nobody holds its lock; without locks, whether nobody wrote to it for this long."""
    if fcntl is not None:
        with open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                return False
            except OSError:
                pass  # a file system without locks
    return time.time() - path.stat().st_mtime > seconds


def replace_file(path: Path, content: bytes) -> Path:
    """Write a file through a temporary one beside it, so that readers see the old content or the new, never a part.

    Temporary files of the same file that killed processes left are removed.
    """
    remove_abandoned(path.parent, glob.escape(path.name))
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    return path
