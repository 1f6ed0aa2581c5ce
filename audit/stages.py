"""The stages of an audit, one function each. Each takes and returns plain values, and does not know the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.annotators.audited import ConsensusModel
from audit.compute.by_blocks import local
from audit.compute.matrix import RemoteRows, Rows, hold, select_rows, to_memory
from audit.compute.scratch import fits_memory, readable
from audit.config import AuditConfig
from audit.data.exact_copies import Copies
from audit.data.injection import inject_mislabels
from audit.data.samples import MINIMUM_PER_CLASS
from audit.errors import ConvergenceError
from audit.explain.influential import influential_samples, suspicious, worst_predicted
from audit.explain.nearest_suspects import nearest_of_suspects
from audit.flags.correction import Arm, Correction, Trained
from audit.flags.detectors import Evidence
from audit.head.factors import SecondMoment
from audit.head.fit import Head, TrainingFeatures, probabilities, residuals, targets_of, train_head
from audit.head.fit_together import LEFT_OUT
from audit.head.hessian import HeadHessian
from audit.head.recipe import train_head_by_recipe
from audit.head.retrain import Relabelling, retrained_heads
from audit.head.stable import StableSolver
from audit.head.standardise import Standardiser
from audit.images.thumbnails import suspects
from audit.influence.engine import Influence, Labelled
from audit.influence.make_engine import make_engine
from audit.inputs import Material
from audit.noise_model.controls import Controls, spike_in
from audit.noise_model.diagnosis import LabelModel
from audit.noise_model.diagnosis_of_copies import diagnosis_of_copies
from audit.noise_model.given_predictions import GivenPredictions
from audit.noise_model.heads import alike_on_workers
from audit.noise_model.model import Diagnosis, NoiseModel
from audit.noise_model.predictions_alone import PredictionsModel
from audit.noise_model.settings import NoiseSettings
from audit.progress import ProgressCallback
from audit.summary.correction import UntrainedHead


def training_features(material: Material, config: AuditConfig) -> TrainingFeatures:
    """The features of the train split; the original recipe takes embeddings as they are."""
    x = select_rows(material.x, torch.from_numpy(material.rows("train")))
    return TrainingFeatures.of(x, Standardiser.unchanged(x) if config.trainer == "adam" else None)


def trained_head(labels: np.ndarray, material: Material, features: TrainingFeatures, config: AuditConfig) -> Head:
    """The head trained on the train split, and tuned on the validation split."""
    parts = _parts(material.x, labels, material.rows("train"), material.rows("validation"))
    if config.trainer == "adam":
        return _by_recipe(parts, material, config)
    return train_head(*parts, classes=len(material.classes), l2=config.l2, features=features)


Parts = tuple[Rows, Tensor, Rows, Tensor]
"""Embeddings and class numbers to train on, and those to tune on."""


def _parts(x: Rows, labels: np.ndarray, train: np.ndarray, validation: np.ndarray) -> Parts:
    y = torch.from_numpy(labels).to(x.device)
    on, beside = torch.from_numpy(train), torch.from_numpy(validation)
    return select_rows(x, on), y[on], select_rows(x, beside), y[beside]


def _by_recipe(parts: Parts, material: Material, config: AuditConfig) -> Head:
    how = (config.epochs, config.learning_rate, config.head_batch_size, config.seed)
    return train_head_by_recipe(*parts, len(material.classes), *how)


def inject(
    given: np.ndarray, material: Material, copies: Copies, config: AuditConfig, influence: np.ndarray | None
) -> np.ndarray:
    """Labels with injected mislabels. Copies with the same label get the same new one, so that none reveals it."""
    allowed = np.ones(len(given), dtype=bool)
    # The original recipe ('most-influential') ranks training samples.
    if config.inject_into == "train" or config.inject_strategy == "most-influential":
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
        embeddings=material.predictions if material.x is None else material.x,
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


def hessian_of(head: Head, features: TrainingFeatures, config: AuditConfig) -> HeadHessian:
    """The Hessian of the head's training objective."""
    z = features.z
    p = probabilities(z, head.weight)
    p = hold(p) if isinstance(z, Tensor) else p  # computed again only where reading z is most of the work
    return HeadHessian(z, p, head.l2, damping=config.damping, moment=features.moment)


