"""Matrices that are too large for memory: in a temporary file, written and read a few rows at a time.

The file has no name, so that it goes with the process, however that ends. It is in the folder for temporary files,
which the environment variable TMPDIR chooses.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ScratchSettings:
    """Which matrices are kept in files."""

    # Bytes of a matrix up to which it is kept in memory. An audit holds up to twelve with a row for each sample.
    memory_bytes: int = 2**26
    # Rows are read one by one if those asked for are fewer than one in this many of those between them.
    sparse: int = 16


SETTINGS = ScratchSettings()


def fits_memory(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a matrix is kept in memory. On a GPU, all are."""
    numbers = 1
    for length in shape:
        numbers *= length
    return device.type != "cpu" or numbers * dtype.itemsize <= SETTINGS.memory_bytes


def empty_rows(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor | ScratchRows:
    """A matrix to be filled: in memory if it fits there, else in a file."""
    if fits_memory(shape, dtype, device):
        return torch.empty(shape, dtype=dtype, device=device)
    return ScratchRows.empty(shape, dtype)


class ScratchRows:
    """A matrix (n, k) or vector (n,) in a temporary file; reading copies rows into memory.

    Args:
        file: holds the rows one after another.
        shape: of the matrix.
        stored: the type of the numbers in the file.
        dtype: the type of the rows that indexing returns; None for the one that is stored.
        lock: for the position in the file.

    Raises:
        InputError: if the disk has no room for the file.
    """

    device = torch.device("cpu")

    def __init__(
        self,
        file: Any,
        shape: tuple[int, ...],
        stored: torch.dtype,
        dtype: torch.dtype | None = None,
        lock: Lock | None = None,
    ) -> None:
        self._file, self.shape, self._stored, self.dtype = file, shape, stored, dtype or stored
        self._row_bytes = torch.empty(shape[1:], dtype=stored).nbytes
        self._lock = lock or Lock()

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: torch.dtype) -> ScratchRows:
        """A new matrix in a new file, for which room is reserved."""
        file = tempfile.TemporaryFile(prefix="influence-audit-", buffering=0)  # noqa: SIM115
        rows = cls(file, shape, dtype)
        size = len(rows) * rows._row_bytes
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        except OSError as error:
            file.close()
            raise InputError(
                f"a temporary file of {size / 2**30:.1f} GiB in {tempfile.gettempdir()!r} cannot be made "
                f"({error.strerror}); free some space, or set TMPDIR to a folder on a larger disk"
            ) from None
        return rows

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return len(self) * self._row_bytes

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        return self._read(rows).to(self.dtype)

    def _read(self, rows: slice | Tensor) -> Tensor:
        if isinstance(rows, slice) and rows.step in (None, 1):
            start, stop, _ = rows.indices(len(self))
            return self._read_run(start, max(start, stop))
        places = positions(rows, len(self))
        if not len(places):
            return self._read_run(0, 0)
        first, last = int(places.min()), int(places.max())
        if last - first < SETTINGS.sparse * len(places) and (last - first) * self._row_bytes <= SETTINGS.memory_bytes:
            return self._read_run(first, last + 1)[places - first]
        values = torch.empty(len(places), *self.shape[1:], dtype=self._stored)
        for number, place in enumerate(places.tolist()):
            self._read_into(values[number : number + 1], place)
        return values

    def _read_run(self, start: int, stop: int) -> Tensor:
        values = torch.empty(stop - start, *self.shape[1:], dtype=self._stored)
        self._read_into(values, start)
        return values

    def _read_into(self, values: Tensor, start: int) -> None:
        """Fill `values`, which are contiguous, with the rows from `start` on."""
        room = values.view(-1).view(torch.uint8).numpy().data
        with self._lock:
            self._file.seek(start * self._row_bytes)
            while len(room):
                count = self._file.readinto(room)
                if not count:
                    raise OSError("a temporary file of the audit has become shorter")
                room = room[count:]

    def __setitem__(self, rows: slice | Tensor, values: Tensor) -> None:
        """Write rows, by a slice without a step or by their positions."""
        values = values.to(self._stored).contiguous()
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            assert len(values) == stop - start
            self._write(values, start)
            return
        for number, place in enumerate(positions(rows, len(self)).tolist()):
            self._write(values[number : number + 1], place)

    def _write(self, values: Tensor, start: int) -> None:
        room = values.view(-1).view(torch.uint8).numpy().data
        with self._lock:
            self._file.seek(start * self._row_bytes)
            while len(room):
                room = room[self._file.write(room) :]

    def float(self) -> ScratchRows:
        """The same in single precision."""
        return ScratchRows(self._file, self.shape, self._stored, torch.float32, self._lock)

    @property
    def kind(self) -> np.dtype:
        """NumPy's type of the numbers in the file."""
        return torch.empty(0, dtype=self._stored).numpy().dtype

    def in_blocks(self, at_once: int = 2**26) -> Iterator[np.ndarray]:
        """The rows as they are stored, at most so many bytes of them at once."""
        step = max(1, at_once // self._row_bytes)
        for start in range(0, len(self), step):
            yield self._read_run(start, min(start + step, len(self))).numpy()

    def mapped(self) -> np.ndarray:
        """All rows as a read-only array, of which the system brings into memory what is looked at."""
        return np.memmap(self._file, dtype=self.kind, mode="r", shape=self.shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.clone, (self[:],)  # in another process the same rows are in memory


def readable(rows: Any) -> Any:
    """Rows whose blocks NumPy can read: an array, or rows in a file."""
    return rows if isinstance(rows, ScratchRows) else rows.cpu().numpy()


def as_array(rows: Any) -> np.ndarray:
    """Rows of this process as an array; those in a file are mapped into memory."""
    return rows.mapped() if isinstance(rows, ScratchRows) else rows.cpu().numpy()


def positions(rows: slice | Tensor, n: int) -> Tensor:
    """Positions (k,) from a slice of n rows, a mask (n,) or positions."""
    if isinstance(rows, slice):
        return torch.arange(n)[rows]
    return torch.nonzero(rows).flatten() if rows.dtype == torch.bool else rows
