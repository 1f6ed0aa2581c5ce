"""The stages of an audit on its material: each takes and gives plain values, and knows nothing of the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.compute.matrix import RemoteRows, Rows, select_rows, to_memory
from audit.config import AuditConfig
from audit.data.copies import Copies
from audit.data.injection import inject_mislabels
from audit.data.samples import MINIMUM_PER_CLASS
from audit.explain.influential import influential_samples, suspicious, worst_predicted
from audit.flags.correction import Correction
from audit.flags.detectors import Evidence
from audit.head.fit import WEIGHT_TOLERANCE, Head, probabilities, residuals, targets_of, train_head
from audit.head.hessian import HeadHessian
from audit.head.recipe import train_head_by_recipe
from audit.head.stable import StableSolver
from audit.images.thumbnails import suspects
from audit.influence.choice import make_engine
from audit.influence.engine import Influence, Labelled
from audit.inputs import Material
from audit.noise_model.controls import Controls, spike_in
from audit.noise_model.copies import diagnosis_of_copies
from audit.noise_model.model import Diagnosis, NoiseModel
from audit.progress import ProgressCallback


def trained_head(
    x: Rows, labels: np.ndarray, material: Material, config: AuditConfig, only: np.ndarray | None = None
) -> Head:
    """The head trained on the train split, or on what of it is among the rows `only`; validation likewise.

    The former is the one whose influence is asked for; of the latter, its predictions are.
    """
    y = torch.from_numpy(labels).to(x.device)
    train, validation = material.rows("train"), material.rows("validation")
    if only is not None:
        train, validation = np.intersect1d(train, only), np.intersect1d(validation, only)
    (x_train, y_train), (x_validation, y_validation) = (
        (select_rows(x, rows), y[rows]) for rows in (torch.from_numpy(train), torch.from_numpy(validation))
    )
    parts = (x_train, y_train, x_validation, y_validation, len(material.classes))
    if config.trainer == "adam":
        return train_head_by_recipe(*parts, config.epochs, config.learning_rate, config.head_batch_size, config.seed)
    return train_head(*parts, l2=config.l2, weight_tolerance=WEIGHT_TOLERANCE if only is None else math.inf)


def _with_l2(config: AuditConfig, l2: float | None) -> AuditConfig:
    """With this penalty, where one is given; the 'adam' trainer has none."""
    return config.replace(l2=l2) if l2 else config


def inject(
    given: np.ndarray, material: Material, copies: Copies, config: AuditConfig, influence: np.ndarray | None
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


def hessian_of(x: Rows, head: Head, material: Material, config: AuditConfig) -> HeadHessian:
    """Of the head's training objective."""
    z = head.features(select_rows(x, torch.from_numpy(material.rows("train"))))
    return HeadHessian(z, probabilities(z, head.weight), head.l2, damping=config.damping)


def influence_of(
    x: Rows,
    labels: np.ndarray,
    head: Head,
    hessian: HeadHessian,
    material: Material,
    config: AuditConfig,
    expected: Tensor | None,
    note: Callable[[str], None],
) -> Influence:
    """On the mean validation loss, by the given labels, or by what classes (n, C) are expected in their place."""
    targets = targets_of(torch.from_numpy(labels).to(x.device), len(head.weight), x)
    train, validation = (torch.from_numpy(material.rows(name)).to(x.device) for name in ("train", "validation"))
    pictures = material.pictures if config.scope == "model" else None
    samples = Labelled(x if pictures is None else pictures.pixels(), targets)
    backbone = None if pictures is None else pictures.backbone
    engine = make_engine(config.engine, head, samples, train, StableSolver(hessian, config.solver, note), backbone)
    held_out = (targets if expected is None else expected)[validation].to(x.dtype)
    return engine.averaged(samples, validation, held_out)


def _predictions(x: Rows, labels: np.ndarray, head: Head) -> tuple[Any, Any, Any]:
    """Features (n, D), predicted probabilities (n, C) and one-hot labels (n, C)."""
    z = head.features(x)
    targets = targets_of(torch.from_numpy(labels).to(x.device), len(head.weight), z)
    return z, probabilities(z, head.weight), targets


