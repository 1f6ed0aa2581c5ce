"""Finds the files that the rows of a table name: paths of here or of another machine, and ids without a suffix."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from integrations.sources.file_kinds import suffix_of
from integrations.sources.folder_tree import Folder, folder_tree
from integrations.sources.labelled_images import IMAGE_SUFFIXES

_DRIVE = re.compile(r"[A-Za-z]:(?=[\\/])")
TRIED = 200
"""How many rows decide where the files are looked for."""


@dataclass(frozen=True)
class _Place:
    """Where files are looked for: in a folder, under their paths without so many leading folders."""

    folder: str
    dropped: int


class PictureLookup:
    """Finds the picture files that rows name.

    A name is looked up as a path, as one in the given folders, and as one without its leading folders (as many for
    every row), for paths of another machine. What has no suffix, or not the file's own, is looked up by its last name
    among all pictures below the folders.

    Args:
        folders: where to look, the first one first.
        hint: a word that the wanted files' folder may have in its name: of several files with one name, those are
            taken. 'train' of train.csv, say.
    """

    def __init__(self, folders: Sequence[Path], hint: str = "") -> None:
        self._folders = [str(folder) for folder in dict.fromkeys(folders)]
        self._hint = hint.lower()
        self._places: list[_Place] = []

    def find_all(self, names: Sequence[str | None]) -> list[Path | None]:
        """The file of each name; None where there is none, or several that could be meant."""
        given = [name for name in names if name]
        step = max(1, len(given) // TRIED)
        self._places = self._best_places(given[::step])
        found = {name: self._find(name) for name in dict.fromkeys(given)}
        return [None if name is None else found.get(name) for name in names]

    def share_found(self, names: Sequence[str]) -> float:
        """The share of some of these names that are found."""
        step = max(1, len(names) // TRIED)
        return sum(path is not None for path in self.find_all(names[::step])) / len(names[::step]) if names else 0.0

    def _best_places(self, names: Iterable[str]) -> list[_Place]:
        """The places where names are found, those where most are first."""
        votes: Counter[_Place] = Counter()
        for name in names:
            for place, path in self._candidates(name):
                if _is_file(path):
                    votes[place] += 1
                    break
        return [place for place, _ in votes.most_common()]

    def _candidates(self, name: str) -> Iterable[tuple[_Place, str]]:
        """A name's possible paths, whole ones before shortened ones."""
        parts, absolute = _parts(name)
        if absolute:
            yield _Place("", 0), name.strip().removeprefix("file://")
        for dropped in range(len(parts)):
            for folder in self._folders:
                yield _Place(folder, dropped), os.path.join(folder, *parts[dropped:])

    def _find(self, name: str) -> Path | None:
        parts, absolute = _parts(name)
        if not parts:
            return None
        if absolute and _is_file(path := name.strip().removeprefix("file://")):
            return Path(os.path.abspath(path))
        for place in self._places:
            if place.folder and place.dropped < len(parts):
                path = os.path.join(place.folder, *parts[place.dropped :])
                if _is_file(path):
                    return Path(os.path.abspath(path))
        return self._by_last_name(parts)

    def _by_last_name(self, parts: Sequence[str]) -> Path | None:
        """The only picture with this last name, in any case of letters, with or without its suffix."""
        last = parts[-1].casefold()
        found = self._pictures.get(last) or []
        if not found and suffix_of(last) not in IMAGE_SUFFIXES:
            found = self._pictures_by_stem.get(last) or []
        for narrower in (self._in_same_folder(found, parts), self._with_hint(found)):
            if len(found) > 1 and narrower:
                found = narrower
        return Path(found[0]) if len(found) == 1 else None

    @staticmethod
    def _in_same_folder(found: Sequence[str], parts: Sequence[str]) -> list[str]:
        above = [part.casefold() for part in parts[:-1]]
        return [path for path in found if above and Path(path).parent.name.casefold() == above[-1]]

    def _with_hint(self, found: Sequence[str]) -> list[str]:
        return [path for path in found if self._hint and self._hint in Path(path).parent.name.lower()]

    @cached_property
    def _pictures(self) -> dict[str, list[str]]:
        """The pictures below the folders by their names, in small letters."""
        pictures: dict[str, list[str]] = defaultdict(list)
        for path in dict.fromkeys(path for folder in self._folders for path in _pictures_below(folder)):
            pictures[os.path.basename(path).casefold()].append(path)
        return pictures

    @cached_property
    def _pictures_by_stem(self) -> dict[str, list[str]]:
        by_stem: dict[str, list[str]] = defaultdict(list)
        for name, paths in self._pictures.items():
            by_stem[os.path.splitext(name)[0]] += paths
        return by_stem


def _is_file(path: str) -> bool:
    """Whether it is a file, or a link that leads nowhere, which the audit reports by its name."""
    return os.path.isfile(path) or os.path.islink(path)


def _pictures_below(folder: str) -> Iterable[str]:
    if not os.path.isdir(folder):
        return
    tree: Folder = folder_tree(os.path.abspath(folder))
    for below in tree.all_folders():
        for name in below.pictures:
            yield os.path.join(below.path, name)


def _parts(name: str) -> tuple[list[str], bool]:
    """The names of a path's folders and of its file, and whether it begins at the root."""
    text = name.strip().removeprefix("file://")
    absolute = os.path.isabs(text)
    plain = _DRIVE.sub("", text.replace("\\", "/"), count=1) if not absolute else text
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    return parts, absolute
