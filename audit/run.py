"""The audit, stage by stage: samples → split → embedding → head → influence → detectors → flagging → evaluation."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit import __version__
from audit.checkpoint import Checkpoint, checkpoint_for, code_digest, digest_of
from audit.compute.matrix import Rows, Spread, Stored, here, take
from audit.compute.memory import check_fits
from audit.config import AuditConfig
from audit.data.findings import find, row_keys, summarise
from audit.data.injection import inject_mislabels
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
from audit.explain.influential import neighbours, no_explanations, suspicious, worst_predicted
from audit.flags.correction import Correction
from audit.flags.detectors import DETECTORS, Evidence, of_classes
from audit.flags.measures import detection_quality, head_quality, influence_by_class, likeliest_confusions
from audit.flags.threshold import Flags, choose_flags, likeliest_others, suggest_labels
from audit.head.fit import (
    WEIGHT_TOLERANCE,
    Head,
    Standardiser,
    check_embeddings,
    probabilities,
    residuals,
    targets_of,
    train_head,
    train_head_by_recipe,
)
from audit.head.hessian import HeadHessian
from audit.head.stable import StableSolver
from audit.images.backbone import Backbone, load_backbone
from audit.images.embedding import Workers, embed, fitted_pixels, remarks_note
from audit.images.heat_map import drawn_heat_maps
from audit.images.thumbnails import shown_samples, suspects, thumbnails
from audit.influence.averaged import influence_on_validation
from audit.influence.engine import Labelled, engine_on_validation, make_engine
from audit.inputs import read_arrays, read_validation, rows_of
from audit.noise_model.controls import KINDS, Controls, Count, cautions, count_by_controls, describe_controls, spike_in
from audit.noise_model.copies import Copies, contradicted, describe_copies, diagnosis_of_copies
from audit.noise_model.look_alikes import LookAlikes
from audit.noise_model.model import Diagnosis, NoiseModel
from audit.progress import ProgressCallback, Stages, Step, silent
from audit.result import SCHEMA_VERSION, AuditResult

PIXEL_BYTES = 4 * 2**30  # of images that are held for influence through the whole model
MANY_CLASSES = 1000  # as many as ImageNet has; an audit of 10,000 takes an hour or more (tests/benchmarks/classes.md)
NOT_IN_OUTCOME = ("cache_dir", "batch_size", "strict")  # settings that say how, and not what of
RECORDED_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "pillow", "fiftyone")


def audit_embeddings(
    x: Any,
    labels: Any,
    validation: tuple[Any, Any] | None = None,
    config: AuditConfig | None = None,
    progress: ProgressCallback = silent,
    checkpoint: Checkpoint | None = None,
) -> AuditResult:
    """Audit labels on embeddings of your own.

    Identical rows count as copies of one sample (`audit.noise_model.copies`), unless most of them carry different
    labels: then the embeddings do not tell samples apart.

    Args:
        x: (n, d) embeddings, finite real numbers: an array, memory-mapped or not, a tensor, a table, a list of rows,
            a sparse matrix that fits into memory, or the paths of one or more .npy files. Rows go with labels by
            position. Up to IN_MEMORY_BYTES are kept in memory, in double precision (single on a GPU), with predictions
            of up to as many; more are read where they are, a few rows at a time.
        labels: (n,) integers, booleans or strings, all of one type; an array, a tensor, a column or a list.
        validation: (embeddings, labels) to use as the validation split instead of a part of x. They are scored too:
            their rows follow those of x, with ids 'validation-0', 'validation-1', ...
        config: the settings; those of the backbone are not used.
        progress: is told what is being done.
        checkpoint: keeps what stages come to, until the caller discards it; None for one that ends with the audit.

    Returns:
        The result; `scores` has one row an audited sample, with its row in x as the id: '0', '1', ... Samples without
        a label (None, NaN, pd.NA, masked or blank), and those of a class of fewer than 3, are in `skipped` instead.

    Raises:
        InputError: if x or labels cannot be read as that, shapes differ, an embedding is not finite or dwarfs the
            others, validation has fewer than two samples or a class that x lacks, or there are fewer than two
            classes with 3 samples.
    """
    config = config or AuditConfig()
    if config.scope == "model" or config.heat_maps:
        asked = "scope 'model' needs" if config.scope == "model" else "heat maps need"
        raise InputError(f"{asked} images, and these are embeddings; leave it out, or audit the images")
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
    stages = Stages(progress)
    left_out = LeftOut(ids, [None] * len(ids), config.strict)
    left_out.add(WITHOUT_LABEL, dict.fromkeys(np.flatnonzero(missing).tolist(), NO_LABEL))
    rows = np.flatnonzero(~missing)
    kept, classes = _of_auditable_classes(given[rows], rows, left_out, stages)
    rows = rows[kept]
    ids, splits = [ids[row] for row in rows], None if splits is None else splits[rows]
    if splits is not None:
        check_validation(given[rows], splits)
    in_double = Stored(parts, torch.float64, torch.device("cpu"))
    exponent = check_embeddings(in_double if len(rows) == len(given) else take(in_double, torch.from_numpy(rows)), ids)
    embeddings = rows_of(parts, len(classes), config, exponent)
    if len(rows) < len(given):
        embeddings = take(embeddings, torch.from_numpy(rows))
    with stages.stage("split"):
        split = split_samples(given[rows], splits, config)
        _note_trust(split, splits, config, stages)
    material = _Material(ids, [None] * len(ids), embeddings, given[rows], classes, split, row_keys(embeddings))
    kept_stages = checkpoint or checkpoint_for(config)
    run = _Run(config, stages, left_out, kept_stages)
    result = run.audit(material, np.unique(given[~missing]))
    for head in result.heads.values() if exponent else ():  # for embeddings as they were given
        head.update({name: np.ldexp(head[name].astype(np.float64), exponent) for name in ("mean", "scale")})
    return run.end(result, discard=checkpoint is None)


def audit_images(
    samples: Samples,
    config: AuditConfig | None = None,
    progress: ProgressCallback = silent,
    checkpoint: Checkpoint | None = None,
    workers: Workers | None = None,
    scored: Callable[[AuditResult], object] = lambda result: None,
) -> AuditResult:
    """Audit the labels of images.

    Samples without a label, images that cannot be read, and samples of a class of fewer than 3 are not audited: they
    are in `result.skipped` with the reason, and counted in `result.summary['counts']`.

    Args:
        samples: the labelled images.
        config: the settings.
        progress: is told what is being done.
        checkpoint: keeps what stages come to, until the caller discards it; None for one that ends with the audit.
        workers: other processes that embed the images and hold the embeddings (`integrations.dask.DaskWorkers`); None
            to do so here.
        scored: is shown the result as soon as it has scores and flags, before explanations, correction and pictures are
            made: to save it, in case one of these ends the process.

    A stage after the flags that fails takes nothing with it: `result.summary['failed_stages']` says which one and why.

    Raises:
        InputError: if the backbone or its weights cannot be had, no image can be read, there are fewer than two
            classes with 3 samples, or, in a strict audit, a sample would be left out.
    """
    config = config or AuditConfig()
    stages = Stages(progress)
    left_out = LeftOut(samples.ids, [_path(image) for image in samples.images], config.strict)
    unlabelled = [row for row, label in enumerate(samples.labels) if is_missing(label)]
    labelled = np.setdiff1d(np.arange(len(samples)), unlabelled)
    if not len(labelled):
        raise InputError(f"none of the {len(samples)} samples has a label; an audit needs labels")
    if unlabelled:
        stages.note("samples", f"{len(unlabelled)} of {len(samples)} samples have no label: audited without them")
    left_out.add(WITHOUT_LABEL, dict.fromkeys(unlabelled, NO_LABEL))
    every_label = np.array(sorted({samples.labels[row] for row in labelled}))
    auditable_classes(np.array([samples.labels[row] for row in labelled]))
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
        images = samples.take(labelled)
        if workers is None:
            embedded = embed(images, backbone, config.batch_size, config.cache_dir, step)
        else:
            embedded = workers.embed(images, backbone, config, step)
    if embedded.skipped:
        stages.note("embedding", note_of_unreadable(images.labels, [row for row, _ in embedded.skipped]))
    if embedded.remarks:
        stages.note("embedding", remarks_note(embedded.remarks, images))
    left_out.add(UNREADABLE, {int(labelled[row]): reason for row, reason in embedded.skipped})
    rows = labelled[embedded.rows]
    kept, classes = _of_auditable_classes(np.array([samples.labels[row] for row in rows]), rows, left_out, stages)
    embeddings = embedded.values if workers else rows_of([embedded.values], len(classes), config)
    if not kept.all():
        embeddings = take(embeddings, torch.from_numpy(np.flatnonzero(kept)))
    audited = samples.take(rows[kept])
    labels = np.array(audited.labels)
    with stages.stage("split"):
        own = audited.splits if config.use_splits else None
        split = split_samples(labels, own, config)
        _note_trust(split, own, config, stages)
    filepaths = [_path(image) for image in audited.images]
    pixels = _Pixels(audited, backbone) if config.scope == "model" else None
    keys, made_by = embedded.keys[kept], backbone.transform_key
    material = _Material(list(audited.ids), filepaths, embeddings, labels, classes, split, keys, made_by, pixels)
    kept_stages = checkpoint or checkpoint_for(config)
    about = {
        "backbone": _describe_backbone(backbone),
        "embedding": {"computed": embedded.computed, "cached": embedded.cached},
    }
    run = _Run(config, stages, left_out, kept_stages, about, scored)
    result = run.audit(material, every_label)
    with stages.optional("thumbnails", "thumbnails"):
        shown = shown_samples(result.scores, result.explanations)
        result.thumbnails = thumbnails(audited, shown, result.explanations["neighbour"])
    if config.heat_maps:
        with stages.optional("heat maps", "heat maps") as step:
            result.thumbnails["heat_map"] = drawn_heat_maps(result, audited, backbone, config.heat_maps, step)
    return run.end(result, discard=checkpoint is None)


@dataclass(frozen=True)
class _Pixels:
    """The images themselves, for influence through the whole model."""

    samples: Samples
    backbone: Backbone

    def read(self) -> Tensor:
        """float32 (n, 3, size, size) in [0, 1], on the backbone's device."""
        side = self.backbone.image_size
        size = 12 * len(self.samples) * side**2
        if size > PIXEL_BYTES:
            raise InputError(
                f"scope 'model' holds all images in memory: {len(self.samples)} of {side} × {side} pixels take "
                f"{size / 2**30:.1f} GiB, more than {PIXEL_BYTES / 2**30:.0f}; take fewer, or scope 'head'"
            )
        images = [fitted_pixels(decode_image(image), self.backbone) for image in self.samples.images]
        pixels = torch.from_numpy(np.stack(images)).to(self.backbone.device)
        return pixels.permute(0, 3, 1, 2).float() / 255


