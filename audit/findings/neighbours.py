"""Pairs of samples that may be copies: nearest neighbours of embeddings, and pictures with nearly the same hash."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audit.compute.matrix import Rows, derive
from audit.extras import problem_of, require
from audit.head.factors import eigh
from audit.head.hessian import chunks
from audit.noise_model.votes import largest


@dataclass(frozen=True, kw_only=True)
class NeighbourSearch:
    """How pairs that may be copies are searched."""

    # Samples among which all pairs are compared. Beyond, the search is approximate, as soon as that is faster if faiss
    # is installed.
    most_exact: int = 100_000
    exact_is_faster: int = 20_000
    # Lists of similar samples of the approximate search, times the square root of the number of samples; samples for
    # each from which they are found, in so many rounds; and lists that are searched. On 100,000 samples it finds all of
    # 5,000 planted copies in a sixth of the time.
    lists: int = 4
    samples_a_list: int = 40
    rounds: int = 4
    searched: int = 8
    # Neighbours of each sample; the last one tells how near unrelated samples are.
    nearest: int = 10
    # Leading directions of the embeddings in which samples are compared; at least one for each class.
    directions: int = 128
    # Of the directions that embeddings have: where that leaves more, all are used.
    most_of_all: float = 0.5
    # Samples from which these directions are found.
    most_for_directions: int = 4096
    # Samples nearest in these directions that are compared in all directions, beside the neighbours that are wanted.
    beside: int = 4
    # Of the perceptual hash.
    hash_bits: int = 64
    # That differ between the hashes of copies.
    most_bits: int = 8
    # Pictures with nearly the same hash; if more have it, the hash tells nothing.
    most_per_picture: int = 8


SETTINGS = NeighbourSearch()


@dataclass(frozen=True)
class Neighbours:
    """The nearest samples of each sample.

    Attributes:
        places: (n, k) their positions.
        distances: (n, k) cosine distances, rising.
    """

    places: np.ndarray
    distances: np.ndarray


@dataclass(frozen=True)
class _Leading:
    """The leading directions (d, k) of embeddings at length 1, about the origin."""

    vectors: Tensor

    def of(self, x: Tensor) -> Tensor:
        """Embeddings (n, d) at length 1 in these directions (n, k), in x's precision."""
        return (torch.nn.functional.normalize(x.float(), dim=1) @ self.vectors).to(x)


def leading(x: Rows, classes: int) -> Rows:
    """Embeddings (n, d) in their leading directions, in which comparing them takes a fraction of the time.

    Returns x itself if it has few directions, or if finding the leading ones takes half of the time that they save.
    """
    (n, features), count = x.shape, max(SETTINGS.directions, classes)
    saved, eigenvectors = 2.0 * n * n * (features - count), 25.0 * features**3  # FLOP
    if count > SETTINGS.most_of_all * features or saved < 2 * eigenvectors:
        return x
    rows = np.linspace(0, len(x) - 1, min(len(x), SETTINGS.most_for_directions)).astype(np.int64)
    unit = _unit(x, torch.from_numpy(rows))
    vectors = eigh((unit.T @ unit).double())[1][:, -count:].float().contiguous()
    return derive(_Leading(vectors).of, x, width=count)


class NeighbourList:
    """Takes note of the nearest neighbours of samples, a block of samples at a time.

    Args:
        x: embeddings (n, d).
        in_leading: the same as they are compared; x itself, where that is in all directions.
    """

    def __init__(self, x: Rows, in_leading: Rows) -> None:
        n = len(x)
        self._count = min(SETTINGS.nearest, n - 1)
        self._unit = None if in_leading is x else _unit(x, slice(0, n))
        self.found = Neighbours(
            np.empty((n, self._count), dtype=np.int64), np.empty((n, self._count), dtype=np.float32)
        )

    def note(self, rows: slice, similarity: Tensor, order: Tensor | None = None) -> None:
        """Similarities (k, n) of some rows to all samples, to themselves -inf; in this order (n,), if one is given."""
        near, which = largest(similarity, min(self._count + SETTINGS.beside, similarity.shape[1] - 1))
        which = which if order is None else order[which]
        if self._unit is not None:
            near = (self._unit[which] @ self._unit[rows, :, None])[..., 0]
            near, best = near.topk(self._count, dim=1)
            which = which.gather(1, best)
        self.found.places[rows] = which[:, : self._count].cpu().numpy()
        self.found.distances[rows] = (1 - near[:, : self._count]).clamp_min(0).cpu().numpy()


def nearest(x: Rows, classes: int = 1) -> Neighbours:
    """The nearest neighbours by the cosine of embeddings (n, d), among all samples while there are few of them.

    Raises:
        InputError: if there are more than `most_exact`, and faiss is not installed.
    """
    n = len(x)
    if n > SETTINGS.most_exact or (n > SETTINGS.exact_is_faster and problem_of("neighbours") is None):
        return _approximate(x, min(SETTINGS.nearest, n - 1))
    compared_in = leading(x, classes)
    unit, neighbours = _unit(compared_in, slice(0, n)), NeighbourList(x, compared_in)
    for rows in chunks(n, 4 * n, 4):
        similarity = unit[rows] @ unit.T
        own = torch.arange(rows.start, rows.start + len(similarity), device=similarity.device)
        similarity[torch.arange(len(own), device=own.device), own] = -torch.inf
        neighbours.note(slice(rows.start, rows.start + len(similarity)), similarity)
    return neighbours.found


