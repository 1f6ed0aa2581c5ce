"""What the product keeps on this machine, and how it is deleted: the cache, copies of images, and results.

Only files that the product wrote are listed and deleted, in its own folders: somebody else's files there stay, and so
does whatever a link leads to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from audit.errors import InputError, WriteError
from audit.files.result_folder import is_result_folder
from integrations.home import home_folder

CACHE, COPIES, RESULTS = "cache", "copies", "results"
KINDS = (CACHE, COPIES, RESULTS)
RESULTS_FOLDER = "audit-results"
"""In the current folder: where the command writes results."""

MOST_NAMED = 20
"""Names in the message about one that is not known."""

_OURS = {
    # Shards of embeddings, and outputs of stages in a folder that a digest names; by the path within the root.
    CACHE: re.compile(r".+/[0-9a-f]{32}\.safetensors|[0-9a-f]{32}/[^/]+\.safetensors"),
    # What `integrations.fiftyone.importing` calls a copy: its key in the source, and a digest of its content.
    COPIES: re.compile(r"[^/]+/[0-9a-f]{2}/[^/]*-[0-9a-f]{16}\.\w+"),
    RESULTS: re.compile(r".+"),
}
_UNFINISHED = re.compile(r"\..+\.\d+\.tmp")
"""Temporary names that a process that was killed may have left."""


@dataclass(frozen=True)
class Kept:
    """One thing that is kept.

    Attributes:
        kind: one of KINDS.
        name: of the embeddings of one backbone, of a dataset, or of an audit.
        root: the folder of all of this kind.
        folder: its own, within the root.
        files: that the product wrote.
        size: of these, in bytes.
        others: how many other files lie in the folder; they are never deleted.
    """

    kind: str
    name: str
    root: Path
    folder: Path
    files: tuple[Path, ...]
    size: int
    others: int = 0


def kept_things(current: Path | None = None) -> list[Kept]:
    """All that is kept.

    Args:
        current: the folder in whose `audit-results` results are looked for; by default the current one.
    """
    from audit.images.embedding import default_cache_dir

    cache, home = default_cache_dir().expanduser().absolute(), home_folder()
    found: list[Kept] = []
    for part in ("embeddings", "checkpoints"):
        found += [_kept(CACHE, f"{part}/{folder.name}", cache / part, folder) for folder in _folders(cache / part)]
    found += [_kept(COPIES, folder.name, home / "images", folder) for folder in _folders(home / "images")]
    for root in (home / "results", (current or Path.cwd()) / RESULTS_FOLDER):
        for dataset in _folders(root):
            audits = [dataset, *_folders(dataset)]
            found += [
                _kept(RESULTS, str(folder.relative_to(root)), root, folder)
                for folder in audits
                if is_result_folder(folder)
            ]
    return [thing for thing in found if thing.files]


def chosen(things: Sequence[Kept], wanted: Sequence[str]) -> list[Kept]:
    """Those of a kind, or of a name: of the thing itself, or of its dataset.

    Raises:
        InputError: if a word means none of them.
    """
    found: dict[Path, Kept] = {}
    for word in wanted:
        if word in KINDS:
            meant = [thing for thing in things if thing.kind == word]
        else:
            plain = word.strip("/")
            meant = [thing for thing in things if plain in (thing.name, Path(thing.name).parts[0])]
            if not meant:
                names = ", ".join(list(dict.fromkeys(thing.name for thing in things))[:MOST_NAMED]) or "nothing"
                raise InputError(
                    f"--delete {word!r} is nothing that is kept; it takes {', '.join(KINDS)}, or of: {names}"
                )
        found |= {thing.folder: thing for thing in meant}
    return list(found.values())


def delete(things: Sequence[Kept]) -> int:
    """Delete the files of things, and the folders that are empty then; how many bytes were freed.

    Raises:
        WriteError: naming the first file that could not be deleted; the others are deleted.
    """
    freed, refused = 0, []
    for thing in things:
        for path in thing.files:
            try:
                size = path.lstat().st_size
                path.unlink()
                freed += size
            except FileNotFoundError:  # somebody else was faster
                continue
            except OSError as error:
                refused.append(f"{str(path)!r} cannot be deleted ({error.strerror})")
        for folder, _, _ in os.walk(thing.folder, topdown=False):
            with suppress(OSError):  # it holds somebody else's files
                Path(folder).rmdir()
        with suppress(OSError):
            if thing.folder.parent != thing.root:
                thing.folder.parent.rmdir()
    if refused:
        more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise WriteError(f"{refused[0]}{more}; change its permissions, and delete again")
    return freed


def in_words(size: int) -> str:
    """A number of bytes, as people write it."""
    for unit, bytes_of in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= bytes_of:
            return f"{size / bytes_of:.1f} {unit}"
    return f"{size} bytes"


def _folders(root: Path) -> list[Path]:
    """The folders in one, without links to folders."""
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError:
        return []
    return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]


def _kept(kind: str, name: str, root: Path, folder: Path) -> Kept:
    files: list[Path] = []
    size = others = 0
    for path in _files(folder, within=kind != CACHE):
        inside = path.relative_to(root).as_posix()
        if path.is_symlink() or not (_OURS[kind].fullmatch(inside) or _UNFINISHED.fullmatch(path.name)):
            others += 1
            continue
        files.append(path)
        size += path.lstat().st_size
    return Kept(kind, name, root, folder, tuple(files), size, others)


def _files(folder: Path, within: bool) -> Iterator[Path]:
    """The files of a folder, and of those within it; links to folders are not followed."""
    for where, folders, names in os.walk(folder):
        if not within:
            folders.clear()
        yield from (Path(where, name) for name in sorted(names))