@dataclass(frozen=True)
class _Material:
    """What every audit comes down to: n embedded samples with labels, a split and what identifies their content.

    The embeddings (n, d) are those of the content that `keys` identify by the backbone that `made_by` identifies.
    """

    ids: list[str]
    filepaths: list[str | None]
    x: Any
    labels: np.ndarray
    classes: np.ndarray
    split: np.ndarray
    keys: np.ndarray
    made_by: str = ""
    pixels: _Pixels | None = None

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.split == split)


@dataclass(frozen=True)
class _Run:
    """One audit under way: everything from the embeddings on.

    Attributes:
        config: the settings.
        stages: what is timed and told.
        left_out: the samples that are not audited.
        checkpoint: keeps what stages come to.
        about: what the summary says of the backbone and the embedding, by name; None for an audit of arrays.
        scored: is shown the result once it has scores and flags.
    """

    config: AuditConfig
    stages: Stages
    left_out: LeftOut
    checkpoint: Checkpoint
    about: dict[str, Any] = field(default_factory=lambda: {"backbone": None, "embedding": None})
    scored: Callable[[AuditResult], object] = lambda result: None

    def audit(self, material: _Material, every_label: np.ndarray) -> AuditResult:
        """Scores and flags, and then what can be made of them.

        Args:
            material: the samples that are audited.
            every_label: distinct labels of all samples, those that are left out included.
        """
        check_fits(len(material.ids), len(material.classes), material.x.device)
        self.checkpoint.begin(
            _digest(material, self.config, material.x.device),
            (Head, Standardiser, Diagnosis, LookAlikes, Controls, _Influence),
            lambda stage, text: self.stages.progress(Step(stage, note=text)),
        )
        found = self._score(material)
        result = self._result(material, found, every_label)
        self.scored(result)
        self._explain(result, material, found)
        self._correct(result, material, found)
        return result

    def end(self, result: AuditResult, discard: bool) -> AuditResult:
        """The result; what was kept of its stages goes, unless one has failed and is to be made again."""
        if discard and not result.summary["failed_stages"]:
            self.checkpoint.discard()
        return result

    def _score(self, material: _Material) -> _Found:
        config, stages, once = self.config, self.stages, self.checkpoint.once
        x = material.x
        given = np.searchsorted(material.classes, material.labels)
        with stages.stage("head"):
            heads = {"given": once("head", lambda: _train(x, given, material, config))}
        labels = given
        copies = _copies(material, given)
        if config.inject:
            influence_given = None
            if config.inject_strategy == "most-influential":
                with stages.stage("influence"):
                    hessian = _hessian(x, heads["given"], material, config)
                    made = _influence(
                        x, given, heads["given"], hessian, material, config, None, self._tell("influence")
                    )
                    influence_given = made.values.cpu().numpy()
            with stages.stage("injection"):
                labels = _inject(given, material, copies, config, influence_given)
            with stages.stage("head"):
                heads["corrupted"] = once("head-corrupted", lambda: _train(x, labels, material, config))
        audited = heads["corrupted" if config.inject else "given"]
        trusted = material.split == "validation" if config.validation_trusted else None
        with stages.stage("detection") as step:
            targets = torch.from_numpy(labels).to(x.device)
            diagnosis, controls = once(
                "detection", lambda: _diagnose(material, targets, copies, config.seed, trusted, step)
            )
        with stages.stage("influence"):
            # Without their labels: a few hundred of these, right ones too, would say more of themselves than of the
            # loss.
            expected = None if config.validation_trusted else diagnosis.prior
            hessian = _hessian(x, audited, material, config)
            influence = once(
                "influence",
                lambda: _influence(x, labels, audited, hessian, material, config, expected, self._tell("influence")),
            )
        evidence = _evidence(labels, influence.values, diagnosis)
        with stages.stage("flagging"):
            suspicion = DETECTORS["suspicion"](evidence)
            counted = count_by_controls(controls, diagnosis, targets, suspicion, copies.proven_mistakes(labels))
            flags = choose_flags(
                suspicion,
                config.threshold,
                config.target_precision,
                config.max_review,
                counted.mistakes,
                contradicted(copies, labels, suspicion),
            )
        return _Found(
            given, labels, copies, heads, audited, diagnosis, controls, hessian, influence, evidence, counted, flags
        )

    def _tell(self, stage: str) -> Callable[[str], None]:
        return lambda text: self.stages.note(stage, text)

    def _result(self, material: _Material, found: _Found, every_label: np.ndarray) -> AuditResult:
        config, flags, labels, given = self.config, found.flags, found.labels, found.given
        findings = find(material.ids, material.labels, material.split, material.keys, every_label)
        suggested = suggest_labels(found.evidence.posterior, labels, flags.flag)
        scores = _scores(
            material, found.evidence, flags.flag, suggested, found.others, given if config.inject else None
        )
        with self.stages.stage("evaluation"):
            detection = None
            if config.inject:
                detection = {
                    "strategy": config.inject_strategy,
                    "into": config.inject_into,
                    **detection_quality(
                        labels != given,
                        flags.flag,
                        {name: score(found.evidence) for name, score in DETECTORS.items()},
                    ),
                }
            heads = {name: _describe_head(head, material.x, given, material) for name, head in found.heads.items()}
        summary: dict[str, Any] = {
            "schema": SCHEMA_VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "counts": _counts(material, flags.flag, labels != given, self.left_out),
            "copies": describe_copies(found.copies, labels, material.split),
            "findings": summarise(findings),
            "classes": material.classes.tolist(),
            "threshold": flags.threshold,
            "threshold_rule": flags.rule,
            "estimates": flags.estimates | {"cautions": cautions(np.bincount(labels), found.controls, found.counted)},
            "controls": describe_controls(found.controls, found.counted, flags.flag, flags.threshold),
            "detection": detection,
            "correction": None,
            "influence_by_class": influence_by_class(scores, material.classes.tolist()),
            "heads": heads,
            "influence": {
                "engine": config.engine,
                "scope": config.scope,
                "method": found.influence.method,
                "residual": found.influence.residual,
                "parameters": found.hessian.parameters,
                "damping": config.damping + found.influence.damping,
                "validation_samples": len(material.rows("validation")),
                "validation_labels": "given" if config.validation_trusted else "believed",
            },
            "leave_one_out": {"method": found.diagnosis.method},
            "noise_model": {
                "l2": found.diagnosis.l2,
                "rounds": found.diagnosis.rounds,
                "look_alikes": asdict(found.diagnosis.look_alikes),
                "confusions": likeliest_confusions(found.diagnosis.transition.cpu().numpy(), material.classes.tolist()),
            },
            **self.about,
            "config": config.to_dict(),
            "versions": _versions(),
            "machine": _machine(material.x.device),
            "notes": self.stages.notes,
            "failed_stages": self.stages.failed,
            "timings": self.stages.seconds,
        }
        arrays = {name: head.arrays() for name, head in found.heads.items()}
        if found.influence.solution is not None:
            arrays["corrupted" if config.inject else "given"]["solution"] = found.influence.solution.cpu().numpy()
        return AuditResult(
            scores=scores,
            summary=summary,
            curves=_curves(found.heads),
            explanations=no_explanations(),
            skipped=self.left_out.table(),
            findings=findings,
            controls=_controls_table(found.controls, material, labels, flags.flag),
            thumbnails=pd.DataFrame({"image": pd.Series([], dtype=object)}, index=pd.Index([], name="id")),
            heads=arrays,
        )

    def _explain(self, result: AuditResult, material: _Material, found: _Found) -> None:
        with self.stages.optional("explanation", "explanations"):
            result.explanations = self.checkpoint.once(
                "explanation",
                lambda: _explain(material, found, result.scores, self.config.solver, self._tell("explanation")),
            )

    def _correct(self, result: AuditResult, material: _Material, found: _Found) -> None:
        x, config = material.x, self.config
        with self.stages.optional("correction", "measurements of what correcting is worth"):
            result.summary["correction"] = self.checkpoint.once(
                "correction",
                lambda: Correction(
                    found.labels,
                    found.others,
                    result.scores["suspicion"].to_numpy(),
                    material.split,
                    found.audited,
                    train=lambda corrected, rows, l2: _train(x, corrected, material, _with_l2(config, l2), rows),
                    predict=lambda head, rows: _predicted(head, x, rows),
                    original=found.given if config.inject else None,
                ).measure(found.flags.flag),
            )


