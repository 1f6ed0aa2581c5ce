"""The peers: other methods, each in a file of its own, as its paper or its own tool has it.

A peer is a function from a `Case` to a `Verdict`. `ON_EMBEDDINGS` names those that judge embeddings and labels,
`ON_PREDICTIONS` those that judge out-of-sample predictions. To add one, write its file, and name it in one of these.
"""

from __future__ import annotations

from collections.abc import Callable

from integrations.benchmark.cases import Case, Verdict
from integrations.benchmark.peers.data_values import data_oob, knn_shapley
from integrations.benchmark.peers.margins import mean_margin
from integrations.benchmark.peers.neighbours import nearest_neighbours
from integrations.benchmark.peers.on_predictions import ON_PREDICTIONS
from integrations.benchmark.peers.reconstruction import reconstruction
from integrations.benchmark.peers.self_clean import self_clean
from integrations.benchmark.peers.simifeat import rank, vote

ON_EMBEDDINGS: dict[str, Callable[[Case], Verdict]] = {
    "k nearest neighbours": nearest_neighbours,
    "SimiFeat vote": vote,
    "SimiFeat rank": rank,
    "reconstruction error ratio": reconstruction,
    "SelfClean distance ratio": self_clean,
    "area under the margin": mean_margin,
}
"""By name: what judges a case by its embeddings and labels."""

BY_PYDVL: dict[str, Callable[[Case], Verdict]] = {"Data-OOB": data_oob, "KNN-Shapley": knn_shapley}
"""By name: what needs the extra `pydvl`."""

__all__ = ["BY_PYDVL", "ON_EMBEDDINGS", "ON_PREDICTIONS"]
