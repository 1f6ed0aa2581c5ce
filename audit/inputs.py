"""The input of an audit: arrays or images become embedded samples with labels, classes and a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audit.annotators.consensus import Consensus
from audit.annotators.labels import AnnotatorLabels
from audit.compute.matrix import Rows, StoredRows, select_rows
from audit.config import NO_BACKBONE, AuditConfig
from audit.data.arrays import read_arrays, read_validation, rows_of
from audit.data.exact_copies import row_keys
from audit.data.given import Given
from audit.data.left_out import (
    NO_LABEL,
    RARE_CLASS,
    UNREADABLE,
    WITHOUT_INPUT,
    WITHOUT_LABEL,
    LeftOut,
    label_array,
    note_of_unreadable,
    of_rare_classes,
)
from audit.data.samples import MINIMUM_PER_CLASS, Samples, auditable_classes, is_missing
from audit.data.split import check_validation, note_trust, split_samples
from audit.errors import InputError
from audit.extras import require_engine
from audit.findings.registry import NONE
from audit.head.standardise import check_embeddings
from audit.images.backbone import Backbone
from audit.images.embedding import Embedded, Workers, embed, remarks_note
from audit.images.load_backbone import load_backbone
from audit.images.pictures import Pictures
from audit.images.traits import TraitNotes
from audit.progress import Stages


@dataclass(frozen=True)
class Material:
    """The input of every audit: n samples with labels, a split, and embeddings, predictions or both.

    Attributes:
        ids: of the samples, distinct.
        filepaths: of their images; None where a sample is no file.
        x: embeddings (n, d); None for an audit by predictions alone.
        labels: (n,) as given.
        classes: (C,) distinct labels, sorted.
        split: (n,) 'train', 'validation' or 'test'.
        keys: uint8 (n, 16), the same for samples with the same content.
        left_out: the samples that are not audited.
        every_label: distinct labels of all samples, those that are left out included.
        pictures: the images; None for an audit of arrays.
        exponent: the embeddings were divided by two to this power.
        predictions: float32 (n, C) probabilities by a model of the user's own; None if there are none.
        annotated: the labels of several annotators; None if each sample has one label.
        consensus: of the annotators, once it is estimated: then `labels` are the consensus.
    """

    ids: list[str]
    filepaths: list[str | None]
    x: Any
    labels: np.ndarray
    classes: np.ndarray
    split: np.ndarray
    keys: np.ndarray
    left_out: LeftOut
    every_label: np.ndarray
    pictures: Pictures | None = None
    exponent: int = 0
    predictions: np.ndarray | None = None
    annotated: AnnotatorLabels | None = None
    consensus: Consensus | None = None

    def rows(self, split: str) -> np.ndarray:
        """Positions of the samples of a split."""
        return np.flatnonzero(self.split == split)

    @property
    def numbers(self) -> np.ndarray:
        """The given labels as class numbers (n,)."""
        return np.searchsorted(self.classes, self.labels)

    @property
    def own_split(self) -> np.ndarray | None:
        """The source's own splits (n,), None where a sample has none; None if the source has no splits."""
        splits = None if self.pictures is None else self.pictures.samples.splits
        return None if splits is None else np.array(splits, dtype=object)

    @property
    def audited(self) -> str:
        """What the samples are: 'images', or 'rows' of an array."""
        return "images" if self.made_by else "rows"

    @property
    def made_by(self) -> str:
        """What identifies the transform from images to embeddings; '' if no network is used."""
        backbone = None if self.pictures is None else self.pictures.backbone
        return "" if backbone is None else backbone.transform_key

    @property
    def device(self) -> torch.device:
        """Where the audit computes."""
        return torch.device("cpu") if self.x is None else self.x.device


@dataclass(frozen=True)
class _Listed:
    """Samples before it is known which of them can be audited.

    Attributes:
        ids: n distinct ids.
        filepaths: n paths, None where a sample is no file.
        labels: (n,) of any value where a sample has none.
        labelled: positions of the samples with a label.
        splits: (n,) the splits that are to be used; None to draw them.
        left_out: takes note of the samples that are not audited.
        images: the n samples; None if they are no images.
    """

    ids: Sequence[str]
    filepaths: Sequence[str | None]
    labels: np.ndarray
    labelled: np.ndarray
    splits: np.ndarray | None
    left_out: LeftOut
    images: Samples | None = None


