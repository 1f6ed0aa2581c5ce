"""A folder of images as it is on disk: its folders, their pictures, and what could be pictures but is not read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from integrations.sources.file_kinds import FileKind, kind_of_file, suffix_of

RESULTS_FOLDER = "audit-results"
_RESULT_FILES = (("summary.json", "manifest.json"), ("summary.json", "scores.parquet"))
PARQUET_SUFFIXES = (".parquet", ".pq", ".parq")
_TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".psv", ".jsonl", ".ndjson", ".json", ".xlsx", ".xls", ".ods")
_CLUTTER_FOLDERS = frozenset(
    ("__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "lost+found", "node_modules")
)
"""What systems and tools leave beside images; like hidden folders, they are passed over."""


@dataclass
class Folder:
    """One folder, and all that is below it.

    Attributes:
        path: absolute, as the user reaches it (links are not resolved).
        folders: its folders in the order of their names; without hidden ones, results of audits, and loops of links.
        pictures: names of files that the audit tries to read.
        unread: names of files that could be pictures and are not read.
        no_pictures: how many other files there are.
        parquet: names of parquet files.
        tables: names of files that may hold a table of labels.
        problem: why it cannot be listed; '' where it can.
        results: names of its folders that hold results of audits.
        loops: names of its links that lead back to a folder above.
    """

    path: str
    folders: list[Folder] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    no_pictures: int = 0
    parquet: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    problem: str = ""
    results: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    is_result: bool = False
    holds_images: bool = False

    @property
    def name(self) -> str:
        """Its last name."""
        return os.path.basename(self.path)

    @property
    def with_images(self) -> list[Folder]:
        """Its folders that hold pictures, or what could be some, at any depth."""
        return [folder for folder in self.folders if folder.holds_images]

    def all_folders(self) -> Iterator[Folder]:
        """This folder and all below it, each before what is in it."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting += reversed(folder.folders)

    def count_pictures(self) -> int:
        """Its pictures at any depth."""
        return sum(len(folder.pictures) for folder in self.all_folders())


def folder_tree(root: str) -> Folder:
    """List a folder and all below it once; links to folders are followed unless they lead back to a folder above.

    Args:
        root: an absolute path.
    """
    seen: set[str] = set()
    top = Folder(root)
    real_root = os.path.realpath(root)
    # Of each waiting folder: the real folders above it, and whether a link led to it.
    waiting: list[tuple[Folder, tuple[str, ...], bool]] = [(top, (real_root,), False)]
    listed = []
    while waiting:
        folder, above, linked = waiting.pop()
        seen.add(above[-1])
        listed.append(folder)
        for entry in _entries(folder):
            if not _is_folder(entry):
                _add_file(folder, entry)
            elif not _is_passed_over(entry.name):
                is_link = entry.is_symlink()
                real = os.path.realpath(entry.path) if is_link else os.path.join(above[-1], entry.name)
                # Below a link, other links are followed to new folders only: two that hold each other would not end.
                leads_back = real in above or os.path.commonpath((real, real_root)) == real
                if leads_back or (is_link and linked and real in seen):
                    folder.loops.append(entry.name)
                    continue
                below = Folder(os.path.join(folder.path, entry.name))
                folder.folders.append(below)
                waiting.append((below, (*above, real), linked or is_link))
    _drop_results(listed)
    return top


def _entries(folder: Folder) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder.path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        folder.problem = (error.strerror or "unknown reason").lower()
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, say
        return False


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER_FOLDERS


def _add_file(folder: Folder, entry: os.DirEntry[str]) -> None:
    suffix = suffix_of(entry.name)
    if suffix in PARQUET_SUFFIXES and not entry.name.startswith("."):
        folder.parquet.append(entry.name)
    if suffix in _TABLE_SUFFIXES and not entry.name.startswith("."):
        folder.tables.append(entry.name)
    match kind_of_file(entry.path):
        case FileKind.PICTURE:
            folder.pictures.append(entry.name)
        case FileKind.COULD_BE_PICTURE:
            folder.unread.append(entry.name)
        case FileKind.NO_PICTURE:
            folder.no_pictures += 1


def _drop_results(listed: list[Folder]) -> None:
    """Take out folders that hold results of audits, and note which folders hold images; parents are listed first."""
    for folder in reversed(listed):
        files = {*folder.tables, *folder.parquet}
        folder.is_result = any(_holds(folder, names, files) for names in _RESULT_FILES)
        folder.results = [below.name for below in folder.folders if below.is_result or below.name == RESULTS_FOLDER]
        if folder.is_result:
            folder.parquet = []
        folder.folders = [
            below
            for below in folder.folders
            if below.name not in folder.results and not (folder.is_result and below.name == "figures")
        ]
        folder.holds_images = bool(folder.pictures or folder.unread) or any(
            below.holds_images for below in folder.folders
        )


def _holds(folder: Folder, names: tuple[str, ...], files: set[str]) -> bool:
    return all(name in files for name in names)
