"""Find or create the FiftyOne dataset for a source's images: its name, its recorded source, and moved sources."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import fiftyone as fo
from fiftyone.core.utils import to_slug

from audit.errors import InputError
from audit.progress import ProgressCallback, Step, silent
from integrations.home import home_folder
from integrations.sources.labelled_images import LabelledImage, LabelledImages
from integrations.sources.source_names import is_gone, place_of, possible_names

INFO_KEY = "influence_audit"
STAGE = "import"
COMPARED_IMAGES = 1000
"""Number of encoded images, or files, that are compared to decide whether a source was moved."""

MOVED_SHARE = 0.5
"""A source counts as moved if the dataset has this share of its images, or it has this share of the dataset's
images."""

THIS_PROCESS = uuid.uuid4().hex
"""Marks the datasets made by this process, because another run may make datasets at the same time."""


def image_home() -> Path:
    """The folder that holds the images of all imported datasets (`INFLUENCE_AUDIT_HOME`)."""
    return home_folder() / "images"


def source_of(dataset: fo.Dataset) -> str | None:
    """The source that a dataset was imported from; None if it was not imported."""
    mark = dataset.info.get(INFO_KEY)
    return mark.get("source") if isinstance(mark, dict) else None


def digest_of_image(encoded: bytes) -> str:
    """A digest of an encoded image, for the end of its file's name: 16 hexadecimal digits."""
    return hashlib.blake2b(encoded, digest_size=8).hexdigest()


def dataset_name(images: LabelledImages, wanted: str | None = None) -> str:
    """The name of the dataset for the images: the wanted name, or one derived from the source's name.

    If another source has that name, for example a folder with the same last name, the names of the parent folders are
    put before it.

    Raises:
        InputError: if the name is not allowed for a dataset.
    """
    if wanted is not None:
        return _checked(wanted)
    names = [_checked(name) for name in possible_names(images.name, images.description)]
    sources = {name: source_of(fo.load_dataset(name)) for name in names if fo.dataset_exists(name)}
    own = next((name for name in names if sources.get(name) == images.description), None)
    # This may be the user's own dataset, or one whose source was moved to this path: the user has to decide.
    free = (name for name in names if sources.get(name) is None or is_gone(str(sources[name])))
    return own or next(free, names[-1])


def dataset_for(images: LabelledImages, wanted: str | None, progress: ProgressCallback = silent) -> fo.Dataset:
    """The dataset for the images, created if it does not exist yet. If its source was moved, the new path is recorded.

    Raises:
        InputError: if the name is not allowed for a dataset, or the dataset was imported from another source or not at
            all.
    """
    name = dataset_name(images, wanted)
    if not fo.dataset_exists(name):
        return _made(images, name)
    existing = fo.load_dataset(name)
    source = source_of(existing)
    if source is None:
        raise InputError(
            f"dataset {name!r} exists and was not made by influence-audit; "
            f"choose another name with --dataset NAME, or audit it as it is: fiftyone:{name}"
        )
    if source != images.description:
        _check_moved(existing, source, images, wanted)
        existing.info[INFO_KEY] = existing.info[INFO_KEY] | {"source": images.description}
        existing.save()
        progress(
            Step(
                STAGE, note=f"dataset {name!r} now follows {images.description} (before: {source}); decisions are kept"
            )
        )
    return existing


@contextmanager
def removed_if_refused(images: LabelledImages, wanted: str | None) -> Iterator[None]:
    """If the audit within is refused before it wrote anything, remove the dataset made within, and its files."""
    name = dataset_name(images, wanted)
    existed = fo.dataset_exists(name)
    folder = image_home() / to_slug(name)
    before = set() if existed else set(folder.rglob("*"))
    try:
        yield
    except InputError:
        if not existed and fo.dataset_exists(name):
            made = fo.load_dataset(name)
            if made.info.get(INFO_KEY, {}).get("made_by") == THIS_PROCESS and not made.list_runs():
                paths = made.values("filepath")
                made.delete()
                _remove_files(folder, before, paths)
        raise


