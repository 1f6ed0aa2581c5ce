"""Rows of embeddings in parts on Dask workers, and how their results are waited for and brought here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.compute.by_blocks import map_blocks
from audit.compute.matrix import (
    DerivedRows,
    RemoteRows,
    Rows,
    SelectedRows,
    StoredRows,
    derive,
    hold,
    select_rows,
)
from audit.compute.scratch import ScratchRows, positions
from audit.errors import InputError
from audit.extras import require

try:
    from dask.sizeof import sizeof
    from distributed import Client, Future, KilledWorker, wait
    from distributed.client import ClosedClientError, FutureCancelledError, FuturesCancelledError
    from distributed.comm.core import CommClosedError
except ImportError:
    require("dask", "an audit on Dask workers")
    raise

LOST = (
    CommClosedError,
    ClosedClientError,
    FutureCancelledError,
    FuturesCancelledError,
    asyncio.CancelledError,
    OSError,
)
DOUBTFUL = (CommClosedError, FutureCancelledError, FuturesCancelledError)  # the end of a worker raises these, too


@dataclass(frozen=True, kw_only=True)
class WaitSettings:
    """How often work is tried again, and how long a scheduler is waited for that may be lost."""

    # How often a failed task is tried again.
    retries: int = 2
    # Seconds between two checks that the scheduler is still connected.
    check_seconds: float = 2.0
    # Seconds, at most, until Dask's client notices that it has lost the scheduler.
    notice_seconds: float = 10.0


SETTINGS = WaitSettings()


class DaskRows(RemoteRows):
    """Rows in parts, each a matrix of rows on some worker.

    Args:
        client: whose workers hold them.
        parts: futures of matrices (n_i, width).
        sizes: n_i.
        width: numbers a row.
        dtype: of the rows.
    """

    def __init__(
        self, client: Client, parts: Sequence[Future], sizes: Sequence[int], width: int, dtype: torch.dtype
    ) -> None:
        self.client, self.parts, self.sizes = client, list(parts), list(sizes)
        self.shape = (sum(sizes), width)
        self.dtype, self.device = dtype, torch.device("cpu")

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        places = positions(rows, len(self))
        order = torch.argsort(places, stable=True)
        taken = self.select(places[order])
        found = torch.cat(taken._gather(taken._submit([taken], before=[_in_memory])))
        out = torch.empty_like(found)
        out[order] = found
        return out

    def float(self) -> DaskRows:
        """The same in single precision."""
        return self._like(self._submit([self], before=[_single]), self.shape[1], torch.float32)

    def derive(self, function: Callable[..., Tensor], sources: Sequence[Rows], width: int, hold: bool) -> DaskRows:
        """What follows from the rows of sources, on the workers."""
        parts = self._submit(sources, before=[_derived, function, width, hold])
        return self._like(parts, width, sources[0].dtype)

    def select(self, places: Tensor) -> DaskRows:
        """Rows at rising positions."""
        edges = np.concatenate([[0], np.cumsum(self.sizes)])
        cuts = np.searchsorted(places.cpu().numpy(), edges)
        own = [
            places[start:stop].cpu() - first for start, stop, first in zip(cuts, cuts[1:], edges.tolist(), strict=False)
        ]
        with lost_is_an_error(self.client):
            parts = [
                self.client.submit(select_rows, part, local, pure=False)
                for part, local in zip(self.parts, own, strict=True)
            ]
        return DaskRows(self.client, parts, [len(local) for local in own], self.shape[1], self.dtype)

    def total(self, function: Callable[..., tuple[Tensor, ...]], sources: Sequence[Any], *common: Any) -> Any:
        """The sums over parts of what the function makes of each, in double precision."""
        sums = self._gather(self._submit(sources, before=[function], after=common))
        return tuple(torch.stack([part.double() for part in column]).sum(0) for column in zip(*sums, strict=True))

    def map_rows(self, function: Callable[..., tuple[Tensor, ...]], sources: Sequence[Any], *common: Any) -> Any:
        """What the function makes of each part, brought here and joined in order."""
        found = self._gather(self._submit(sources, before=[function], after=common))
        return tuple(torch.cat(column) for column in zip(*found, strict=True))

    def in_parts(self) -> Iterator[Tensor]:
        """The rows in order, brought here a part at a time."""
        for part in self.parts:
            with lost_is_an_error(self.client):
                brought = [self.client.submit(_in_memory, part, pure=False, retries=SETTINGS.retries)]
            yield self._gather(brought)[0]

    def map_blocks(
        self, function: Callable[..., tuple[Tensor, ...]], sources: Sequence[Any], *common: Any, numbers: int
    ) -> tuple[DaskRows, ...]:
        """The matrices that the function makes of blocks of rows, on the workers that have the rows."""
        made = self._submit(sources, before=[_mapped, function, common, numbers])
        with lost_is_an_error(self.client):
            (described,) = self._gather([self.client.submit(_described, made[0], pure=False)])
            return tuple(
                self._like([self.client.submit(itemgetter(place), part, pure=False) for part in made], width, dtype)
                for place, (width, dtype) in enumerate(described)
            )

    def _like(self, parts: Sequence[Future], width: int, dtype: torch.dtype) -> DaskRows:
        return DaskRows(self.client, parts, self.sizes, width, dtype)

    def _submit(self, sources: Sequence[Any], before: Sequence[Any], after: Sequence[Any] = ()) -> list[Future]:
        """before[0] on every part: of the rest of `before`, the part's pieces of the sources, and `after`."""
        cut = [self._pieces(source) for source in sources]
        with lost_is_an_error(self.client):
            return [
                self.client.submit(*before, *pieces, *after, pure=False, retries=SETTINGS.retries)
                for pieces in zip(*cut, strict=True)
            ]

    def _pieces(self, source: Any) -> Sequence[Any]:
        """The pieces of a source, one for each part of these rows."""
        if source is None:
            return [None] * len(self.parts)
        if isinstance(source, DaskRows):
            assert source.sizes == self.sizes
            return source.parts
        edges = np.concatenate([[0], np.cumsum(self.sizes)]).tolist()
        return [_cut(source, slice(start, stop)) for start, stop in pairwise(edges)]

    def _gather(self, futures: Sequence[Future]) -> list[Any]:
        with lost_is_an_error(self.client):
            for _ in finished(self.client, futures):
                pass
            return list(self.client.gather(list(futures)))