@dataclass(frozen=True)
class _Found:
    """What the stages up to the flags come to.

    Attributes:
        given: (n,) class numbers as they came.
        labels: (n,) class numbers that were audited, injected mislabels among them.
        copies: which samples have the same content.
        heads: 'given', trained on the former, and with injection 'corrupted', trained on the latter.
        audited: the one of these that the audit is about.
        diagnosis: what the data say about every label.
        controls: copies of the labels with known mislabels.
        hessian: of the audited head.
        influence: of every sample on the validation loss.
        evidence: what detectors read.
        counted: how many labels are wrong.
        flags: threshold and flags.
    """

    given: np.ndarray
    labels: np.ndarray
    copies: Copies
    heads: dict[str, Head]
    audited: Head
    diagnosis: Diagnosis
    controls: Controls
    hessian: HeadHessian
    influence: _Influence
    evidence: Evidence
    counted: Count
    flags: Flags

    @cached_property
    def others(self) -> np.ndarray:
        """The likeliest class (n,) that is not the audited label."""
        return likeliest_others(self.evidence.posterior, self.labels)


def _digest(material: _Material, config: AuditConfig, device: torch.device) -> str:
    """What identifies all that the stages follow from."""
    settings = {name: value for name, value in config.to_dict().items() if name not in NOT_IN_OUTCOME}
    parts = (material.keys, material.made_by, material.labels, material.split, material.ids, settings)
    return digest_of(*parts, str(device), torch.__version__, code_digest())


