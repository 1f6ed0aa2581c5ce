"""Matrices with one row per sample, which are read in blocks of rows wherever they are stored.

An audit computes sums over samples (a loss, a gradient, a product with the Hessian, a Kronecker factor) or one result
for each sample (a probability, an influence). Neither needs all samples in memory at once. A tensor in memory is such
a matrix. So are memory-mapped files (`StoredRows`), functions of the rows of other matrices (`DerivedRows`), selected
rows of another matrix (`SelectedRows`), and rows that other processes hold (`RemoteRows`).
"""

from __future__ import annotations

import math
import mmap
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from audit.compute.scratch import ScratchRows, empty_rows, fits_memory, positions
from audit.errors import InputError

# Temporaries of one block of rows on the CPU, in bytes. Memory of this size is reused as soon as it is freed. Larger
# pieces go back to the system, and using them again costs a page fault for every page.
BLOCK_BYTES = 8 * 2**20
ALIGNMENT = 64  # bytes: the widest load of a processor, to which torch aligns its own memory
DEVICE_BLOCK_BYTES = 256 * 2**20  # of one block on a GPU, where each pass costs a kernel launch


class Rows(Protocol):
    """A matrix (n, k), or a vector (n,); a `Tensor` is one."""

    @property
    def shape(self) -> Any:
        """(n, k)."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the rows that indexing returns."""

    @property
    def device(self) -> torch.device:
        """The device of the rows that indexing returns."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Tensor:
        """Rows by a slice or by their positions (k,)."""

    def float(self) -> Any:
        """The same in single precision."""


def aligned(values: Tensor) -> Tensor:
    """The same values in memory that is aligned for a processor's widest loads.

    NumPy's memory may begin anywhere, at another place in every run. Products and sums of the same numbers are rounded
    differently there, so that one seed would not give one result.
    """
    return values.clone() if values.data_ptr() % ALIGNMENT else values


def slices(n: int, bytes_per_row: int, at_once: int) -> list[slice]:
    """Slices over n rows of at most `at_once` bytes each, or of one row."""
    step = max(1, at_once // max(1, bytes_per_row))
    return [slice(s, min(s + step, n)) for s in range(0, n, step)]


def blocks(rows: Rows, floats_per_row: int, element_bytes: int | None = None) -> list[slice]:
    """Slices over rows for one pass whose temporaries hold this many numbers per row, `numbers_read` included."""
    bytes_per_row = floats_per_row * (element_bytes or rows.dtype.itemsize)
    at_once = BLOCK_BYTES
    if rows.device.type != "cpu" and len(rows) * bytes_per_row > BLOCK_BYTES:  # asking takes as long as a small pass
        at_once = _device_bytes(rows.device)
    return slices(len(rows), bytes_per_row, at_once)


def numbers_read(rows: Rows) -> int:
    """How many numbers reading a row brings into memory: none if the rows are in memory already."""
    return 0 if isinstance(rows, Tensor) else math.prod(rows.shape[1:])


def _device_bytes(device: torch.device) -> int:
    """Bytes for the temporaries of one block on a GPU: an eighth of the free memory, within bounds."""
    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_stats_as_nested_dict(device)  # a twentieth of the time of `memory_reserved`
    if kept:  # torch keeps what was freed, for what comes next
        free += kept["reserved_bytes"]["all"]["current"] - kept["allocated_bytes"]["all"]["current"]
    return max(BLOCK_BYTES, min(DEVICE_BLOCK_BYTES, free // 8))


class StoredRows:
    """Embeddings in consecutive arrays, usually memory-mapped files.

    Pages of a read-only file are released at the next reading. The system may keep them in its cache, but they no
    longer count as memory of this process.

    Args:
        parts: (n_i, d) each, of real numbers in any byte order and direction.
        dtype: of the rows that indexing returns.
        device: of the rows that indexing returns.
        exponent: rows are divided by 2 to this power, before they are rounded to the dtype.

    Raises:
        InputError: if the parts differ in the number of columns.
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
        """The parts as tensors on the same memory; None for a part of another byte order or direction."""
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
            # Each row brings in one or two pages. Without releasing them, the whole file would end up in memory.
            for some in slices(len(places), self._bytes_brought_in, BLOCK_BYTES):
                self._select(places[some], values[some])
                self._let_go()
        return values

    @cached_property
    def _bytes_brought_in(self) -> int:
        """Bytes that reading one row of a file brings into memory."""
        return self.parts[0][:1].nbytes + 2 * mmap.PAGESIZE

    def _select(self, places: Tensor, out: Tensor) -> None:
        """Copy the rows at positions (k,) into `out` (k, d)."""
        owners = torch.from_numpy(np.searchsorted(self._ends, places.numpy(), side="right"))
        for number in owners.unique().tolist():
            own = owners == number
            before = int(self._ends[number]) - len(self.parts[number])
            out[own.to(out.device)] = self._converted(self._read(number, places[own] - before))

    def _let_go(self) -> None:
        """Release the pages that were read."""
        for file in self._files:
            file.madvise(mmap.MADV_DONTNEED)

    def __reduce__(self) -> tuple[Any, ...]:
        # Files stay in their process: another one gets the numbers.
        return StoredRows, ([np.asarray(part) for part in self.parts], self.dtype, self.device, self.exponent)

    def float(self) -> StoredRows:
        """The same in single precision."""
        return StoredRows(self.parts, torch.float32, self.device, self.exponent)


