"""Strata of a verification sample, and how many draws each of them gets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class DesignSettings:
    """How a verification sample is laid out.

    Attributes:
        flagged_share: of the draws, among flagged samples.
        flagged_strata: at most this many, of equal size, by suspicion.
        flagged_least: samples of a stratum of flags.
        cuts: quantiles of the suspicion of the other samples, at which their strata begin.
        floor: of the variance that a stratum is expected to have, so that samples without suspicion are drawn too.
        equal_share: of the draws among the other samples, shared out equally between strata.
        block: draws whose order is shuffled together, so that the order does not tell the strata.
    """

    flagged_share: float = 0.55
    flagged_strata: int = 3
    flagged_least: int = 8
    cuts: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95, 0.98)
    floor: float = 0.002
    equal_share: float = 0.25
    block: int = 10


def split_into_strata(
    suspicion: np.ndarray, flag: np.ndarray, settings: DesignSettings = DesignSettings()
) -> np.ndarray:
    """The stratum (n,) of each sample: 0, 1, ... in rising suspicion, those of the flagged samples last.

    Args:
        suspicion: (n,) in [0, 1].
        flag: bool (n,).
        settings: of the design.
    """
    stratum = np.empty(len(suspicion), dtype=np.int64)
    flags = int(flag.sum())
    parts = max(1, min(settings.flagged_strata, flags // settings.flagged_least))
    number = 0
    for members, shares in (
        (np.flatnonzero(~flag), np.array([0.0, *settings.cuts, 1.0])),
        (np.flatnonzero(flag), np.linspace(0, 1, parts + 1)),
    ):
        ordered = members[np.argsort(suspicion[members], kind="stable")]
        edges = np.unique(np.round(shares * len(ordered)).astype(int))
        for low, high in pairwise(edges):
            stratum[ordered[low:high]] = number
            number += 1
    return stratum


def share_out(
    suspicion: np.ndarray,
    flag: np.ndarray,
    stratum: np.ndarray,
    available: np.ndarray,
    settings: DesignSettings = DesignSettings(),
) -> np.ndarray:
    """The share (strata,) of the draws that each stratum is to get; they add up to 1.

    Flags are drawn in proportion to their number. Other strata get draws in proportion to size times the standard
    deviation that the suspicions expect (Neyman's allocation, with a floor).

    Args:
        suspicion: (n,) in [0, 1].
        flag: bool (n,).
        stratum: (n,) from `split_into_strata`.
        available: bool (n,), of samples that can be drawn.
        settings: of the design.
    """
    strata = int(stratum.max()) + 1
    sizes = np.bincount(stratum, available, minlength=strata)
    variance = np.bincount(stratum, suspicion * (1 - suspicion), minlength=strata) / np.bincount(stratum)
    flagged = np.bincount(stratum, flag, minlength=strata) > 0
    shares = np.zeros(strata)
    of_flags, of_rest = flagged & (sizes > 0), ~flagged & (sizes > 0)
    part = settings.flagged_share if of_rest.any() else 1.0
    if of_flags.any():
        shares[of_flags] = part * sizes[of_flags] / sizes[of_flags].sum()
    if of_rest.any():
        rest = 1 - shares.sum()
        wanted = sizes[of_rest] * np.sqrt(variance[of_rest] + settings.floor)
        equal = settings.equal_share / of_rest.sum()
        shares[of_rest] = rest * ((1 - settings.equal_share) * wanted / wanted.sum() + equal)
    return shares


def sequence_of_strata(shares: np.ndarray, sizes: np.ndarray, size: int) -> np.ndarray:
    """From which stratum each of the first `size` draws is, so that every part from the start keeps to the shares.

    Each draw goes to the stratum that lags most behind its share. No label has a say in it, so a sample that ends
    after any draw is a stratified random sample.

    Args:
        shares: (strata,) from `share_out`.
        sizes: (strata,) samples that can be drawn.
        size: draws; at most as many as there are samples.
    """
    drawn = np.zeros(len(shares))
    found = np.empty(min(size, int(sizes.sum())), dtype=np.int64)
    for place in range(len(found)):
        lag = np.where(drawn < sizes, shares * (place + 1) - drawn, -np.inf)
        found[place] = lag.argmax()
        drawn[found[place]] += 1
    return found
