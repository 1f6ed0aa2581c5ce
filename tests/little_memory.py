"""An audit that takes every matrix for one that is too large for memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from audit.compute.scratch import ScratchSettings


@contextmanager
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every matrix is a large one, and is computed in many blocks."""
    with monkeypatch.context() as patched:
        patched.setattr("audit.compute.scratch.SETTINGS", ScratchSettings(memory_bytes=1000))
        patched.setattr("audit.compute.matrix.BLOCK_BYTES", 40_000)
        yield
