"""Image folders: one folder per class, possibly inside split folders or other folders around them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from audit.errors import InputError
from integrations.sources.class_choice import chosen_classes
from integrations.sources.file_kinds import remedy_for, suffix_of
from integrations.sources.folder_tree import Folder, folder_tree
from integrations.sources.labelled_images import LabelledImage, LabelledImages
from integrations.sources.layout import ClassFolder, Layout, layout_of
from integrations.sources.left_out import FOLDER, LeftOutImage, first_few, printable, quoted, sentences
from integrations.sources.split_names import split_names
from integrations.sources.table_files import (
    LabelsInTableError,
    how_to_read_spreadsheet,
    how_to_read_table,
    is_spreadsheet,
)

LAYOUT = "put the images into one folder per class (ROOT/CLASS/*.jpg or ROOT/train/CLASS/*.jpg)"


def image_folder(
    root: str | Path, keep_labels: Sequence[str] | None = None, layout: str | None = None
) -> LabelledImages:
    """The images below `root/<class>/` or `root/<split>/<class>/`, referenced where they are.

    Folders around the class folders are searched. Files named like images are listed even if they cannot be read: the
    audit skips them with the reason. Pictures in formats that the audit does not read are in `left_out`. Hidden files,
    other files, results of audits, and links back to a folder above are ignored.

    Args:
        root: the folder.
        keep_labels: the classes to keep; all by default.
        layout: 'folders' if the outer folders are the classes, 'splits' if they hold the class folders; by default
            decided by what they hold.

    Raises:
        InputError: if the folder does not exist, cannot be read, has no class folders with images, or could be read in
            two ways.
    """
    root = Path(os.path.abspath(Path(root).expanduser()))
    if not root.is_dir():
        raise InputError(f"image folder {str(root)!r} does not exist or is not a folder; give another")
    tree = folder_tree(str(root))
    if tree.problem:
        raise InputError(f"folder {str(root)!r} cannot be read ({tree.problem}); check its permissions")
    understood = layout_of(tree, layout)
    left_out: list[LeftOutImage] = []
    found = [image for folder in understood.classes for image in _images_of(root, folder, understood, left_out)]
    if not found or _needs_table(understood):
        raise _why_nothing(tree, left_out)
    classes = sorted({image.label for image in found if image.label is not None})
    kept = chosen_classes(keep_labels, classes, f"image folder {str(root)!r}")
    images = [image for image in found if kept is None or image.label in kept]
    left_out = [image for image in left_out if kept is None or image.label is None or image.label in kept]

    def read() -> Iterator[LabelledImage]:
        return iter(images)

    return LabelledImages(
        root.name,
        f"folder:{root}",
        len(images),
        read,
        kept,
        (*sentences(left_out), *_lost_classes(left_out, classes), *_remarks(tree, understood)),
        tuple(left_out),
        understood.describe(),
        tuple(image.label for image in images),
    )


def _images_of(root: Path, found: ClassFolder, layout: Layout, left_out: list[LeftOutImage]) -> Iterator[LabelledImage]:
    """The images of a class folder; files that could be images but are not read go to `left_out`."""
    label = found.label
    inner = split_names(below.name for below in found.folder.folders) if layout.split_inside else {}
    for folder in found.folder.all_folders():
        relative = Path(folder.path).relative_to(root)
        inside = Path(folder.path).relative_to(found.folder.path).parts
        split = inner[inside[0]].split if inside and inside[0] in inner else found.split

        def leave_out(name: str, kind: str, reason: str, remedy: str, relative: Path = relative) -> None:
            path = relative / name if name else relative
            shown = printable(path.as_posix())
            left_out.append(LeftOutImage(shown, printable(str(root / path)), label, kind, reason, remedy))

        if folder.problem:
            problem = f"it cannot be read ({folder.problem}), and how many pictures it holds is unknown"
            leave_out("", FOLDER, problem, "check its permissions")
        for name in folder.unread:
            suffix = suffix_of(name)
            kind = f"{printable(suffix)} file" if suffix else "file without a suffix"
            leave_out(name, kind, "the audit does not read them", remedy_for(suffix))
        for name in folder.pictures:
            path = Path(folder.path, name)
            if _is_text(str(path)):
                yield LabelledImage((relative / name).as_posix(), path, label, split)
            else:
                leave_out(name, "file", "paths must be valid UTF-8 text", "rename the file or its folder")


def _needs_table(layout: Layout) -> bool:
    """Whether the only folder with images holds them beside a table, which then has the labels."""
    with_images = [found.folder for found in layout.classes if found.folder.holds_images]
    if len({folder.name for folder in with_images}) != 1:
        return False
    return any(folder.tables for folder in (*layout.levels, *with_images))


def _why_nothing(tree: Folder, left_out: Sequence[LeftOutImage]) -> InputError:
    """Why a folder cannot be audited, and what to do."""
    name = f"image folder {tree.path!r}"
    if left_out:
        return InputError(f"{name} holds no picture that can be read: {'; '.join(sentences(left_out)[:3])}")
    if tree.is_result and not tree.holds_images:
        return InputError(
            f"folder {tree.path!r} holds the result of an audit, and no images; give the folder of the images"
        )
    tables = [os.path.join(folder.path, name) for folder in tree.all_folders() for name in folder.tables]
    if tree.holds_images and tables:
        way = how_to_read_spreadsheet(tables[0]) if is_spreadsheet(tables[0]) else how_to_read_table(tables[0])
        return LabelsInTableError(f"{name} has images but no class folders; {way}")
    if tree.results:
        return InputError(
            f"{name} holds results of audits ({tree.results[0]!r}), and no class folders with images; {LAYOUT}"
        )
    return InputError(f"{name} has no class folders with images; {LAYOUT}")


def _lost_classes(left_out: Sequence[LeftOutImage], classes: Sequence[str], most: int = 5) -> list[str]:
    lost = sorted({image.label for image in left_out if image.label is not None}.difference(classes))
    return [f"not audited, as none of its pictures can be read: class {quoted(name)}" for name in lost[:most]] + (
        [f"not audited for the same reason: {len(lost) - most} more classes"] if len(lost) > most else []
    )


def _remarks(tree: Folder, layout: Layout) -> list[str]:
    """Notes for the user about files and folders that belong to no class."""
    remarks = []
    loose = sum(len(level.pictures) for level in layout.levels)
    if loose:
        remarks.append(f"{loose:,} left out: directly beside the class folders")
    for folder in layout.beside:
        pictures = folder.count_pictures()
        remarks.append(f"{pictures:,} left out: in folder {quoted(folder.name)}, which is beside the splits")
    others: Counter[str] = Counter()
    for found in layout.classes:
        others[found.label] += sum(folder.no_pictures for folder in found.folder.all_folders())
    if others.total():
        named = [f"{quoted(label)}: {count:,}" for label, count in others.items() if count]
        files = "file is no picture" if others.total() == 1 else "files are no pictures"
        remarks.append(f"{others.total():,} {files} (class {first_few(named)})")
    every = list(tree.all_folders())
    empty = [
        folder.name
        for level in layout.levels
        for folder in level.folders
        if not (folder.holds_images or folder.problem or folder.parquet or folder.results)
    ]
    if empty:
        remarks.append(f"no class, as no picture is inside: {first_few([quoted(name) for name in empty])}")
    results = [os.path.join(folder.path, name) for folder in every for name in folder.results]
    if results:
        more = f" and {len(results) - 1} more" if len(results) > 1 else ""
        remarks.append(f"no class, as it holds the result of an audit: {printable(results[0])}{more}")
    loops = [os.path.join(folder.path, name) for folder in every for name in folder.loops]
    if loops:
        remarks.append(f"{len(loops)} link(s) not followed, as they lead back: {printable(loops[0])}")
    return remarks


def _is_text(path: str) -> bool:
    """Whether MongoDB can store the path: names that are not UTF-8 cannot be."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
