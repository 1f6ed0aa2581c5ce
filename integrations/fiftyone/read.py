"""Read labelled images from FiftyOne: its datasets, their saved views, and the samples to audit."""

from __future__ import annotations

import difflib

import fiftyone as fo
from fiftyone import ViewField as F
from fiftyone.core.clips import ClipsView
from fiftyone.core.collections import SampleCollection
from fiftyone.core.patches import PatchesView
from fiftyone.core.video import FramesView

from audit.data.samples import Samples, standard_split
from audit.errors import InputError
from integrations.fiftyone.database import connect
from integrations.fiftyone.label_fields import Kind, kind_of, label_path, read_labels
from integrations.sources.class_choice import chosen_classes


def dataset_names() -> list[str]:
    """The names of all FiftyOne datasets."""
    connect()
    return fo.list_datasets()


def close_to(name: str, names: list[str]) -> str:
    """' (did you mean ...?)' if a name is similar to existing names, else ''."""
    close = difflib.get_close_matches(name, names, n=3)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""


def load_collection(
    dataset: str, view: str | None = None, label_field: str = "ground_truth", keep_labels: tuple[str, ...] = ()
) -> SampleCollection:
    """Load a FiftyOne dataset or one of its saved views, or the samples in it that have certain labels.

    Args:
        dataset: the dataset's name.
        view: the saved view's name.
        label_field: the field with the labels.
        keep_labels: the class names to keep; by default all.

    Raises:
        InputError: if there is no such dataset, view, field or class.
    """
    collection: SampleCollection = load_dataset(dataset)
    if view is not None:
        views = collection.list_saved_views()
        if view not in views:
            raise InputError(f"dataset {dataset!r} has no saved view {view!r}; it has: {', '.join(views) or 'none'}")
        collection = collection.load_saved_view(view)
    if keep_labels:
        _check_label_field(collection, label_field)
        path = label_path(collection, label_field)
        kept = chosen_classes(keep_labels, collection.distinct(path), f"field {label_field!r} of dataset {dataset!r}")
        several = kind_of(collection.get_field(label_field)) is Kind.LIST
        label = F(path)[0] if several else F(path)
        collection = collection.match(label.is_in(list(kept or ())))
    return collection


def read_samples(dataset_or_view: SampleCollection, label_field: str = "ground_truth") -> Samples:
    """The labelled images of a FiftyOne dataset or view.

    Ids are FiftyOne's sample ids. The split of a sample comes from its tags (train, val, test, ...), if exactly one tag
    names a split. Missing and blank labels are None.

    Raises:
        InputError: if there are no samples, they are not images, or the field does not hold one label for each.
    """
    check_whole_images(dataset_or_view)
    _check_label_field(dataset_or_view, label_field)
    if not dataset_or_view:
        raise InputError(f"there are no samples to audit in {_name(dataset_or_view)}; choose another view")
    check_images(dataset_or_view)
    ids, filepaths, tags = dataset_or_view.values(["id", "filepath", "tags"])
    labels = read_labels(dataset_or_view, label_field)
    if all(label is None for label in labels):
        raise InputError(f"label field {label_field!r} holds no labels in {_name(dataset_or_view)}; label some first")
    splits = [_split_of(sample_tags or ()) for sample_tags in tags]
    return Samples(ids, filepaths, labels, splits if any(splits) else None)


def check_whole_images(collection: SampleCollection) -> None:
    """Refuse a view of parts of images or videos.

    Raises:
        InputError: if it is one.
    """
    if isinstance(collection, PatchesView | ClipsView | FramesView):
        raise InputError("a view of patches, clips or frames cannot be audited; give one of whole images")


def check_images(collection: SampleCollection) -> None:
    """Refuse samples that are no images.

    Raises:
        InputError: if they are none.
    """
    if collection.media_type != fo.core.media.IMAGE:
        raise InputError(
            f"dataset {root_of(collection).name!r} holds {collection.media_type} samples; an audit needs images "
            "(of a grouped dataset, give the view `select_group_slices(...)` of one image slice)"
        )


def load_dataset(name: str) -> fo.Dataset:
    """Load the dataset with this name.

    Raises:
        InputError: if it does not exist; the message lists similar names.
    """
    connect()
    try:
        return fo.load_dataset(name)
    except ValueError:
        names = dataset_names()
        listed = close_to(name, names) or f"; there are: {', '.join(names[:10]) or 'none'}"
        raise InputError(
            f"there is no FiftyOne dataset {name!r} in the database {fo.config.database_name!r}{listed}"
        ) from None


def root_of(collection: SampleCollection) -> fo.Dataset:
    """The dataset of a view; a dataset itself is returned as it is."""
    return collection if isinstance(collection, fo.Dataset) else fo.load_dataset(collection.dataset_name)


def _check_label_field(collection: SampleCollection, label_field: str) -> None:
    field = collection.get_field(label_field) if label_field else None
    schema = collection.get_field_schema(ftype=fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    names = ", ".join(schema) or "none"
    if field is None:
        raise InputError(f"label field {label_field!r} is not on dataset {root_of(collection).name!r}; it has: {names}")
    if kind_of(field) is None:
        kind = getattr(field, "document_type", type(field)).__name__
        raise InputError(
            f"field {label_field!r} of dataset {root_of(collection).name!r} is a {kind}; an audit needs a "
            f"Classification, and it has: {names}{conversion(root_of(collection).name, label_field, field)}"
        )


def conversion(dataset: str, label_field: str, field: fo.Field) -> str:
    """How to convert a field with numbers, or with lists of one text, into a label field; '' for other fields.

    Of detections, it is how to make pictures of their boxes.
    """
    label: str | None = None
    if isinstance(field, fo.IntField | fo.BooleanField | fo.FloatField):
        label = "str(v)"
    elif isinstance(field, fo.ListField) and isinstance(field.field, fo.StringField):
        label = "v[0] if len(v) == 1 else None"
    elif isinstance(field, fo.EmbeddedDocumentField) and issubclass(field.document_type, fo.Detections | fo.Polylines):
        folder = f"{dataset}-patches"
        return (
            f"; make a picture of each box in Python: import fiftyone as fo; d = fo.load_dataset({dataset!r}); "
            f"d.to_patches({label_field!r}).export(export_dir={folder!r}, "
            f"dataset_type=fo.types.ImageClassificationDirectoryTree, label_field={label_field!r}); then audit {folder}"
        )
    if label is None:
        return ""
    new = f"{label_field.replace('.', '_')}_class"
    code = f"[None if v is None else fo.Classification(label={label}) for v in d.values({label_field!r})]"
    return (
        f"; make one in Python: import fiftyone as fo; d = fo.load_dataset({dataset!r}); d.set_values({new!r}, {code})"
        f"; then use --label-field {new}"
    )


def _name(collection: SampleCollection) -> str:
    kind = "dataset" if isinstance(collection, fo.Dataset) else "the view of dataset"
    return f"{kind} {root_of(collection).name!r}"


def _split_of(tags: list[str] | tuple[str, ...]) -> str | None:
    splits = {split for tag in tags if (split := standard_split(tag)) is not None}
    return splits.pop() if len(splits) == 1 else None
