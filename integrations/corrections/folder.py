"""A folder of images with other labels: the same files in class folders, those that change in another one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from audit.errors import InputError
from integrations.corrections.output import Corrected, whole_folder
from integrations.sources.folder_tree import folder_tree
from integrations.sources.layout import layout_of


@dataclass(frozen=True)
class _File:
    """A picture of a class folder.

    Args:
        key: its path in the source, with slashes.
        above: the path of the folder that holds the class folders.
        label: the class folder's name.
        inside: its path in the class folder.
    """

    key: str
    above: PurePosixPath
    label: str
    inside: PurePosixPath

    def under(self, label: str) -> str:
        """Its path in another class folder."""
        return (self.above / label / self.inside).as_posix()


def corrected_folder(root: Path, layout: str | None, hard_links: bool) -> Corrected:
    """A folder of images in class folders.

    Args:
        root: the folder.
        layout: as for `image_folder`.
        hard_links: whether files are linked; where that is not possible, they are copied.

    Raises:
        InputError: if the folder is gone, or a new label cannot be a folder's name.
    """
    if not root.is_dir():
        raise InputError(f"image folder {str(root)!r}, which was audited, is gone; put it back, or audit another")
    files = list(_files_of(root, layout))

    def write(output: Path, changes: Mapping[str, str]) -> list[str]:
        for label in set(changes.values()):
            if label in (".", "..") or "/" in label or "\0" in label or label.startswith("."):
                raise InputError(f"the new label {label!r} cannot be a folder's name; decide for another")
        taken: set[str] = set()
        failed = []
        with whole_folder(output) as folder:
            # Those that stay come first, so that one that moves gets another name where both have the same.
            for file in sorted(files, key=lambda file: file.key in changes):
                name = _free(file, changes.get(file.key, file.label), taken)
                taken.add(name)
                try:
                    _bring(root / file.key, folder / name, hard_links)
                except OSError:
                    failed.append(file.key)
        return [f"{len(failed)} file(s) could not be read and are not in it, the first: {failed[0]}"] if failed else []

    return Corrected({file.key: file.label for file in files}, root, None, write)


def _files_of(root: Path, layout: str | None) -> Iterator[_File]:
    """The pictures of all class folders, also those that the audit does not read."""
    for found in layout_of(folder_tree(str(root)), layout).classes:
        place = PurePosixPath(Path(found.folder.path).relative_to(root).as_posix())
        for folder in found.folder.all_folders():
            inside = PurePosixPath(Path(folder.path).relative_to(found.folder.path).as_posix())
            for name in (*folder.pictures, *folder.unread):
                yield _File((place / inside / name).as_posix(), place.parent, found.label, inside / name)


def _free(file: _File, label: str, taken: set[str]) -> str:
    """A file's new path, with its old class and a number in the name where another file has the path."""
    name = file.under(label)
    stem, suffix = os.path.splitext(name)
    number = 1
    while name in taken:
        name = f"{stem} ({file.label}{'' if number == 1 else f' {number}'}){suffix}"
        number += 1
    return name


def _bring(source: Path, target: Path, hard_link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if hard_link:
        try:
            os.link(source, target)
            return
        except OSError:  # another file system, say
            pass
    shutil.copy2(source, target)
