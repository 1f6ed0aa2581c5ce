"""The fields that an audit writes: their names, types, descriptions, and the mark that tells them from other fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import fiftyone as fo
from fiftyone.core.odm.utils import validate_field_name

from audit.errors import InputError
from audit.result import SCORE_MEANINGS

INFO_KEY = "influence_audit"
"""Where a field's info holds the audit key that it was written under."""

UNREVIEWED = "unreviewed"
CONFIRMED = "confirmed"
RELABELLED = "relabelled"
DISMISSED = "dismissed"
UNSURE = "unsure"
REMOVED = "removed"
STATUSES = (UNREVIEWED, CONFIRMED, RELABELLED, DISMISSED, UNSURE, REMOVED)
OF_LABELS = (CONFIRMED, RELABELLED, DISMISSED)
"""The statuses that say whether the label is a mistake."""
WRONG = (CONFIRMED, RELABELLED)
"""The statuses that say that the label is a mistake."""

LONGEST_KEY = 64  # characters of an audit key


@dataclass(frozen=True)
class AuditField:
    """One field that an audit writes.

    Args:
        suffix: the field is called `<key>_<suffix>`.
        kind: its FiftyOne type.
        description: what it means, with unit and range.
        subfield: of a list field, the type of its items.
    """

    suffix: str
    kind: type[fo.Field] | type[fo.Label]
    description: str
    subfield: type[fo.Field] | None = None

    def name(self, key: str) -> str:
        """The field's name under an audit key."""
        return f"{key}_{self.suffix}"


SUSPICION = AuditField("suspicion", fo.FloatField, SCORE_MEANINGS["suspicion"])
SUGGESTED = AuditField(
    "suggested",
    fo.Classification,
    f"{SCORE_MEANINGS['suggested_label']} Its confidence: {SCORE_MEANINGS['suggested_probability']}",
)
FLAG = AuditField("flag", fo.BooleanField, SCORE_MEANINGS["flag"])
INFLUENCE = AuditField("influence", fo.FloatField, SCORE_MEANINGS["influence"])
SELF_INFLUENCE = AuditField("self_influence", fo.FloatField, SCORE_MEANINGS["self_influence"])
LOO_PROBABILITY = AuditField("loo_probability", fo.FloatField, SCORE_MEANINGS["loo_probability"])
SPLIT = AuditField("split", fo.StringField, SCORE_MEANINGS["split"])
FINDINGS = AuditField(
    "findings",
    fo.ListField,
    "What was found beside the label, by kind: copies with different labels (duplicate-labels, near-duplicate-labels), "
    "leaks between splits (split-leak, near-leak), bad pictures and others, or why the sample was left out.",
    fo.StringField,
)

FITS_NO_CLASS = AuditField("fits_no_class", fo.FloatField, SCORE_MEANINGS["fits_no_class"])

FIELDS = (SUSPICION, SUGGESTED, FLAG, INFLUENCE, SELF_INFLUENCE, LOO_PROBABILITY, SPLIT, FINDINGS, FITS_NO_CLASS)
"""What every audit writes, beside the status."""

INJECTED = AuditField("injected", fo.BooleanField, SCORE_MEANINGS["injected"])
INJECTED_LABEL = AuditField(
    "injected_label",
    fo.Classification,
    "The label that was audited where this audit changed it on purpose; your own labels are untouched.",
)

INJECTION_FIELDS = (INJECTED, INJECTED_LABEL)
"""What an audit that injects mislabels writes besides."""

STATUS = AuditField("status", fo.StringField, f"What a person decided: {', '.join(STATUSES)}.")

CORRECTED = AuditField(
    "corrected",
    fo.Classification,
    "The right label as a reviewer decided; 'apply corrections' writes it into the label field.",
)
ORIGINAL = AuditField(
    "original", fo.Classification, "The label as it was before 'apply corrections' overwrote it in the label field."
)
DECISIONS = AuditField(
    "decisions", fo.ListField, "Every review decision on the sample: what, who, when, before and after.", fo.DictField
)

DECIDED = AuditField(
    "decided",
    fo.StringField,
    "What a person decided, as the grid shows it: '→ label' for a new label, wrong, right, unsure or remove; empty "
    "where nobody decided.",
)

REVIEW_FIELDS = (STATUS, CORRECTED, ORIGINAL, DECISIONS, DECIDED)
"""What review writes; an audit declares them empty, so that windows that review at once need not."""

