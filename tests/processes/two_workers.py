"""Two Dask workers in processes of their own, and small pictures for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
from distributed import LocalCluster
from PIL import Image

from audit.data.samples import Samples


@contextmanager
def two_workers() -> Iterator[LocalCluster]:
    """A cluster of two processes with one thread each."""
    with (
        mock.patch.dict(os.environ),  # Dask leaves a number of threads there, for all processes that later tests start
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, env={"OMP_NUM_THREADS": "1"}
        ) as cluster,
    ):
        yield cluster


def small_pictures(folder: Path, count: int) -> Samples:
    """So many pictures of noise, 32 × 32 pixels, in two classes."""
    rng = np.random.default_rng(0)
    paths = [str(folder / f"{number:02}.png") for number in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    return Samples([str(number) for number in range(count)], paths, ["a", "b"] * (count // 2))
