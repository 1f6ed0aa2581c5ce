"""Made-up annotators of samples whose true labels are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd


def made_up_annotators(true: np.ndarray, rates: Mapping[str, float], missing: float, seed: int) -> pd.DataFrame:
    """Labels (n, A) by annotators who each take some classes for others, NaN where one is missing.

    Args:
        true: (n,) class numbers.
        rates: each annotator's share of wrong labels, 0 to 1.
        missing: share of the labels that are missing; every sample has one.
        seed: of everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    classes = int(true.max()) + 1
    columns = {}
    for name, rate in rates.items():
        confusion = rng.dirichlet(np.full(classes, 0.5), size=classes) * (1 - np.eye(classes)) + 1e-9
        np.fill_diagonal(confusion, 0.0)
        reached = (confusion / confusion.sum(1, keepdims=True)).cumsum(1)
        wrong = (reached[true] < rng.random(len(true))[:, None]).sum(1).clip(max=classes - 1)
        columns[name] = np.where(rng.random(len(true)) < rate, wrong, true).astype(np.float64)
    table = pd.DataFrame(columns)
    gone = rng.random(table.shape) < missing
    gone[np.arange(len(true)), rng.integers(table.shape[1], size=len(true))] = False
    return table.mask(gone)