MODEL_SUSPICION = AuditField(
    "model_suspicion",
    fo.FloatField,
    "The suspicion as the noise model computed it, before decisions on drawn samples recalibrated it.",
)
MODEL_FLAG = AuditField("model_flag", fo.BooleanField, "The flag as the noise model set it.")
MODEL_SUGGESTED = AuditField("model_suggested", fo.Classification, "The label that the noise model suggested.")

MODEL_FIELDS = (MODEL_SUSPICION, MODEL_FLAG, MODEL_SUGGESTED)
"""What the model said, while suspicion, flag and suggestion follow decisions on drawn samples."""

KEPT_FIELDS = (DECISIONS, *MODEL_FIELDS)
"""What is kept for the review's own sake: nobody filters by it."""

HEAT_MAP = AuditField(
    "heatmap",
    fo.Heatmap,
    "Where in the image the sample's influence comes from: pixels that move the validation loss most, 0 to 255.",
)
"""What explaining a sample writes where it is asked for."""

INDEXED = (SUSPICION, STATUS, FLAG)
"""What the panel and the App filter and sort by; the queue of unreviewed samples has an index of its own."""

ALL_FIELDS = (
    *(SUSPICION, SUGGESTED, FLAG, STATUS, DECIDED, CORRECTED, INFLUENCE, SELF_INFLUENCE, LOO_PROBABILITY, SPLIT),
    *(FINDINGS, FITS_NO_CLASS, INJECTED, INJECTED_LABEL, HEAT_MAP, ORIGINAL, DECISIONS, *MODEL_FIELDS),
)
"""All of them, in the order in which the App's sidebar shows them: what a reviewer looks at first comes first."""


def check_audit_key(dataset: fo.Dataset, key: str, label_field: str) -> None:
    """Refuse a key under which an audit could not write, or would write over something else.

    Raises:
        InputError: if the key is no identifier, or a field, run or label field of that name is in the way.
    """
    try:
        validate_field_name(FLAG.name(key))
        valid = key.isidentifier() and len(key) <= LONGEST_KEY
    except ValueError:
        valid = False
    if not valid:
        raise InputError(
            f"audit key {key!r} is no valid name; use letters, digits and _, starting with a letter, "
            f"at most {LONGEST_KEY} characters"
        )
    schema = dataset.get_field_schema()
    names = [field.name(key) for field in ALL_FIELDS]
    if label_field in names:
        raise InputError(
            f"label field {label_field!r} is one that audit key {key!r} writes; choose another with --audit-key"
        )
    foreign = [name for name in names if name in schema and owner(schema[name]) != key]
    if foreign:
        raise InputError(
            f"audit key {key!r} would overwrite field(s) {', '.join(foreign)} of dataset {dataset.name!r}, "
            "which no audit wrote; choose another with --audit-key"
        )


def owner(field: fo.Field) -> str | None:
    """The audit key that a field was written under, or None where it is no audit's."""
    return (field.info or {}).get(INFO_KEY)


def audit_fields(dataset: fo.Dataset, key: str) -> list[str]:
    """The names of the fields that the audit under this key has in the dataset."""
    return [name for name, field in dataset.get_field_schema().items() if owner(field) == key]


def declare(dataset: fo.Dataset, key: str, fields: tuple[AuditField, ...]) -> None:
    """Add fields with their description and mark; those that are there are left as they are."""
    for field in fields:
        options: dict[str, Any] = {"description": field.description, "info": {INFO_KEY: key}}
        if issubclass(field.kind, fo.Label):
            dataset.add_sample_field(field.name(key), fo.EmbeddedDocumentField, embedded_doc_type=field.kind, **options)
        else:
            dataset.add_sample_field(field.name(key), field.kind, subfield=field.subfield, **options)


def index_fields(dataset: fo.Dataset, key: str) -> None:
    """Make the database find samples by what the panel asks for."""
    for field in INDEXED:
        dataset.create_index(field.name(key))
    order = [(SUSPICION.name(key), -1), ("id", 1)]
    dataset.create_index(order)
    dataset.create_index([(STATUS.name(key), 1), *order])


def drop_indexes(dataset: fo.Dataset, key: str) -> None:
    """Drop the indexes on the audit's fields, which FiftyOne leaves behind when fields are renamed or deleted."""
    names = set(audit_fields(dataset, key))
    for name, index in dataset.get_index_information().items():
        if names.intersection(field for field, _ in index["key"]):
            dataset.drop_index(name)
