"""SimiFeat's vote and rank (Zhu, Dong & Liu, ICML 2022, arXiv 2110.06283), on one set of embeddings.

Each sample has a soft label ŷ: the labels of its 10 nearest neighbours, itself included, weighted by cosine similarity.

- Vote: a label is flagged if it is not the largest entry of ŷ.
- Rank: within each class j, the samples are ranked by the cosine of the angle between ŷ and the one-hot label. The
  lowest P(true ≠ j | label = j) of them are flagged. HOC estimates this share from how often a sample and its two
  nearest neighbours have which labels (Zhu, Song & Liu, ICML 2021, arXiv 2102.05291).

The paper repeats both on 21 random crops of each picture, and lets these vote. An embedding has no crops, so there is
one repetition here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audit.head.hessian import chunks
from integrations.benchmark.cases import Case, Verdict


@dataclass(frozen=True, kw_only=True)
class SimiFeatSettings:
    """The numbers of the authors' code."""

    # That vote.
    neighbours: int = 10
    # Of Adam, in HOC.
    steps: int = 400
    # Of Adam, in HOC.
    learning_rate: float = 0.1


SETTINGS = SimiFeatSettings()


def soft_labels(x: Tensor, given: Tensor, classes: int, neighbours: int = SETTINGS.neighbours) -> tuple[Tensor, Tensor]:
    """The soft labels (n, C), which sum to 1, and the positions (n, 2) of the two nearest other samples.

    A sample is its own nearest neighbour with similarity 1, and would outweigh the others. As in the authors' code, its
    weight is extrapolated from those of the next two.
    """
    directions = torch.nn.functional.normalize(x, dim=1)
    soft = torch.zeros(len(x), classes, dtype=x.dtype)
    nearest = torch.empty(len(x), 2, dtype=torch.long)
    count = min(neighbours, len(x))
    for rows in chunks(len(x), 4 * len(x)):
        similarity = directions[rows] @ directions.T
        itself = torch.arange(len(x))[rows]
        similarity[torch.arange(len(itself)), itself] = torch.inf
        values, places = similarity.topk(count, dim=1)
        values[:, 0] = 2 * values[:, 1] - values[:, 2]
        soft[rows] = torch.zeros_like(soft[rows]).scatter_add_(1, given[places], values.clamp_min(0.0))
        nearest[rows] = places[:, 1:3]
    return soft / soft.sum(1, keepdim=True), nearest


def hoc(given: Tensor, nearest: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """T (C, C), row = true class, and P(true class) (C,), under which a sample and its two nearest neighbours have the
    labels that they have as often as they do.

    Args:
        given: (n,) class numbers.
        nearest: (n, 2) positions of the two nearest other samples, which are assumed to have the same true class.
        classes: C.
    """
    first, second, third = given, given[nearest[:, 0]], given[nearest[:, 1]]
    counted = torch.zeros(classes, classes, classes, dtype=torch.float64)
    counted.index_put_((first, second, third), torch.ones(len(given), dtype=torch.float64), accumulate=True)
    counted /= len(given)
    consensus = (counted.sum((1, 2)), counted.sum(2), counted)
    rows = (5 * torch.eye(classes, dtype=torch.float64) - 1).requires_grad_()
    shares = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([rows, shares], lr=SETTINGS.learning_rate)
    for _ in range(SETTINGS.steps):
        t, p = rows.softmax(1), shares.softmax(0)
        expected = (
            torch.einsum("k,ki->i", p, t),
            torch.einsum("k,ki,kj->ij", p, t, t),
            torch.einsum("k,ki,kj,kl->ijl", p, t, t, t),
        )
        loss = sum((torch.linalg.vector_norm(a - b) for a, b in zip(consensus, expected, strict=True)), torch.zeros(()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return rows.detach().softmax(1), shares.detach().softmax(0)


def vote(case: Case) -> Verdict:
    """By vote; the scores say how far the label is from the largest entry of the soft label."""
    x, given = case.tensors()
    soft = soft_labels(x, given, case.classes)[0].numpy()
    of_given = soft[np.arange(len(soft)), case.given]
    winner = soft.argmax(1)
    return Verdict(soft.max(1) - of_given, winner != case.given, suggested=winner)


def rank(case: Case) -> Verdict:
    """By rank, with the thresholds of HOC."""
    x, given = case.tensors()
    soft, nearest = soft_labels(x, given, case.classes)
    transition, shares = hoc(given, nearest, case.classes)
    scores = (1 - soft.gather(1, given[:, None])[:, 0] / soft.norm(dim=1)).numpy()
    right = shares * transition.diagonal() / (shares[:, None] * transition).sum(0)  # P(true = j | label = j)
    flags = np.zeros(len(scores), dtype=bool)
    for number in range(case.classes):
        rows = np.flatnonzero(case.given == number)
        count = round(len(rows) * (1 - float(right[number])))
        flags[rows[np.argsort(-scores[rows], kind="stable")[:count]]] = True
    return Verdict(scores, flags, suggested=soft.numpy().argmax(1))
