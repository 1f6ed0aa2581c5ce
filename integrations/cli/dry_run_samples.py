"""The samples of a source, as `run --dry-run` reads them without auditing them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from audit.config import AuditConfig
from audit.data.samples import auditable_classes
from audit.data.split import split_samples
from audit.errors import InputError
from integrations.cli.job import AuditJob
from integrations.given_files import given_in_files
from integrations.sources import FiftyOneSource, Source
from integrations.sources.labelled_images import LabelledImages

MEASURED_IMAGES = 128  # that are embedded and looked at to measure the speed


@dataclass(frozen=True)
class Content:
    """A source's samples before an audit: their labels and splits, and some of the images."""

    dataset: str
    labels: list[str | None]
    splits: list[str | None] | None
    images: list[Any]
    layout: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class AuditedPart:
    """The samples that would be audited, and how many would be left out.

    Attributes:
        labels: of the n samples.
        splits: of the n samples, 'train', 'validation' or 'test'.
        without_label: samples that are left out because they have none.
        in_small_classes: samples that are left out because their class has too few.
    """

    labels: list[str]
    splits: list[str]
    without_label: int
    in_small_classes: int


@dataclass(frozen=True)
class ReadSource:
    """A source as it was understood: the names and whether FiftyOne gets it, as in its plan."""

    content: Content
    source: str
    label_field: str
    in_fiftyone: bool


def read_source(job: AuditJob) -> ReadSource:
    """Read the labels of a job's source.

    Raises:
        InputError: if there is no such source, or files of embeddings or predictions do not fit a table without images.
    """
    if (table := job.table_without_images()) is None:
        source = job.resolve()
        return ReadSource(look_at(source, job.in_fiftyone), source.description, source.label_field, job.in_fiftyone)
    given_in_files(table.samples, job.embeddings, job.predictions)
    layout = f"a table of {len(table.samples):,} labels without images; {_given_in_words(job)}"
    content = Content(table.path.stem, list(table.samples.labels), None, [], layout)
    return ReadSource(content, job.source, table.label_column, in_fiftyone=False)


def _given_in_words(job: AuditJob) -> str:
    embeddings = f"embeddings in {', '.join(job.embeddings)}" if job.embeddings else ""
    predictions = f"predictions in {job.predictions}" if job.predictions else ""
    return " and ".join(filter(None, (embeddings, predictions)))


def look_at(source: Source, in_fiftyone: bool = True) -> Content:
    """The samples of a source, without importing them.

    Args:
        source: the source.
        in_fiftyone: whether FiftyOne may be asked.

    Raises:
        InputError: if the source cannot be read.
    """
    from integrations.sources import ImportedSource
    from integrations.sources.labelled_images import DEFAULT_LABEL_FIELD

    if isinstance(source, ImportedSource) and not in_fiftyone:
        return _content_of(source.images, source.dataset or source.images.name)
    from integrations.fiftyone.read import dataset_names, read_samples
    from integrations.fiftyone.source_datasets import dataset_name

    if isinstance(source, ImportedSource):
        name = dataset_name(source.images, source.dataset)
        if source.label_field == DEFAULT_LABEL_FIELD or name not in dataset_names():
            return _content_of(source.images, name)
        source = FiftyOneSource(name, label_field=source.label_field)
    collection = source.open()
    samples = read_samples(collection, source.label_field)
    return Content(
        collection._root_dataset.name,
        list(samples.labels),
        None if samples.splits is None else list(samples.splits),
        [samples.images[row] for row in _evenly(len(samples))],
    )


def _content_of(source: LabelledImages, name: str) -> Content:
    """The samples of a source that is not in FiftyOne, or is read anew."""
    labels, splits, images = [], [], []
    chosen = set(_evenly(len(source)))
    for row, image in enumerate(source):
        if image.image is None:
            continue
        labels.append(image.label)
        splits.append(image.split)
        if row in chosen:
            images.append(image.image)
    return Content(name, labels, splits if any(splits) else None, images, source.layout, source.notes)


def audited_part(content: Content, config: AuditConfig) -> AuditedPart:
    """Split the samples that have a label and are in large enough classes, as the audit would.

    Raises:
        InputError: if no sample has a label, or the classes are too few or too small.
    """
    labelled = [row for row, label in enumerate(content.labels) if label is not None]
    if not labelled:
        raise InputError(f"none of the {len(content.labels)} samples has a label; an audit needs labels")
    labels = np.array([content.labels[row] for row in labelled])
    kept = np.isin(labels, auditable_classes(labels))
    own = None if content.splits is None else [content.splits[row] for row in np.array(labelled)[kept]]
    splits = split_samples(labels[kept], own if config.use_splits else None, config)
    without_label = len(content.labels) - len(labelled)
    return AuditedPart(labels[kept].tolist(), splits.tolist(), without_label, int((~kept).sum()))


def _evenly(count: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, MEASURED_IMAGES)).round().astype(int).tolist()))
