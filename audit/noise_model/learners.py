"""The heads and discriminants of a round, with penalties chosen for the given labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from audit.compute.matrix import Rows
from audit.head.factors import KroneckerFactors
from audit.head.fit import targets_of
from audit.noise_model.discriminant import Discriminant, LeastSquares
from audit.noise_model.heads import Features, FittedHead, HeadStart, fit_head
from audit.noise_model.penalty import Penalty
from audit.noise_model.settings import NoiseSettings


@dataclass(frozen=True)
class Learners:
    """Heads and discriminants on the features of n samples. A head's fit starts from the weights of the last similar
    head.

    Attributes:
        features: of the n samples.
        settings: of the noise model.
        l2: the heads' L2 penalty λ.
        least_squares: the ridge regression that the discriminants are computed from.
        given: W (C, D) of the last head that was trained on given labels.
        believed: W (C, D) of the last head that was trained on posteriors.
        factors: the factors of the last head's leave-one-out; None if there are none.
    """

    features: Features
    settings: NoiseSettings
    l2: float
    least_squares: LeastSquares
    given: Tensor
    believed: Tensor
    factors: KroneckerFactors | None = None

    @classmethod
    def choose(
        cls, features: Features, labels: Tensor, classes: int, order: Tensor, settings: NoiseSettings
    ) -> tuple[Learners, float]:
        """Choose the penalties for labels.

        Args:
            features: of n samples.
            labels: (n,) class numbers.
            classes: C.
            order: (n,) positions of the samples in random order.
            settings: of the noise model.

        Returns:
            The learners, and the evidence of held-out labels (nats; see `Penalty.evidence`).
        """
        some, ridges = order[: settings.mixture.few_samples(classes)], settings.discriminant.ridges
        targets = targets_of(labels, classes, features.z)
        least_squares = LeastSquares(features.z, features.moment, targets, some, ridges)
        penalty = Penalty.choose(features, labels, classes, order, settings.head)
        learners = cls(features, settings, penalty.l2, least_squares, penalty.weight, penalty.weight)
        return learners, penalty.evidence

    def fit_to_given(self, labels: Tensor, predictions_only: bool = False) -> tuple[FittedHead, Learners]:
        """The head trained on class numbers (n,), and the updated learners; `predictions_only` as in
        `leave_one_out`."""
        targets = targets_of(labels, len(self.given), self.features.z)
        start = HeadStart(self.given, self.factors)
        head = fit_head(self.features, targets, self.l2, start, self.settings.head, predictions_only)
        return head, replace(self, given=head.weight, factors=head.left_out.factors)

    def left_out_by_given(self, labels: Tensor) -> tuple[Rows, Learners]:
        """Leave-one-out predictions (n, C) of a head trained on class numbers (n,), and the updated learners."""
        head, learners = self.fit_to_given(labels, predictions_only=True)
        return head.left_out.probabilities, learners

    def left_out_by_believed(self, posterior: Rows) -> tuple[Rows, Learners]:
        """Leave-one-out predictions (n, C) of a head trained on a posterior (n, C), and the updated learners."""
        start = HeadStart(self.believed, self.factors)
        head = fit_head(self.features, posterior, self.l2, start, self.settings.head, predictions_only=True)
        return head.left_out.probabilities, replace(self, believed=head.weight, factors=head.left_out.factors)

    def discriminant(self, targets: Rows) -> tuple[Rows, Discriminant]:
        """Predictions (n, C) of least squares for target distributions (n, C), and the discriminant fitted to them."""
        predicted = self.least_squares(targets)
        return predicted, Discriminant.of(predicted, targets, self.settings.discriminant.jitter)
