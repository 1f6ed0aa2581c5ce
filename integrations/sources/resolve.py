"""Where labelled images come from: one text names any source, and every source opens as a FiftyOne collection."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from audit.errors import InputError
from audit.progress import ProgressCallback, silent
from integrations.sources.kinds import kind_and_place
from integrations.sources.labelled_images import DEFAULT_LABEL_FIELD, LabelledImages
from integrations.sources.split_names import LAYOUTS

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from audit.summary.surroundings import PartOptions
    from integrations.sources.left_out import LeftOutImage


class Source(Protocol):
    """Something that opens as a FiftyOne dataset or view with a label field."""

    @property
    def description(self) -> str:
        """Where the images come from, in the form that `resolve_source` reads."""
        ...

    @property
    def label_field(self) -> str:
        """The field that was asked for."""
        ...

    def opened_field(self, collection: SampleCollection) -> str:
        """The field that holds the labels, once it is open."""
        ...

    @property
    def part(self) -> PartOptions | None:
        """The command's options that choose a part of a dataset; None where what it opens tells."""
        ...

    @property
    def left_out(self) -> tuple[LeftOutImage, ...]:
        """What the source leaves out before the audit sees it."""
        ...

    def open(self, progress: ProgressCallback = silent) -> SampleCollection:
        """The images as a FiftyOne dataset or view."""
        ...

    def removed_if_refused(self) -> AbstractContextManager[None]:
        """Remove what `open` makes within, where the audit is refused and nothing was written yet."""
        ...


@dataclass(frozen=True)
class ImportedSource:
    """Images that become a persistent FiftyOne dataset; opening again brings it up to date.

    Args:
        images: the images.
        dataset: the dataset's name; by default made from the source's.
        label_field: the field to audit: the one with the source's labels, or another that the dataset has by now.
        options: the command's options that read the source in this way, by name.
        by_annotators: whether the labels are those of one of several annotators, which are not audited by themselves.
    """

    images: LabelledImages
    dataset: str | None = None
    label_field: str = DEFAULT_LABEL_FIELD
    options: Mapping[str, str] = field(default_factory=dict)
    by_annotators: bool = False

    @property
    def description(self) -> str:
        """Where the images come from."""
        return self.images.description

    @property
    def left_out(self) -> tuple[LeftOutImage, ...]:
        """What the source leaves out before the audit sees it."""
        return self.images.left_out

    @property
    def part(self) -> PartOptions:
        """The classes that were asked for; none for all."""
        return {} if self.images.kept_labels is None else {"keep_labels": self.images.kept_labels}

    def opened_field(self, collection: SampleCollection) -> str:
        """The field with the labels of the source's column, or another one that was asked for."""
        from integrations.fiftyone.columns import field_of

        if self.label_field != DEFAULT_LABEL_FIELD:
            return self.label_field
        return field_of(collection._root_dataset, self.images.label_column)

    def open(self, progress: ProgressCallback = silent) -> SampleCollection:
        """Write the images into their dataset, and return those that the source has now.

        Raises:
            InputError: if the dataset cannot be made or updated, or would be new and its labels cannot be audited.
        """
        from integrations.fiftyone.columns import is_imported
        from integrations.fiftyone.importing import import_images
        from integrations.fiftyone.read import dataset_names, load_dataset
        from integrations.fiftyone.source_datasets import dataset_name

        name = dataset_name(self.images, self.dataset)
        if self.label_field == DEFAULT_LABEL_FIELD and (
            name not in dataset_names() or not is_imported(load_dataset(name), self.images.label_column)
        ):
            self.check_labels()
        return import_images(self.images, self.dataset, progress, self.options)

    def removed_if_refused(self) -> AbstractContextManager[None]:
        """Remove the dataset that is made within, where the audit is refused and nothing was written yet."""
        from integrations.fiftyone.source_datasets import removed_if_refused

        return removed_if_refused(self.images, self.dataset)

    def check_labels(self) -> None:
        """Refuse labels that cannot be audited before anything is imported.

        Raises:
            InputError: saying how the source was read.
        """
        import numpy as np

        from audit.data.samples import auditable_classes

        if self.images.labels is None or self.by_annotators:
            return
        given = [label for label in self.images.labels if label is not None]
        if not given:
            raise InputError(
                f"none of the {len(self.images)} images of {self.description} has a label; label some first"
            )
        try:
            auditable_classes(np.array(given))
        except InputError as error:
            raise InputError(f"{self.description} was read as {self.images.layout or 'given'}, and {error}") from None


@dataclass(frozen=True)
class FiftyOneSource:
    """A FiftyOne dataset that exists, or one of its saved views.

    Args:
        dataset: the dataset's name.
        view: the saved view's name; by default the whole dataset.
        label_field: the field with the labels.
        keep_labels: the classes to keep; all by default.
    """

    dataset: str
    view: str | None = None
    label_field: str = DEFAULT_LABEL_FIELD
    keep_labels: tuple[str, ...] = ()

    @property
    def left_out(self) -> tuple[LeftOutImage, ...]:
        """Nothing: all samples reach the audit."""
        return ()

    def opened_field(self, collection: SampleCollection) -> str:
        """The field with the labels."""
        return self.label_field

    @property
    def description(self) -> str:
        """The dataset, and its view if one was named."""
        return f"fiftyone:{self.dataset}" + (f" (view {self.view!r})" if self.view else "")

    @property
    def part(self) -> PartOptions:
        """The command's options that choose a part of the dataset; none for all of it."""
        options: PartOptions = {"view": self.view} if self.view else {}
        return options | {"keep_labels": tuple(self.keep_labels)} if self.keep_labels else options

    def removed_if_refused(self) -> AbstractContextManager[None]:
        """Nothing is made, so nothing is removed."""
        return nullcontext()

    def open(self, progress: ProgressCallback = silent) -> SampleCollection:
        """Load the dataset or view."""
        from integrations.fiftyone.read import load_collection

        return load_collection(self.dataset, self.view, self.label_field, self.keep_labels)