def _unit(x: Rows, rows: slice | Tensor) -> Tensor:
    return torch.nn.functional.normalize(x[rows].float(), dim=1)


def _approximate(x: Rows, count: int) -> Neighbours:
    """By lists of similar samples (faiss's inverted file), of which a few are searched.

    The lists hold numbers of half precision, which takes half the memory and half the time. Similarities are off by
    some 1e-5.
    """
    require(
        "neighbours",
        f"looking for near-duplicates among more than {SETTINGS.most_exact:,} samples",
        "use --findings none",
    )
    import faiss

    n, lists = len(x), int(SETTINGS.lists * len(x) ** 0.5)
    index = faiss.index_factory(x.shape[1], f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    inverted = faiss.extract_index_ivf(index)
    inverted.cp.niter, inverted.nprobe = SETTINGS.rounds, SETTINGS.searched
    sample = np.sort(np.random.default_rng(0).choice(n, min(n, SETTINGS.samples_a_list * lists), replace=False))
    index.train(_unit(x, torch.from_numpy(sample)).cpu().numpy())
    parts = [slice(start, min(start + 4096, n)) for start in range(0, n, 4096)]
    for part in parts:
        index.add(_unit(x, part).cpu().numpy())
    places, distances = np.empty((n, count), dtype=np.int64), np.empty((n, count), dtype=np.float32)
    for part in parts:
        similar, which = index.search(_unit(x, part).cpu().numpy(), count + 1)
        similar[which == np.arange(part.start, part.stop)[:, None]] = -np.inf
        order = np.argsort(-similar, axis=1)[:, :count]
        places[part] = np.take_along_axis(which, order, 1)
        distances[part] = np.clip(1 - np.take_along_axis(similar, order, 1), 0, 2)
    return Neighbours(places, distances)


def perceptual_hashes(grey: np.ndarray) -> np.ndarray:
    """bool (n, 64): imagehash's phash of each picture, computed for all at once.

    The signs, about their median, of the lowest frequencies of the picture's cosine transform.
    """
    return _signs(_low_frequencies(grey))


def _low_frequencies(grey: np.ndarray, side: int = 32, kept: int = 8) -> np.ndarray:
    """The lowest frequencies (n, kept, kept) of pictures (n, s, s) that are enlarged to a side first."""
    from scipy.fft import dct

    lines = torch.eye(grey.shape[1])[None]
    enlarged = torch.nn.functional.interpolate(lines, size=side, mode="linear")[0].numpy()  # of each pixel's line
    waves = dct(enlarged, axis=1)[:, :kept]
    return np.asarray(waves.T @ grey.astype(np.float32) @ waves)


def _signs(low: np.ndarray) -> np.ndarray:
    flat = low.reshape(len(low), -1)
    return np.asarray(flat > np.median(flat, axis=1, keepdims=True))


def same_hash(grey: np.ndarray) -> np.ndarray:
    """Pairs (p, 2) of pictures whose hashes differ in few bits, one of them perhaps mirrored."""
    n, low = len(grey), _low_frequencies(grey)
    odd = np.where(np.arange(low.shape[2]) % 2, -1, 1)  # a mirror turns round every second wave across
    upright, mirrored = (torch.from_numpy(_signs(waves)).float() * 2 - 1 for waves in (low, low * odd))
    search = _alike if n <= SETTINGS.most_exact else _in_bands
    pairs = np.concatenate([search(upright, other) for other in (upright, mirrored)])
    return np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)


def _alike(hashes: Tensor, others: Tensor) -> np.ndarray:
    """Pairs of rows that differ in at most `most_bits`, without hashes that many pictures have."""
    pairs = []
    in_both_directions = others is hashes
    for rows in chunks(len(hashes), 4 * len(others), 4):
        first = rows.start if in_both_directions else 0
        alike = hashes[rows] @ others[first:].T >= SETTINGS.hash_bits - 2 * SETTINGS.most_bits
        found = alike.nonzero().numpy()
        counts = np.bincount(found[:, 0], minlength=len(alike))
        pairs.append(found[counts[found[:, 0]] <= SETTINGS.most_per_picture + 1] + [rows.start, first])
    return np.concatenate(pairs)


def _in_bands(hashes: Tensor, others: Tensor, bands: int = 4) -> np.ndarray:
    """Pairs of rows that agree in one of the bands of their bits, of which few pictures have the same."""
    size = SETTINGS.hash_bits // bands
    pairs = []
    for band in range(bands):
        one, other = (
            np.packbits(bits[:, size * band : size * (band + 1)].numpy() > 0, axis=1).view(f"u{size // 8}")[:, 0]
            for bits in (hashes, others)
        )
        order = np.argsort(other, kind="stable")
        starts, stops = (np.searchsorted(other[order], one, side) for side in ("left", "right"))
        counts = np.where(stops - starts <= SETTINGS.most_per_picture + 1, stops - starts, 0)
        rows = np.repeat(np.arange(len(one)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        pairs.append(np.stack([rows, order[starts[rows] + within]], 1))
    return np.concatenate(pairs)
