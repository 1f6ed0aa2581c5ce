"""Local parquet files: which there are, which split each is, and where the images are that they give paths of."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from audit.errors import InputError
from integrations.sources.folder_tree import folder_tree
from integrations.sources.split_names import split_names

UNNAMED_SPLIT = "data"
_SPLITS = ("train", "validation", "test", UNNAMED_SPLIT)


def files_by_split(path: Path) -> dict[str, list[Path]]:
    """The parquet files that a path names, each under its split, which its name or that of a folder above gives.

    Args:
        path: absolute, of a file or a folder.

    Raises:
        InputError: if there are none, or those of several configurations.
    """
    if path.is_file():
        files = [path]
    else:
        tree = folder_tree(str(path))
        if tree.is_result:
            raise InputError(f"folder {str(path)!r} holds the result of an audit; give the parquet files of the images")
        files = sorted(Path(folder.path, name) for folder in tree.all_folders() for name in folder.parquet)
    if not files or not files[0].is_file():
        raise InputError(f"{str(path)!r} is no parquet file and no folder with *.parquet files; give one that is")
    splits: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        splits[split_of(file, path) or UNNAMED_SPLIT].append(file)
    for split, found in splits.items():
        parts = sorted({_configuration(file, path) for file in found})
        if split != UNNAMED_SPLIT and len(parts) > 1:
            first, second = (os.path.join(*part) if part else "." for part in parts[:2])
            raise InputError(
                f"{str(path)!r} holds several datasets with a split {split!r} ({first} and {second}); give one: "
                f"parquet:{path / second}"
            )
    return {split: splits[split] for split in _SPLITS if split in splits}


def split_of(file: Path, root: Path) -> str | None:
    """The split that a file's name says, or else the folders between it and the root."""
    word = re.match(r"[A-Za-z]*", file.stem)
    names = [word.group() if word else "", *reversed(_folders_between(file, root))]
    for name in names:
        if found := split_names([name]).get(name):
            return found.split
    return None


def count_rows(files: Sequence[Path]) -> list[int]:
    """How many rows each parquet file has.

    Raises:
        OSError, pyarrow.ArrowException: if one is damaged.
    """
    from pyarrow import parquet

    return [parquet.ParquetFile(file).metadata.num_rows for file in files]


class PathLookup:
    """Finds the files that rows give paths of: beside the parquet file, in a folder above it, or in the current one.

    Args:
        files: the parquet files in the order of the rows; empty for a table that is in none.
        rows: how many rows each has.
        root: the folder that was given, where one was.
        images: the folder that the user says the paths begin in.
    """

    def __init__(
        self, files: Sequence[Path], rows: Sequence[int], root: Path | None = None, images: Path | None = None
    ) -> None:
        self._files = files
        self._ends = list(accumulate(rows))
        self._root = root
        self._images = images

    def find(self, row: int, text: str) -> Path:
        """The file that a row's path means; where there is none, the path beside the parquet file."""
        text = text.removeprefix("file://")
        if os.path.isabs(text):
            return Path(text)
        places = [self._images] if self._images else []
        places += [self._files[bisect_right(self._ends, row)].parent] if self._files else []
        first = Path.cwd() if not places else places[0]
        places += [place.parent for place in places]
        places += [self._root] if self._root else []
        for place in (*places, Path.cwd()):
            for name in dict.fromkeys((text, text.replace("\\", "/"))):
                if os.path.lexists(found := place / name):
                    return found
        return first / text


def _folders_between(file: Path, root: Path) -> tuple[str, ...]:
    return file.parent.relative_to(root).parts if root in file.parents else ()


def _configuration(file: Path, root: Path) -> tuple[str, ...]:
    """The folders of a file that say neither its split nor the value of a column."""
    return tuple(
        name
        for name in _folders_between(file, root)
        if name != UNNAMED_SPLIT and "=" not in name and not split_names([name])
    )