def _readable_by_torch(part: np.ndarray) -> bool:
    return part.dtype.isnative and all(stride >= 0 and stride % part.itemsize == 0 for stride in part.strides)


def _tensor_of(values: np.ndarray) -> Tensor:
    with warnings.catch_warnings():  # of arrays that cannot be written to; nothing here writes
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(values)


def _file_of(part: np.ndarray) -> mmap.mmap | None:
    """The read-only memory map of an array, or of the array that it is a view of; else None."""
    owner: Any = part
    while owner is not None and not isinstance(owner, np.memmap):
        owner = getattr(owner, "base", None)
    if owner is None or owner.mode != "r" or not hasattr(mmap, "MADV_DONTNEED"):
        return None
    file = owner._mmap  # type: ignore[attr-defined]
    assert isinstance(file, mmap.mmap)
    return file


class DerivedRows:
    """A function of the rows of other matrices, computed whenever rows are read.

    Args:
        function: takes the same rows of each source and returns (k, width).
        sources: matrices or vectors of n rows; whole numbers keep their type in single precision.
        width: numbers per row.
    """

    def __init__(self, function: Callable[..., Tensor], sources: Sequence[Rows], width: int, dtype: torch.dtype):
        self.function, self.sources = function, tuple(sources)
        self.dtype, self.device = dtype, sources[0].device
        self.shape = (len(sources[0]), width)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        return self.function(*(source[rows] for source in self.sources)).to(self.dtype)

    def float(self) -> DerivedRows:
        """The same in single precision."""
        single = [source.float() if source.dtype.is_floating_point else source for source in self.sources]
        return DerivedRows(self.function, single, self.shape[1], torch.float32)


class SelectedRows:
    """Selected rows of another matrix.

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

    def float(self) -> SelectedRows:
        """The same in single precision."""
        return SelectedRows(self.rows.float(), self.places)


class RemoteRows(ABC):
    """Rows that other processes hold in parts; functions of them are computed there.

    Attributes:
        shape: (n, k) of all parts together.
        dtype, device: of the rows that indexing brings into this process.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Bring rows into this process."""

    @abstractmethod
    def derive(self, function: Callable[..., Tensor], sources: Sequence[Rows], width: int, hold: bool) -> RemoteRows:
        """A function of the rows of sources, computed where they are: at once if held, else whenever it is read."""

    @abstractmethod
    def select(self, places: Tensor) -> RemoteRows:
        """Rows at ascending positions, which stay where they are."""

    @abstractmethod
    def total(self, function: Callable[..., tuple[Tensor, ...]], sources: Sequence[Any], *common: Any) -> Any:
        """The sums of the function's results over all parts, in float64."""

    @abstractmethod
    def map_rows(self, function: Callable[..., tuple[Tensor, ...]], sources: Sequence[Any], *common: Any) -> Any:
        """The function's results for all parts, brought into this process and joined in order."""

    @abstractmethod
    def in_parts(self) -> Iterator[Tensor]:
        """The rows in order, brought into this process a part at a time."""

    @abstractmethod
    def map_blocks(
        self, function: Callable[..., tuple[Tensor, ...]], sources: Sequence[Any], *common: Any, numbers: int
    ) -> tuple[RemoteRows, ...]:
        """The matrices that the function makes of blocks of rows, which stay where the rows are."""

    def float(self) -> RemoteRows:
        """The same in single precision."""
        return self.derive(as_single, [self], self.shape[1], False)