def _made(images: LabelledImages, name: str) -> fo.Dataset:
    # The name is set after the mark. If an import is killed before, FiftyOne itself removes the unnamed dataset.
    made = fo.Dataset()
    made.info = {INFO_KEY: {"source": images.description, "made_by": THIS_PROCESS}}
    made.save()
    try:
        made.name = name
    except ValueError as error:
        made.delete()
        raise InputError(f"dataset {name!r} cannot be made ({error}); choose another: --dataset NAME") from None
    return made


def _checked(name: str) -> str:
    try:
        to_slug(name)
    except ValueError:
        raise InputError(
            f"{name!r} cannot be the name of a FiftyOne dataset; choose one with letters or digits: --dataset NAME"
        ) from None
    return name


def _check_moved(dataset: fo.Dataset, source: str, images: LabelledImages, wanted: str | None) -> None:
    """Refuse images from another source than the dataset's, unless the user says that it was moved and this is
    plausible.

    Raises:
        InputError: says which of the conditions failed.
    """
    was = f"dataset {dataset.name!r} was made from {source}"
    other_name = "choose another name with --dataset NAME"
    files = dict(zip(*dataset.values(["source_id", "filepath"]), strict=True))
    if not _could_be_moved(source, images, files):
        raise InputError(f"{was}, not from {images.description}; {other_name}")
    looked_at, known = _in_common(images, files)
    if known < MOVED_SHARE * min(looked_at, len(files)) or not known:
        raise InputError(
            f"{was}, which is gone, and {images.description} is something else: {known:,} of the {looked_at:,} images "
            f"looked at are in the dataset; {other_name}"
        )
    if wanted is None:
        raise InputError(
            f"{was}, which is gone; if it was moved to {images.description}, give --dataset {dataset.name} to keep "
            f"its decisions, or else {other_name}"
        )


def _could_be_moved(source: str, images: LabelledImages, files: dict[str, str]) -> bool:
    """Whether both sources are paths of one kind, and the old path is the same place or without imported files."""
    old, new = place_of(source), place_of(images.description)
    if source.partition(":")[0] != images.description.partition(":")[0] or not (
        os.path.isabs(old) and os.path.isabs(new)
    ):
        return False
    if not os.path.exists(old):
        return True
    if os.path.samefile(old, new):
        return True
    inside = [path for path in files.values() if Path(old) in Path(path).parents]
    looked_at = inside[:: max(1, len(inside) // COMPARED_IMAGES)]
    return bool(looked_at) and not any(map(os.path.exists, looked_at))


def _in_common(images: LabelledImages, files: dict[str, str]) -> tuple[int, int]:
    """How many images were compared, and how many of these the dataset has (files by name, others by content)."""
    looked_at = known = 0
    for image in islice(images, None if images.description.startswith("folder:") else COMPARED_IMAGES):
        looked_at += 1
        known += _is_known(image, files)
    return looked_at, known


def _is_known(image: LabelledImage, files: dict[str, str]) -> bool:
    stored = files.get(image.source_id)
    if stored is None or image.image is None:
        return False
    return isinstance(image.image, Path) or Path(stored).stem.endswith(digest_of_image(image.image))


def _remove_files(folder: Path, before: set[Path], paths: list[str]) -> None:
    """Remove a dataset's files that are new in a folder, and then empty folders.

    Another run of the same source may be writing there, so only this dataset's files are removed.
    """
    for path in set(map(Path, paths)) - before:
        if folder in path.parents:
            path.unlink(missing_ok=True)
    for inner in sorted(set(folder.glob("*/")) - before, reverse=True):
        with suppress(OSError):  # not empty
            inner.rmdir()
    if not before:
        with suppress(OSError):
            folder.rmdir()
