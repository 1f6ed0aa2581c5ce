"""Import labelled images into a persistent FiftyOne dataset, and update it when the source changes.

Datasets that this module made have an entry ``dataset.info["influence_audit"]``. Each sample has two labels: the
source's label at the last import (`source_label`), and the label that people may correct (`ground_truth`). So a
repeated import can tell a correction from a change in the source, and never overwrites a correction. Another label
column of the same source has two fields of its own (`integrations.fiftyone.columns`).
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
from fiftyone import ViewField as F
from fiftyone.core.utils import to_slug

from audit.errors import InputError
from audit.files.storage import remove_abandoned, whole_file
from audit.progress import ProgressCallback, Step, silent
from integrations.fiftyone.columns import field_of, is_imported, record, source_field_of
from integrations.fiftyone.database import connect
from integrations.fiftyone.source_datasets import STAGE, dataset_for, digest_of_image, image_home
from integrations.home import HOME_VARIABLE
from integrations.sources.labelled_images import LabelledImage, LabelledImages

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

LEFT_SOURCE = "left-source"
"""The tag of samples that are no longer in the source."""


_SIGNATURES = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG\r\n\x1a\n": ".png",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*\x00": ".tif",
    b"MM\x00*": ".tif",
}

# FiftyOne asks `mimetypes` whether a file is an image, and the tables of minimal systems lack these types.
for _suffix, _mime in {
    ".webp": "image/webp",
    ".jfif": "image/jpeg",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".hif": "image/heif",
    ".jp2": "image/jp2",
}.items():
    mimetypes.add_type(_mime, _suffix)


@dataclass(frozen=True)
class _Fields:
    """Where the labels of the imported column are: as they may be corrected, and as the source has them."""

    label: str

    @property
    def source(self) -> str:
        return source_field_of(self.label)


@dataclass
class _Changes:
    """The changes by one import to samples that were already in the dataset."""

    labels: dict[str, fo.Classification | None] = field(default_factory=dict)
    source_labels: dict[str, str | None] = field(default_factory=dict)
    filepaths: dict[str, str] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    kept_corrections: int = 0
    without_image: int = 0


@dataclass(frozen=True)
class _Stored:
    """A sample in the dataset before the import."""

    id: str
    filepath: str
    source_label: str | None
    label: str | None
    left: bool


def import_images(
    images: LabelledImages,
    dataset: str | None = None,
    progress: ProgressCallback = silent,
    options: Mapping[str, str] | None = None,
) -> SampleCollection:
    """Write the images into their FiftyOne dataset, which is created if it does not exist yet.

    New images are added. A label is updated only if it changed in the source since the last import and nobody corrected
    it in the dataset. Samples that are no longer in the source stay in the dataset, with the tag `left-source`.

    Args:
        images: the images.
        dataset: the dataset's name; by default derived from the source's name.
        progress: called after each batch of images.
        options: of the command, which read the source in the same way; they are recorded.

    Returns:
        The dataset, or a view of it with the images that are in the source now.

    Raises:
        InputError: if the name is not allowed for a dataset, or the dataset exists and was made from another source (a
            source that was moved is the same one).
    """
    connect()
    target = dataset_for(images, dataset, progress)
    read_before = is_imported(target, images.label_column)
    fields = _Fields(field_of(target, images.label_column))
    _declare_fields(target, fields)
    record(target, fields.label, images, options or {})
    folder = _image_folder(target)
    stored = _stored_samples(target, fields)
    seen: set[str] = set()
    changes = _Changes()
    for note in images.notes:
        progress(Step(STAGE, note=note))
    done = 0
    for batch in _batches(iter(images)):
        new = []
        for image in batch:
            path = _filepath(image, folder)
            if path is None:
                changes.without_image += 1
                continue
            seen.add(image.source_id)
            if (known := stored.get(image.source_id)) is None:
                new.append(_new_sample(image, path, fields))
            else:
                _note_changes(changes, known, image, path)
        if new:
            target.add_samples(new, progress=False)
        done += len(batch)
        progress(Step(STAGE, done, len(images), "images"))
    _apply(target, changes, folder, fields)
    left = _mark_left(target, images, stored, seen)
    # The labels of a column are not changed by being read for the first time.
    _tell(images, changes if read_before else replace(changes, labels={}), left, progress)
    return _current_view(target, images, left, fields)


def _image_folder(dataset: fo.Dataset) -> Path:
    folder = image_home() / to_slug(dataset.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder for images, {str(folder)!r}, cannot be made ({error.strerror}); "
            f"name another with the environment variable {HOME_VARIABLE}"
        ) from None
    for part in folder.glob("*/"):
        remove_abandoned(part)
    return folder


def _declare_fields(dataset: fo.Dataset, fields: _Fields) -> None:
    dataset.persistent = True
    dataset.add_sample_field(
        fields.label,
        fo.EmbeddedDocumentField,
        embedded_doc_type=fo.Classification,
        description="The label: the source's, or a person's correction of it.",
    )
    dataset.add_sample_field("source_id", fo.StringField, description="What the source calls this image: its key.")
    dataset.add_sample_field(
        fields.source, fo.StringField, description="The label in the source when it was last imported."
    )


def _stored_samples(dataset: fo.Dataset, fields: _Fields) -> dict[str, _Stored]:
    columns = ["source_id", "id", "filepath", fields.source, f"{fields.label}.label", "tags"]
    return {
        source_id: _Stored(id_, path, source_label, label, LEFT_SOURCE in (tags or ()))
        for source_id, id_, path, source_label, label, tags in zip(*dataset.values(columns), strict=True)
        if source_id is not None
    }


def _batches(images: Iterator[LabelledImage], size: int = 500) -> Iterator[list[LabelledImage]]:
    while batch := list(islice(images, size)):
        yield batch


def _new_sample(image: LabelledImage, path: Path, fields: _Fields) -> fo.Sample:
    return fo.Sample(
        filepath=str(path),
        tags=[image.split] if image.split else [],
        source_id=image.source_id,
        **{fields.label: _classification(image.label), fields.source: image.label},
    )


def _classification(label: str | None) -> fo.Classification | None:
    return None if label is None else fo.Classification(label=label)


def _note_changes(changes: _Changes, known: _Stored, image: LabelledImage, path: Path) -> None:
    if known.filepath != str(path):
        changes.filepaths[known.id] = str(path)
        changes.replaced.append(known.filepath)
    if known.source_label != image.label:
        changes.source_labels[known.id] = image.label
        if known.label == known.source_label:
            changes.labels[known.id] = _classification(image.label)
        elif known.label != image.label:
            changes.kept_corrections += 1


def _apply(dataset: fo.Dataset, changes: _Changes, folder: Path, fields: _Fields) -> None:
    updates: dict[str, dict[str, Any]] = {
        "filepath": changes.filepaths,
        "metadata": dict.fromkeys(changes.filepaths),
        # The source's label is written last. After an interruption, the next import then sees the same change again.
        fields.label: changes.labels,
        fields.source: changes.source_labels,
    }
    for name, values in updates.items():
        if values:
            dataset.set_values(name, values, key_field="id", validate=False)
    in_use = set(changes.filepaths.values())
    for old in changes.replaced:
        if old not in in_use and folder in Path(old).parents:
            Path(old).unlink(missing_ok=True)


def _mark_left(dataset: fo.Dataset, images: LabelledImages, stored: dict[str, _Stored], seen: set[str]) -> int:
    """Tag samples that left the source, untag those that came back, and return how many are tagged now."""
    kept = None if images.kept_labels is None else set(images.kept_labels)
    left, back = [], []
    for source_id, sample in stored.items():
        if source_id in seen:
            if sample.left:
                back.append(sample.id)
        elif not sample.left and (kept is None or sample.source_label in kept):
            left.append(sample.id)
    if left:
        dataset.select(left).tag_samples(LEFT_SOURCE)
    if back:
        dataset.select(back).untag_samples(LEFT_SOURCE)
    return dataset.count_sample_tags().get(LEFT_SOURCE, 0)


def _current_view(dataset: fo.Dataset, images: LabelledImages, left: int, fields: _Fields) -> SampleCollection:
    view = dataset.match_tags(LEFT_SOURCE, bool=False) if left else dataset
    if images.kept_labels is not None:
        kept = list(images.kept_labels)
        if len(view.match(~F(fields.source).is_in(kept))):
            view = view.match(F(fields.source).is_in(kept))
    return view


def _tell(images: LabelledImages, changes: _Changes, left: int, progress: ProgressCallback) -> None:
    source = images.description
    notes = []
    if changes.labels:
        notes.append(f"{len(changes.labels)} label(s) updated, as they changed in {source}")
    if changes.kept_corrections:
        notes.append(
            f"{changes.kept_corrections} label(s) changed in {source} but were corrected in FiftyOne; corrections stay"
        )
    if changes.without_image and not images.left_out:
        notes.append(f"{changes.without_image} row(s) of {source} hold no image and were left out")
    if left:
        notes.append(
            f"{left} sample(s) are no longer in {source}; they stay in the dataset, tagged {LEFT_SOURCE}, not audited"
        )
    for note in notes:
        progress(Step(STAGE, note=note))


def _filepath(image: LabelledImage, folder: Path) -> Path | None:
    """The path of the image's file. Encoded bytes are first written to a file whose name includes a digest of them."""
    if image.image is None or isinstance(image.image, Path):
        return image.image
    digest = digest_of_image(image.image)
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", image.source_id).strip("-")[:80]  # file names may have up to 255 bytes
    path = folder / digest[:2] / f"{stem}-{digest}{_suffix_of(image.image)}"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_bytes(image.image)
    return path


def _suffix_of(encoded: bytes) -> str:
    """The file name suffix for this content. It is .jpg for unknown formats, so that FiftyOne can list the file."""
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for start, suffix in _SIGNATURES.items() if encoded.startswith(start)), ".jpg")
