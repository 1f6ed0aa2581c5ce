"""Files that a command writes: it never replaces a file that it has not written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from audit.errors import InputError
from audit.files.result_folder import is_result_folder
from integrations.sources.table_files import EXPORTS

START = 1 << 16  # bytes at the beginning of a file, by which its kind is recognised


def check_file(path: Path, is_ours: Callable[[bytes], bool], kind: str, option: str = "--output") -> None:
    """Refuse to replace a file that this command did not write.

    Args:
        path: the file to write.
        is_ours: whether this command wrote a file, from its first bytes.
        kind: of file, for the message.
        option: the option that takes another path, for the message.

    Raises:
        InputError: if the path is a folder or no regular file, or holds something else.
    """
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; give a file's name with {option}")
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{str(path)!r} is no regular file; give another with {option}")
    try:
        with path.open("rb") as file:
            start = file.read(START)
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be replaced ({error.strerror}); give another with {option}") from None
    if start.strip() and not is_ours(start):
        raise InputError(
            f"{str(path)!r} exists and is no {kind} of influence-audit; give another with {option}, or remove it"
        )


def check_page(path: Path, option: str = "--output") -> None:
    """Refuse to replace an HTML file that no command of ours wrote, unless it is in a result folder.

    Args:
        path: the file to write.
        option: the option that takes another path, for the message.

    Raises:
        InputError: as `check_file`.
    """
    if path.is_dir() or not is_result_folder(path.parent):
        check_file(path, is_page, "page", option)


def open_page(path: Path) -> None:
    """Open a page in the user's browser; where there is none, say where the page is."""
    import webbrowser

    from integrations.cli.exit_codes import say

    try:
        found = webbrowser.get()
    except webbrowser.Error:
        found = None
    # A browser in this terminal would take it over; BROWSER may name one that the user wants.
    in_terminal = isinstance(found, webbrowser.GenericBrowser) and not isinstance(found, webbrowser.BackgroundBrowser)
    if found is None or (in_terminal and not os.environ.get("BROWSER")) or not found.open(path.resolve().as_uri()):
        say(f"note: no browser could be opened; the page is {path.resolve()}")


def check_figures(folder: Path, report: Path) -> None:
    """Refuse to write figures into a folder with other files, unless it is in a result or beside a report.

    Raises:
        InputError: if the folder holds files and lies neither in a result nor beside a report.
    """
    if not folder.is_dir() or not any(folder.iterdir()) or is_result_folder(folder.parent):
        return
    if not report.is_file() or not is_page(report.read_bytes()[:START]):
        raise InputError(f"folder {str(folder)!r} holds other files; give a report in another folder with --output")


def is_benchmark(folder: Path) -> bool:
    """Whether a folder holds the outcome of an earlier `benchmark`."""
    return any(_holds(folder / f"{name}.json", {"origin", name}) for name in ("measurements", "claims"))


def _holds(path: Path, keys: set[str]) -> bool:
    """Whether a file is a JSON object with these keys."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and keys <= set(found)


def is_page(start: bytes) -> bool:
    """Whether a file begins like one of our HTML pages."""
    return b'<meta name="generator" content="influence-audit">' in start


def is_heat_map(start: bytes) -> bool:
    """Whether a file begins like a heat map: a small WebP picture."""
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP":
        return False
    if start[12:16] != b"VP8 ":
        return False
    from audit.images.heat_map import OVERLAY_SIDE

    width, height = (int.from_bytes(start[place : place + 2], "little") & 0x3FFF for place in (26, 28))
    return max(width, height) <= OVERLAY_SIDE


def is_tasks(start: bytes) -> bool:
    """Whether a file begins like tasks for Label Studio that `export --to` wrote."""
    return start.lstrip().startswith(b"[") and b'"/data/local-files/?d=' in start and b'"given_label"' in start


def is_export(start: bytes, path: Path) -> bool:
    """Whether a file was written by `export`: CSV, JSON or parquet with its first columns.

    Args:
        start: how it begins.
        path: where it is; the columns of parquet are at its end.
    """
    if start.startswith(b"PAR1"):
        return _columns_of_parquet(path)[:3] in EXPORTS
    text = start.decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
    if text.startswith("["):
        return _columns_of_json(text)[:3] in (*EXPORTS, ())
    return tuple(text.split("\n", 1)[0].strip().split(","))[:3] in EXPORTS


def _columns_of_parquet(path: Path) -> tuple[str, ...]:
    from pyarrow import ArrowException
    from pyarrow.parquet import read_schema

    try:
        return tuple(read_schema(path).names)
    except (ArrowException, OSError):
        return ("",)


def _columns_of_json(text: str) -> tuple[str, ...]:
    """The names in the first of a list of JSON objects; none of an empty list."""
    rest = text[1:].lstrip()
    if rest.startswith("]"):
        return ()
    try:
        first, _ = json.JSONDecoder().raw_decode(rest)
    except ValueError:
        return ("",)
    return tuple(first) if isinstance(first, dict) and first else ("",)
