"""Several label fields of a dataset, each by one annotator, and the field that holds their consensus."""

from __future__ import annotations

from collections.abc import Mapping

import fiftyone as fo
import pandas as pd
from fiftyone.core.collections import SampleCollection

from audit.errors import InputError
from audit.result import AuditResult
from integrations.fiftyone.label_fields import kind_of, label_fields, read_labels
from integrations.fiftyone.runs import METHOD

CONSENSUS = "consensus_"
ANNOTATORS = "influence_audit_annotators"
"""Where a consensus field's info holds the fields that it was made of."""


def consensus_field(audit_key: str) -> str:
    """The field with the consensus that an audit audits."""
    return f"{CONSENSUS}{audit_key}"


def consensus_key(dataset: fo.Dataset, key: str) -> str:
    """The audit key of a consensus: the given one, unless it is the audit of other labels."""
    if key not in dataset.list_runs(method=METHOD):
        return key
    return key if dataset.get_run_info(key).config.label_field == consensus_field(key) else f"{key}_consensus"


def read_annotators(collection: SampleCollection, annotators: Mapping[str, str]) -> pd.DataFrame:
    """The labels of each annotator (a column), a row for each sample; None where one is missing.

    Args:
        collection: of the samples.
        annotators: the field of each annotator, by name.

    Raises:
        InputError: if a field is not there, or holds no labels.
    """
    dataset = collection._root_dataset
    for field in annotators.values():
        if kind_of(collection.get_field(field)) is None:
            listed = ", ".join(label_fields(dataset)) or "none"
            raise InputError(
                f"--label-field {field!r} is no label field of dataset {dataset.name!r}; its label fields are: {listed}"
            )
    return pd.DataFrame({name: read_labels(collection, field) for name, field in annotators.items()}, dtype=object)


def declare_consensus(dataset: fo.Dataset, audit_key: str, annotators: Mapping[str, str]) -> str:
    """Make the field for the consensus, and return its name.

    Raises:
        InputError: if a field of that name is there, and is no consensus.
    """
    name, fields = consensus_field(audit_key), list(annotators.values())
    existing = dataset.get_field(name)
    if existing is not None and ANNOTATORS not in (existing.info or {}):
        raise InputError(
            f"the consensus needs the field {name!r}, and dataset {dataset.name!r} has one of another kind; choose "
            "another with --audit-key"
        )
    if existing is None:
        dataset.add_sample_field(
            name,
            fo.EmbeddedDocumentField,
            embedded_doc_type=fo.Classification,
            description=f"The consensus of {', '.join(fields)}; its confidence is the probability that it is right.",
            info={ANNOTATORS: fields},
        )
    elif existing.info[ANNOTATORS] != fields:
        existing.info = {**existing.info, ANNOTATORS: fields}
        existing.save()
    return name


def write_consensus(dataset: fo.Dataset, field: str, result: AuditResult) -> None:
    """Write the consensus of each audited sample; labels that people corrected in it since are replaced."""
    label = "original_label" if "original_label" in result.scores else "label"
    rows = zip(result.scores.index, result.scores[label], result.scores["consensus_probability"].tolist(), strict=True)
    values = {sample: fo.Classification(label=str(text), confidence=confidence) for sample, text, confidence in rows}
    dataset.set_values(field, values, key_field="id", validate=False)
