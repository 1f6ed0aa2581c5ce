"""The noise model of given predictions alone, where there are no embeddings.

The only reading is the predictions of a model that the user trained. One exponent (an inverse temperature) and the
transition matrix T are fitted to the likelihood of the given labels, as `mixture` does for any readings. There is one
round, because there is nothing to train again on the posterior.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from audit.compute.matrix import Rows
from audit.noise_model.diagnosis import Diagnosis
from audit.noise_model.given_labels import GivenLabels
from audit.noise_model.look_alikes import LookAlikes
from audit.noise_model.mixture import MixtureFit
from audit.noise_model.readings import Readings
from audit.noise_model.rounds import ReadingsSource, Round, mix
from audit.noise_model.settings import NoiseSettings
from audit.noise_model.too_little import believe_as_given, evidence_over_frequencies, posterior_as_given
from audit.progress import ProgressCallback, Step, silent

GIVEN_METHOD = "given"
"""`Diagnosis.method` of predictions that were given, and not computed."""


@dataclass(frozen=True)
class FittedPredictions:
    """A diagnosis of given labels, and the mixture that diagnoses other labels of the same samples."""

    diagnosis: Diagnosis
    mixture: MixtureFit


def _read(predictions: Tensor | None, *, floor: float) -> Readings:
    """The only reading of k samples, from their predictions (k, C)."""
    return Readings.of(floor, predictions=predictions)


class PredictionsModel:
    """The model of one set of predictions. It can diagnose any labels of the samples, and stores none of them.

    Args:
        predictions: float32 (n, C) probabilities by a model that was not trained on the sample.
        seed: the seed for drawing the samples that the mixture is fitted to.
        trusted: bool (n,), labels that are known to be right; None if there are none.
        settings: of the model.
    """

    def __init__(
        self,
        predictions: Tensor,
        seed: int = 0,
        trusted: Tensor | None = None,
        settings: NoiseSettings = NoiseSettings(),
    ) -> None:
        self.predictions, self.trusted, self.settings = predictions, trusted, settings
        self.source = ReadingsSource((predictions,), _read, predictions.shape[1])
        generator = torch.Generator().manual_seed(seed)
        self.order = torch.randperm(len(predictions), generator=generator).to(predictions.device)

    def fit(self, labels: Tensor, progress: ProgressCallback = silent) -> FittedPredictions:
        """Fit the model to all samples, and diagnose their labels.

        Args:
            labels: (n,) class numbers.
            progress: called when the mixture is fitted.
        """
        read, given = self.predictions, GivenLabels(labels, self.trusted)
        mixture = mix(self.source, given, None, self.order, self.settings)
        progress(Step("detection", 1, 1, "rounds"))
        evidence = evidence_over_frequencies(labels, read.shape[1], mixture.log_likelihood)
        tells = evidence > self.settings.decisive_for(len(labels))
        mixture = mixture if tells else believe_as_given(mixture, given, self.settings)
        prior, posterior, transition = mixture.prior, mixture.posterior, mixture.transition
        look_alikes = LookAlikes.none()
        if tells:
            look_alikes = LookAlikes.of(prior, posterior, transition, given, self.settings)
        diagnosis = Diagnosis(
            prior=prior,
            posterior=look_alikes.added(posterior, prior, transition, given),
            probabilities=read,
            loo_probabilities=read,
            self_influence=None,
            neighbour_share=None,
            transition=transition,
            likeliest_share=mixture.likeliest_share,
            look_alikes=look_alikes,
            method=GIVEN_METHOD,
            l2=0.0,
            rounds=[asdict(Round.of(mixture, 0.0))],
            evidence=evidence,
            tells=tells,
        )
        return FittedPredictions(diagnosis, mixture.fit)

    def rediagnose(self, fitted: FittedPredictions, labels: Tensor) -> tuple[Rows, FittedPredictions]:
        """Diagnose other labels of the same samples. The exponent and the rate of look-alikes are those of the fit.

        The predictions are the same as before: the model that made them has not seen these labels.

        Args:
            fitted: the fit to the former labels.
            labels: (n,) class numbers, most of them the same as before.

        Returns:
            The posterior (n, C), and the fit.
        """
        given = GivenLabels(labels, self.trusted)
        if not fitted.diagnosis.tells:
            return posterior_as_given(given, self.source.classes, self.settings), fitted
        mixture = mix(self.source, given, fitted.mixture, self.order, self.settings)
        look_alikes = fitted.diagnosis.look_alikes
        return look_alikes.added(mixture.posterior, mixture.prior, mixture.transition, given), fitted