def material_of_arrays(
    x: Any, labels: Any, validation: tuple[Any, Any] | None, config: AuditConfig, stages: Stages, given: Given = Given()
) -> Material:
    """Embeddings or predictions of the caller's own; arguments and errors as those of `audit.audit_embeddings`."""
    _check_given(config, given)
    _check_settings(config, "embeddings" if x is not None else "predictions")
    if x is None and given.predictions is None:
        raise InputError("x is None, and an audit without embeddings needs predictions; give x, or predictions=")
    if x is None and validation is not None:
        raise InputError(
            "validation holds embeddings, and x is None; leave it out: without embeddings there is no head"
        )
    parts: list[np.ndarray] | None = None
    splits: np.ndarray | None = None
    if x is None:
        labelled, missing = label_array(labels)
    else:
        arrays = read_arrays(x, labels, "x")
        parts, labelled, missing = arrays.parts, arrays.labels, arrays.missing
    ids = [str(row) for row in range(len(labelled))]
    if validation is not None:
        held_out = read_validation(validation, arrays)
        splits = np.array(["train"] * len(ids) + ["validation"] * len(held_out.labels), dtype=object)
        ids += [f"validation-{row}" for row in range(len(held_out.labels))]
        parts, labelled = [*arrays.parts, *held_out.parts], np.concatenate([labelled, held_out.labels])
        missing = np.concatenate([missing, held_out.missing])
    left_out = LeftOut(ids, [None] * len(ids), config.strict)
    left_out.add(WITHOUT_LABEL, dict.fromkeys(np.flatnonzero(missing).tolist(), NO_LABEL))
    listed = _Listed(ids, [None] * len(ids), labelled, np.flatnonzero(~missing), splits, left_out)
    return _material(listed, parts, config, stages, given)


def _material(
    listed: _Listed, parts: list[np.ndarray] | None, config: AuditConfig, stages: Stages, given: Given
) -> Material:
    """The samples that can be audited, by embeddings in parts (n_i, d), or by predictions alone."""
    given.check_rows(len(listed.ids))
    rows = _given_rows(listed.labelled, given, listed.left_out, stages)
    kept, classes = _of_auditable_classes(listed.labels[rows], rows, listed.left_out, stages)
    every_label, rows = given.every_label(listed.labels[listed.labelled]), rows[kept]
    ids, labels = [listed.ids[row] for row in rows], listed.labels[rows]
    splits = None if listed.splits is None else listed.splits[rows]
    if splits is not None and listed.images is None:
        check_validation(labels, splits)
    embeddings, keys, exponent = _chosen_rows(parts, rows, classes, ids, config)
    predictions = given.probabilities(rows, every_label, classes, labels)
    with stages.stage("split", len(labels)):
        split = split_samples(labels, splits, config)
        note_trust(split, splits, config, stages)
    return Material(
        ids,
        [listed.filepaths[row] for row in rows],
        embeddings,
        labels,
        classes,
        split,
        keys,
        listed.left_out,
        every_label,
        None if listed.images is None else Pictures(listed.images.select(rows), None),
        exponent,
        predictions,
        None if given.annotators is None else given.annotators.select(rows),
    )


def _chosen_rows(
    parts: list[np.ndarray] | None, rows: np.ndarray, classes: np.ndarray, ids: list[str], config: AuditConfig
) -> tuple[Rows | None, np.ndarray, int]:
    """Embeddings of some rows, their keys, and the exponent that they were divided by; no embeddings without parts."""
    if parts is None:  # samples with the same predictions are not copies: a sure model predicts many alike
        numbers = np.arange(len(rows), dtype=np.uint64)
        return None, np.stack([numbers, numbers], 1).view(np.uint8), 0
    every = len(rows) == sum(map(len, parts))
    places = torch.from_numpy(rows)
    in_double = StoredRows(parts, torch.float64, torch.device("cpu"))
    exponent = check_embeddings(in_double if every else select_rows(in_double, places), ids)
    embeddings = rows_of(parts, len(classes), config, exponent)
    embeddings = embeddings if every else select_rows(embeddings, places)
    return embeddings, row_keys(embeddings), exponent


