"""Which field of an imported dataset holds which label column of its source.

The first column that is imported is in `ground_truth`. Each other column of the same source has a field of its own,
named after it, so that it replaces neither the labels nor the audit of another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import fiftyone as fo

from audit.errors import InputError
from integrations.fiftyone.label_fields import original_field
from integrations.fiftyone.runs import METHOD
from integrations.sources.labelled_images import DEFAULT_LABEL_FIELD, LabelledImages

INFO_KEY = "influence_audit"
FIELDS = "fields"
"""Where the info of an imported dataset says which fields hold labels of its source."""

FIRST_SOURCE_FIELD = "source_label"


def field_of(dataset: fo.Dataset, column: str | None) -> str:
    """The field for the labels of a column of the source; None stands for a source without columns."""
    recorded = _recorded(dataset)
    known = {entry["column"]: field for field, entry in recorded.items()}
    if column is None or column in known or DEFAULT_LABEL_FIELD not in recorded:
        return known.get(column, DEFAULT_LABEL_FIELD)
    name = re.sub(r"\W+", "_", column).strip("_").lower() or "labels"
    name = name if name[0].isalpha() else f"labels_{name}"
    while dataset.has_field(name) or name in recorded:
        name += "_labels"
    return name


def source_field_of(field: str) -> str:
    """The field that holds the source's label at the last import, for a field of labels."""
    return FIRST_SOURCE_FIELD if field == DEFAULT_LABEL_FIELD else f"{field}_source"


def record(dataset: fo.Dataset, field: str, images: LabelledImages, options: Mapping[str, str]) -> None:
    """Note which column a field's labels are from, and the command's options that read it."""
    fields = _recorded(dataset) | {field: {"column": images.label_column, "options": dict(options)}}
    if fields != _recorded(dataset):
        dataset.info[INFO_KEY] = dataset.info[INFO_KEY] | {FIELDS: fields}
        dataset.save()


def is_imported(dataset: fo.Dataset, column: str | None) -> bool:
    """Whether the labels of a column were imported before."""
    return any(entry["column"] == column for entry in _recorded(dataset).values())


def origin_of(dataset: fo.Dataset, field: str) -> tuple[str | None, dict[str, str]]:
    """The column that a field's labels are from, and the options that read it; (None, {}) where nothing is known."""
    entry = _recorded(dataset).get(field, {})
    return entry.get("column"), dict(entry.get("options") or {})


def keys_of(dataset: fo.Dataset) -> dict[str, str]:
    """What the source of an imported dataset calls each sample, by sample id; empty for any other dataset."""
    if INFO_KEY not in dataset.info or not dataset.has_field("source_id"):
        return {}
    ids, keys = dataset.values(["id", "source_id"])
    return {sample: key for sample, key in zip(ids, keys, strict=True) if key is not None}


def audit_key_for(dataset: fo.Dataset, key: str, field: str) -> str:
    """The audit key for a label field: the given one, unless it is the audit of another field."""
    return key if other_field_of(dataset, key, field) is None else f"{key}_{field}"


def other_field_of(dataset: fo.Dataset, key: str, field: str) -> str | None:
    """The label field that an audit is of, if it is another one than this and still there; otherwise None."""
    if key not in dataset.list_runs(method=METHOD):
        return None
    audited = original_field(dataset, dataset.get_run_info(key).config.label_field)
    return audited if audited != original_field(dataset, field) and dataset.has_field(audited) else None


def refuse_other_field(dataset: fo.Dataset, key: str, field: str) -> None:
    """Refuse to replace the audit of another label field, with its decisions.

    Raises:
        InputError: if the key is that of one.
    """
    if (other := other_field_of(dataset, key, field)) is not None:
        raise InputError(
            f"audit {key!r} of dataset {dataset.name!r} is of the field {other!r}, and holds its decisions; give the "
            f"audit of {field!r} a key of its own, such as audit_key='{key}_{field}'"
        )


def _recorded(dataset: fo.Dataset) -> dict[str, Any]:
    mark = dataset.info.get(INFO_KEY)
    return dict(mark.get(FIELDS) or {}) if isinstance(mark, dict) else {}