def explain(
    material: Material,
    labels: np.ndarray,
    head: Head,
    hessian: HeadHessian,
    beliefs: Tensor,
    scores: pd.DataFrame,
    solver: str,
    note: Callable[[str], None],
) -> pd.DataFrame:
    """The training samples that help and harm chosen samples most (`AuditResult.explanations`).

    Chosen are the validation samples that are predicted worst, as the audit believes their labels to be (n, C), and the
    given labels of the most suspicious samples.
    """
    z, p, targets = _predictions(material.x, labels, head)
    wanted = (
        worst_predicted(p, beliefs, material.rows("validation")),
        suspicious(scores, suspects(scores), targets),
    )
    names = (material.ids, material.classes)
    wrong, train = residuals(p, targets), material.rows("train")
    return influential_samples(hessian, z, p, wrong, train, wanted, names, solver, note)


def correction_of(
    material: Material,
    labels: np.ndarray,
    others: np.ndarray,
    suspicion: np.ndarray,
    head: Head,
    config: AuditConfig,
) -> Correction:
    """What measures the head before and after correction.

    Args:
        material: the samples.
        labels: (n,) class numbers that were audited.
        others: (n,) the likeliest class number but that one.
        suspicion: (n,).
        head: trained on the labels.
        config: the settings.
    """
    x = material.x
    return Correction(
        labels,
        others,
        suspicion,
        material.split,
        head,
        train=lambda corrected, rows, l2: trained_head(x, corrected, material, _with_l2(config, l2), rows),
        predict=lambda made, rows: predicted(made, x, rows),
        original=material.numbers if config.inject else None,
    )


def copies_of(material: Material, labels: np.ndarray) -> Copies:
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


def diagnose(
    material: Material,
    labels: Tensor,
    copies: Copies,
    seed: int,
    trusted: np.ndarray | None,
    progress: ProgressCallback,
) -> tuple[Diagnosis, Controls]:
    """What the data say about every label (n,), and what becomes of known mislabels in copies of the labels.

    Args:
        material: the samples.
        labels: (n,) class numbers.
        copies: which samples have the same content: each content is judged once.
        seed: of the noise model and of the known mislabels.
        trusted: bool (n,), whose labels are known to be right; None where none is.
        progress: told after each round.
    """
    x = to_memory(material.x) if isinstance(material.x, RemoteRows) else material.x
    classes = len(material.classes)
    if not copies:
        model = NoiseModel(x, classes, seed, None if trusted is None else torch.from_numpy(trusted).to(labels.device))
        fitted = model.fit(labels, progress)
        return fitted.diagnosis, spike_in(model, fitted, labels, seed)
    rows = torch.from_numpy(copies.representatives(labels.cpu().numpy(), trusted))
    known = None if trusted is None else torch.from_numpy(trusted)[rows].to(labels.device)
    model = NoiseModel(select_rows(x, rows), classes, seed, known)
    counted = labels[rows.to(labels.device)]
    fitted = model.fit(counted, progress)
    controls = spike_in(model, fitted, counted, seed)
    controls = replace(controls, rows=rows.numpy()[controls.rows])
    return diagnosis_of_copies(copies, fitted.diagnosis, model.votes, labels, trusted), controls


def evidence_of(labels: np.ndarray, influence: Tensor, diagnosis: Diagnosis) -> Evidence:
    """What detectors read, as arrays."""
    return Evidence(
        labels=labels,
        influence=influence.cpu().numpy(),
        self_influence=diagnosis.self_influence.cpu().numpy(),
        probabilities=diagnosis.probabilities.cpu().numpy(),
        loo_probabilities=diagnosis.loo_probabilities.cpu().numpy(),
        neighbour_share=diagnosis.neighbour_share.cpu().numpy(),
        posterior=diagnosis.posterior.cpu().numpy(),
    )


def predicted(head: Head, x: Rows, rows: np.ndarray) -> np.ndarray:
    """Probabilities (k, C) of the rows."""
    p = head.probabilities(select_rows(x, torch.from_numpy(rows)))
    return to_memory(p if isinstance(p, Tensor) else p.float()).cpu().numpy()
