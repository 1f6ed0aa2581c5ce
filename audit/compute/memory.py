"""Whether an audit fits into memory: checked before hours of work, which the system would otherwise end halfway."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from audit.errors import InputError

GIB = 1 << 30  # bytes


def check_fits(samples: int, classes: int, device: torch.device, matrices: int = 5) -> None:
    """Refuse an audit whose probabilities alone exceed the free memory.

    Args:
        samples, classes: the size of a matrix of probabilities.
        device: where they are computed.
        matrices: how many such matrices of float64 exist at once, even where everything else is done in blocks.

    Raises:
        InputError: with the memory that is needed and that is free.
    """
    needed, free = matrices * samples * classes * 8, free_memory(device)
    if needed > free:
        raise InputError(
            f"{samples} samples of {classes} classes need more than {needed / GIB:.1f} GiB of memory, and only "
            f"{free / GIB:.1f} GiB are free; audit some classes at a time (--keep-labels)"
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
