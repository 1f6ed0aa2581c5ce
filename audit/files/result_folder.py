"""Who wrote a folder: the result of an audit may be replaced, other files may not.

`AuditResult.save` writes a small marker first, so that a folder that an interrupted audit left is known as ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from audit.errors import InputError
from audit.files.storage import replace_file

MARKER = ".influence-audit"
_MARKER_TEXT = b"This folder holds the result of an audit by influence-audit; the next audit into it replaces it.\n"

_SUMMARY, _MANIFEST = "summary.json", "manifest.json"
_NOT_COUNTED = {".DS_Store", "Thumbs.db", "desktop.ini", ".gitkeep", ".keep", ".gitignore"}
"""Files that systems and version control put into a folder that is otherwise empty."""

_LEFT_BY_US = re.compile(r"\.influence-audit-.*|\..+\.\d+\.tmp")
"""Temporary names that a process that was killed may have left."""


def is_result_folder(folder: Path) -> bool:
    """Whether a folder holds a result of an audit, or what an interrupted audit wrote of one."""
    return (folder / MARKER).is_file() or _holds_json(folder / _MANIFEST, ("blake2b",)) or _is_summary(folder)


def mark_result_folder(folder: Path) -> None:
    """Write the marker, before anything else.

    Raises:
        OSError: if it cannot be written.
    """
    if not (folder / MARKER).is_file():
        replace_file(folder / MARKER, _MARKER_TEXT)


def refuse_others_files(folder: Path, names: Iterable[str], option: str = "") -> None:
    """Refuse to overwrite files of these names in a folder that holds no result of an audit.

    Args:
        folder: where they would be written.
        names: of the files.
        option: that takes another folder, for the message.

    Raises:
        InputError: naming the first of them that exists.
    """
    found = next((name for name in names if (folder / name).exists() or (folder / name).is_symlink()), None)
    if found is not None and not is_result_folder(folder):
        raise InputError(
            f"folder {str(folder)!r} has a {found} that no audit wrote, and it would be overwritten; "
            f"give a new folder{option}"
        )


def refuse_others_folder(folder: Path, option: str = "") -> None:
    """Refuse a folder for a result that holds anything but a result.

    Args:
        folder: where the result is to be written.
        option: that takes another folder, for the message.

    Raises:
        InputError: naming a file or folder in it.
    """
    others = _entries(folder)
    if others and not is_result_folder(folder):
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise InputError(
            f"folder {str(folder)!r} holds other files ({others[0]}{more}) and no result of an audit; "
            f"give a new or empty folder{option}"
        )


def _entries(folder: Path) -> Sequence[str]:
    if not folder.is_dir():
        return []
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise InputError(f"folder {str(folder)!r} cannot be read ({error.strerror}); give another") from None
    return [name for name in names if name not in _NOT_COUNTED and not _LEFT_BY_US.fullmatch(name)]


def _is_summary(folder: Path) -> bool:
    return _holds_json(folder / _SUMMARY, ("schema", "counts", "threshold"))


def _holds_json(path: Path, keys: Sequence[str]) -> bool:
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(path.read_bytes())
        return isinstance(content, dict) and all(key in content for key in keys)
    return False
