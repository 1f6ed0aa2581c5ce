"""Mislabels injected into a field of their own, to try a review or another tool on labels known to be wrong."""

from __future__ import annotations

import fiftyone as fo
import numpy as np
from fiftyone.core.collections import SampleCollection

from audit.config import AuditConfig
from audit.data.samples import Samples, check_classes
from audit.errors import InputError
from audit.progress import ProgressCallback, silent
from integrations.fiftyone.fields import INFLUENCE, SPLIT
from integrations.fiftyone.read import read_samples
from integrations.fiftyone.runs import audit_config

INFO_KEY = "influence_audit_injection"


def inject_into_field(
    collection: SampleCollection,
    label_field: str,
    into: str,
    config: AuditConfig,
    audit_key: str | None = None,
    progress: ProgressCallback = silent,
) -> int:
    """Copy labels into a new field and change a share of them there.

    Args:
        collection: the dataset or view with the labels; it stays as it is but for the new field.
        label_field: the field with the labels.
        into: the new field. One that this function made before is made anew.
        config: how: `inject` is the share, above 0 and at most 0.5 (no class loses more than half of its samples),
            `inject_strategy` and `seed` choose; 'class-pair' looks at the images with the config's backbone.
        audit_key: for 'most-influential', the audit of these labels that says which samples are.
        progress: told about the images.

    Returns:
        How many labels differ between the two fields.

    Raises:
        InputError: if the labels cannot be audited, the share is out of range, the strategy lacks what it needs, or
            the field holds something else.
    """
    if not config.inject:
        raise InputError(f"share is {config.inject!r}; it takes a number above 0 and up to 0.5")
    samples = read_samples(collection, label_field)
    dataset = collection._root_dataset
    existing = dataset.get_field(into)
    if existing is not None and INFO_KEY not in (existing.info or {}):
        raise InputError(f"field {into!r} of dataset {dataset.name!r} is there already; name a new one")
    samples = samples.select([row for row, label in enumerate(samples.labels) if label is not None])
    labels = np.array(samples.labels)
    classes = check_classes(labels)
    given = np.searchsorted(classes, labels)
    changed = _changed(dataset, samples, given, len(classes), config, audit_key, progress)
    _declare(dataset, label_field, into, config)
    values = {
        sample: fo.Classification(label=str(classes[number]))
        for sample, number in zip(samples.ids, changed, strict=True)
    }
    dataset.set_values(into, values, key_field="id", validate=False)
    return int((changed != given).sum())


def _declare(dataset: fo.Dataset, label_field: str, into: str, config: AuditConfig) -> None:
    """Make the field anew, with a note of what is done to its labels."""
    try:
        if dataset.get_field(into) is not None:
            dataset.delete_sample_field(into)
        dataset.add_sample_field(
            into,
            fo.EmbeddedDocumentField,
            embedded_doc_type=fo.Classification,
            description=f"The labels of {label_field!r} with {config.inject:.0%} of them wrong on purpose.",
            info={
                INFO_KEY: {
                    "label_field": label_field,
                    "share": config.inject,
                    "strategy": config.inject_strategy,
                    "seed": config.seed,
                }
            },
        )
    except ValueError as error:
        raise InputError(f"field {into!r} cannot be made ({error}); name another") from None


def _changed(
    dataset: fo.Dataset,
    samples: Samples,
    given: np.ndarray,
    classes: int,
    config: AuditConfig,
    audit_key: str | None,
    progress: ProgressCallback,
) -> np.ndarray:
    """The class numbers after the injection."""
    from audit.data.injection import inject_mislabels  # and torch with it

    share, strategy, seed = config.inject, config.inject_strategy, config.seed
    if strategy == "class-pair":
        from audit.images.embedding import embed
        from audit.images.load_backbone import load_backbone

        backbone = load_backbone(config.backbone, config.weights, config.image_size, config.device)
        embedded = embed(samples, backbone, config.batch_size, config.cache_dir, progress)
        rows = embedded.rows  # what cannot be read keeps its label
        if len(np.unique(given[rows])) < classes:
            raise InputError(f"of some classes no image can be read; choose another strategy than {strategy!r}")
        changed = given.copy()
        changed[rows] = inject_mislabels(given[rows], classes, share, strategy, seed, embeddings=embedded.values)
        return changed
    if strategy == "most-influential":
        influence = _influence(dataset, samples, audit_key)
        candidates = np.flatnonzero(np.isfinite(influence))
        return inject_mislabels(given, classes, share, strategy, seed, influence=influence, candidates=candidates)
    return inject_mislabels(given, classes, share, strategy, seed)


def _influence(dataset: fo.Dataset, samples: Samples, audit_key: str | None) -> np.ndarray:
    """What an audit found for its training samples; NaN for others."""
    if audit_key is None:
        raise InputError(
            f"dataset {dataset.name!r} has no label audit that says which samples are most influential; "
            "run 'Audit labels' first, or choose another strategy"
        )
    audit_config(dataset, audit_key)
    trained = dataset.select(samples.ids).match({SPLIT.name(audit_key): "train"})
    ids, values = trained.values(["id", INFLUENCE.name(audit_key)])
    known = dict(zip(ids, values, strict=True))
    influence = np.array([known.get(sample, np.nan) for sample in samples.ids], dtype=float)
    if not np.isfinite(influence).any():
        raise InputError(f"audit {audit_key!r} scored none of these samples; choose another audit or strategy")
    return influence