def _given_rows(rows: np.ndarray, given: Given, left_out: LeftOut, stages: Stages) -> np.ndarray:
    """Those of the labelled samples' rows for which there is what was given; the others are left out."""
    lacking = given.lacking(rows)
    if lacking:
        reasons = " or ".join(dict.fromkeys(lacking.values()))
        stages.note("samples", f"{len(lacking)} samples are left out (listed in the result): {reasons}")
        if len(lacking) == len(rows):
            raise InputError(f"no sample can be audited: {reasons}; check that ids or rows are those of the samples")
    left_out.add(WITHOUT_INPUT, lacking)
    return rows[~np.isin(rows, list(lacking))]


def _check_given(config: AuditConfig, given: Given) -> None:
    """Refuse an engine that is not installed, and settings about predictions that were not given."""
    require_engine(config.engine)
    if config.predictions_in_sample and given.predictions is None:
        raise InputError("predictions_in_sample says what the predictions are, and none were given; leave it out")


def _check_settings(config: AuditConfig, given: str) -> None:
    """Refuse settings that need images or a head if the audit is of given embeddings or predictions alone."""
    asked = [
        (config.scope == "model", "scope 'model' needs", "images"),
        (bool(config.heat_maps), "heat maps need", "images"),
    ]
    if given == "predictions" and config.predictions_in_sample:
        raise InputError(
            "in-sample predictions alone do not tell wrong labels, which their model has learnt, too; give embeddings "
            "or images as well, or out-of-sample predictions, such as scikit-learn's cross_val_predict makes"
        )
    if given == "predictions":
        asked += [
            (config.inject > 0 and config.inject_strategy == "most-influential", "most-influential needs", "influence"),
            (config.engine != "exact", f"engine {config.engine!r} needs", "embeddings"),
            (config.trainer != "newton", f"trainer {config.trainer!r} needs", "embeddings"),
        ]
    for is_asked, who, what in asked:
        if is_asked:
            raise InputError(
                f"{who} {what}, but the audit was given {given}; leave the setting out, or audit the images"
            )


def material_of_images(
    samples: Samples, config: AuditConfig, stages: Stages, workers: Workers | None, given: Given = Given()
) -> Material:
    """Images through the backbone, or what was given in its place; errors as those of `audit.audit_images`."""
    _check_given(config, given)
    if workers is not None and config.engine != "exact":
        raise InputError(
            f"engine {config.engine!r} takes embeddings in memory, and workers would hold them; use engine 'exact', "
            "or audit without workers"
        )
    left_out = LeftOut(samples.ids, [_path(image) for image in samples.images], config.strict)
    labelled = _labelled(samples, left_out, stages)
    own = samples.splits if config.use_splits else None
    if given.embeddings is not None or config.backbone == NO_BACKBONE:
        _check_settings(config, "predictions" if given.embeddings is None else "embeddings")
        if given.embeddings is None and given.predictions is None:
            raise InputError("backbone 'none' embeds no images; give embeddings or predictions, or choose a backbone")
        labels = np.array(["" if is_missing(label) else label for label in samples.labels])
        splits = None if own is None else np.array(own, dtype=object)
        listed = _Listed(samples.ids, left_out.filepaths, labels, labelled, splits, left_out, samples)
        parts = None if given.embeddings is None else [given.embeddings.values]
        return _material(listed, parts, config, stages, given)
    return _through_backbone(samples, labelled, left_out, (config, stages, workers), given)


