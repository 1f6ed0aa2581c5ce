"""Which fields and brain runs of a dataset hold embeddings or predictions that an audit can take."""

from __future__ import annotations

import fiftyone as fo
from fiftyone import ViewField as F

from integrations.fiftyone.fields import owner


def embedding_choices(dataset: fo.Dataset) -> dict[str, str]:
    """Vector fields and brain similarity runs, each with a few words about it."""
    found = {name: f"vector field, {length} numbers" for name, length in _vector_lengths(dataset).items()}
    return found | dict.fromkeys(dataset.list_brain_runs(type="similarity"), "brain similarity run")


def prediction_choices(dataset: fo.Dataset, label_field: str | None) -> dict[str, str]:
    """Classification fields with logits, and vector fields with a number for each class, with a few words about each.

    Args:
        dataset: the dataset.
        label_field: the audited field, which is no prediction; None where there is none.
    """
    found = {}
    for name, field in dataset.get_field_schema(embedded_doc_type=fo.Classification).items():
        if name != label_field and owner(field) is None and len(dataset.match(F(f"{name}.logits") != None).limit(1)):  # noqa: E711
            found[name] = "classification with logits"
    classes = 0 if label_field is None else len(dataset.distinct(_label_path(dataset, label_field)))
    lengths = _vector_lengths(dataset)
    return found | {name: f"vector field, {length} classes" for name, length in lengths.items() if length == classes}


def _label_path(dataset: fo.Dataset, field: str) -> str:
    kind = dataset.get_field(field)
    if isinstance(kind, fo.EmbeddedDocumentField):
        within = "classifications.label" if issubclass(kind.document_type, fo.Classifications) else "label"
        return f"{field}.{within}"
    return field


def _vector_lengths(dataset: fo.Dataset) -> dict[str, int]:
    """The fields that hold a vector a sample, with the vectors' length; fields without a vector are left out."""
    found = {}
    for name, field in dataset.get_field_schema().items():
        of_numbers = isinstance(field, fo.ListField) and isinstance(field.field, fo.FloatField)
        if not (of_numbers or isinstance(field, fo.VectorField | fo.ArrayField)) or owner(field) is not None:
            continue
        first = dataset.exists(name).limit(1).values(name)
        if first and first[0] is not None and len(first[0]):
            found[name] = len(first[0])
    return found
