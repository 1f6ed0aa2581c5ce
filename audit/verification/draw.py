"""Draw a verification sample: samples with known probabilities, in an order that may end anywhere."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.errors import InputError
from audit.verification.as_drawn import suspicions_and_flags
from audit.verification.strata import DesignSettings, sequence_of_strata, share_out, split_into_strata

if TYPE_CHECKING:
    from audit.result import AuditResult


@dataclass(frozen=True)
class Stratum:
    """A part of the samples that is drawn from at random.

    Attributes:
        flagged: whether it holds flagged samples.
        samples: how many there are, without those that were known before.
        drawn: how many of them were drawn.
        low, high: suspicions between which its samples lie.
    """

    flagged: bool
    samples: int
    drawn: int
    low: float
    high: float


@dataclass(frozen=True)
class VerificationSample:
    """Samples to be decided one after the other.

    Attributes:
        table: a row a drawn sample by its id, in the order to decide them: order (from 0), stratum (its place in
            `strata`), probability (that it is among the drawn samples) and weight (1 / probability).
        strata: of the design; the number of a stratum is its place.
        seed: that it was drawn with.
    """

    table: pd.DataFrame
    strata: tuple[Stratum, ...]
    seed: int


def draw_verification(
    result: AuditResult, size: int = 60, seed: int = 0, known: Collection[str] = ()
) -> VerificationSample:
    """Draw samples whose decisions say how many labels are wrong.

    Of the draws, 55 % are flagged samples. The others come from strata of the remaining samples by suspicion, some of
    them from where nothing is suspected. A reviewer may stop after any number of decisions: every part of the list
    from its start is a stratified random sample. A larger sample with the same seed begins with the smaller one.

    Args:
        result: of an audit.
        size: samples to draw, 1 or more; all samples where there are fewer.
        seed: of the draw, 0 or more.
        known: ids of samples that were decided before, and are not drawn.

    Returns:
        The sample. Its table with a column `decision` is what `verify` takes.

    Raises:
        InputError: if size or seed is out of its range, an id in `known` is not of the audit, or all are known.

    Example:
        >>> drawn = audit.draw_verification(result, size=60)
        >>> decisions = drawn.table.assign(decision=["wrong", "right", ...])
        >>> audit.verify(result, decisions).mistakes
    """
    return draw_scores(result.scores, size, seed, known)


def draw_scores(scores: pd.DataFrame, size: int = 60, seed: int = 0, known: Collection[str] = ()) -> VerificationSample:
    """Draw a verification sample from a table of scores; `draw_verification` says more.

    Args:
        scores: by id, columns suspicion and flag. Where decisions recalibrated them, the columns model_suspicion and
            model_flag are used instead, so that the same size and seed draw the same sample again.
        size: samples to draw, 1 or more.
        seed: of the draw, 0 or more.
        known: ids of samples that are not drawn.

    Raises:
        InputError: as `draw_verification`.
    """
    ids = scores.index.astype(str).to_numpy()
    left = _left(ids, size, seed, known)
    suspicion, flag = suspicions_and_flags(scores)
    rows = draw_rows(suspicion, flag, size, seed, left)
    stratum = split_into_strata(suspicion, flag)
    strata = tuple(
        Stratum(
            flagged=bool(flag[members].all()),
            samples=int(left[members].sum()),
            drawn=int((stratum[rows] == number).sum()),
            low=float(suspicion[members].min()),
            high=float(suspicion[members].max()),
        )
        for number, members in ((number, stratum == number) for number in range(stratum.max() + 1))
    )
    probability = np.array([strata[number].drawn / strata[number].samples for number in stratum[rows]])
    columns = {
        "order": np.arange(len(rows)),
        "stratum": stratum[rows],
        "probability": probability,
        "weight": 1 / probability,
    }
    return VerificationSample(pd.DataFrame(columns, index=pd.Index(ids[rows], name="id")), strata, seed)


def _left(ids: np.ndarray, size: int, seed: int, known: Collection[str]) -> np.ndarray:
    """Bool (n,), of the samples that can be drawn; refuses what cannot be drawn from."""
    if size < 1:
        raise InputError(f"a verification sample of size {size} decides nothing; give a size of 1 or more")
    if seed < 0:
        raise InputError(f"the seed of a verification sample is {seed}; give 0 or more")
    left = ~np.isin(ids, sorted(str(one) for one in known))
    if (unknown := len(set(map(str, known))) - int((~left).sum())) > 0:
        raise InputError(f"{unknown} of the known ids are not of this audit; give ids of its scores")
    if not left.any():
        raise InputError("every sample is known already; there is nothing to draw")
    return left


def draw_rows(
    suspicion: np.ndarray,
    flag: np.ndarray,
    size: int,
    seed: int,
    available: np.ndarray | None = None,
    settings: DesignSettings = DesignSettings(),
) -> np.ndarray:
    """The rows that are drawn, in the order to decide them.

    Args:
        suspicion: (n,) in [0, 1].
        flag: bool (n,).
        size: draws.
        seed: of the draw.
        available: bool (n,), of samples that can be drawn; None for all.
        settings: of the design.
    """
    available = np.ones(len(flag), dtype=bool) if available is None else available
    stratum = split_into_strata(suspicion, flag, settings)
    sizes = np.bincount(stratum, available, minlength=stratum.max() + 1)
    # Whole blocks are laid out and the end cut off, so that a larger sample begins with a smaller one.
    blocks = -(-size // settings.block)
    shares = share_out(suspicion, flag, stratum, available, settings)
    turns = sequence_of_strata(shares, sizes, blocks * settings.block)
    for block in range(blocks):
        part = slice(block * settings.block, (block + 1) * settings.block)
        turns[part] = np.random.default_rng((seed, 0, block)).permutation(turns[part])
    rows = np.empty(len(turns), dtype=np.int64)
    for number in np.unique(turns):
        members = np.flatnonzero((stratum == number) & available)
        order = np.random.default_rng((seed, 1, int(number))).permutation(members)
        places = np.flatnonzero(turns == number)
        rows[places] = order[: len(places)]
    return rows[:size]
