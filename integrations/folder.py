"""Image folders: one folder a class, perhaps below one folder a split."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from audit.errors import InputError
from audit.samples import standard_split
from integrations.class_choice import chosen_classes
from integrations.labelled_images import IMAGE_SUFFIXES, LabelledImage, LabelledImages

LAYOUT = "put the images into one folder a class (ROOT/CLASS/*.jpg or ROOT/train/CLASS/*.jpg)"


def image_folder(root: str | Path, keep_labels: Sequence[str] | None = None) -> LabelledImages:
    """The images below `root/<class>/` or `root/<train|val|test>/<class>/`, referenced where they are.

    Files that are named like images are listed even if they cannot be read: the audit skips them and says why. Hidden
    files, files that are not named like images, and folders that a link makes a loop of, are left out.

    Args:
        root: the folder.
        keep_labels: the classes to keep; all by default.

    Raises:
        InputError: if the folder does not exist, cannot be read, or has no class folders with images.
    """
    root = Path(os.path.abspath(Path(root).expanduser()))
    if not root.is_dir():
        raise InputError(f"image folder {str(root)!r} does not exist or is no folder; give one that does")
    found: list[LabelledImage] = []
    left_out: Counter[str] = Counter()
    for split, folder in _split_folders(root):
        for class_folder in _subfolders(folder):
            found += _images_of_class(root, class_folder, split, left_out)
        left_out["directly beside the class folders"] += sum(
            1 for entry in _entries(folder) if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()
        )
    if not found:
        raise InputError(f"image folder {str(root)!r} has no class folders with images; {LAYOUT}")
    classes = sorted({image.label for image in found if image.label is not None})
    kept = chosen_classes(keep_labels, classes, f"image folder {str(root)!r}")
    images = [image for image in found if kept is None or image.label in kept]
    notes = tuple(f"{count} left out: {reason}" for reason, count in sorted(left_out.items()) if count)

    def read() -> Iterator[LabelledImage]:
        return iter(images)

    return LabelledImages(root.name, f"folder:{root}", len(images), read, kept, notes)


def _split_folders(root: Path) -> list[tuple[str | None, Path]]:
    """The folders that hold class folders: one a split where all of root's folders are named like splits, else root."""
    folders = _subfolders(root)
    splits = [standard_split(folder.name) for folder in folders]
    if folders and None not in splits:
        return list(zip(splits, folders, strict=True))
    return [(None, root)]


def _images_of_class(
    root: Path, class_folder: Path, split: str | None, left_out: Counter[str]
) -> Iterator[LabelledImage]:
    # A link to a folder above would list every other class's images as this one's.
    seen = {os.path.realpath(root), os.path.realpath(class_folder.parent)}

    def cannot_be_read(error: OSError) -> None:
        left_out["in a folder that cannot be read"] += 1

    for folder, subfolders, names in os.walk(class_folder, onerror=cannot_be_read, followlinks=True):
        resolved = os.path.realpath(folder)
        if resolved in seen:
            subfolders.clear()
            continue
        seen.add(resolved)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith("."):
                continue
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                left_out["not named like an image"] += 1
            elif not _is_text(str(path)):
                left_out["a name that is not valid text"] += 1
            else:
                yield LabelledImage(path.relative_to(root).as_posix(), path, class_folder.name, split)


def _subfolders(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_dir()]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"folder {str(folder)!r} cannot be read ({error.strerror}); check its permissions") from None


def _is_text(path: str) -> bool:
    """Whether MongoDB can store the path: names that are not UTF-8 cannot be."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
