"""Where labelled images come from: one text names any source, and every source opens as a FiftyOne collection."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from audit.errors import InputError
from audit.progress import ProgressCallback, silent
from integrations.sources.labelled_images import DEFAULT_LABEL_FIELD, LabelledImages
from integrations.sources.split_names import LAYOUTS

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

    from audit.summary.surroundings import PartOptions
    from integrations.sources.left_out import LeftOutImage


PREFIXES = ("fiftyone", "hf", "folder", "parquet")

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


class Source(Protocol):
    """Something that opens as a FiftyOne dataset or view with a label field."""

    @property
    def description(self) -> str:
        """Where the images come from, in the form that `resolve_source` reads."""
        ...

    @property
    def label_field(self) -> str:
        """The field that holds the labels once it is open."""
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
    """

    images: LabelledImages
    dataset: str | None = None
    label_field: str = DEFAULT_LABEL_FIELD

    @property
    def description(self) -> str:
        """Where the images come from."""
        return self.images.description

    @property
    def left_out(self) -> tuple[LeftOutImage, ...]:
        """What the source leaves out before the audit sees it."""
        return self.images.left_out

    @property
    def part(self) -> None:
        """Not chosen by options: the dataset holds what was imported."""
        return None

    def open(self, progress: ProgressCallback = silent) -> SampleCollection:
        """Write the images into their dataset, and return those that the source has now.

        Raises:
            InputError: if the dataset cannot be made or updated, or would be new and its labels cannot be audited.
        """
        from integrations.fiftyone.importing import import_images
        from integrations.fiftyone.read import dataset_names
        from integrations.fiftyone.source_datasets import dataset_name

        if self.label_field == DEFAULT_LABEL_FIELD and dataset_name(self.images, self.dataset) not in dataset_names():
            self._check_labels()

        return import_images(self.images, self.dataset, progress)

    def removed_if_refused(self) -> AbstractContextManager[None]:
        """Remove the dataset that is made within, where the audit is refused and nothing was written yet."""
        from integrations.fiftyone.source_datasets import removed_if_refused

        return removed_if_refused(self.images, self.dataset)

    def _check_labels(self) -> None:
        """Refuse labels that cannot be audited before anything is imported."""
        import numpy as np

        from audit.data.samples import auditable_classes

        if self.images.labels is None:
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
) -> Source:
    """The source that a text names.

    A prefix says what the text is: `fiftyone:NAME`, `hf:ORGANISATION/NAME`, `folder:PATH` or `parquet:PATH`. Without a
    prefix it is, in this order: 'digits'; an existing path (a folder with one folder per class, parquet files, or a
    dataset saved to disk); a FiftyOne dataset; an 'organisation/name' on the Hugging Face hub.

    Args:
        text: the source.
        dataset: the name of the FiftyOne dataset to import images into; by default made from the source's name.
        view: a saved view of a FiftyOne dataset.
        label_field: the field with the labels (default 'ground_truth').
        image_column, label_column: columns of a Hugging Face or parquet source; by default found by their types.
        keep_labels: class names, or their numbers where the source numbers its classes; all by default.
        layout: of an image folder: 'folders' if the outer folders are the classes, 'splits' if they hold the class
            folders; by default decided by what they hold.

    Raises:
        InputError: if there is no such source, or an option does not apply to it.
    """
    if layout is not None and layout not in LAYOUTS:
        raise InputError(f"layout is {layout!r}; it takes {' or '.join(LAYOUTS)}")
    field = label_field or DEFAULT_LABEL_FIELD
    kind, place = _kind_and_place(text, image_column)
    if kind == "fiftyone":
        _refuse(
            text,
            "a FiftyOne dataset",
            dataset=dataset,
            image_column=image_column,
            label_column=label_column,
            layout=layout,
        )
        return FiftyOneSource(place, view, field, tuple(map(str, keep_labels or ())))
    _refuse(text, "not in FiftyOne yet", view=view)
    if kind != "folder":
        _refuse(text, "not a folder of images", layout=layout)
    if kind in ("digits", "folder"):
        _refuse(text, "a source without columns", image_column=image_column, label_column=label_column)
        return ImportedSource(_columnless(kind, place, keep_labels, layout), dataset, field)
    images = _table_reader(kind)(place, image_column, label_column, keep_labels)
    return ImportedSource(images, dataset, field)


