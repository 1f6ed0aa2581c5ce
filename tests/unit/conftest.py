"""What holds for every test of this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _without_fiftyone() -> Iterator[None]:
    """No test here imports FiftyOne, which would start a database, or join one that belongs to somebody else."""
    imported = "fiftyone" in sys.modules  # by tests of another folder in the same session
    yield
    assert ("fiftyone" in sys.modules) == imported, "this test imports FiftyOne: it belongs into tests/fiftyone"
