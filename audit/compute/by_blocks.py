"""Computations with a matrix that has a row for each sample, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from audit.compute.matrix import RemoteRows, Rows, blocks, numbers_read
from audit.compute.scratch import empty_rows


def map_blocks(
    function: Callable[..., tuple[Tensor, ...]], sources: Sequence[Rows | None], *common: Any, numbers: int
) -> tuple[Any, ...]:
    """Matrices with a row for each sample, computed in one pass and kept where the sources are.

    Args:
        function: takes k rows of each source and `common`; returns matrices (k, width).
        sources: n rows each, or None.
        common: further arguments, the same for every block of rows.
        numbers: how many numbers of the first source's type the temporaries of a row hold.

    Returns:
        The matrices (n, width): in memory, in files if they are large (`audit.compute.scratch`), or on workers.
    """
    given = [source for source in sources if source is not None]
    for source in given:
        if isinstance(source, RemoteRows):
            return source.map_blocks(function, sources, *common, numbers=numbers)
    made: tuple[Any, ...] = ()
    parts = blocks(given[0], numbers + sum(map(numbers_read, given)))
    for rows in parts:
        found = function(*(None if source is None else source[rows] for source in sources), *common)
        if len(parts) == 1:
            return tuple(values.contiguous() for values in found)
        if not made:
            n = len(given[0])
            made = tuple(empty_rows((n, *values.shape[1:]), values.dtype, values.device) for values in found)
        for out, values in zip(made, found, strict=True):
            out[rows] = values
    return made


def local(rows: Rows) -> Rows:
    """The same rows, in this process: those of workers in memory, or in a file if they are large."""
    if not isinstance(rows, RemoteRows):
        return rows
    out, start = empty_rows(tuple(rows.shape), rows.dtype, rows.device), 0
    for part in rows.in_parts():
        out[start : start + len(part)] = part
        start += len(part)
    return out
