"""Audits on several processes or machines: Dask workers embed the images and hold the embeddings.

If a worker dies, Dask gives its shards to others. These find its finished embeddings in the cache, if that is on shared
storage. Sums over samples (gradients, products with the Hessian, Kronecker factors) are computed by the workers, each
on its own part of the embeddings, and this process adds them up.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audit.compute.matrix import Rows, StoredRows
from audit.config import AuditConfig
from audit.data.samples import Samples
from audit.errors import InputError
from audit.extras import require
from audit.images.backbone import Backbone
from audit.images.embedding import Embedded, default_cache_dir, embed_readable
from audit.images.load_backbone import load_backbone
from audit.progress import ProgressCallback, Step

try:
    import dask
    from distributed import Client, LocalCluster, get_client, get_worker
except ImportError:
    require("dask", "an audit on Dask workers")
    raise

from integrations.dask_rows import DaskRows, finished, lost_is_an_error  # names the missing extra, too


@dataclass(frozen=True, kw_only=True)
class DaskSettings:
    """How work is divided among workers, and how long the scheduler is waited for."""

    # Images in a shard: the work that is repeated when a worker dies.
    shard_images: int = 1024
    # Parts of the embeddings on each worker.
    parts_per_worker: int = 2
    # Seconds to connect to a scheduler, and to close the connection.
    connect_seconds: float = 10.0


SETTINGS = DaskSettings()


@contextmanager
def workers_at(scheduler: str, note: Callable[[str], None]) -> Iterator[DaskWorkers]:
    """The workers of a scheduler.

    Args:
        scheduler: 'local:N' for N processes of this machine, which end with it (one a GPU, if it has N); or a
            scheduler's address, as tcp://host:8786.
        note: receives a message with the address of the dashboard.

    Raises:
        InputError: if the scheduler is none of these, or cannot be reached.
    """
    kind, _, count = scheduler.partition(":")
    cluster = None
    environment = dict(os.environ)
    try:
        if kind == "local":
            if not count.isdigit() or not int(count):
                raise InputError(f"scheduler {scheduler!r} is unknown; it takes local:N with N of 1 or more")
            threads = max(1, (os.cpu_count() or 1) // int(count))
            with warnings.catch_warnings():  # of a port that is taken: another one is used, and shown
                warnings.simplefilter("ignore", UserWarning)
                cluster = LocalCluster(
                    n_workers=int(count),
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:8787",
                    silence_logs=logging.CRITICAL,
                    env={"OMP_NUM_THREADS": str(threads)},
                )
            client = Client(cluster)
        elif "://" in scheduler:
            client = Client(scheduler, timeout=SETTINGS.connect_seconds)
        else:
            raise InputError(f"scheduler {scheduler!r} is unknown; it takes local:N or an address as tcp://host:8786")
    except (OSError, TimeoutError) as error:
        raise InputError(
            f"the Dask scheduler {scheduler!r} cannot be reached ({str(error).splitlines()[0]}); start it with "
            "`dask scheduler --host 127.0.0.1`, or use --scheduler local:2"
        ) from None
    chatter = logging.getLogger("distributed.client")
    level = chatter.level
    chatter.setLevel(logging.CRITICAL)  # a lost scheduler is one line of ours, not a trace of Dask's
    try:
        note(f"Dask: {len(client.scheduler_info()['workers'])} workers, dashboard {client.dashboard_link}")
        yield DaskWorkers(client)
    finally:
        client.close(timeout=SETTINGS.connect_seconds)
        chatter.setLevel(level)
        if cluster is not None:
            cluster.close(timeout=SETTINGS.connect_seconds)
            # Dask sets these for its workers in this process, and would leave them to whatever is started next.
            own = ("OMP_NUM_THREADS", "PYTHONHASHSEED", "__DASK_PARENT_PID")
            for name in [*own, *dask.config.get("distributed.nanny.pre-spawn-environ")]:
                os.environ.pop(name, None)
                if name in environment:
                    os.environ[name] = environment[name]


class DaskWorkers:
    """The workers of a Dask client, as `audit.images.embedding.Workers`.

    Args:
        client: connected to a scheduler with at least one worker; images and the cache folder must have the same
            paths there as here.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    def embed(self, samples: Samples, backbone: Backbone, config: AuditConfig, progress: ProgressCallback) -> Embedded:
        """As `audit.images.embedding.embed`; the embeddings stay with the workers.

        Raises:
            InputError: if no image can be read, the workers have other weights, or the scheduler is lost.
        """
        workers = self._count()
        step = max(1, min(SETTINGS.shard_images, math.ceil(len(samples) / (2 * workers))))
        starts = range(0, len(samples), step)
        weights = backbone.weights if config.weights == "auto" else config.weights
        spec = (backbone.name, weights, backbone.image_size, config.device, backbone.precision)
        cache = str(Path(config.cache_dir or default_cache_dir()).resolve())
        with lost_is_an_error(self.client):
            shards = [
                self.client.submit(
                    _embed_shard,
                    samples.select(np.arange(start, min(start + step, len(samples)))),
                    spec,
                    backbone.key,
                    config.batch_size,
                    cache,
                    pure=False,
                )
                for start in starts
            ]
            outcomes = self.client.map(_outcome, shards, pure=False)
            start_of = {future.key: start for future, start in zip(outcomes, starts, strict=True)}
            found: dict[int, Embedded] = {}
            done = 0
            for future in finished(self.client, outcomes):
                start = start_of[future.key]
                found[start] = future.result()
                done += min(step, len(samples) - start)
                progress(Step("embedding", done, len(samples), "images"))
            ordered = [found[start] for start in starts]
            rows = np.concatenate([part.rows + start for start, part in zip(starts, ordered, strict=True)])
            skipped = [
                (row + start, reason)
                for start, part in zip(starts, ordered, strict=True)
                for row, reason in part.skipped
            ]
            remarks = [
                (row + start, text) for start, part in zip(starts, ordered, strict=True) for row, text in part.remarks
            ]
            if not len(rows):
                first = f"; the first one: {skipped[0][1]}"
                raise InputError(f"none of the {len(samples)} images can be read{first}; check the paths")
            sizes = [len(part.rows) for part in ordered]
            together = math.ceil(len(shards) / (SETTINGS.parts_per_worker * workers))
            groups = [slice(start, start + together) for start in range(0, len(shards), together)]
            parts = [self.client.submit(_joined, *shards[group], pure=False) for group in groups]
            values = DaskRows(
                self.client, parts, [sum(sizes[group]) for group in groups], backbone.features, torch.float64
            )
        keys = np.concatenate([part.keys for part in ordered])
        computed, cached = (sum(getattr(part, name) for part in ordered) for name in ("computed", "cached"))
        return Embedded(values, rows, keys, skipped, computed, cached, remarks)

    def spread(self, x: Rows, parts: int | None = None) -> DaskRows:
        """Embeddings (n, d) of this process on the workers; the scheduler keeps them too, in case a worker is lost."""
        count = parts or SETTINGS.parts_per_worker * self._count()
        edges = [round(part * len(x) / count) for part in range(count + 1)]
        slices = [slice(start, stop) for start, stop in pairwise(edges)]
        with lost_is_an_error(self.client):
            # What is scattered is gone with its worker: Dask's memory manager removes the other copies.
            futures = [self.client.submit(torch.clone, x[rows], pure=False) for rows in slices]
        return DaskRows(self.client, futures, [rows.stop - rows.start for rows in slices], x.shape[1], x.dtype)

    def _count(self) -> int:
        with lost_is_an_error(self.client):
            workers = len(self.client.scheduler_info(n_workers=-1)["workers"])
        if not workers:
            raise InputError(f"the Dask scheduler {self.client.scheduler.address} has no workers; start one or more")
        return workers