def influence_of(
    x: Rows,
    labels: np.ndarray,
    head: Head,
    hessian: HeadHessian,
    material: Material,
    config: AuditConfig,
    expected: Rows | None,
    note: Callable[[str], None],
) -> Influence:
    """Influence on the mean validation loss, computed with the given labels, or with `expected` classes (n, C)."""
    targets = targets_of(torch.from_numpy(labels).to(x.device), len(head.weight), x)
    train, validation = (torch.from_numpy(material.rows(name)).to(x.device) for name in ("train", "validation"))
    pictures = material.pictures if config.scope == "model" else None
    samples = Labelled(x if pictures is None else pictures.pixels(), targets)
    backbone = None if pictures is None else pictures.backbone
    engine = make_engine(config.engine, head, samples, train, StableSolver(hessian, config.solver, note), backbone)
    held_out = select_rows(targets if expected is None else expected, validation)
    if fits_memory(tuple(held_out.shape), x.dtype, x.device):
        held_out = to_memory(held_out).to(x.dtype)
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
    beliefs: Rows,
    scores: pd.DataFrame,
    solver: str,
    note: Callable[[str], None],
) -> pd.DataFrame:
    """The training samples that help and harm chosen samples most (`AuditResult.explanations`).

    The chosen samples are the worst predicted validation samples, with labels as in `beliefs` (n, C), and the most
    suspicious samples, with their given labels.
    """
    z, p, targets = _predictions(material.x, labels, head)
    wanted = (
        worst_predicted(p, beliefs, material.rows("validation")),
        suspicious(scores, suspects(scores), targets),
    )
    names = (material.ids, material.classes)
    wrong, train = residuals(p, targets), material.rows("train")
    return influential_samples(hessian, z, p, wrong, train, wanted, names, solver, note)


def nearest(material: Material, labels: np.ndarray, others: np.ndarray, scores: pd.DataFrame) -> pd.DataFrame:
    """The samples most like the most suspicious ones (`AuditResult.nearest`).

    Args:
        material: the samples.
        labels: (n,) audited class numbers.
        others: (n,) the likeliest class other than the label.
        scores: of all samples, by id, in the order of the material.
    """
    rows = scores.index.get_indexer(pd.Index(suspects(scores), dtype=object))
    return nearest_of_suspects(material.x, labels, others, rows, material.ids)


def correction_of(
    material: Material,
    labels: np.ndarray,
    others: np.ndarray,
    suspicion: np.ndarray,
    head: Head,
    moment: SecondMoment | None,
    config: AuditConfig,
) -> Correction:
    """The object that measures the head before and after correction.

    Args:
        material: the samples.
        labels: (n,) audited class numbers.
        others: (n,) the likeliest class other than the label.
        suspicion: (n,) probability that each label is wrong, 0 to 1.
        head: the head trained on the labels.
        moment: the factorised second moment of the features that it was trained on; None to compute it.
        config: the settings.
    """
    x, by_recipe = material.x, config.trainer == "adam"

    def train(labels: np.ndarray, rows: np.ndarray, l2: float | None) -> Head:
        kept = (np.intersect1d(material.rows(name), rows) for name in ("train", "validation"))
        return _by_recipe(_parts(x, labels, *kept), material, config)

    return Correction(
        labels,
        others,
        suspicion,
        material.split,
        head,
        train=train,
        predict=lambda made, rows: predicted(made, x, rows),
        original=material.numbers if config.inject else None,
        seed=config.seed,
        train_all=None if by_recipe else lambda arms: _retrained(arms, material, head, moment, config.l2),
    )


def _retrained(
    arms: Sequence[Arm], material: Material, head: Head, moment: SecondMoment | None, l2: float | None
) -> list[Trained]:
    """The heads of all arms, with this L2 penalty if it is given."""
    x = material.x
    places = [material.rows(name) for name in ("train", "validation")]
    relabellings = []
    for arm in arms:
        codes = np.full(len(material.ids), LEFT_OUT)
        codes[arm.rows] = arm.labels[arm.rows]
        labels, labels_held_out = (torch.from_numpy(codes[rows]).to(x.device) for rows in places)
        near = arm.near
        penalty, start = (l2, None) if near is None else (near.l2, near.weight)
        relabellings.append(Relabelling(labels, labels_held_out, penalty, start))
    trained_on, held_out = (select_rows(x, torch.from_numpy(rows)) for rows in places)
    made = retrained_heads(head, trained_on, held_out, relabellings, moment)
    return [UntrainedHead(error=str(one)) if isinstance(one, ConvergenceError) else one for one in made]


