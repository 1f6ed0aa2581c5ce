"""The audit of a consensus: the consensus of several annotators is the label that is audited.

An audit judges a label by the picture. A consensus that already follows the pictures would always look right, so its
suspicion is one minus the probability that the model of the annotators gives it. Everything else (head, influence,
explanations) is that of the consensus as a label.

Known mislabels, of controls or injected, change the consensus of a sample: the audit then judges the sample as if
whoever gave the consensus had given the mislabel, and the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.annotators.consensus import Consensus
from audit.annotators.labels import Votes
from audit.annotators.model import AnnotatorsModel
from audit.compute.matrix import RemoteRows, to_memory
from audit.config import AuditConfig
from audit.data.samples import MINIMUM_PER_CLASS
from audit.errors import InputError
from audit.flags.threshold import Mistakes, expected_mistakes
from audit.inputs import Material
from audit.noise_model.diagnosis import Diagnosis, LabelModel
from audit.noise_model.given_labels import GivenLabels
from audit.noise_model.transition import estimate_transition
from audit.progress import ProgressCallback, Stages, silent


@dataclass(frozen=True)
class FittedConsensus:
    """A diagnosis of consensus labels."""

    diagnosis: Diagnosis


class ConsensusModel:
    """The noise model of a consensus: what annotators and pictures say together.

    Args:
        model: the noise model of the labels as given, which the head's predictions come from.
        consensus: of the n samples.
        audited: (n,) class numbers of the audited labels, without known mislabels.
    """

    trusted: Tensor | None = None

    def __init__(self, model: LabelModel, consensus: Consensus, audited: np.ndarray) -> None:
        self.model, self.consensus, self.settings = model, consensus, model.settings
        self.audited = torch.from_numpy(audited)

    def fit(self, labels: Tensor, progress: ProgressCallback = silent) -> FittedConsensus:
        """The diagnosis of class numbers (n,): the consensus, or the consensus with known mislabels."""
        fitted, given = self.consensus.fitted, GivenLabels(labels)
        posterior, evidence = self._posterior(labels), fitted.evidence()
        diagnosis = replace(
            self.model.fit(labels, progress).diagnosis,
            prior=fitted.prior.to(labels.device),
            posterior=posterior,
            transition=estimate_transition(posterior, given, self.settings.transition),
            likeliest_share=1.0,
            look_alikes=fitted.common,
            evidence=evidence,
            tells=evidence > self.settings.decisive_for(len(labels)),
        )
        return FittedConsensus(diagnosis)

    def rediagnose(self, fitted: FittedConsensus, labels: Tensor) -> tuple[Tensor, FittedConsensus]:
        """The posterior (n, C) of the consensus with known mislabels; the annotators are those of the fit."""
        return self._posterior(labels), fitted

    def _posterior(self, labels: Tensor) -> Tensor:
        """(n, C), as if whoever gave the consensus had given these labels (n,)."""
        votes = self.consensus.fitted.votes.with_exchanged(self.audited, labels.cpu())
        return self.consensus.fitted.posterior(votes).to(labels.device)


DOUBT = 2.0
"""How many times more, or fewer, wrong labels there may be than expected. Measured on the development data and on
made-up annotators (tests/benchmarks/annotators.md): 0.8 to 2.0 times as many where it is more than a few."""

BASIS = (
    "The number of mistakes is modelled: it is the sum of the suspicions, which come from a model of the annotators. "
    "Mistakes that annotators have in common leave few traces, so the range goes from half to twice that number. It is "
    "not measured against known mistakes."
)


def count_of_consensus(suspicion: np.ndarray, tells: bool) -> Mistakes:
    """How many consensus labels are wrong, by their suspicions (n,).

    Known mislabels do not tell, unlike in an audit of one label a sample: a consensus with one is hardly ever missed.

    Args:
        suspicion: (n,) in [0, 1].
        tells: whether the annotators' labels say enough.
    """
    expected = expected_mistakes(suspicion)
    if not tells:
        return Mistakes(expected.number, 0.0, float(len(suspicion)), told=False)
    beyond = expected.high - expected.number
    most = min(float(len(suspicion)), DOUBT * expected.number + beyond)
    return Mistakes(expected.number, max(0.0, expected.number / DOUBT - beyond), most)


def with_consensus(material: Material, config: AuditConfig, stages: Stages) -> Material:
    """The material with the annotators' consensus as the labels.

    A class that the consensus leaves with too few samples to be audited keeps those that most annotators gave it.

    Raises:
        InputError: if a setting does not go with several annotators.
    """
    assert material.annotated is not None
    if config.validation_trusted:
        raise InputError("validation_trusted takes labels as right, and a consensus is estimated; leave it out")
    votes = Votes.of(material.annotated, material.classes)
    x: Any = material.x
    if isinstance(x, RemoteRows):
        x = to_memory(x)
    predictions = None if material.predictions is None else torch.from_numpy(material.predictions)
    if config.predictions_in_sample:
        raise InputError(
            "predictions_in_sample does not go with several annotators, whose labels the model has learnt; give "
            "out-of-sample predictions"
        )
    with stages.stage("annotators") as step:
        model = AnnotatorsModel(x, predictions, len(material.classes), config.seed)
        consensus = Consensus.of(material.annotated, material.classes, model.fit(votes, step))
    numbers = consensus.numbers.copy()
    small = np.flatnonzero(np.bincount(numbers, minlength=len(material.classes)) < MINIMUM_PER_CLASS)
    kept = np.isin(material.numbers, small)
    numbers[kept] = material.numbers[kept]
    changed = int((numbers != material.numbers).sum())
    stages.note(
        "annotators",
        f"the audited label is the consensus of {len(material.annotated.names)} annotators, which is not the label "
        f"that most of them gave for {changed} of {len(numbers)} samples",
    )
    return replace(material, labels=material.classes[numbers], consensus=consensus)
