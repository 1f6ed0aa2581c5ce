"""The input of an audit: arrays or images become embedded samples with labels, classes and a split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.compute.matrix import StoredRows, select_rows
from audit.config import AuditConfig
from audit.data.arrays import read_arrays, read_validation, rows_of
from audit.data.copies import row_keys
from audit.data.left_out import (
    NO_LABEL,
    RARE_CLASS,
    UNREADABLE,
    WITHOUT_LABEL,
    LeftOut,
    note_of_unreadable,
    of_rare_classes,
)
from audit.data.samples import MINIMUM_PER_CLASS, Samples, auditable_classes, decode_image, is_missing
from audit.data.split import check_validation, own_split, stratified_split
from audit.errors import InputError
from audit.extras import require_engine
from audit.head.standardise import check_embeddings
from audit.images.backbone import Backbone, load_backbone
from audit.images.embedding import Embedded, Workers, embed, fitted_pixels, remarks_note
from audit.progress import Stages


@dataclass(frozen=True)
class Pictures:
    """The images of an audit, and the backbone that embedded them.

    Attributes:
        samples: the audited samples.
        backbone: the frozen network.
        computed: how many images went through it now.
        cached: how many embeddings came from the cache.
    """

    samples: Samples
    backbone: Backbone
    computed: int
    cached: int

    def pixels(self, most_bytes: int = 4 * 2**30) -> Tensor:
        """float32 (n, 3, size, size) in [0, 1], on the backbone's device.

        Raises:
            InputError: if they take more than `most_bytes`.
        """
        side = self.backbone.image_size
        size = 12 * len(self.samples) * side**2
        if size > most_bytes:
            raise InputError(
                f"scope 'model' holds all images in memory: {len(self.samples)} of {side} × {side} pixels take "
                f"{size / 2**30:.1f} GiB, more than {most_bytes / 2**30:.0f}; use fewer images, or scope 'head'"
            )
        images = [fitted_pixels(decode_image(image), self.backbone) for image in self.samples.images]
        pixels = torch.from_numpy(np.stack(images)).to(self.backbone.device)
        return pixels.permute(0, 3, 1, 2).float() / 255


@dataclass(frozen=True)
class Material:
    """The input of every audit: n embedded samples with labels and a split.

    Attributes:
        ids: of the samples, distinct.
        filepaths: of their images; None where a sample is no file.
        x: embeddings (n, d).
        labels: (n,) as given.
        classes: (C,) distinct labels, sorted.
        split: (n,) 'train', 'validation' or 'test'.
        keys: uint8 (n, 16), the same for samples with the same content.
        left_out: the samples that are not audited.
        every_label: distinct labels of all samples, those that are left out included.
        pictures: the images; None for an audit of arrays.
        exponent: the embeddings were divided by two to this power.
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

    def rows(self, split: str) -> np.ndarray:
        """Positions of the samples of a split."""
        return np.flatnonzero(self.split == split)

    @property
    def numbers(self) -> np.ndarray:
        """The given labels as class numbers (n,)."""
        return np.searchsorted(self.classes, self.labels)

    @property
    def audited(self) -> str:
        """What the samples are: 'images', or 'rows' of an array."""
        return "rows" if self.pictures is None else "images"

    @property
    def made_by(self) -> str:
        """What identifies the transform from images to embeddings; '' for an audit of arrays."""
        return "" if self.pictures is None else self.pictures.backbone.transform_key


