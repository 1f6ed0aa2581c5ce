"""The audit itself on a case, and influence without it, as the textbook has it and as the audit does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from audit.compute.matrix import to_memory
from audit.data.split import stratified_split
from audit.flags.threshold import Flags, Mistakes, choose_flags, suggest_labels
from audit.head.fit import one_hot, probabilities, train_head
from audit.head.hessian import HeadHessian
from audit.head.stable import StableSolver
from audit.influence.engine import Labelled
from audit.influence.make_engine import make_engine
from audit.noise_model.controls import spike_in
from audit.noise_model.count import count_by_controls
from audit.noise_model.diagnosis import LabelModel
from audit.noise_model.given_labels import GivenLabels
from audit.noise_model.given_predictions import GivenPredictions
from audit.noise_model.model import NoiseModel
from audit.noise_model.predictions_alone import PredictionsModel
from audit.noise_model.ranges import Models, with_ranges
from integrations.benchmark.cases import Case, Verdict


@dataclass(frozen=True)
class Flagged:
    """What the audit says of a case.

    Attributes:
        suspicion: (n,) of the labels.
        posterior: (n, C) probability of each class being the true one.
        counted: how many labels are wrong, by the controls.
        flags: with ranges over the models.
    """

    suspicion: np.ndarray
    posterior: np.ndarray
    counted: Mistakes
    flags: Flags


def flagged(case: Case, alone: bool = False) -> Flagged:
    """Suspicions and flags of a case, and what they claim.

    Args:
        case: to audit, by its embeddings, and its predictions if there are any.
        alone: by its predictions alone.
    """
    x, given = case.tensors()
    predictions = None if case.predictions is None else GivenPredictions(torch.from_numpy(case.predictions).float())
    model: LabelModel
    if alone and predictions is not None:
        model = PredictionsModel(predictions.probabilities, case.seed)
    else:
        model = NoiseModel(x, case.classes, case.seed, predictions=predictions)
    fitted = model.fit(given)
    diagnosis = fitted.diagnosis
    posterior = to_memory(diagnosis.posterior).double().numpy()
    suspicion = 1 - posterior[np.arange(len(case.given)), case.given]
    controls = spike_in(model, fitted, given, case.seed)
    count = count_by_controls(controls, diagnosis, given, suspicion)
    mistakes = count.mistakes
    flags = choose_flags(suspicion, mistakes=mistakes)
    models = Models.of(diagnosis, GivenLabels(given), suspicion, count, case.seed, case.predictions)
    return Flagged(suspicion, posterior, mistakes, replace(flags, estimates=with_ranges(flags, models, proven=0)))


def audited(case: Case, alone: bool = False) -> Verdict:
    """Suspicions, flags, suggestions and what the controls say of the number of mistakes; `alone` as for `flagged`."""
    found = flagged(case, alone)
    flags = found.flags
    suggested = suggest_labels(found.posterior, case.given, flags.flag)
    return Verdict(found.suspicion, flags.flag, flags.estimates.precision, found.counted, suggested)


def split_of(case: Case) -> np.ndarray:
    """The split (n,) of averaged influence: a tenth to validate on, a tenth to test on."""
    return stratified_split(case.given, (0.8, 0.1, 0.1), case.seed)


def averaged_influence(case: Case, held_out_labels: str, on: str = "validation") -> np.ndarray:
    """Influence (n,) on the mean loss of a held-out split, positive = helps.

    Args:
        case: to measure.
        held_out_labels: 'given' (the textbook way, and what pyDVL computes), 'true' (as if they had been checked) or
            'believed' (the audit's way: what it expects of the pictures, without their labels).
        on: the split, 'validation' or 'test'.
    """
    x, given = case.tensors()
    split = split_of(case)
    train, validation, measured = (
        torch.from_numpy(np.flatnonzero(split == name)) for name in ("train", "validation", on)
    )
    head = train_head(x[train], given[train], x[validation], given[validation], case.classes)
    held_out = one_hot(torch.from_numpy(case.true if held_out_labels == "true" else case.given), case.classes, x.dtype)
    if held_out_labels == "believed":
        held_out = to_memory(NoiseModel(x, case.classes, case.seed).diagnose(given).prior).to(x.dtype)
    samples = Labelled.of(x, given, case.classes)
    z = head.features(x[train])
    hessian = HeadHessian(z, probabilities(z, head.weight), head.l2)
    engine = make_engine("exact", head, samples, train, StableSolver(hessian))
    return engine.averaged(samples, measured, held_out[measured]).values.numpy()


def self_influence(case: Case) -> Verdict:
    """By what a sample does for its own loss."""
    x, given = case.tensors()
    found = NoiseModel(x, case.classes, case.seed).diagnose(given).self_influence
    assert found is not None  # there are embeddings
    return Verdict(found.double().numpy())