def as_single(values: Tensor) -> Tensor:
    """The same values in float32."""
    return values.float()


def derive(function: Callable[..., Tensor], *sources: Rows, width: int) -> Rows:
    """A function of the rows of sources: computed now if they and the result fit into memory, else when rows are read.

    Args:
        function: takes the same rows of each source and returns (k, width), in the precision of the first one.
        sources: n rows each.
        width: numbers per row.
    """
    for source in sources:
        if isinstance(source, RemoteRows):
            return source.derive(function, sources, width, hold=False)
    first = sources[0]
    if all(isinstance(source, Tensor) for source in sources) and fits_memory(
        (len(first), width), first.dtype, first.device
    ):
        return function(*sources)
    return DerivedRows(function, sources, width, first.dtype)


def hold(rows: Rows) -> Rows:
    """The same rows, computed once and kept where they are: in memory, in a file if they are large, or on workers."""
    if isinstance(rows, RemoteRows):
        return rows.derive(_same, [rows], rows.shape[1], hold=True)
    if isinstance(rows, Tensor | ScratchRows):
        return rows
    return _filled(empty_rows(tuple(rows.shape), rows.dtype, rows.device), rows)


def to_memory(rows: Rows) -> Tensor:
    """All rows as a tensor of this process."""
    if isinstance(rows, Tensor):
        return rows
    if isinstance(rows, RemoteRows):
        return rows[slice(0, len(rows))]
    filled = _filled(torch.empty(tuple(rows.shape), dtype=rows.dtype, device=rows.device), rows)
    assert isinstance(filled, Tensor)
    return filled


def _filled(out: Tensor | ScratchRows, rows: Rows) -> Tensor | ScratchRows:
    for part in blocks(rows, 8 * math.prod(rows.shape[1:])):
        out[part] = rows[part]
    return out


def _same(values: Tensor) -> Tensor:
    return values


def select_rows(rows: Rows, places: Tensor) -> Rows:
    """Rows at positions (k,): a copy if they are in memory, else read when they are needed."""
    if isinstance(rows, RemoteRows):
        return rows.select(places)
    return rows[places] if isinstance(rows, Tensor) else SelectedRows(rows, places)


def fetch_rows(rows: Rows, places: Tensor) -> Tensor:
    """Rows at positions (k,), in any order, as a tensor of this process."""
    return rows[places] if isinstance(rows, RemoteRows) else to_memory(select_rows(rows, places))


def total(function: Callable[..., tuple[Tensor, ...]], sources: Sequence[Rows | None], *common: Any) -> Any:
    """Sums over samples.

    Args:
        function: takes the sources (or the part of them that a process holds) and `common`; returns a tuple of sums.
        sources: n rows each, or None.
        common: further arguments, the same for every part.
    """
    for source in sources:
        if isinstance(source, RemoteRows):
            return source.total(function, sources, *common)
    return function(*sources, *common)


def map_rows(function: Callable[..., tuple[Tensor, ...]], sources: Sequence[Rows | None], *common: Any) -> Any:
    """Results for each sample, in this process and in the order of the samples; arguments as those of `total`."""
    for source in sources:
        if isinstance(source, RemoteRows):
            return source.map_rows(function, sources, *common)
    return function(*sources, *common)