def material_of_arrays(
    x: Any, labels: Any, validation: tuple[Any, Any] | None, config: AuditConfig, stages: Stages
) -> Material:
    """Embeddings of the caller's own; arguments and errors as those of `audit.audit_embeddings`."""
    require_engine(config.engine)
    if config.scope == "model" or config.heat_maps:
        asked = "scope 'model' needs" if config.scope == "model" else "heat maps need"
        raise InputError(
            f"{asked} images, but the audit was given embeddings; leave the setting out, or audit the images"
        )
    arrays = read_arrays(x, labels, "x")
    parts, given, missing = arrays.parts, arrays.labels, arrays.missing
    samples = len(given)
    ids = [str(row) for row in range(samples)]
    splits: np.ndarray | None = None
    if validation is not None:
        held_out = read_validation(validation, arrays)
        splits = np.array(["train"] * samples + ["validation"] * len(held_out.labels), dtype=object)
        ids += [f"validation-{row}" for row in range(len(held_out.labels))]
        parts, given = [*parts, *held_out.parts], np.concatenate([given, held_out.labels])
        missing = np.concatenate([missing, held_out.missing])
    left_out = LeftOut(ids, [None] * len(ids), config.strict)
    left_out.add(WITHOUT_LABEL, dict.fromkeys(np.flatnonzero(missing).tolist(), NO_LABEL))
    rows = np.flatnonzero(~missing)
    kept, classes = _of_auditable_classes(given[rows], rows, left_out, stages)
    rows = rows[kept]
    ids, splits = [ids[row] for row in rows], None if splits is None else splits[rows]
    if splits is not None:
        check_validation(given[rows], splits)
    in_double = StoredRows(parts, torch.float64, torch.device("cpu"))
    exponent = check_embeddings(
        in_double if len(rows) == len(given) else select_rows(in_double, torch.from_numpy(rows)), ids
    )
    embeddings = rows_of(parts, len(classes), config, exponent)
    if len(rows) < len(given):
        embeddings = select_rows(embeddings, torch.from_numpy(rows))
    with stages.stage("split"):
        split = split_samples(given[rows], splits, config)
        _note_trust(split, splits, config, stages)
    return Material(
        ids,
        [None] * len(ids),
        embeddings,
        given[rows],
        classes,
        split,
        row_keys(embeddings),
        left_out,
        np.unique(given[~missing]),
        exponent=exponent,
    )


def material_of_images(samples: Samples, config: AuditConfig, stages: Stages, workers: Workers | None) -> Material:
    """Images through the backbone; arguments and errors as those of `audit.audit_images`."""
    require_engine(config.engine)
    if workers is not None and config.engine != "exact":
        raise InputError(
            f"engine {config.engine!r} takes embeddings in memory, and workers would hold them; use engine 'exact', "
            "or audit without workers"
        )
    left_out = LeftOut(samples.ids, [_path(image) for image in samples.images], config.strict)
    labelled = _labelled(samples, left_out, stages)
    every_label = np.array(sorted({samples.labels[row] for row in labelled}))
    auditable_classes(np.array([samples.labels[row] for row in labelled]))
    backbone, embedded = _embedded(samples.select(labelled), config, stages, workers)
    left_out.add(UNREADABLE, {int(labelled[row]): reason for row, reason in embedded.skipped})
    rows = labelled[embedded.rows]
    kept, classes = _of_auditable_classes(np.array([samples.labels[row] for row in rows]), rows, left_out, stages)
    embeddings = embedded.values if workers else rows_of([embedded.values], len(classes), config)
    if not kept.all():
        embeddings = select_rows(embeddings, torch.from_numpy(np.flatnonzero(kept)))
    audited = samples.select(rows[kept])
    labels = np.array(audited.labels)
    with stages.stage("split"):
        own = audited.splits if config.use_splits else None
        split = split_samples(labels, own, config)
        _note_trust(split, own, config, stages)
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
        Pictures(audited, backbone, embedded.computed, embedded.cached),
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
    images: Samples, config: AuditConfig, stages: Stages, workers: Workers | None
) -> tuple[Backbone, Embedded]:
    """The backbone, and its embeddings of the images."""
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
            embedded = embed(images, backbone, config.batch_size, config.cache_dir, step)
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


def split_samples(labels: np.ndarray, splits: Any, config: AuditConfig) -> np.ndarray:
    """The split (n,) of labelled samples: their own where given or asked for, else a seeded stratified one."""
    sizes = (config.train_size, config.validation_size, config.test_size)
    if splits is not None or config.use_splits:
        return own_split(splits, labels, sizes, config.seed)
    return stratified_split(labels, sizes, config.seed)


def _note_trust(split: np.ndarray, own: Any, config: AuditConfig, stages: Stages) -> None:
    """Note that trusted validation samples were drawn at random; injected mislabels do not touch them."""
    if config.validation_trusted and not config.inject and (own is None or "validation" not in set(own)):
        stages.note(
            "split",
            f"the labels of {(split == 'validation').sum()} randomly drawn validation samples are treated as correct "
            "(--validation-trusted), so none of them is flagged; to trust only samples that you have checked, put "
            "them into a validation split of your own (--use-splits, or validation= from Python)",
        )


def _path(image: Any) -> str | None:
    return str(image) if isinstance(image, str | Path) else None
