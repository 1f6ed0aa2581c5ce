"""The noise model's result for every label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from audit.compute.matrix import Rows
from audit.noise_model.look_alikes import LookAlikes
from audit.noise_model.settings import NoiseSettings
from audit.progress import ProgressCallback, silent


@dataclass(frozen=True)
class Diagnosis:
    """The noise model's result for n samples. Matrices (n, C) are in memory, or in files if they are large.

    Attributes:
        prior: (n, C) probability of each class being the true one, given the image alone.
        posterior: (n, C) the same, given image and label.
        probabilities: (n, C) in-sample predictions of the head trained on the given labels; the predictions that were
            given if there is no head.
        loo_probabilities: (n, C) its predictions for each sample as if it had not been trained on it; the predictions
            that were given if there is no head.
        self_influence: (n,) ≥ 0, nats; None if there is no head.
        neighbour_share: (n,) share of the neighbours' vote that the given label has, 0 to 1; None if there are no
            embeddings.
        transition: T (C, C), row = true class, column = given label; without the look-alikes.
        likeliest_share: expected number of mistakes at the likeliest sharpness, divided by that at the chosen
            sharpness.
        look_alikes: mistakes that the labels alone do not show, and that the posterior includes.
        method: how loo_probabilities were computed: 'exact', by Kronecker factors of the Hessian ('kfac'), by each
            class's own block of the Hessian ('blocks'), or not at all, because they were given ('given').
        l2: the head's L2 penalty λ; 0 if there is no head.
        rounds: for each round, the exponents of the readings (the head, from the second round on also the first head,
            the neighbours, the discriminant, and the given predictions), the mean log-likelihood of the given labels
            (nats), and the mean change of the posterior of the given label.
        evidence: by how much the readings of the worst round predict the given labels better than class frequencies do
            (nats, over all samples). Where there are fewer samples than features, it is at most the same for a head on
            held-out labels.
        tells: whether that evidence is decisive. If it is not, the model assumes that the given labels are right.
        trusted_weight: exponent of the head trained only on trusted labels; 0 if it adds nothing.
    """

    prior: Rows
    posterior: Rows
    probabilities: Rows
    loo_probabilities: Rows
    self_influence: Tensor | None
    neighbour_share: Tensor | None
    transition: Tensor
    likeliest_share: float
    look_alikes: LookAlikes
    method: str
    l2: float
    rounds: list[dict[str, float]]
    evidence: float = math.inf
    tells: bool = True
    trusted_weight: float = 0.0


class FittedModel(Protocol):
    """A model's fit to labels."""

    @property
    def diagnosis(self) -> Diagnosis:
        """Of these labels."""
        ...


class LabelModel(Protocol):
    """A noise model of n samples, by their embeddings or by predictions alone."""

    settings: NoiseSettings
    trusted: Tensor | None

    def fit(self, labels: Tensor, progress: ProgressCallback = silent) -> Any:
        """Fit the model to class numbers (n,): a `FittedModel`."""

    def rediagnose(self, fitted: Any, labels: Tensor) -> tuple[Rows, Any]:
        """The posterior (n, C) of other labels of the same samples, and the fit to start from next time."""
