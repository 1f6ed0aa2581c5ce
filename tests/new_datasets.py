"""Datasets that a test or its command leaves in FiftyOne: they are persistent, and other tests count on none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deleted_afterwards() -> Iterator[None]:
    """Delete, at the end, the datasets that were not there at the beginning."""
    import fiftyone as fo

    before = set(fo.list_datasets())
    yield
    for name in set(fo.list_datasets()) - before:
        fo.delete_dataset(name)
