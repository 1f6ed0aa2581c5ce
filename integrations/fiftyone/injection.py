"""Mislabels injected into a field of their own, to try a review or another tool on labels known to be wrong."""

from __future__ import annotations

import fiftyone as fo
import numpy as np
from fiftyone.core.collections import SampleCollection

from audit.errors import InputError
from audit.noise import inject_mislabels
from audit.samples import check_classes
from integrations.fiftyone.dataset import read_samples

INFO_KEY = "influence_audit_injection"


def inject_into_field(
    collection: SampleCollection, label_field: str, into: str, share: float = 0.1, seed: int = 0
) -> int:
    """Copy labels into a new field and change a share of them there, each to another class at random.

    Args:
        collection: the dataset or view with the labels; it stays as it is but for the new field.
        label_field: the field with the labels.
        into: the new field. One that this function made before is made anew.
        share: of the labels to change, above 0 and at most 0.5. No class loses more than half of its samples.
        seed: of the choice.

    Returns:
        How many labels differ between the two fields.

    Raises:
        InputError: if the labels cannot be audited, the share is out of range, or the field holds something else.
    """
    if not 0 < share <= 0.5:
        raise InputError(f"share is {share!r}; it takes a number above 0 and up to 0.5")
    samples = read_samples(collection, label_field)
    dataset = collection._root_dataset
    existing = dataset.get_field(into)
    if existing is not None and INFO_KEY not in (existing.info or {}):
        raise InputError(f"field {into!r} of dataset {dataset.name!r} is there already; name a new one")
    labelled = [row for row, label in enumerate(samples.labels) if label is not None]
    labels = np.array([samples.labels[row] for row in labelled])
    classes = check_classes(labels)
    given = np.searchsorted(classes, labels)
    changed = inject_mislabels(given, len(classes), share, "uniform", seed)
    try:
        if existing is not None:
            dataset.delete_sample_field(into)
        dataset.add_sample_field(
            into,
            fo.EmbeddedDocumentField,
            embedded_doc_type=fo.Classification,
            description=f"The labels of {label_field!r} with {share:.0%} of them wrong on purpose.",
            info={INFO_KEY: {"label_field": label_field, "share": share, "seed": seed}},
        )
    except ValueError as error:
        raise InputError(f"field {into!r} cannot be made ({error}); name another") from None
    values = {
        samples.ids[row]: fo.Classification(label=str(classes[number]))
        for row, number in zip(labelled, changed, strict=True)
    }
    dataset.set_values(into, values, key_field="id", validate=False)
    return int((changed != given).sum())
