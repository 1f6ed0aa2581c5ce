"""Fields that hold labels in a form that no audit reads, each with a way to labels that it does read."""

from __future__ import annotations

from dataclasses import dataclass

import fiftyone as fo

from integrations.fiftyone.fields import owner
from integrations.fiftyone.read import conversion

_BOXES = (fo.Detections, fo.Polylines, fo.Detection, fo.Polyline, fo.Keypoints, fo.Segmentation, fo.Regression)
_OF_EVERY_DATASET = ("id", "filepath", "tags", "metadata", "created_at", "last_modified_at")


@dataclass(frozen=True)
class UnreadField:
    """A field that holds labels in a form that no audit reads.

    Attributes:
        name: of the field.
        kind: what it holds, by FiftyOne's name.
        way_out: how to make labels of it; '' where there is none.
        is_label: whether it holds FiftyOne's labels, and not numbers or texts that may be something else.
    """

    name: str
    kind: str
    way_out: str
    is_label: bool


def unread_label_fields(dataset: fo.Dataset) -> list[UnreadField]:
    """The fields that may hold labels and that no audit reads: labels first, those with a way out before the others."""
    found = []
    for name, field in dataset.get_field_schema().items():
        if owner(field) is not None or name in _OF_EVERY_DATASET or name.startswith("_"):
            continue
        document = getattr(field, "document_type", None)
        is_label = isinstance(document, type) and issubclass(document, _BOXES)
        way_out = conversion(dataset.name, name, field)
        if is_label or way_out:
            kind = document.__name__ if isinstance(document, type) else type(field).__name__
            found.append(UnreadField(name, kind, way_out, is_label))
    return sorted(found, key=lambda one: (not one.is_label, not one.way_out))


def why_no_labels(dataset: fo.Dataset) -> str:
    """Why a dataset without a field that an audit reads cannot be audited, and the way out."""
    needs = "an audit needs one label for each picture: a Classification, Classifications of one, or text"
    found = unread_label_fields(dataset)
    if not found:
        return f"dataset {dataset.name!r} has no field with classifications; label some images first ({needs})"
    first, *others = found
    also = f" (also unread: {', '.join(repr(one.name) for one in others[:5])})" if others else ""
    return (
        f"dataset {dataset.name!r} has no field with classifications; {needs}, and field {first.name!r} is a "
        f"{first.kind}{also}{first.way_out}"
    )