def _through_backbone(
    samples: Samples,
    labelled: np.ndarray,
    left_out: LeftOut,
    audit: tuple[AuditConfig, Stages, Workers | None],
    given: Given,
) -> Material:
    """The samples whose images can be read and audited, embedded by the backbone."""
    config, stages, workers = audit
    given.check_rows(len(samples))
    every_label = given.every_label(np.array(sorted({samples.labels[row] for row in labelled})))
    labelled = _given_rows(labelled, given, left_out, stages)
    auditable_classes(np.array([samples.labels[row] for row in labelled]))
    notes = TraitNotes(config.cache_dir) if config.findings != NONE else None
    backbone, embedded = _embedded(samples.select(labelled), config, stages, workers, notes)
    left_out.add(UNREADABLE, {int(labelled[row]): reason for row, reason in embedded.skipped})
    rows = labelled[embedded.rows]
    kept, classes = _of_auditable_classes(np.array([samples.labels[row] for row in rows]), rows, left_out, stages)
    embeddings = embedded.values if workers else rows_of([embedded.values], len(classes), config)
    if not kept.all():
        embeddings = select_rows(embeddings, torch.from_numpy(np.flatnonzero(kept)))
    audited = samples.select(rows[kept])
    labels = np.array(audited.labels)
    with stages.stage("split", len(labels)):
        own = audited.splits if config.use_splits else None
        split = split_samples(labels, own, config)
        note_trust(split, own, config, stages)
    return Material(
        list(audited.ids),
        [_path(image) for image in audited.images],
        embeddings,
        labels,
        classes,
        split,
        embedded.keys[kept],
        left_out,
        every_label,
        Pictures(audited, backbone, embedded.computed, embedded.cached, notes),
        predictions=given.probabilities(rows[kept], every_label, classes, labels),
        annotated=None if given.annotators is None else given.annotators.select(rows[kept]),
    )


def _labelled(samples: Samples, left_out: LeftOut, stages: Stages) -> np.ndarray:
    """Positions of the samples with a label; the others are left out."""
    unlabelled = [row for row, label in enumerate(samples.labels) if is_missing(label)]
    labelled = np.setdiff1d(np.arange(len(samples)), unlabelled)
    if not len(labelled):
        raise InputError(f"none of the {len(samples)} samples has a label; an audit needs labels")
    if unlabelled:
        stages.note("samples", f"{len(unlabelled)} of {len(samples)} samples have no label and are left out")
    left_out.add(WITHOUT_LABEL, dict.fromkeys(unlabelled, NO_LABEL))
    return labelled


def _embedded(
    images: Samples, config: AuditConfig, stages: Stages, workers: Workers | None, notes: TraitNotes | None
) -> tuple[Backbone, Embedded]:
    """The backbone, and its embeddings of the images; meanwhile `notes` are taken."""
    with stages.stage("backbone"):
        backbone = load_backbone(
            config.backbone,
            config.weights,
            config.image_size,
            config.device,
            note=lambda text: stages.note("backbone", text),
            precision=config.precision,
        )
    with stages.stage("embedding") as step:
        if workers is None:
            try:
                embedded = embed(images, backbone, config.batch_size, config.cache_dir, step, notes)
            finally:
                if notes is not None:
                    notes.save()
        else:
            embedded = workers.embed(images, backbone, config, step)
    if embedded.skipped:
        stages.note("embedding", note_of_unreadable(images.labels, [row for row, _ in embedded.skipped]))
    if embedded.remarks:
        stages.note("embedding", remarks_note(embedded.remarks, images))
    return backbone, embedded


def _of_auditable_classes(
    labels: np.ndarray, rows: np.ndarray, left_out: LeftOut, stages: Stages
) -> tuple[np.ndarray, np.ndarray]:
    """Which of the labels (n,) can be audited, bool (n,), and their classes; `rows` are the samples' positions."""
    classes = auditable_classes(labels)
    rare = of_rare_classes(labels, classes)
    if rare:
        count = len(set(labels[list(rare)].tolist()))
        stages.note(
            "samples",
            f"{len(rare)} samples of {count} class(es) with fewer than {MINIMUM_PER_CLASS} samples each are left out "
            "(listed in the result); add samples or merge classes to have them audited",
        )
    if len(classes) > 1000:  # as many as ImageNet has; an audit of 10,000 takes an hour (tests/benchmarks/classes.md)
        stages.note(
            "samples",
            f"an audit of {len(classes)} classes takes long, since time grows with samples × classes; if the labels "
            "should have fewer, check the label field; else audit some classes at a time (--keep-labels)",
        )
    left_out.add(RARE_CLASS, {int(rows[place]): reason for place, reason in rare.items()})
    return np.isin(labels, classes), classes


def _path(image: Any) -> str | None:
    return str(image) if isinstance(image, str | Path) else None