def _predicted(head: Head, x: Rows, rows: np.ndarray) -> np.ndarray:
    """Probabilities (k, C) of the rows."""
    p = head.probabilities(take(x, torch.from_numpy(rows)))
    return here(p if isinstance(p, Tensor) else p.float()).cpu().numpy()


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
    if len(classes) > MANY_CLASSES:
        stages.note(
            "samples",
            f"the labels are {len(classes)} classes, which take very long: time grows with samples × classes. "
            "If that is not meant, check the label field, or audit some of the classes at a time (--keep-labels)",
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
    """Say it where validation samples are trusted that nobody chose for that; injected mislabels spare them."""
    if config.validation_trusted and not config.inject and (own is None or "validation" not in set(own)):
        stages.note(
            "split",
            f"{(split == 'validation').sum()} samples that were drawn for validation are taken to have the right "
            "label (--validation-trusted), so that none of them is flagged; name those that you have checked "
            "(splits of your own and --use-splits, or from Python validation=)",
        )


def _train(
    x: Rows, labels: np.ndarray, material: _Material, config: AuditConfig, only: np.ndarray | None = None
) -> Head:
    """The head trained on the train split, or on what of it is among the rows `only`; validation likewise.

    The former is the one whose influence is asked for; of the latter, its predictions are.
    """
    y = torch.from_numpy(labels).to(x.device)
    train, validation = material.rows("train"), material.rows("validation")
    if only is not None:
        train, validation = np.intersect1d(train, only), np.intersect1d(validation, only)
    (x_train, y_train), (x_validation, y_validation) = (
        (take(x, rows), y[rows]) for rows in (torch.from_numpy(train), torch.from_numpy(validation))
    )
    parts = (x_train, y_train, x_validation, y_validation, len(material.classes))
    if config.trainer == "adam":
        return train_head_by_recipe(*parts, config.epochs, config.learning_rate, config.head_batch_size, config.seed)
    return train_head(*parts, l2=config.l2, weight_tolerance=WEIGHT_TOLERANCE if only is None else math.inf)


def _with_l2(config: AuditConfig, l2: float | None) -> AuditConfig:
    """With this penalty, where one is given; the 'adam' trainer has none."""
    return config.replace(l2=l2) if l2 else config


def _inject(
    given: np.ndarray, material: _Material, copies: Copies, config: AuditConfig, influence: np.ndarray | None
) -> np.ndarray:
    """Labels with mislabels; copies that carry a label alike get the same one, or they would give it away."""
    allowed = np.ones(len(given), dtype=bool)
    if (
        config.inject_into == "train" or config.inject_strategy == "most-influential"
    ):  # the recipe ranks training samples
        allowed = material.split == "train"
    elif config.validation_trusted:
        allowed = material.split != "validation"
    candidates = np.flatnonzero(allowed)
    _, of_content = np.unique(copies.content[candidates], return_index=True)
    first = np.sort(candidates[of_content])
    labels = inject_mislabels(
        given,
        len(material.classes),
        config.inject,
        config.inject_strategy,
        config.seed,
        embeddings=material.x,
        influence=influence,
        candidates=first,
    )
    if copies:
        source = np.arange(len(given))
        of_first = np.full(len(copies.first), -1)
        of_first[copies.content[first]] = first
        alike = allowed & (given == given[of_first[copies.content]]) & (of_first[copies.content] >= 0)
        source[alike] = of_first[copies.content[alike]]
        labels = labels[source]
    return labels


def _hessian(x: Rows, head: Head, material: _Material, config: AuditConfig) -> HeadHessian:
    """Of the head's training objective."""
    z = head.features(take(x, torch.from_numpy(material.rows("train"))))
    return HeadHessian(z, probabilities(z, head.weight), head.l2, damping=config.damping)


@dataclass(frozen=True)
class _Influence:
    """Influence (n,), how it was solved for and with what residual, S (C, D), where it is known, and what had to be
    added to the Hessian's diagonal beside the setting `damping`."""

    values: Tensor
    method: str
    residual: float | None
    solution: Tensor | None = None
    damping: float = 0.0


def _influence(
    x: Rows,
    labels: np.ndarray,
    head: Head,
    hessian: HeadHessian,
    material: _Material,
    config: AuditConfig,
    expected: Tensor | None,
    note: Callable[[str], None],
) -> _Influence:
    """On the mean validation loss, by the given labels, or by what classes (n, C) are expected in their place."""
    z, p, targets = _predictions(x, labels, head)
    train, validation = material.rows("train"), torch.from_numpy(material.rows("validation")).to(x.device)
    held_out = (targets if expected is None else expected)[validation].to(x.dtype)
    if config.engine != "exact":
        if not isinstance(x, Tensor):
            raise InputError(
                f"engine {config.engine!r} takes embeddings in memory, and these are too many or on Dask workers; "
                "use engine 'exact'"
            )
        inputs = x if material.pixels is None else material.pixels.read()
        backbone = None if material.pixels is None else material.pixels.backbone
        engine = make_engine(
            config.engine, head, Labelled(inputs[train], targets[train]), config.damping, backbone=backbone
        )
        influence = engine_on_validation(engine, Labelled(inputs, targets), validation, held_out)
        return _Influence(influence, engine.name, engine.residual)
    solver = StableSolver(hessian, config.solver, note)
    influence, solution = influence_on_validation(
        solver, z, residuals(p, targets), validation, residuals(take(p, validation), held_out)
    )
    first = len(validation[0::2]) / len(validation)
    whole = first * solution.values[0] + (1 - first) * solution.values[1]
    return _Influence(influence, solution.method, solution.residual, whole, solver.damping)


def _predictions(x: Rows, labels: np.ndarray, head: Head) -> tuple[Any, Any, Any]:
    """Features (n, D), predicted probabilities (n, C) and one-hot labels (n, C)."""
    z = head.features(x)
    targets = targets_of(torch.from_numpy(labels).to(x.device), len(head.weight), z)
    return z, probabilities(z, head.weight), targets


def _explain(
    material: _Material, found: _Found, scores: pd.DataFrame, solver: str, note: Callable[[str], None]
) -> pd.DataFrame:
    """The training samples that help and harm most: the worst predicted validation samples, as the audit believes their
    labels to be, and the given labels of the most suspicious samples."""
    z, p, targets = _predictions(material.x, found.labels, found.audited)
    wanted = (
        worst_predicted(p, found.diagnosis.posterior, material.rows("validation")),
        suspicious(scores, suspects(scores), targets),
    )
    names = (material.ids, material.classes)
    train = material.rows("train")
    return neighbours(found.hessian, z, p, residuals(p, targets), train, wanted, names, solver, note)


def _copies(material: _Material, labels: np.ndarray) -> Copies:
    """Samples with the same content, where taking each content once leaves something to audit."""
    copies = Copies.of(material.keys)
    if not copies:
        return copies
    repeated = int((np.bincount(copies.content) > 1).sum())
    half_differ = 2 * len(copies.first) >= len(labels)
    told_apart = material.made_by or half_differ or 2 * len(copies.conflicting(labels)) <= repeated
    _, counts = np.unique(labels[copies.representatives(labels, None)], return_counts=True)
    enough = (counts >= MINIMUM_PER_CLASS).sum() >= 2
    return copies if told_apart and enough else Copies.none(len(labels))


def _diagnose(
    material: _Material,
    labels: Tensor,
    copies: Copies,
    seed: int,
    trusted: np.ndarray | None,
    progress: ProgressCallback,
) -> tuple[Diagnosis, Controls]:
    x = here(material.x) if isinstance(material.x, Spread) else material.x
    classes = len(material.classes)
    if not copies:
        model = NoiseModel(x, classes, seed, None if trusted is None else torch.from_numpy(trusted).to(labels.device))
        diagnosis = model.diagnose(labels, progress)
        return diagnosis, spike_in(model, diagnosis, labels, seed)
    rows = torch.from_numpy(copies.representatives(labels.cpu().numpy(), trusted))
    known = None if trusted is None else torch.from_numpy(trusted)[rows].to(labels.device)
    model = NoiseModel(take(x, rows), classes, seed, known)
    counted = labels[rows.to(labels.device)]
    diagnosis = model.diagnose(counted, progress)
    controls = spike_in(model, diagnosis, counted, seed)
    controls = replace(controls, rows=rows.numpy()[controls.rows])
    return diagnosis_of_copies(copies, diagnosis, model.votes, labels, trusted), controls


def _controls_table(controls: Controls, material: _Material, labels: np.ndarray, flag: np.ndarray) -> pd.DataFrame:
    compared = ~flag[controls.rows]
    rows = controls.rows[compared]
    return pd.DataFrame(
        {
            "copy": controls.copy[compared],
            "kind": np.array(KINDS, dtype=object)[controls.kind[compared]],
            "spiked": controls.known[compared],
            "label": material.classes[controls.labels[compared]],
            "original_label": material.classes[labels[rows]],
            "suspicion": controls.suspicion[compared],
        },
        index=pd.Index(np.array(material.ids, dtype=object)[rows], name="id"),
    )


def _evidence(labels: np.ndarray, influence: Tensor, diagnosis: Diagnosis) -> Evidence:
    return Evidence(
        labels=labels,
        influence=influence.cpu().numpy(),
        self_influence=diagnosis.self_influence.cpu().numpy(),
        probabilities=diagnosis.probabilities.cpu().numpy(),
        loo_probabilities=diagnosis.loo_probabilities.cpu().numpy(),
        neighbour_share=diagnosis.neighbour_share.cpu().numpy(),
        posterior=diagnosis.posterior.cpu().numpy(),
    )


def _scores(
    material: _Material,
    evidence: Evidence,
    flag: np.ndarray,
    suggested: np.ndarray,
    others: np.ndarray,
    given: np.ndarray | None,
) -> pd.DataFrame:
    columns = {
        "filepath": np.array(material.filepaths, dtype=object),
        "split": material.split,
        "label": material.classes[evidence.labels],
        "influence": evidence.influence,
        "self_influence": evidence.self_influence,
        "loo_probability": evidence.of_given(evidence.loo_probabilities),
        "suspicion": DETECTORS["suspicion"](evidence),
        "flag": flag,
        "suggested_label": material.classes[suggested],
        "suggested_probability": of_classes(evidence.posterior, suggested),
        "other_label": material.classes[others],
        "other_probability": of_classes(evidence.posterior, others),
    }
    if given is not None:
        columns["injected"] = evidence.labels != given
        columns["original_label"] = material.classes[given]
    return pd.DataFrame(columns, index=pd.Index(material.ids, name="id"))


def _counts(material: _Material, flag: np.ndarray, injected: np.ndarray, left_out: LeftOut) -> dict[str, int]:
    return {
        "samples": len(material.ids),
        **{name: len(material.rows(name)) for name in ("train", "validation", "test")},
        "classes": len(material.classes),
        "flagged": int(flag.sum()),
        **left_out.counts(),
        "injected": int(injected.sum()),
    }


def _describe_head(head: Head, x: Rows, given: np.ndarray, material: _Material) -> dict[str, Any]:
    """Quality on the user's labels, which injection left alone."""
    description: dict[str, Any] = {
        "trainer": head.trainer,
        "l2": head.l2,
        "l2_path": [{"l2": l2, "validation_loss": loss} for l2, loss in head.l2_path],
        "gradient_norm": head.gradient_norm,
        "converged": head.trainer == "newton",
        "steps": len(head.curve) - (head.trainer == "newton"),
    }
    for split in ("train", "validation", "test"):
        rows = material.rows(split)
        description[split] = head_quality(_predicted(head, x, rows), given[rows])
    return description


def _curves(heads: dict[str, Head]) -> pd.DataFrame:
    records = [
        (name, step, train, validation)
        for name, head in heads.items()
        for step, (train, validation) in enumerate(head.curve, 0 if head.trainer == "newton" else 1)
    ]
    return pd.DataFrame(records, columns=["head", "step", "train_loss", "validation_loss"])


def _describe_backbone(backbone: Backbone) -> dict[str, Any]:
    return {
        "name": backbone.name,
        "weights": backbone.weights,
        "key": backbone.key,
        "image_size": backbone.image_size,
        "features": backbone.features,
        "device": str(backbone.device),
        "precision": backbone.precision,
    }


def _versions() -> dict[str, str]:
    versions = {"influence-audit": __version__, "python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _machine(device: torch.device) -> dict[str, Any]:
    accelerator = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {"system": platform.platform(terse=True), "cpu_threads": torch.get_num_threads(), "gpu": accelerator}


def _path(image: Any) -> str | None:
    return str(image) if isinstance(image, str | Path) else None