def _embed_shard(
    samples: Samples, spec: tuple[Any, ...], key: str, batch_size: int, cache_dir: str
) -> tuple[np.ndarray, Embedded]:
    """The embeddings of a shard, and what became of its images."""
    name, weights, image_size, device, precision = spec
    backbone = _backbone(name, weights, image_size, _own_device(device), precision)
    if backbone.key != key:
        raise InputError(f"a Dask worker has other weights of {name} than this process; give all the same file")
    found = embed_readable(samples, backbone, batch_size, cache_dir)
    return found.values, replace(found, values=np.empty((0, 0)))


@lru_cache(maxsize=1)
def _backbone(*spec: Any) -> Backbone:
    name, weights, image_size, device, precision = spec
    return load_backbone(name, weights, image_size, device, precision=precision)


def _own_device(device: str) -> str:
    """The device that this worker embeds on: of several GPUs, 'auto' and 'cuda' give each worker of a machine its own.

    The others ('cpu', 'cuda:1') are the user's choice for every worker. Where there are more workers than GPUs, workers
    share them. A worker that sees one GPU (`CUDA_VISIBLE_DEVICES`) takes that one.
    """
    gpus = torch.cuda.device_count()
    if device not in ("auto", "cuda") or gpus < 2:
        return device
    return f"cuda:{_own_place(get_worker().address) % gpus}"


@lru_cache
def _own_place(address: str) -> int:
    """As `place_on_machine`, of the worker at this address; it keeps its place as long as it lives."""
    return place_on_machine(address, get_client().scheduler_info(n_workers=-1)["workers"])


def place_on_machine(address: str, workers: Mapping[str, Mapping[str, Any]]) -> int:
    """The place of a worker among those of its machine, from 0.

    Args:
        address: of the worker.
        workers: each worker's `host`, `name` and `nanny` by its address, as the scheduler describes them. Workers with
            numbers for names, as `LocalCluster` gives them, are in that order. The others are ordered by the address of
            their nanny, which stays the same when it starts a dead worker again.
    """

    def order(one: str) -> tuple[int, str]:
        name = str(workers[one]["name"])
        return int(name) if name.isdigit() else 0, str(workers[one]["nanny"] or one)

    beside = [one for one, described in workers.items() if described["host"] == workers[address]["host"]]
    return sorted(beside, key=order).index(address)


def _outcome(shard: tuple[np.ndarray, Embedded]) -> Embedded:
    return shard[1]


def _joined(*shards: tuple[np.ndarray, Embedded]) -> StoredRows:
    return StoredRows([values for values, _ in shards], torch.float64, torch.device("cpu"))
