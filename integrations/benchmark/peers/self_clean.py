"""SelfClean's ratio of distances within and between classes (Gröger et al., NeurIPS 2024, arXiv 2305.17048).

With d₌ the distance of a sample to the nearest one of the same label, and d≠ to the nearest one of another label, a
label is right by d≠² / (d₌² + d≠²). Distances are those of the cosine. SelfClean trains an encoder of its own on the
pictures; here it gets the same embeddings as all others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audit.head.hessian import chunks
from integrations.benchmark.cases import Case, Verdict


def distance_ratios(x: Tensor, given: Tensor) -> Tensor:
    """(n,) d₌² / (d₌² + d≠²), 0 to 1: larger = more suspicious."""
    directions = torch.nn.functional.normalize(x, dim=1)
    found = torch.empty(len(x), dtype=x.dtype)
    for rows in chunks(len(x), 4 * len(x)):
        distance = (1 - directions[rows] @ directions.T).clamp_min(0.0)
        itself = torch.arange(len(x))[rows]
        distance[torch.arange(len(itself)), itself] = torch.inf
        same = given[rows, None] == given[None]
        within = distance.masked_fill(~same, torch.inf).amin(1).square()
        between = distance.masked_fill(same, torch.inf).amin(1).square()
        total = within + between
        # A class of one sample has nothing within it. Two copies with different labels are at no distance.
        ratio = torch.where(total > 0, within / total, 0.5)
        found[rows] = torch.where(within.isinf(), 1.0, ratio)
    return found


def self_clean(case: Case) -> Verdict:
    """By the ratio of distances."""
    return Verdict(distance_ratios(*case.tensors()).numpy())
