"""Matrices with one row a sample that are read a few rows at a time, wherever they are.

What an audit computes is a sum over samples (a loss, a gradient, a product with the Hessian, a Kronecker factor) or one
thing for each sample (a probability, an influence). Neither needs all samples in memory at once. A tensor in memory is
a matrix of this kind; so are memory-mapped files (`Stored`), what follows from other matrices row by row (`Derived`),
some rows of another (`Taken`), and rows that other processes hold (`Spread`).
"""

from __future__ import annotations

import mmap
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from audit.errors import InputError

# What a pass over rows keeps at a time on the CPU: freed memory of this size is used again at once, while larger pieces
# are handed back to the system and cost a page fault for every page, each time.
BLOCK_BYTES = 8 * 2**20
ALIGNMENT = 64  # bytes: the widest load of a processor, and where torch's own memory begins
DEVICE_BLOCK_BYTES = 256 * 2**20  # on a GPU, where a pass costs a launch


class Rows(Protocol):
    """A matrix (n, k), or a vector (n,); a `Tensor` is one."""

    @property
    def shape(self) -> Any:
        """(n, k)."""

    @property
    def dtype(self) -> torch.dtype:
        """Of what indexing gives."""

    @property
    def device(self) -> torch.device:
        """Where indexing puts it."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Tensor:
        """Rows by a slice or by their positions (k,)."""

    def float(self) -> Any:
        """The same in single precision."""


def aligned(values: Tensor) -> Tensor:
    """The same values in memory that begins where a processor's widest load does.

    Memory of NumPy's begins anywhere, elsewhere in every run, and products and sums of the same numbers are rounded
    otherwise there: with it, one seed would not give one result.
    """
    return values.clone() if values.data_ptr() % ALIGNMENT else values


def slices(n: int, bytes_per_row: int, at_once: int) -> list[slice]:
    """Slices over n rows, each of at most so many bytes together, or of one row."""
    step = max(1, at_once // max(1, bytes_per_row))
    return [slice(s, min(s + step, n)) for s in range(0, n, step)]


def blocks(rows: Rows, floats_per_row: int, element_bytes: int | None = None) -> list[slice]:
    """Slices over rows for one pass, with temporaries of so many numbers a row (and what is `brought`, included)."""
    bytes_per_row = floats_per_row * (element_bytes or rows.dtype.itemsize)
    at_once = BLOCK_BYTES
    if rows.device.type != "cpu" and len(rows) * bytes_per_row > BLOCK_BYTES:  # asking takes as long as a small pass
        at_once = _device_bytes(rows.device)
    return slices(len(rows), bytes_per_row, at_once)


def brought(rows: Rows) -> int:
    """How many numbers reading a row brings into memory: none where it is there already."""
    return 0 if isinstance(rows, Tensor) else int(rows.shape[1])


def _device_bytes(device: torch.device) -> int:
    """What a pass may keep at a time on a GPU: an eighth of what is free, within bounds."""
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_stats_as_nested_dict(device)  # a twentieth of the time of `memory_reserved`
    if kept:  # torch keeps what was freed, for what comes next
        free += kept["reserved_bytes"]["all"]["current"] - kept["allocated_bytes"]["all"]["current"]
    return max(BLOCK_BYTES, min(DEVICE_BLOCK_BYTES, free // 8))


class Stored:
    """Embeddings in arrays one after another, usually memory-mapped files.

    What was read of a file that is mapped for reading only is unmapped at the next reading. The system keeps it cached
    as long as it has room, but it is no memory of this process.

    Args:
        parts: (n_i, d) each, of real numbers in any byte order and direction.
        dtype: of what indexing gives.
        device: where indexing puts it.
        exponent: what indexing gives is divided by 2 to this power, before it is rounded to the dtype.

    Raises:
        InputError: if the parts differ in length of row.
    """

    def __init__(
        self, parts: Sequence[np.ndarray], dtype: torch.dtype, device: torch.device, exponent: int = 0
    ) -> None:
        if len({part.shape[1:] for part in parts}) != 1 or parts[0].ndim != 2:
            raise InputError(
                f"embeddings are in parts of shapes {', '.join(str(part.shape) for part in parts[:3])}; "
                "give (n, d) of one d"
            )
        self.parts = tuple(parts)
        self.dtype, self.device, self.exponent = dtype, device, exponent
        self.shape = (sum(len(part) for part in parts), parts[0].shape[1])
        self._ends = np.cumsum([len(part) for part in parts])
        self._files = [file for part in parts if (file := _file_of(part)) is not None]

    def __len__(self) -> int:
        return self.shape[0]

    @cached_property
    def _tensors(self) -> list[Tensor | None]:
        """Of the parts that torch reads where they are; None for one of another byte order or direction."""
        return [_tensor_of(part) if _readable_by_torch(part) else None for part in self.parts]

    def _read(self, number: int, rows: slice | Tensor) -> Tensor:
        """Rows of a part, by a slice or by their positions in it."""
        whole = self._tensors[number]
        if whole is not None:
            return whole[rows] if isinstance(rows, slice) else whole.index_select(0, rows)
        values = self.parts[number][rows if isinstance(rows, slice) else rows.numpy()]
        return _tensor_of(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("=")))

    def _converted(self, values: Tensor) -> Tensor:
        if self.exponent:
            values = torch.ldexp(values.double(), torch.tensor(-self.exponent))
        return values.to(self.device, self.dtype)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        self._let_go()
        if isinstance(rows, slice) and rows.step in (None, 1):
            start, stop, _ = rows.indices(len(self))
            first, last = np.searchsorted(self._ends, [start, max(start, stop - 1)], side="right")
            found = []
            for number in range(first, min(last + 1, len(self.parts))):
                before = self._ends[number] - len(self.parts[number])
                found.append(self._converted(self._read(number, slice(max(0, start - before), max(0, stop - before)))))
            values = found[0] if len(found) == 1 else torch.cat(found or [self._converted(self._read(0, slice(0)))])
        else:
            places = positions(rows, len(self)).cpu()
            values = torch.empty(len(places), self.shape[1], dtype=self.dtype, device=self.device)
            # Rows far from each other bring in a page or two each: a few at a time, or the whole file is in memory.
            for some in slices(len(places), self._bytes_brought_in, BLOCK_BYTES):
                self._select(places[some], values[some])
                self._let_go()
        return values

    @cached_property
    def _bytes_brought_in(self) -> int:
        """By reading a row of a file."""
        return self.parts[0][:1].nbytes + 2 * mmap.PAGESIZE

    def _select(self, places: Tensor, out: Tensor) -> None:
        """Copy the rows at positions (k,) into `out` (k, d)."""
        owners = torch.from_numpy(np.searchsorted(self._ends, places.numpy(), side="right"))
        for number in owners.unique().tolist():
            here = owners == number
            before = int(self._ends[number]) - len(self.parts[number])
            out[here.to(out.device)] = self._converted(self._read(number, places[here] - before))

    def _let_go(self) -> None:
        """Unmap what was read."""
        for file in self._files:
            file.madvise(mmap.MADV_DONTNEED)

    def float(self) -> Stored:
        """The same in single precision."""
        return Stored(self.parts, torch.float32, self.device, self.exponent)


def _readable_by_torch(part: np.ndarray) -> bool:
    return part.dtype.isnative and all(stride >= 0 and stride % part.itemsize == 0 for stride in part.strides)


def _tensor_of(values: np.ndarray) -> Tensor:
    with warnings.catch_warnings():  # of arrays that cannot be written to; nothing here writes
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(values)


def _file_of(part: np.ndarray) -> mmap.mmap | None:
    """The mapping that an array, or what it is a view of, reads and cannot write."""
    owner: Any = part
    while owner is not None and not isinstance(owner, np.memmap):
        owner = getattr(owner, "base", None)
    if owner is None or owner.mode != "r" or not hasattr(mmap, "MADV_DONTNEED"):
        return None
    file = owner._mmap  # type: ignore[attr-defined]
    assert isinstance(file, mmap.mmap)
    return file


class Derived:
    """What follows from the rows of other matrices, computed whenever it is asked for.

    Args:
        function: of as many rows of each source, to (k, width).
        sources: matrices or vectors of n rows; those of whole numbers keep their type in single precision.
        width: numbers a row.
    """

    def __init__(self, function: Callable[..., Tensor], sources: Sequence[Rows], width: int, dtype: torch.dtype):
        self.function, self.sources = function, tuple(sources)
        self.dtype, self.device = dtype, sources[0].device
        self.shape = (len(sources[0]), width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        return self.function(*(source[rows] for source in self.sources)).to(self.dtype)

    def float(self) -> Derived:
        """The same in single precision."""
        single = [source.float() if source.dtype.is_floating_point else source for source in self.sources]
        return Derived(self.function, single, self.shape[1], torch.float32)


class Taken:
    """Some rows of another matrix.

    Args:
        rows: the matrix.
        places: positions (k,) of those rows.
    """

    def __init__(self, rows: Rows, places: Tensor) -> None:
        self.rows, self.places = rows, places.cpu()
        self.dtype, self.device = rows.dtype, rows.device
        self.shape = (len(places), *rows.shape[1:])

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        return self.rows[self.places[rows if isinstance(rows, slice) else rows.cpu()].to(self.device)]

    def float(self) -> Taken:
        """The same in single precision."""
        return Taken(self.rows.float(), self.places)


class Spread(ABC):
    """Rows in parts that other processes hold; what is asked of them goes to where they are.

    Attributes:
        shape: (n, k) of all parts together.
        dtype, device: of what indexing brings here.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Bring rows here."""

    @abstractmethod
    def derive(self, function: Callable[..., Tensor], sources: Sequence[Rows], width: int, hold: bool) -> Spread:
        """What follows from the rows of sources, where they are; held there, or computed when asked for."""

    @abstractmethod
    def take(self, places: Tensor) -> Spread:
        """Rows at rising positions, where they are."""

    @abstractmethod
    def total(self, function: Callable[..., tuple[Tensor, ...]], sources: Sequence[Any], *common: Any) -> Any:
        """The sums over parts of what the function makes of each, in double precision."""

    @abstractmethod
    def each(self, function: Callable[..., tuple[Tensor, ...]], sources: Sequence[Any], *common: Any) -> Any:
        """What the function makes of each part, brought here and joined in order."""

    def float(self) -> Spread:
        """The same in single precision."""
        return self.derive(as_single, [self], self.shape[1], False)


def as_single(values: Tensor) -> Tensor:
    """In single precision."""
    return values.float()


def derive(function: Callable[..., Tensor], *sources: Rows, width: int) -> Rows:
    """What follows from the rows of sources: at once where they are in memory, else when it is asked for.

    Args:
        function: of as many rows of each source, to (k, width), in the precision of the first one.
        sources: n rows each.
        width: numbers a row.
    """
    for source in sources:
        if isinstance(source, Spread):
            return source.derive(function, sources, width, hold=False)
    if all(isinstance(source, Tensor) for source in sources):
        return function(*sources)
    return Derived(function, sources, width, sources[0].dtype)


def hold(rows: Rows) -> Rows:
    """The same, computed once and kept in memory, where the rows are."""
    if isinstance(rows, Spread):
        return rows.derive(_same, [rows], rows.shape[1], hold=True)
    if isinstance(rows, Tensor):
        return rows
    out = torch.empty(rows.shape, dtype=rows.dtype, device=rows.device)
    for part in blocks(rows, 8 * rows.shape[1]):
        out[part] = rows[part]
    return out


def here(rows: Rows) -> Tensor:
    """All rows as a tensor of this process."""
    held = rows[slice(0, len(rows))] if isinstance(rows, Spread) else hold(rows)
    assert isinstance(held, Tensor)
    return held


def _same(values: Tensor) -> Tensor:
    return values


def take(rows: Rows, places: Tensor) -> Rows:
    """Rows at positions (k,): a copy where they are in memory, else read when they are asked for."""
    if isinstance(rows, Spread):
        return rows.take(places)
    return rows[places] if isinstance(rows, Tensor) else Taken(rows, places)


def total(function: Callable[..., tuple[Tensor, ...]], sources: Sequence[Rows | None], *common: Any) -> Any:
    """Sums over samples.

    Args:
        function: of the sources (or the part of them that a process holds) and `common`, to a tuple of sums.
        sources: n rows each, or None.
        common: what every part needs.
    """
    for source in sources:
        if isinstance(source, Spread):
            return source.total(function, sources, *common)
    return function(*sources, *common)


def each(function: Callable[..., tuple[Tensor, ...]], sources: Sequence[Rows | None], *common: Any) -> Any:
    """One thing for each sample, or several, here and in the order of the samples: arguments as those of `total`."""
    for source in sources:
        if isinstance(source, Spread):
            return source.each(function, sources, *common)
    return function(*sources, *common)


def positions(rows: slice | Tensor, n: int) -> Tensor:
    """Positions (k,) that a slice of n rows, a mask (n,) or positions stand for."""
    if isinstance(rows, slice):
        return torch.arange(n)[rows]
    return torch.nonzero(rows).flatten() if rows.dtype == torch.bool else rows