def copies_of(material: Material, labels: np.ndarray) -> Copies:
    """Samples with the same content; none if content does not tell samples apart, or too few contents are left.

    Copies that several annotators labelled count each for itself: each has labels of its own, of which none is ignored.
    """
    if material.consensus is not None:
        return Copies.none(len(labels))
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
    trusted: np.ndarray | None,
    config: AuditConfig,
    progress: ProgressCallback,
) -> tuple[Diagnosis, Controls]:
    """The diagnosis of every label (n,), and the spike-in controls: known mislabels in copies of the labels.

    Args:
        material: the samples.
        labels: (n,) class numbers.
        copies: which samples have the same content. Each content is judged once.
        trusted: bool (n,), labels that are known to be right; None if there are none.
        config: the settings: the seed of the noise model and of the known mislabels, and what the predictions are.
        progress: called after each round.
    """
    if not copies:
        model = _noise_model(material, None, trusted, labels.device, config)
        fitted = model.fit(labels, progress)
        return fitted.diagnosis, spike_in(model, fitted, labels, config.seed)
    rows = torch.from_numpy(copies.representatives(labels.cpu().numpy(), trusted))
    model = _noise_model(material, rows, trusted, labels.device, config)
    counted = labels[rows.to(labels.device)]
    fitted = model.fit(counted, progress)
    controls = spike_in(model, fitted, counted, config.seed)
    controls = replace(controls, rows=rows.numpy()[controls.rows])
    assert isinstance(model, NoiseModel)  # predictions alone have no copies
    return diagnosis_of_copies(copies, fitted.diagnosis, model.votes, labels, trusted), controls


def _noise_model(
    material: Material, rows: Tensor | None, trusted: np.ndarray | None, device: torch.device, config: AuditConfig
) -> LabelModel:
    """The noise model of some samples, by their positions; None for all."""
    model = _model_of_labels(material, rows, trusted, device, config)
    return model if material.consensus is None else ConsensusModel(model, material.consensus, material.numbers)


def _model_of_labels(
    material: Material, rows: Tensor | None, trusted: np.ndarray | None, device: torch.device, config: AuditConfig
) -> NoiseModel | PredictionsModel:
    """The noise model of one label a sample."""
    predictions = None
    if material.predictions is not None:
        probabilities = torch.from_numpy(material.predictions).to(device)
        predictions = GivenPredictions(probabilities, config.predictions_in_sample)
    known = None if trusted is None else torch.from_numpy(trusted).to(device)
    classes, x = len(material.classes), material.x
    if isinstance(x, RemoteRows) and (rows is not None or not _on_workers(x, classes)):
        x = local(x)
    if rows is not None:
        x = select_rows(x, rows)
        known = None if known is None else known[rows.to(device)]
        predictions = None if predictions is None else predictions.select(rows)
    if x is None:
        assert predictions is not None
        return PredictionsModel(predictions.probabilities, config.seed, known)
    return NoiseModel(x, classes, config.seed, known, predictions=predictions)


def _on_workers(x: RemoteRows, classes: int) -> bool:
    """Whether the noise model of embeddings on workers is computed there: if large, and as one process would do it."""
    n, features = x.shape
    large = not fits_memory((n, classes), torch.float32, x.device)
    return large and alike_on_workers(n, features, classes, NoiseSettings().head)


def evidence_of(labels: np.ndarray, influence: Influence | None, diagnosis: Diagnosis) -> Evidence:
    """The arrays that the detectors read; None for those that do not exist without embeddings."""

    def array(values: Tensor | None) -> np.ndarray | None:
        return None if values is None else values.cpu().numpy()

    return Evidence(
        labels=labels,
        influence=None if influence is None else array(influence.values),
        self_influence=array(diagnosis.self_influence),
        probabilities=readable(diagnosis.probabilities),
        loo_probabilities=readable(diagnosis.loo_probabilities),
        neighbour_share=array(diagnosis.neighbour_share),
        posterior=readable(diagnosis.posterior),
    )


def predicted(head: Head, x: Rows, rows: np.ndarray) -> Any:
    """Probabilities (k, C) of the rows: an array, or rows in a file if they are large (`audit.compute.scratch`)."""
    p = head.probabilities(select_rows(x, torch.from_numpy(rows)))
    return readable(p if isinstance(p, Tensor) else hold(local(p.float())))