def resolve_source(
    text: str,
    *,
    dataset: str | None = None,
    view: str | None = None,
    label_field: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    keep_labels: Sequence[str] | None = None,
    layout: str | None = None,
    images: str | Path | None = None,
    in_fiftyone: bool = True,
) -> Source:
    """The source that a text names.

    A prefix says what the text is: `fiftyone:NAME`, `hf:ORGANISATION/NAME`, `folder:PATH`, `table:PATH`, `coco:PATH` or
    `parquet:PATH`. Without a prefix it is, in this order: 'digits'; an existing path (a table, COCO's JSON, a folder
    with one folder per class or with a table, parquet files, or a dataset saved to disk); a FiftyOne dataset; an
    'organisation/name' on the Hugging Face hub.

    Args:
        text: the source.
        dataset: the name of the FiftyOne dataset to import images into; by default made from the source's name.
        view: a saved view of a FiftyOne dataset.
        label_field: the field with the labels (default 'ground_truth').
        image_column, label_column: columns of a table or a Hugging Face source; by default found by what they hold.
        keep_labels: class names, or their numbers where the source numbers its classes; all by default.
        layout: of an image folder: 'folders' if the outer folders are the classes, 'splits' if they hold the class
            folders; by default decided by what they hold.
        images: the folder of the pictures that a table names; by default they are looked for beside the table.
        in_fiftyone: whether the source may be a FiftyOne dataset; if not, FiftyOne is not asked.

    Raises:
        InputError: if there is no such source, or an option does not apply to it.
    """
    if layout is not None and layout not in LAYOUTS:
        raise InputError(f"layout is {layout!r}; it takes {' or '.join(LAYOUTS)}")
    field_wanted = label_field or DEFAULT_LABEL_FIELD
    columns = {"image_column": image_column, "label_column": label_column}
    folder = None if images is None else os.path.abspath(os.path.expanduser(images))
    chosen = {**columns, "images": folder, "layout": layout, "dataset": dataset}
    given = {name: value for name, value in chosen.items() if value is not None}
    kind, place = kind_and_place(text, image_column, any((image_column, label_column, images)), in_fiftyone)
    if kind == "fiftyone":
        if not in_fiftyone:
            raise InputError(
                f"source {text!r} is a FiftyOne dataset, which --no-fiftyone excludes; use only one of them"
            )
        _refuse(text, "a FiftyOne dataset", dataset=dataset, **columns, layout=layout, images=folder)
        return FiftyOneSource(place, view, field_wanted, tuple(map(str, keep_labels or ())))
    _refuse(text, "not in FiftyOne yet", view=view)
    _refuse_other_options(text, kind, columns, layout, folder)
    own = {"images": images} if kind in ("table", "parquet") else {}
    if kind in ("digits", "folder", "pictures", "coco"):
        read = _columnless(kind, place, keep_labels, layout, folder)
    else:
        read = _table_reader(kind)(place, **columns, keep_labels=keep_labels, **own)
    return ImportedSource(read, dataset, field_wanted, given)


def _refuse_other_options(
    text: str, kind: str, columns: Mapping[str, str | None], layout: str | None, images: str | None
) -> None:
    """Refuse options that do not apply to a kind of source."""
    if kind not in ("folder", "pictures"):
        _refuse(text, "not a folder of images", layout=layout)
    if kind not in ("table", "coco", "parquet"):
        _refuse(text, "no table", images=images)
    if kind in ("digits", "folder", "pictures", "coco"):
        _refuse(text, "a source without columns", **columns)


def _columnless(
    kind: str, place: str, keep_labels: Sequence[str] | None, layout: str | None, images: str | None
) -> LabelledImages:
    if kind == "digits":
        from integrations.sources.digits import digits

        return digits(keep_labels)
    if kind == "coco":
        from integrations.sources.coco import coco_source

        return coco_source(place, images, keep_labels)
    from integrations.sources.folder import image_folder

    if kind == "folder":
        return image_folder(place, keep_labels, layout)
    from integrations.sources.folder_or_table import folder_or_table

    return folder_or_table(place, keep_labels, layout)


def _table_reader(kind: str) -> Callable[..., LabelledImages]:
    if kind == "table":
        from integrations.sources.table import table_source

        return table_source
    from integrations.sources.huggingface import hub_dataset, parquet_files, saved_to_disk

    readers: dict[str, Callable[..., LabelledImages]] = {
        "hf": hub_dataset,
        "parquet": parquet_files,
        "saved": saved_to_disk,
    }
    return readers[kind]


def _refuse(text: str, source: str, **options: str | None) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"--{name.replace('_', '-')} does not apply to {text!r}, which is {source}; leave it out")
