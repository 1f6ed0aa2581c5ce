"""Predictions of a user's own model as a reading of the true classes.

A reading must not have seen the sample's own label. Out-of-sample predictions have not, and are a reading as they are.
In-sample predictions have: the model may have learnt a wrong label by heart. Then the reading of a sample is the mean
prediction of its nearest neighbours, weighted by their similarity, in which the sample itself has no part. This needs
embeddings: in-sample predictions are themselves similar for samples with the same label, right or wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from audit.compute.by_blocks import map_blocks
from audit.compute.matrix import Rows
from audit.noise_model.votes import NeighbourVotes, mean_belief


@dataclass(frozen=True)
class GivenPredictions:
    """Predictions that the user gave.

    Attributes:
        probabilities: float32 (n, C).
        in_sample: whether the model that made them was trained on the samples and their labels.
    """

    probabilities: Tensor
    in_sample: bool = False

    def select(self, rows: Tensor) -> GivenPredictions:
        """The predictions of some samples."""
        return GivenPredictions(self.probabilities[rows.to(self.probabilities.device)], self.in_sample)

    def reading(self, votes: NeighbourVotes) -> Rows:
        """The reading (n, C); `votes` are those of the samples' neighbours."""
        if not self.in_sample:
            return self.probabilities
        reading: Rows
        (reading,) = map_blocks(
            _mean_belief,
            (votes.shares, votes.places),
            votes.of_references(self.probabilities),
            numbers=3 * self.probabilities.shape[1],
        )
        return reading


def _mean_belief(shares: Tensor, places: Tensor, beliefs: Tensor) -> tuple[Tensor]:
    return (mean_belief(places, shares, beliefs),)
