"""By the labels of the nearest other samples."""

from __future__ import annotations

import numpy as np

from audit.head.fit import one_hot
from audit.noise_model.votes import NeighbourVotes
from integrations.benchmark.cases import Case, Verdict


def nearest_neighbours(case: Case) -> Verdict:
    """By the vote of the nearest other samples."""
    x, given = case.tensors()
    votes = NeighbourVotes(x, case.classes)(one_hot(given, case.classes, x.dtype)).numpy()
    return Verdict(1 - votes[np.arange(len(votes)), case.given], suggested=votes.argmax(1))
