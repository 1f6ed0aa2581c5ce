"""Which FiftyOne dataset the images of a source become: its name, the source that it records, and moved sources."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import fiftyone as fo
import platformdirs
from fiftyone.core.utils import to_slug

from audit.errors import InputError
from audit.progress import ProgressCallback, Step, silent
from integrations.sources.labelled_images import LabelledImage, LabelledImages

HOME_VARIABLE = "INFLUENCE_AUDIT_HOME"
INFO_KEY = "influence_audit"
STAGE = "import"
COMPARED_IMAGES = 1000
"""Encoded images, or files, that are compared to tell whether a source was moved."""

MOVED_SHARE = 0.5
"""A source was moved if the dataset has this share of its images, or if it has this share of the dataset's."""

THIS_PROCESS = uuid.uuid4().hex
"""Tells the datasets that this process has made from those that another run makes at the same time."""


def image_home() -> Path:
    """The folder below which the images of imported datasets are kept (`INFLUENCE_AUDIT_HOME`)."""
    home = os.environ.get(HOME_VARIABLE) or platformdirs.user_data_dir("influence-audit", appauthor=False)
    return Path(home).expanduser().absolute() / "images"


def source_of(dataset: fo.Dataset) -> str | None:
    """The source that a dataset was imported from, or None where it was not."""
    mark = dataset.info.get(INFO_KEY)
    return mark.get("source") if isinstance(mark, dict) else None


def digest_of_image(encoded: bytes) -> str:
    """What the name of an encoded image's file ends with: 16 hexadecimal digits of its content."""
    return hashlib.blake2b(encoded, digest_size=8).hexdigest()


def dataset_name(images: LabelledImages, wanted: str | None = None) -> str:
    """The name of the dataset that images become: the wanted one, or one made from the source's.

    Where that one is another source's, such as that of another folder with the same last name, the names of the
    folders above come before it.

    Raises:
        InputError: if it cannot be a dataset's.
    """
    if wanted is not None:
        return _checked(wanted)
    names = [_checked(name) for name in _possible_names(images)]
    sources = {name: source_of(fo.load_dataset(name)) for name in names if fo.dataset_exists(name)}
    own = next((name for name in names if sources.get(name) == images.description), None)
    # A dataset of the user's own, or of a source that may have been moved to here, is theirs to decide on.
    free = (name for name in names if sources.get(name) is None or _is_gone(str(sources[name])))
    return own or next(free, names[-1])


def dataset_for(images: LabelledImages, wanted: str | None, progress: ProgressCallback = silent) -> fo.Dataset:
    """The dataset that images become, made where it does not exist yet; one whose source was moved follows it.

    Raises:
        InputError: if the name cannot be a dataset's, or the dataset is another source's or nobody's.
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
    """Remove the dataset that is made within, and its files, where the audit is refused and nothing was written yet."""
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
    # It gets its name when it is marked as ours: an import killed before leaves only what FiftyOne itself removes.
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


def _possible_names(images: LabelledImages) -> list[str]:
    """The source's own name, then with the names of folders above it, then with a digest of the whole path."""
    above = [folder.name for folder in Path(_place(images.description)).parents if folder.name]
    if above and above[0] == images.name:  # a file with the name of a split is called by its folder
        above = above[1:]
    longer = ["-".join([*reversed(above[:count]), images.name]) for count in range(1, 3)]  # one or two folders
    digest = hashlib.blake2b(images.description.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    return list(dict.fromkeys(map(_plain, (images.name, *longer, f"{images.name}-{digest}"))))


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._").lower()


def _place(description: str) -> str:
    return description.partition(":")[2]


def _is_gone(source: str) -> bool:
    """Whether a source is a path at which nothing is now."""
    place = _place(source)
    return os.path.isabs(place) and not os.path.lexists(place)


def _check_moved(dataset: fo.Dataset, source: str, images: LabelledImages, wanted: str | None) -> None:
    """Refuse images of another source than the dataset's, unless the user says that it was moved, and it looks so.

    Raises:
        InputError: saying which of these it is.
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
    """Whether both are paths of one kind, and the old one leads to nothing, or to the same place."""
    old, new = _place(source), _place(images.description)
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
    """How many images were looked at, and how many of them the dataset has: files by name, others by content."""
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
    """Remove those of a dataset's files that are new in a folder, and folders that are empty then.

    Another run of the same source may be writing there: what is not this dataset's stays.
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