def _cut(rows: Rows, part: slice) -> Rows:
    """A piece of rows of this process, to send to a worker; of derived rows, the same piece of their sources."""
    if isinstance(rows, DerivedRows):
        return DerivedRows(rows.function, [_cut(source, part) for source in rows.sources], rows.shape[1], rows.dtype)
    return rows[part]


def _in_memory(rows: Rows) -> Tensor:
    return rows[slice(0, len(rows))]


def _single(rows: Rows) -> Rows:
    return rows.float()


def _derived(function: Callable[..., Tensor], width: int, held: bool, *sources: Rows) -> Rows:
    made = derive(function, *sources, width=width)
    return hold(made) if held else made


def _mapped(
    function: Callable[..., tuple[Tensor, ...]], common: Sequence[Any], numbers: int, *sources: Any
) -> tuple[Rows, ...]:
    return map_blocks(function, sources, *common, numbers=numbers)


def _described(made: tuple[Rows, ...]) -> list[tuple[int, torch.dtype]]:
    """The width and type of each matrix."""
    return [(int(rows.shape[1]), rows.dtype) for rows in made]


def finished(client: Client, futures: Sequence[Future]) -> Iterator[Future]:
    """Futures in the order in which they finish. Dask's own iterator never ends if the scheduler is lost."""
    waiting = set(futures)
    while waiting:
        if client.status != "running":
            raise CommClosedError
        with suppress(TimeoutError):
            done, waiting = wait(waiting, timeout=SETTINGS.check_seconds, return_when="FIRST_COMPLETED")
            yield from done


@contextmanager
def lost_is_an_error(client: Client) -> Iterator[None]:
    """Raise an InputError, in one line, if workers or the scheduler are lost for good."""
    try:
        yield
    except KilledWorker as error:
        raise InputError(
            f"{error.allowed_failures + 1} Dask workers died of the same piece of work (memory?); start workers with "
            "more memory, and run the same command again: finished embeddings are kept"
        ) from None
    except LOST as error:
        deadline = time.monotonic() + SETTINGS.notice_seconds
        # The connection may break some time before the client notices that it has lost the scheduler.
        while isinstance(error, DOUBTFUL) and client.status == "running" and time.monotonic() < deadline:
            time.sleep(0.1)
        if client.status == "running":
            raise
        raise InputError(
            "the Dask scheduler was lost; start it again, and run the same command again: finished embeddings are kept"
        ) from None


@sizeof.register(StoredRows)
def _(rows: StoredRows) -> int:
    return sum(part.nbytes for part in rows.parts)


@sizeof.register(DerivedRows)
def _(rows: DerivedRows) -> int:
    return sum(sizeof(source) for source in rows.sources)


@sizeof.register(SelectedRows)
def _(rows: SelectedRows) -> int:
    return sizeof(rows.rows)


@sizeof.register(Tensor)
def _(rows: Tensor) -> int:
    return rows.nbytes


@sizeof.register(ScratchRows)
def _(rows: ScratchRows) -> int:
    return rows.nbytes  # in a file, but what sending them to another worker takes
