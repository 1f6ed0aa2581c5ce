"""Fields whose labels can be audited: classifications, text, and lists of one classification.

The review corrects classifications. So an audit of text or of a list of one works on a copy, the field
`<field>_class`. The copy follows the field at each audit, and corrections that are applied to the copy, or undone, are
written into the field too.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone.core.collections import SampleCollection
from fiftyone.core.odm import get_db_conn

from audit.data.samples import auditable_classes, is_missing
from audit.errors import InputError
from integrations.fiftyone.fields import owner

COPY_OF = "influence_audit_copy_of"
"""Where a copy's info holds the name of the field that it follows."""


NO_LABELS = ("filepath", "source_id", "source_label")
"""Fields with text that is no label."""


class Kind(Enum):
    """What a label field holds in each sample."""

    CLASSIFICATION = "a Classification"
    TEXT = "text"
    LIST = "Classifications"


def kind_of(field: fo.Field | None) -> Kind | None:
    """What a field holds; None where it is no label field that an audit reads."""
    if isinstance(field, fo.StringField):
        return Kind.TEXT
    if isinstance(field, fo.EmbeddedDocumentField):
        if issubclass(field.document_type, fo.Classification):
            return Kind.CLASSIFICATION
        if issubclass(field.document_type, fo.Classifications):
            return Kind.LIST
    return None


def label_fields(dataset: fo.Dataset) -> list[str]:
    """The fields of a dataset whose labels can be audited: classifications first, then lists of them, then text.

    A copy is left out: an audit of the field that it follows brings it up to date.
    """
    fields = {
        name: kind
        for name, field in dataset.get_field_schema().items()
        if (kind := kind_of(field)) is not None
        and owner(field) is None
        and name not in NO_LABELS
        and _original_of(field) is None
    }
    order = (Kind.CLASSIFICATION, Kind.LIST, Kind.TEXT)
    return sorted(fields, key=lambda name: order.index(fields[name]))


def label_path(collection: SampleCollection, field: str) -> str:
    """Where the label of each sample is; in a list, the labels."""
    paths = {Kind.CLASSIFICATION: f"{field}.label", Kind.TEXT: field, Kind.LIST: f"{field}.classifications.label"}
    kind = kind_of(collection.get_field(field))
    assert kind is not None  # the caller has checked it
    return paths[kind]


def read_labels(collection: SampleCollection, field: str) -> list[str | None]:
    """The label of each sample; None where it has none.

    Raises:
        InputError: if a sample has several.
    """
    values = collection.values(label_path(collection, field))
    if kind_of(collection.get_field(field)) is Kind.LIST:
        values = [_only(value or ()) for value in values]
        several = sum(value is ... for value in values)
        if several:
            raise InputError(
                f"{several} samples have several labels in field {field!r} of dataset {collection._dataset.name!r}; an "
                "audit needs one label for each sample, so give a view of those with one"
            )
    return [None if is_missing(value) else str(value) for value in values]


def classification_field(collection: SampleCollection, field: str) -> str:
    """The field that an audit of a label field works on: itself, or its copy, which is brought up to date.

    Raises:
        InputError: if the labels cannot be audited, or a field of the copy's name is there and is no copy of it.
    """
    dataset = collection._root_dataset
    if kind_of(dataset.get_field(field)) in (Kind.CLASSIFICATION, None):
        return field
    labels = dict(zip(collection.values("id"), read_labels(collection, field), strict=True))
    auditable_classes(np.array([label for label in labels.values() if label is not None]))
    copy = f"{field.replace('.', '_')}_class"
    existing = dataset.get_field(copy)
    if existing is None:
        dataset.add_sample_field(
            copy,
            fo.EmbeddedDocumentField,
            embedded_doc_type=fo.Classification,
            description=f"The labels of {field!r}, for the audit; corrections of it are written there too.",
            info={COPY_OF: field},
        )
    elif _original_of(existing) != field:
        raise InputError(
            f"an audit of field {field!r} needs the name {copy!r}, and dataset {dataset.name!r} has a field of that "
            "name; rename it, or audit it with --label-field"
        )
    known = dict(zip(*dataset.values(["id", f"{copy}.label"]), strict=True))
    changed = {
        sample: None if label is None else fo.Classification(label=label)
        for sample, label in labels.items()
        if known[sample] != label
    }
    if changed:
        dataset.set_values(copy, changed, key_field="id", validate=False)
    return copy


def original_field(dataset: fo.Dataset, field: str) -> str:
    """The field that a copy follows; any other field is its own."""
    return _original_of(dataset.get_field(field)) or field


def write_back(dataset: fo.Dataset, field: str) -> None:
    """Write the labels of a copy into the field that it follows; of any other field, do nothing."""
    original = original_field(dataset, field)
    if original == field:
        return
    samples = get_db_conn()[dataset._sample_collection_name]
    label = f"${field}.label"
    here = {f"{field}.label": {"$type": "string"}}
    values: dict[str, Any]
    if kind_of(dataset.get_field(original)) is Kind.TEXT:
        differs: dict[str, Any] = {"$ne": [label, f"${original}"]}
        values = {original: label}
    else:
        entries = f"${original}.classifications"
        first = {"$let": {"vars": {"entry": {"$arrayElemAt": [entries, 0]}}, "in": "$$entry.label"}}
        differs = {"$and": [{"$isArray": entries}, {"$ne": [label, first]}]}
        changed = {"$mergeObjects": ["$$entry", {"label": label}]}
        values = {f"{original}.classifications": {"$map": {"input": entries, "as": "entry", "in": changed}}}
    samples.update_many({"$and": [here, {"$expr": differs}]}, [{"$set": values | {"last_modified_at": "$$NOW"}}])


def _original_of(field: fo.Field | None) -> str | None:
    return None if field is None else (field.info or {}).get(COPY_OF)


def _only(labels: Sequence[str | None]) -> object:
    """The label of a list of one, None of an empty list, ... of a longer one."""
    return None if not labels else labels[0] if len(labels) == 1 else ...
