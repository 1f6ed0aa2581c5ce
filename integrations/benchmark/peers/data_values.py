"""Data values, as pyDVL computes them: Data-OOB and KNN-Shapley. A sample of low value is suspicious."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from integrations.benchmark.cases import Case, Verdict


@dataclass(frozen=True, kw_only=True)
class DataValueSettings:
    """How data values are computed."""

    # Of the forest.
    trees: int = 200
    # As Jia et al. have it for noisy labels.
    neighbours: int = 10
    # Samples of the other half, at most: each costs a pass over all samples.
    tested_on: int = 500


SETTINGS = DataValueSettings()


def data_oob(case: Case) -> Verdict:
    """How often the trees of a random forest that have not seen a sample predict its label (Kwon & Zou, ICML 2023)."""
    return Verdict(-oob_values(case.x, case.given, case.seed))


def oob_values(x: np.ndarray, given: np.ndarray, seed: int, trees: int = SETTINGS.trees) -> np.ndarray:
    """(n,) the share of the trees without each sample that predict its label, 0 to 1; 0 if every tree has seen it."""
    from pydvl.valuation.dataset import Dataset
    from pydvl.valuation.methods.data_oob import DataOOBValuation
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(trees, random_state=seed, n_jobs=1).fit(x, given)
    return _values(DataOOBValuation(forest).fit(Dataset(x, given)).result, len(given))


def knn_shapley(case: Case) -> Verdict:
    """The Shapley value of a sample for a classifier by nearest neighbours (Jia et al., VLDB 2019).

    It needs samples to test on, which are not valued. So the samples of each half are valued by some of the other half.
    """
    order = np.random.default_rng(case.seed).permutation(len(case.given))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    values = np.empty(len(order))
    for half, other in (halves, halves[::-1]):
        tested_on = other[: SETTINGS.tested_on]
        of_half = knn_values((case.x[half], case.given[half]), (case.x[tested_on], case.given[tested_on]))
        values[half] = len(half) * of_half  # which are shares of the accuracy: one half may be larger
    return Verdict(-values)


def knn_values(
    valued: tuple[np.ndarray, np.ndarray],
    tested_on: tuple[np.ndarray, np.ndarray],
    neighbours: int = SETTINGS.neighbours,
) -> np.ndarray:
    """(n,) the Shapley values of samples for a classifier by nearest neighbours; they sum to its accuracy.

    Args:
        valued: embeddings (n, d) and labels (n,).
        tested_on: embeddings (m, d) and labels (m,).
        neighbours: of the classifier.
    """
    from pydvl.valuation.dataset import Dataset
    from pydvl.valuation.methods.knn_shapley import KNNShapleyValuation
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(min(neighbours, len(valued[1])))
    valuation = KNNShapleyValuation(model, Dataset(*tested_on), progress=False).fit(Dataset(*valued))
    return _values(valuation.result, len(valued[1]))


def _values(result: Any, samples: int) -> np.ndarray:
    """The values (n,) in the order of the samples: pyDVL's results may be sorted."""
    values = np.zeros(samples)
    values[result.indices] = result.values
    return values
