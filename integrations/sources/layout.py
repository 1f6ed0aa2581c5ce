"""Which folders are classes and which are splits: decided by their content, and by their names if that agrees."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

from audit.errors import InputError
from integrations.sources.folder_tree import Folder
from integrations.sources.left_out import first_few
from integrations.sources.split_names import LAYOUTS, lies_beside, split_names
from integrations.sources.table_files import LabelsInTableError, how_to_read_table

FOLDERS, SPLITS = LAYOUTS
"""What --layout takes: the outer folders are the classes, or they are splits that hold the class folders."""


@dataclass(frozen=True)
class ClassFolder:
    """A folder whose pictures are of one class.

    Args:
        folder: the folder.
        split: 'train', 'validation', 'test', or None.
    """

    folder: Folder
    split: str | None

    @property
    def label(self) -> str:
        """The class: the folder's name."""
        return self.folder.name


@dataclass
class Layout:
    """How the folders below an image folder were understood.

    Attributes:
        classes: the class folders, split by split.
        levels: the folders that hold them directly.
        beside: folders with images that belong to no class.
        split_folders: the splits and their folders; empty where there are none.
        split_inside: whether the folders inside each class folder are splits.
    """

    classes: list[ClassFolder]
    levels: list[Folder]
    beside: list[Folder] = field(default_factory=list)
    split_folders: list[tuple[str | None, Folder]] = field(default_factory=list)
    split_inside: bool = False

    def describe(self) -> str:
        """The layout in a sentence."""
        names = len({found.label for found in self.classes})
        text = f"{names} class folder{'s' if names != 1 else ''}"
        if self.split_folders:
            listed = ", ".join(
                f"{folder.name} ({split or 'no split of its own'}: {folder.count_pictures():,} pictures)"
                for split, folder in self.split_folders
            )
            text += f" inside the split folders {listed}"
        if self.split_inside:
            text += ", each with split folders inside"
        return text


def layout_of(root: Folder, wanted: str | None = None) -> Layout:
    """Find the class folders below a folder.

    Args:
        root: the image folder.
        wanted: 'folders' or 'splits' where the user has said what the outer folders are.

    Raises:
        InputError: if they could be both, naming the choices, or are not what the user said.
    """
    top = _without_wrapping(root, through_splits=wanted == FOLDERS)
    outer = top.with_images
    if wanted == FOLDERS:
        return _classes(top, as_wanted=True)
    splits = _wanted_splits(root, outer) if wanted == SPLITS else _splits(root, outer)
    if splits is None:
        return _classes(top)
    known = split_names(folder.name for folder in outer)
    ordered = [(known[folder.name].split if folder.name in known else None, folder) for folder in splits]
    levels = _class_levels(splits)
    classes = [
        ClassFolder(below, split)
        for (split, _), level in zip(ordered, levels, strict=True)
        for below in level.folders
        if below.holds_images or below.problem
    ]
    beside = [folder for folder in outer if folder not in splits]
    return Layout(classes, levels, beside, ordered)


def _classes(top: Folder, as_wanted: bool = False) -> Layout:
    """Each folder is a class; where all hold nothing but folders with the names of splits, those are the splits."""
    classes = [ClassFolder(below, None) for below in top.folders if below.holds_images or below.problem]
    outer = top.with_images
    if as_wanted or not all(map(_holds_folders, outer)):
        return Layout(classes, [top])
    inner = [below for folder in outer for below in folder.with_images]
    named = split_names({below.name for below in inner})
    if len(outer) > 1 and all(any(_holds_folders(below) for below in _named(folder, named)) for folder in outer):
        raise InputError(
            f"image folder {top.path!r} holds {_listed(outer)}, which each hold splits with class folders of their "
            f"own; audit them one by one, as folder:{outer[0].path}"
        )
    return Layout(classes, [top], split_inside=bool(inner) and all(below.name in named for below in inner))


def _named(folder: Folder, names: Container[str]) -> list[Folder]:
    return [below for below in folder.with_images if below.name in names]


def _without_wrapping(root: Folder, through_splits: bool) -> Folder:
    """The first folder that holds more than one other folder around the classes, or a split."""
    folder = root
    while True:
        inside = folder.with_images
        if len(inside) > 1:  # beside one folder with class folders, docs and the like are no class
            inside = [below for below in inside if not (lies_beside(below.name) and not below.with_images)]
        if len(inside) != 1:
            return folder
        (only,) = inside
        if not _holds_folders(only) or (not through_splits and split_names([only.name])):
            return folder
        folder = only


