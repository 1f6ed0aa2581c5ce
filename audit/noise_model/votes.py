"""The vote of the nearest neighbours: the probable classes of similar pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from audit.compute.by_blocks import local, map_blocks
from audit.compute.matrix import Rows, derive, fetch_rows, select_rows, to_memory
from audit.head.factors import SecondMoment
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

    Attributes:
        references: (m,) positions of the samples among which neighbours are searched.
        places: (n, k) the neighbours of each sample, as positions in `references`.
        shares: (n, k) their shares of the vote.
    """

    def __init__(self, x: Rows, classes: int, seed: int = 0, settings: NeighbourSettings = NeighbourSettings()) -> None:
        n = len(x)
        self.classes = classes
        self.references = torch.arange(n, device=x.device)
        enough = _reference_count(n, classes, settings)
        if n > enough:
            drawn = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:enough]
            self.references = drawn.sort().values.to(x.device)
        count = len(self.references)
        place_of = torch.full((n,), -1, device=x.device)
        place_of[self.references] = torch.arange(count, device=x.device)
        directions = torch.nn.functional.normalize(fetch_rows(x, self.references).float(), dim=1).T.contiguous()
        self.places, self.shares = map_blocks(
            _nearest,
            (x, place_of),
            *(directions, min(settings.count, count - 1), settings.least_similarity),
            numbers=count // 2,  # similarities of 16 MB at once, which stay in the processor's cache until sorted
        )

    def __call__(self, beliefs: Rows, rows: slice | Tensor = slice(None)) -> Tensor:
        """Mean belief (k, C) of the neighbours of samples. One more vote is divided equally among all classes.

        Args:
            beliefs: (n, C) class probabilities of all samples.
            rows: positions of the samples.
        """
        return mean_belief(self.places[rows], self.shares[rows], self.of_references(beliefs))

    def of_references(self, values: Rows) -> Tensor:
        """The rows of `values` (n, ...) of the samples among which neighbours are searched, in memory."""
        if len(self.references) == len(values) and isinstance(values, Tensor):
            return values
        return fetch_rows(values, self.references)

    def share_of(self, labels: Tensor, rows: Tensor | None = None, own: Tensor | None = None) -> Tensor:
        """The share (k,) of the votes for samples' own labels, if each neighbour votes for its label.

        Args:
            labels: (n,) class numbers of all samples.
            rows: positions (k,) of the samples; None for all.
            own: (k,) their own labels; None for those in `labels`.
        """
        places, shares = self.places, self.shares
        if rows is not None:
            places, shares = (select_rows(local(of_all), rows) for of_all in (places, shares))
        own = labels if own is None else own
        (agreeing,) = map_blocks(
            _agreeing,
            (shares, places, own[:, None]),
            labels[self.references],
            self.classes,
            numbers=6 * shares.shape[1],
        )
        return to_memory(agreeing)[:, 0]


def mean_belief(places: Tensor, shares: Tensor, beliefs: Tensor) -> Tensor:
    """Mean belief (k, C) of neighbours. One more vote is divided equally among all classes.

    Args:
        places, shares: (k, m) of the samples, as in `NeighbourVotes`.
        beliefs: (r, C) class probabilities of the references.
    """
    count, classes = places.shape[1], beliefs.shape[1]
    weights = shares.to(beliefs) * (count / (count + 1))
    votes = torch.nn.functional.embedding_bag(places, beliefs, per_sample_weights=weights, mode="sum")
    return votes.add_(1 / (classes * (count + 1)))


def _nearest(x: Tensor, own: Tensor, directions: Tensor, count: int, least: float) -> tuple[Tensor, Tensor]:
    """The neighbours (k, count) of samples, as positions among references, and their shares of the vote.

    Args:
        x: embeddings (k, d).
        own: (k,) the samples' own positions among the references, -1 for the others.
        directions: (d, m) embeddings of the references, each of length 1.
        count: how many neighbours vote.
        least: least similarity of a vote.
    """
    similarity = torch.nn.functional.normalize(x.float(), dim=1) @ directions
    itself = (own >= 0).nonzero()[:, 0]
    similarity[itself, own[itself]] = -torch.inf
    nearest, places = largest(similarity, count)
    shares = nearest.clamp_min(least)
    return places.int(), shares / shares.sum(1, keepdim=True)


def _agreeing(shares: Tensor, places: Tensor, own: Tensor, labels: Tensor, classes: int) -> tuple[Tensor]:
    """The share (k, 1) of the votes for labels (k, 1), if each reference votes for its label."""
    count = places.shape[1]
    agreeing = torch.zeros_like(shares[:, :1])
    for place in range(count):
        agreeing += shares[:, place : place + 1] * (labels[places[:, place : place + 1]] == own)
    return ((count * agreeing + 1 / classes) / (count + 1),)


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
