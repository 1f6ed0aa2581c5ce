"""Which COCO files a path names: one, or one a split, as COCO's own `annotations/instances_train2017.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.errors import InputError
from integrations.sources.left_out import first_few
from integrations.sources.split_names import split_names, split_said_by
from integrations.sources.table_files import label_files

_OF_PICTURES = ("images", "imgs", "data", "pictures", "photos")
"""Folders that may hold a folder for each split."""


@dataclass(frozen=True)
class CocoFile:
    """One COCO file of a source.

    Attributes:
        path: of the file.
        part: what its pictures' keys begin with; '' where it is the only file.
        split: 'train', 'validation' or 'test'; None where it is the only file.
    """

    path: Path
    part: str = ""
    split: str | None = None

    def key(self, name: str) -> str:
        """The source's own key of a picture."""
        return f"{self.part}/{name}" if self.part else name

    def picture_folders(self, images: Path | None) -> list[Path]:
        """Folders that are named like the file's split, in which its pictures are looked for first.

        Args:
            images: the folder of the pictures, where it was given.
        """
        split = self.split or split_said_by(self.path.stem)
        if split is None:
            return []
        roots = [images] if images is not None else [self.path.parent, self.path.parent.parent]
        within = [root / name for root in roots for name in ("", *_OF_PICTURES)]
        return [folder for root in within for folder in _folders_of_split(root, split)]


def is_coco(path: Path) -> bool:
    """Whether a JSON file has COCO's lists of images and annotations."""
    found = _content(path)
    return isinstance(found, dict) and isinstance(found.get("images"), list) and "annotations" in found


def coco_files(path: Path) -> list[CocoFile]:
    """The COCO files with labels that a path names.

    Args:
        path: absolute, of a file, or of a folder that holds files or has them in folders.

    Raises:
        InputError: if there is none, or several that are not named as splits.
    """
    if not path.is_dir():
        return [CocoFile(path)]
    found = [file for files in label_files(path) for file in files if file.suffix.lower() == ".json" and is_coco(file)]
    found = [file for file in found if _has_categories(file)] or found
    if not found:
        raise InputError(f"folder {str(path)!r} holds no COCO file; give the file itself: coco:FILE.json")
    if len(found) == 1:
        return [CocoFile(found[0])]
    parts = [_part_of(file, path) for file in found]
    named = split_names(parts)
    splits = [named[part].split if part in named else None for part in parts]
    if None in splits or len(set(parts)) < len(parts) or len({named[part].other_words for part in parts}) > 1:
        listed = first_few([os.path.relpath(file, path) for file in found])
        raise InputError(
            f"folder {str(path)!r} holds several COCO files ({listed}), and their names say no splits, or those of "
            f"several kinds; give one: coco:{found[0]}"
        )
    return [CocoFile(file, part, split) for file, part, split in zip(found, parts, splits, strict=True)]


def _part_of(file: Path, folder: Path) -> str:
    """The name that may say a file's split: its folder's where that is a split's, or its own."""
    above = file.parent.name
    return above if file.parent != folder and split_said_by(above) else file.stem


def _folders_of_split(root: Path, split: str) -> Sequence[Path]:
    try:
        folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []
    named = split_names([folder.name for folder in folders])
    return [folder for folder in folders if folder.name in named and named[folder.name].split == split]


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _has_categories(path: Path) -> bool:
    """Whether the annotations have categories, as captions have not."""
    annotations = (_content(path) or {}).get("annotations") or [{}]
    return isinstance(annotations[0], dict) and "category_id" in annotations[0]