def _kind_and_place(text: str, image_column: str | None) -> tuple[str, str]:
    prefix, colon, rest = text.partition(":")
    if colon and prefix in PREFIXES:
        if not rest:
            raise InputError(f"source {text!r} names nothing after {prefix}:; give {prefix}:NAME or {prefix}:PATH")
        if prefix == "hf" and Path(rest).expanduser().is_dir():
            return "saved", rest
        return prefix, rest
    if text == "digits":
        return "digits", text
    path = Path(text).expanduser()
    if text and path.exists():
        return _kind_of_path(path, image_column), text
    return _kind_of_name(text), text


def _kind_of_path(path: Path, image_column: str | None) -> str:
    from integrations.sources.huggingface import is_saved_to_disk
    from integrations.sources.tables import how_to_read_tables, is_parquet, is_table, refers_to_files

    if path.is_file():
        if is_parquet(path):
            return "parquet"
        if is_table(path.name):
            raise InputError(f"source {str(path)!r} is a table; {how_to_read_tables([str(path)])}")
        raise InputError(f"source {str(path)!r} is a file but no .parquet file; give a folder of images or parquet")
    if is_saved_to_disk(path):
        return "saved"
    return _kind_of_folder(path, lambda file: refers_to_files(file, image_column))


def _kind_of_folder(path: Path, refers_to_files: Callable[[Path], bool]) -> str:
    """'parquet' where a folder's pictures are in parquet files, or listed by them; 'folder' where they are files."""
    from integrations.sources.folder_tree import folder_tree

    tree = folder_tree(os.path.abspath(path))
    if not tree.holds_images:
        return "parquet" if any(folder.parquet for folder in tree.all_folders()) else "folder"
    parquet = [Path(folder.path, name) for folder in tree.all_folders() for name in folder.parquet]
    if parquet and all(map(refers_to_files, parquet)):
        return "parquet"
    # Deeper ones are side files of the images.
    near = [file for file in parquet if file.parent in (Path(tree.path), Path(tree.path, "data"))]
    if not near:
        return "folder"
    holding = next(folder for folder in tree.all_folders() if folder.pictures or folder.unread)
    raise InputError(
        f"source {str(path)!r} holds both images in folders (such as "
        f"{os.path.relpath(holding.path, path)!r}) and a parquet file "
        f"({os.path.relpath(near[0], path)}); give folder:{path} to audit the images, or parquet:{path} to audit "
        "the parquet files"
    )


def _kind_of_name(text: str) -> str:
    from integrations.fiftyone.read import close_to, dataset_names

    names = dataset_names()
    if text in names:
        return "fiftyone"
    if HUB_NAME.fullmatch(text):
        return "hf"
    raise InputError(
        f"source {text!r} is no path that exists, no FiftyOne dataset{close_to(text, names)}, "
        "and no ORGANISATION/NAME of the Hugging Face hub; for a first try, use 'digits'"
    )


def _columnless(kind: str, place: str, keep_labels: Sequence[str] | None, layout: str | None) -> LabelledImages:
    if kind == "digits":
        from integrations.sources.digits import digits

        return digits(keep_labels)
    from integrations.sources.folder import image_folder

    return image_folder(place, keep_labels, layout)


def _table_reader(kind: str) -> Callable[..., LabelledImages]:
    from integrations.sources.huggingface import hub_dataset, parquet_files, saved_to_disk

    return {"hf": hub_dataset, "parquet": parquet_files, "saved": saved_to_disk}[kind]


def _refuse(text: str, source: str, **options: str | None) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"--{name.replace('_', '-')} does not apply to {text!r}, which is {source}; leave it out")
