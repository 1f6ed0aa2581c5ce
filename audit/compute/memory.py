"""Whether an audit fits into memory and disk: checked before hours of work, which would otherwise end halfway."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import torch

from audit.compute.scratch import fits_memory
from audit.errors import InputError

GIB = 1 << 30  # bytes


def check_fits(samples: int, classes: int, device: torch.device, in_blocks: bool = True) -> None:
    """Refuse an audit whose matrices alone exceed the free memory, or the free space for temporary files.

    Args:
        samples, classes: the size of a matrix of probabilities.
        device: where they are computed. On a GPU, five such matrices of float64 are in memory at once.
        in_blocks: whether those of the CPU are in files if they are large, of which there are at most twelve in float32
            (`audit.compute.scratch`). Then five matrices of classes by classes are in memory.

    Raises:
        InputError: with what is needed and what is free.
    """
    in_files = in_blocks and device.type == "cpu"
    what = f"{samples} samples of {classes} classes need more than"
    needed, free = 5 * 8 * classes * (min(samples, classes) if in_files else samples), free_memory(device)
    if needed > free:
        raise InputError(
            f"{what} {needed / GIB:.1f} GiB of memory, and only {free / GIB:.1f} GiB are free; audit some classes at a "
            "time (--keep-labels)"
        )
    folder = tempfile.gettempdir()
    needed, free = 12 * 4 * samples * classes, shutil.disk_usage(folder).free
    if in_files and needed > free and not fits_memory((samples, classes), torch.float32, device):
        raise InputError(
            f"{what} {needed / GIB:.1f} GiB for temporary files, and only {free / GIB:.1f} GiB are free in {folder!r}; "
            "set TMPDIR to a folder on a larger disk, or audit some classes at a time (--keep-labels)"
        )


def free_memory(device: torch.device) -> int:
    """Bytes available on a device, including those that its caches would release."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    table = Path("/proc/meminfo")
    if table.exists():
        available = next(line for line in table.read_text().splitlines() if line.startswith("MemAvailable"))
        return int(available.split()[1]) << 10
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
