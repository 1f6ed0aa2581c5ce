"""Pairs of samples that may be copies: nearest neighbours of embeddings, and pictures with nearly the same hash."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audit.compute.matrix import Rows
from audit.extras import require
from audit.head.hessian import chunks
from audit.noise_model.votes import largest


@dataclass(frozen=True, kw_only=True)
class NeighbourSearch:
    """How pairs that may be copies are searched."""

    # Samples among which all pairs are compared; beyond, the search is approximate.
    most_exact: int = 100_000
    # Neighbours of each sample; the last one tells how near unrelated samples are.
    nearest: int = 10
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


def nearest(x: Rows) -> Neighbours:
    """The nearest neighbours by the cosine of embeddings (n, d): exact up to `most_exact` samples.

    Raises:
        InputError: if there are more, and faiss is not installed.
    """
    n = len(x)
    count = min(SETTINGS.nearest, n - 1)
    if n > SETTINGS.most_exact:
        return _approximate(x, count)
    unit = _unit(x, slice(0, n))
    places, distances = np.empty((n, count), dtype=np.int64), np.empty((n, count), dtype=np.float32)
    for rows in chunks(n, 4 * n, 4):
        similarity = unit[rows] @ unit.T
        own = torch.arange(rows.start, rows.start + len(similarity), device=similarity.device)
        similarity[torch.arange(len(own), device=own.device), own] = -torch.inf
        found, which = largest(similarity, count)
        places[rows], distances[rows] = which.cpu().numpy(), (1 - found).clamp_min(0).cpu().numpy()
    return Neighbours(places, distances)


def _unit(x: Rows, rows: slice | Tensor) -> Tensor:
    return torch.nn.functional.normalize(x[rows].float(), dim=1)


def _approximate(x: Rows, count: int) -> Neighbours:
    """By lists of similar samples (faiss's inverted file), of which a few are searched."""
    require(
        "neighbours",
        f"looking for near-duplicates among more than {SETTINGS.most_exact:,} samples",
        "use --findings none",
    )
    import faiss

    n, lists = len(x), int(4 * len(x) ** 0.5)
    index = faiss.index_factory(x.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    sample = np.sort(np.random.default_rng(0).choice(n, min(n, 40 * lists), replace=False))
    index.train(_unit(x, torch.from_numpy(sample)).cpu().numpy())
    parts = [slice(start, min(start + 4096, n)) for start in range(0, n, 4096)]
    for part in parts:
        index.add(_unit(x, part).cpu().numpy())
    faiss.extract_index_ivf(index).nprobe = 16
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
    from scipy.fft import dct

    pictures = torch.nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(grey))[:, None].float(), size=(32, 32), mode="bilinear"
    )[:, 0].numpy()
    low = dct(dct(pictures, axis=1), axis=2)[:, :8, :8].reshape(len(grey), SETTINGS.hash_bits)
    return low > np.median(low, axis=1, keepdims=True)


def same_hash(grey: np.ndarray) -> np.ndarray:
    """Pairs (p, 2) of pictures whose hashes differ in few bits, one of them perhaps mirrored."""
    n = len(grey)
    upright, mirrored = (
        torch.from_numpy(perceptual_hashes(pictures)).float() * 2 - 1 for pictures in (grey, grey[:, :, ::-1])
    )
    search = _alike if n <= SETTINGS.most_exact else _in_bands
    pairs = np.concatenate([search(upright, other) for other in (upright, mirrored)])
    return np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)


def _alike(hashes: Tensor, others: Tensor) -> np.ndarray:
    """Pairs of rows that differ in at most `most_bits`, without hashes that many pictures have."""
    pairs = []
    for rows in chunks(len(hashes), 4 * len(others), 4):
        alike = hashes[rows] @ others.T >= SETTINGS.hash_bits - 2 * SETTINGS.most_bits
        alike &= (alike.sum(1) <= SETTINGS.most_per_picture + 1)[:, None]
        found = alike.nonzero().numpy()
        found[:, 0] += rows.start
        pairs.append(found)
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
