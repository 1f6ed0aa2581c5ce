"""The largest resident memory of this process so far.

What getrusage calls the peak is that of the process that started this one where it is higher, because a new program
begins in the memory of the old one.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""Where a process has to start that imports this module."""


def peak_mib() -> float:
    """In MiB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024
