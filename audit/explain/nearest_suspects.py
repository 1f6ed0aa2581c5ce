"""The pictures that a report shows beside the most suspicious samples: the nearest ones of either label in question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from audit.compute.matrix import DerivedRows, RemoteRows, Rows, blocks, select_rows, to_memory, total
from audit.explain.nearest_table import COLUMNS, GIVEN, OTHER, no_nearest


@dataclass(frozen=True, kw_only=True)
class NearestSettings:
    """How many samples get nearest pictures beside them, and how many of each label."""

    suspects: int = 100
    count: int = 3


def nearest_of_suspects(
    x: Rows,
    labels: np.ndarray,
    others: np.ndarray,
    suspects: np.ndarray,
    ids: Sequence[str],
    settings: NearestSettings = NearestSettings(),
) -> pd.DataFrame:
    """The samples most like each suspect that have its given label, and those that have the likeliest other label.

    Likeness is that of `NearestSamples`: the cosine of the angle between two embeddings, after the mean of all
    embeddings was subtracted. The embeddings are read twice, a block of rows at a time.

    Args:
        x: embeddings (n, d).
        labels: (n,) class numbers as they were audited.
        others: (n,) the likeliest class other than the label.
        suspects: positions (k,), most suspicious first.
        ids: of the n samples.
        settings: how many suspects, and how many samples beside each.

    Returns:
        The table `AuditResult.nearest`.
    """
    places = suspects[: settings.suspects]
    if not len(places):
        return no_nearest()
    at = torch.from_numpy(places)
    mean = total(_sum, [x])[0].to(x.device) / len(x)
    ascending, back = np.unique(places, return_inverse=True)
    units = _units(to_memory(select_rows(x, torch.from_numpy(ascending))), mean)[back]
    likeness = _likeness_of(x, mean, units)
    numbers = torch.from_numpy(labels)
    wanted = {kind: torch.from_numpy(classes[places]) for kind, classes in ((GIVEN, labels), (OTHER, others))}
    best = {kind: _Best.none(settings.count, len(places)) for kind in wanted}
    for part in blocks(likeness, 2 * x.shape[1] + 4 * len(places)):
        values = likeness[part].double().cpu()
        own = (at >= part.start) & (at < part.stop)
        values[at[own] - part.start, own.nonzero().flatten()] = -torch.inf
        for kind, classes in wanted.items():
            of_class = numbers[part, None] == classes[None]
            best[kind] = best[kind].with_block(values.masked_fill(~of_class, -torch.inf), part.start)
    records = [
        (ids[place], kind, rank, ids[row], value)
        for column, place in enumerate(places)
        for kind, found in best.items()
        for rank, (row, value) in enumerate(found.of(column), 1)
    ]
    return pd.DataFrame(records, columns=list(COLUMNS)) if records else no_nearest()


@dataclass(frozen=True)
class _Best:
    """The most alike rows so far, for each of k suspects: likeness (count, k), -inf where there is none, and rows."""

    likeness: Tensor
    rows: Tensor

    @classmethod
    def none(cls, count: int, suspects: int) -> _Best:
        shape = (count, suspects)
        return cls(torch.full(shape, -torch.inf, dtype=torch.float64), torch.zeros(shape, dtype=torch.long))

    def with_block(self, likeness: Tensor, start: int) -> _Best:
        """With the rows of a block, (m, k), that begins at row `start`."""
        count = len(self.likeness)
        values, places = likeness.topk(min(count, len(likeness)), dim=0)
        both, rows = torch.cat([self.likeness, values]), torch.cat([self.rows, places + start])
        order = both.argsort(dim=0, descending=True, stable=True)[:count]
        return _Best(both.gather(0, order), rows.gather(0, order))

    def of(self, suspect: int) -> Iterator[tuple[int, float]]:
        """Rows and likeness, the most alike first."""
        for value, row in zip(self.likeness[:, suspect].tolist(), self.rows[:, suspect].tolist(), strict=True):
            if value > -np.inf:
                yield row, value


def _likeness_of(x: Rows, mean: Tensor, units: Tensor) -> Rows:
    """The likeness (n, k) of all samples to k of them, computed whenever rows are read, where the rows are."""
    function = partial(_likeness, mean=mean, units=units)
    if isinstance(x, RemoteRows):
        return x.derive(function, [x], len(units), hold=False)
    return DerivedRows(function, [x], len(units), x.dtype)


def _likeness(x: Tensor, mean: Tensor, units: Tensor) -> Tensor:
    return _units(x, mean.to(x.device)) @ units.to(x.device, x.dtype).T


def _units(x: Tensor, mean: Tensor) -> Tensor:
    centred = x - mean.to(x.dtype)
    return centred / centred.norm(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)


def _sum(x: Rows) -> tuple[Tensor]:
    parts = [x[part].double().sum(0) for part in blocks(x, 2 * x.shape[1], 8)]
    return (torch.stack(parts).sum(0),)
