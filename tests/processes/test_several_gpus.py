"""Several GPUs on one machine: each Dask worker, a real process, embeds on its own of two that the processor acts.

No machine with several GPUs has run this. What acted ones show, and what not, is in `tests.slow.acted_device`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distributed import Client, Worker, WorkerPlugin

from audit.config import AuditConfig
from audit.data.samples import Samples
from audit.images.backbone import Backbone
from audit.images.embedding import embed
from audit.images.load_backbone import load_backbone
from audit.progress import Step, silent
from integrations.dask import DaskWorkers, place_on_machine
from tests.processes.two_workers import small_pictures, two_workers
from tests.slow.acted_device import Device, acted_device

IMAGES = 40
_open = ExitStack()
_session: list[Device] = []


class TwoGPUs(WorkerPlugin):
    """Two acted GPUs in each worker, also in one that is started in place of a dead one."""

    def setup(self, worker: Worker) -> None:
        worker.executors["default"].submit(_begin).result()  # in the one thread that runs what is submitted

    def teardown(self, worker: Worker) -> None:
        worker.executors["default"].submit(_open.close).result()


def _begin() -> None:
    _session.append(_open.enter_context(acted_device(devices=2)))


def _seen() -> dict[str, Any]:
    """What was done on the devices of this worker since the last call."""
    (session,) = _session
    found = {"devices": set(session.operations), "numbers": session.numbers, "scalars": session.scalars}
    session.operations.clear()
    session.numbers = session.scalars = 0
    return found


def seen_by_each(client: Client) -> dict[int, dict[str, Any]]:
    """As `_seen`, by the number of the worker."""
    asked = {
        described["name"]: client.submit(_seen, workers=[address], pure=False)
        for address, described in client.scheduler_info(n_workers=-1)["workers"].items()
    }
    return {name: future.result() for name, future in sorted(asked.items())}


def _kinds(rows: Any) -> set[str]:
    """What a worker holds for a part of the embeddings."""
    return {type(part).__name__ for part in rows.parts} | {str(rows.device)}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with two_workers() as cluster, Client(cluster) as connected:
        connected.register_plugin(TwoGPUs())
        yield connected


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(weights="bundled", image_size=32, device="cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return small_pictures(tmp_path_factory.mktemp("pictures"), IMAGES)


@pytest.fixture(scope="module")
def alone(backbone: Backbone, pictures: Samples, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The embeddings by one process, on its cores."""
    return embed(pictures, backbone, cache_dir=tmp_path_factory.mktemp("alone")).values


def config(cache: Path, device: str) -> AuditConfig:
    return AuditConfig(weights="bundled", image_size=32, device=device, cache_dir=str(cache), batch_size=8)


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("auto", [{"cuda:0"}, {"cuda:1"}]),
        ("cuda", [{"cuda:0"}, {"cuda:1"}]),
        ("cuda:1", [{"cuda:1"}, {"cuda:1"}]),
        ("cpu", [set(), set()]),
    ],
)
def test_each_worker_embeds_on_its_own_gpu(
    client: Client,
    backbone: Backbone,
    pictures: Samples,
    alone: np.ndarray,
    tmp_path: Path,
    device: str,
    expected: list[set[str]],
) -> None:
    seen_by_each(client)
    found = DaskWorkers(client).embed(pictures, backbone, config(tmp_path, device), silent)
    seen = seen_by_each(client)
    assert [one["devices"] for one in seen.values()] == expected
    # An embedding comes from its device once, and nothing else does.
    assert sum(one["numbers"] for one in seen.values()) == (0 if device == "cpu" else alone.size)
    assert sum(one["scalars"] for one in seen.values()) == 0
    held = [client.submit(_kinds, part, pure=False).result() for part in found.values.parts]
    assert held == [{"ndarray", "cpu"}] * len(held)
    values = found.values[:]
    assert type(values) is torch.Tensor
    assert values.device == torch.device("cpu")
    np.testing.assert_allclose(values.numpy(), alone, rtol=0, atol=1e-5)
    assert (found.computed, found.cached, found.skipped) == (IMAGES, 0, [])


def test_a_worker_that_dies_comes_back_to_its_gpu(
    client: Client, backbone: Backbone, pictures: Samples, alone: np.ndarray, tmp_path: Path
) -> None:
    killed: list[str] = []

    def workers() -> dict[str, Any]:
        return client.scheduler_info(n_workers=-1)["workers"]

    def kill_the_second(step: Step) -> None:
        if not killed:
            killed.extend(address for address, described in workers().items() if described["name"] == 1)
            os.kill(client.run(os.getpid, workers=killed)[killed[0]], signal.SIGKILL)

    found = DaskWorkers(client).embed(pictures, backbone, config(tmp_path / "first", "cuda"), kill_the_second)
    assert killed
    np.testing.assert_allclose(found.values[:].numpy(), alone, rtol=0, atol=1e-5)
    while killed[0] in workers():
        time.sleep(0.05)
    client.wait_for_workers(2, timeout=60)
    seen_by_each(client)
    again = DaskWorkers(client).embed(pictures, backbone, config(tmp_path / "second", "cuda"), silent)
    assert [one["devices"] for one in seen_by_each(client).values()] == [{"cuda:0"}, {"cuda:1"}]
    np.testing.assert_allclose(again.values[:].numpy(), alone, rtol=0, atol=1e-5)


def test_workers_of_each_machine_are_counted_from_zero() -> None:
    def described(host: str, name: object, nanny: str | None) -> dict[str, object]:
        return {"host": host, "name": name, "nanny": nanny}

    numbered = {f"tcp://one:{9 - number}": described("one", number, f"tcp://one:5{number}") for number in (10, 2, 1)}
    assert [place_on_machine(f"tcp://one:{9 - number}", numbered) for number in (1, 2, 10)] == [0, 1, 2]
    named = {
        "tcp://one:4": described("one", "tcp://one:4", "tcp://one:8"),
        "tcp://two:3": described("two", "tcp://two:3", None),
        "tcp://two:2": described("two", "tcp://two:2", None),
        "tcp://one:9": described("one", "tcp://one:9", "tcp://one:7"),
    }
    assert {address: place_on_machine(address, named) for address in named} == {
        "tcp://one:4": 1,
        "tcp://two:3": 1,
        "tcp://two:2": 0,
        "tcp://one:9": 0,
    }
