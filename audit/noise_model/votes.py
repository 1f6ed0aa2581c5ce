"""The vote of the nearest neighbours: the probable classes of similar pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from audit.compute.matrix import Rows, derive
from audit.head.factors import SecondMoment
from audit.head.hessian import chunks
from audit.noise_model.neighbour_settings import NeighbourSettings


def principal(x: Rows, classes: int, settings: NeighbourSettings = NeighbourSettings()) -> Rows:
    """x (n, d) projected to the leading principal directions (about the origin) in which neighbours are searched.

    Returns x itself if finding the directions takes at least half of the time that they save.
    """
    n, features = x.shape
    count = max(settings.directions, classes)
    saved = 2.0 * n * _reference_count(n, classes, settings) * (features - count)
    eigenvectors = 25.0 * features**3  # FLOP
    if saved < 2 * (2.0 * n * features * (features + count) + eigenvectors):
        return x
    return derive(SecondMoment.of(x).leading(count).rotate, x, width=count)


def _reference_count(n: int, classes: int, settings: NeighbourSettings) -> int:
    """The number of samples, out of n, among which neighbours are searched."""
    wanted = max(settings.references_per_class * classes, settings.fewest_references)
    return min(n, wanted, settings.most_references)


class NeighbourVotes:
    """The votes of each sample's nearest neighbours, weighted by cosine similarity; a sample has no vote on itself.

    Args:
        x: embeddings (n, d).
        classes: C.
        seed: the seed for drawing the samples among which neighbours are searched, if these are not all samples.
        settings: how many neighbours vote, and among how many samples they are searched.
    """

    def __init__(self, x: Rows, classes: int, seed: int = 0, settings: NeighbourSettings = NeighbourSettings()) -> None:
        n = len(x)
        references = torch.arange(n, device=x.device)
        enough = _reference_count(n, classes, settings)
        if n > enough:
            drawn = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:enough]
            references = drawn.sort().values.to(x.device)
        place_of = torch.full((n,), -1, device=x.device)
        place_of[references] = torch.arange(len(references), device=x.device)
        reference_directions = torch.nn.functional.normalize(x[references].float(), dim=1).T.contiguous()
        count = min(settings.count, len(references) - 1)
        self.classes = classes
        self.places = torch.empty(n, count, dtype=torch.int32, device=x.device)
        self.shares = torch.empty(n, count, device=x.device)
        # A quarter of the usual chunk, so that it stays in the processor's cache until it is sorted.
        for rows in chunks(n, 4 * len(references), 4):
            similarity = torch.nn.functional.normalize(x[rows].float(), dim=1) @ reference_directions
            own = place_of[rows]
            itself = (own >= 0).nonzero()[:, 0]
            similarity[itself, own[itself]] = -torch.inf
            nearest, places = largest(similarity, count)
            self.places[rows] = references[places].int()
            self.shares[rows] = nearest.clamp_min(settings.least_similarity)
        self.shares /= self.shares.sum(1, keepdim=True)

    def __call__(self, beliefs: Tensor, rows: slice | Tensor = slice(None)) -> Tensor:
        """Mean belief (k, C) of the neighbours of samples. One more vote is divided equally among all classes.

        Args:
            beliefs: (n, C) class probabilities of all samples.
            rows: positions of the samples.
        """
        places, shares = self.places[rows], self.shares[rows]
        count = places.shape[1]
        weights = shares.to(beliefs) * (count / (count + 1))
        votes = torch.nn.functional.embedding_bag(places, beliefs, per_sample_weights=weights, mode="sum")
        return votes.add_(1 / (self.classes * (count + 1)))

    def share_of(self, labels: Tensor, rows: Tensor | None = None, own: Tensor | None = None) -> Tensor:
        """The share (k,) of the votes for samples' own labels, if each neighbour votes for its label.

        Args:
            labels: (n,) class numbers of all samples.
            rows: positions (k,) of the samples; None for all.
            own: (k,) their own labels; None for those in `labels`.
        """
        places, shares = (self.places, self.shares) if rows is None else (self.places[rows], self.shares[rows])
        own = labels if own is None else own
        count = places.shape[1]
        agreeing = torch.zeros_like(shares[:, 0])
        for place in range(count):
            agreeing += shares[:, place] * (labels[places[:, place]] == own)
        return (count * agreeing + 1 / self.classes) / (count + 1)


def largest(values: Tensor, count: int, block: int = 16) -> tuple[Tensor, Tensor]:
    """The `count` largest values of each row of values (k, m) in falling order, and their columns (k, count).

    The values are split into blocks of `block` values. The largest ones are in the blocks with the `count` largest
    maxima, and finding maxima takes far less time than sorting.
    """
    k, columns = values.shape
    across = columns // block
    if across <= count:
        found, places = values.topk(count, dim=1)
        return found, places
    blocks = values[:, : block * across].view(k, block, across)  # a block is one column of `across`
    best = blocks.amax(1).topk(count, dim=1, sorted=False).indices
    steps = torch.arange(0, block * across, across, device=values.device)
    places = (best[:, None] + steps[:, None]).view(k, -1)
    rest = torch.arange(block * across, columns, device=values.device).expand(k, -1)
    places = torch.cat([places, rest], 1)
    found, order = values.gather(1, places).topk(count, dim=1)
    return found, places.gather(1, order)