def _splits(root: Folder, outer: Sequence[Folder]) -> list[Folder] | None:
    """Those of the outer folders that are splits, or None where they are classes."""
    named = split_names(folder.name for folder in outer)
    splits = [folder for folder in outer if folder.name in named and _holds_folders(folder)]
    others = [folder for folder in outer if folder not in splits]
    if not splits:
        _check_classes(root, outer)
        return None
    inner = _inner_names(splits)
    same = [folder for folder in others if _holds_folders(folder) and _shares(_inner_names([folder]), inner)]
    foreign = [
        folder
        for folder in others
        if (folder not in same and not (folder.name in named or lies_beside(folder.name))) or folder.name in inner
    ]
    if len(splits) > 1:
        if foreign:
            raise _ambiguous(root, splits, foreign)
        return [folder for folder in outer if folder in splits or folder in same]
    if not others or (not (same or foreign) and (len(inner) > 1 or all(lies_beside(folder.name) for folder in others))):
        return splits
    if foreign and all(map(_holds_folders, others)) and not same:
        return None  # each holds folders of its own: kinds of trains beside kinds of cars
    raise _ambiguous(root, splits, others)


def _check_classes(root: Folder, outer: Sequence[Folder]) -> None:
    """Refuse folders that are no splits by their names and hold, and classes by their names or by what they hold."""
    named = split_names(folder.name for folder in outer)
    if len(outer) > 1 and all(folder.name in named and named[folder.name].split for folder in outer):
        tables = [os.path.join(folder.path, name) for folder in root.all_folders() for name in folder.tables]
        remedy = how_to_read_table(tables[0]) if tables else "put one folder per class into each"
        refusal = LabelsInTableError if tables else InputError
        raise refusal(
            f"image folder {root.path!r} holds {_listed(outer)}, named like splits but without class folders inside; "
            f"{remedy}, or give --layout {FOLDERS} if these are the classes"
        )
    inner = {below.name for folder in outer for below in folder.with_images}
    if len(outer) > 1 and all(map(_holds_folders, outer)) and _have_same_folders(outer) and not split_names(inner):
        raise _ambiguous(root, outer, [])


def _wanted_splits(root: Folder, outer: Sequence[Folder]) -> list[Folder]:
    """The outer folders that hold class folders; but for those named like splits, only with classes of another one."""
    holding = [folder for folder in outer if _holds_folders(folder)]
    named = split_names(folder.name for folder in outer)
    splits = [
        folder
        for folder in holding
        if folder.name in named
        or any(_shares(_inner_names([folder]), _inner_names([other])) for other in holding if other is not folder)
    ]
    if not splits:
        raise InputError(
            f"--layout {SPLITS} does not fit image folder {root.path!r}: it holds {_listed(outer)}, "
            f"of which none has class folders inside; use --layout {FOLDERS}"
        )
    return splits


def _class_levels(splits: Sequence[Folder]) -> list[Folder]:
    """For each split, the folder that holds the class folders: itself, or one inside that holds all it has."""
    known = {below.name for split in splits if len(split.with_images) > 1 for below in split.with_images}
    levels = []
    for split in splits:
        level = split
        while len(level.with_images) == 1:
            (only,) = level.with_images
            if only.name in known or not _holds_folders(only):
                break
            level = only
        levels.append(level)
    return levels


def _holds_folders(folder: Folder) -> bool:
    """Whether it holds folders with images, and beside them at most a few images of its own."""
    own = len(folder.pictures) + len(folder.unread)
    return len(folder.with_images) > own or (bool(folder.with_images) and not own)


def _inner_names(splits: Sequence[Folder]) -> set[str]:
    return {below.name for level in _class_levels(splits) for below in level.with_images}


def _have_same_folders(folders: Sequence[Folder], share: float = 0.75) -> bool:
    """Whether each folder holds this share of the names of all class folders."""
    names = [{below.name for below in level.with_images} for level in _class_levels(folders)]
    every = set.union(*names)
    return len(every) > 1 and all(len(inner) >= share * len(every) for inner in names)


def _shares(names: set[str], others: set[str], share: float = 0.5) -> bool:
    """Whether this share of the smaller set of class folders is in both."""
    return len(names & others) >= max(1, share * min(len(names), len(others)))


def _ambiguous(root: Folder, splits: Sequence[Folder], others: Sequence[Folder]) -> InputError:
    inner = sorted(_inner_names(splits))
    beside = f", beside {_listed(others)}" if others else ""
    return InputError(
        f"image folder {root.path!r} can be read in two ways: {_listed(splits)} hold{'s' if len(splits) == 1 else ''} "
        f"folders such as {_first_names(inner)}{beside}; give --layout {SPLITS} if those inside are the classes, or "
        f"--layout {FOLDERS} if the outer folders are"
    )


def _listed(folders: Sequence[Folder]) -> str:
    return _first_names([folder.name for folder in folders])


def _first_names(names: Iterable[str]) -> str:
    return first_few([repr(name) for name in names])
