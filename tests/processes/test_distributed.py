"""The audit on Dask workers, which are real processes: the same results, a worker killed, the scheduler lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from distributed import Client, LocalCluster

from audit.compute.matrix import to_memory
from audit.config import AuditConfig
from audit.data.samples import Samples
from audit.errors import InputError
from audit.head.factors import SecondMoment
from audit.images.backbone import Backbone
from audit.images.embedding import embed
from audit.images.load_backbone import load_backbone
from audit.noise_model.controls import spike_in
from audit.noise_model.model import NoiseModel
from audit.noise_model.settings import HeadSettings, MixtureSettings, NoiseSettings
from audit.pipeline import audit_images
from audit.progress import Step
from audit.summary.surroundings import EmbeddingSummary
from integrations.dask import DaskSettings, DaskWorkers, workers_at
from integrations.dask_rows import DaskRows
from integrations.sources.digits import digits
from tests.processes.two_workers import small_pictures, two_workers
from tests.slow.test_scale import N, everything_of, material

__all__ = ["material"]
IMAGES = 40


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with two_workers() as two_processes:
        yield two_processes


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as connected:
        yield connected


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(weights="bundled", image_size=32, device="cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Small images, of which one cannot be read."""
    samples = small_pictures(tmp_path_factory.mktemp("pictures"), IMAGES)
    Path(str(samples.images[17])).write_text("no image")
    return samples


def config(cache: Path) -> AuditConfig:
    return AuditConfig(weights="bundled", image_size=32, device="cpu", cache_dir=str(cache), batch_size=8)


def test_sums_over_workers_are_those_of_one_process(client: Client, material: tuple[np.ndarray, torch.Tensor]) -> None:
    x, labels = torch.from_numpy(material[0]).double(), material[1]
    head, influence, left_out = everything_of(x, labels)
    spread = DaskWorkers(client).spread(x)
    assert sum(spread.sizes) == N
    assert len(spread.parts) > 2
    head_spread, influence_spread, left_out_spread = everything_of(spread, labels)
    assert head_spread.l2 == head.l2
    assert float((head_spread.weight - head.weight).abs().max()) < 1e-6
    assert float((influence_spread - influence).abs().max() / influence.abs().max()) < 1e-6
    assert float((to_memory(left_out_spread.probabilities) - left_out.probabilities).abs().max()) < 1e-6
    assert float((left_out_spread.self_influence - left_out.self_influence).abs().max()) < 1e-5
    backwards = torch.tensor([699, 3, 350, 3])
    assert torch.equal(spread[backwards], x[backwards])


def test_embeddings_by_workers_are_those_of_one_process(
    client: Client, backbone: Backbone, pictures: Samples, tmp_path: Path
) -> None:
    steps: list[Step] = []
    found = DaskWorkers(client).embed(pictures, backbone, config(tmp_path / "shared"), steps.append)
    alone = embed(pictures, backbone, cache_dir=tmp_path / "alone")
    assert np.allclose(found.values[:].numpy(), alone.values, atol=1e-5)
    assert found.rows.tolist() == alone.rows.tolist() == [row for row in range(IMAGES) if row != 17]
    assert [row for row, _ in found.skipped] == [17]
    assert (steps[-1].done, steps[-1].total, steps[-1].unit) == (IMAGES, IMAGES, "images")
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    again = DaskWorkers(client).embed(pictures, backbone, config(tmp_path / "shared"), steps.append)
    assert (again.computed, again.cached) == (0, IMAGES - 1)


def test_an_audit_on_workers_is_that_of_one_process(client: Client, tmp_path: Path) -> None:
    chosen = list(digits(["0", "1", "2"]))[::4]
    samples = Samples(
        [str(row) for row in range(len(chosen))], [one.image for one in chosen], [one.label for one in chosen]
    )
    settings = config(tmp_path).replace(l2=1e-4)  # a small one, of which the optimum is the least certain
    alone = audit_images(samples, settings)
    spread = audit_images(samples, settings, workers=DaskWorkers(client))
    for column in ("influence", "self_influence", "loo_probability", "suspicion"):
        scale = alone.scores[column].abs().max()
        assert (spread.scores[column] - alone.scores[column]).abs().max() <= 1e-6 * scale, column
    assert (spread.scores["flag"] == alone.scores["flag"]).all()
    assert spread.summary.embedding == EmbeddingSummary(computed=0, cached=len(chosen))


def test_a_killed_worker_costs_no_more_than_its_shard(
    client: Client, backbone: Backbone, pictures: Samples, tmp_path: Path
) -> None:
    """One of two processes is killed while it embeds, and again while it holds the embeddings."""

    def kill_one() -> None:
        pids = client.run(os.getpid)
        os.kill(next(iter(pids.values())), signal.SIGKILL)

    killed: list[int] = []

    def after_the_first_shard(step: Step) -> None:
        if not killed:
            killed.append(step.done)
            kill_one()

    found = DaskWorkers(client).embed(pictures, backbone, config(tmp_path), after_the_first_shard)
    assert killed
    assert killed[0] < IMAGES
    alone = embed(pictures, backbone, cache_dir=tmp_path)
    assert np.allclose(found.values[:].numpy(), alone.values, atol=1e-5)
    kill_one()
    assert np.allclose(found.values[:].numpy(), alone.values, atol=1e-5)


CLUSTER = """
from distributed import LocalCluster
import signal
if __name__ == "__main__":
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0")
    print(cluster.scheduler_address, flush=True)
    signal.pause()
"""


def test_a_lost_scheduler_is_one_clear_line_and_finished_embeddings_are_kept(
    backbone: Backbone, pictures: Samples, tmp_path: Path
) -> None:
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    notes: list[str] = []
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
    ) as owner:
        assert owner.stdout is not None
        address = owner.stdout.readline().strip()
        with workers_at(address, notes.append) as workers:

            def lose_the_scheduler(step: Step) -> None:
                owner.kill()

            lost = "scheduler was lost; start it again, and run the same command again"
            with pytest.raises(InputError, match=lost):
                workers.embed(pictures, backbone, config(tmp_path), lose_the_scheduler)
    assert "1 workers, dashboard http://127.0.0.1:" in notes[0]
    assert embed(pictures, backbone, cache_dir=tmp_path).cached > 0


def test_workers_of_this_machine_and_their_dashboard_listen_to_this_machine_only() -> None:
    notes: list[str] = []
    environment = dict(os.environ)
    with workers_at("local:2", notes.append) as workers:
        (note,) = notes
        assert note.startswith("Dask: 2 workers, dashboard http://127.0.0.1:")
        with urllib.request.urlopen(note.split()[-1], timeout=30) as page:
            assert page.status == 200
        assert len(workers.client.run(os.getpid)) == 2
        tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = {
            connection.laddr.ip
            for process in tree
            if process.name() != "mongod"
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening <= {"127.0.0.1", "::1"}
        assert listening
    assert dict(os.environ) == environment  # Dask's numbers of threads are not left to what this process starts next


def test_a_scheduler_that_is_lost_between_sums_is_the_same_line(tmp_path: Path) -> None:
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
    ) as owner:
        assert owner.stdout is not None
        with workers_at(owner.stdout.readline().strip(), lambda text: None) as workers:
            assert isinstance(workers, DaskWorkers)
            spread = workers.spread(torch.ones(40, 3, dtype=torch.float64))
            owner.kill()
            with pytest.raises(InputError, match="scheduler was lost; start it again"):
                deque((SecondMoment.of(spread) for _ in range(1000)), maxlen=0)


def test_an_engine_that_needs_the_embeddings_here_is_refused_before_any_image_is_read(
    client: Client, pictures: Samples, tmp_path: Path
) -> None:
    steps: list[Step] = []
    settings = config(tmp_path).replace(engine="pydvl-cg")
    with pytest.raises(InputError, match="'pydvl-cg' takes embeddings in memory, and workers would hold them; use"):
        audit_images(pictures, settings, steps.append, workers=DaskWorkers(client))
    assert not steps


@pytest.mark.parametrize("killed", [False, True])
def test_a_noise_model_on_workers_is_that_of_one_process(client: Client, killed: bool) -> None:
    """With a fifth of the labels trusted, or with a worker that is killed between two rounds."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, 3000)
    x = torch.from_numpy(rng.normal(size=(5, 12))[true] + rng.normal(size=(3000, 12)))
    labels = torch.from_numpy(np.where(rng.random(3000) < 0.1, rng.integers(0, 5, 3000), true))
    trusted = None if killed else (torch.arange(3000) % 5 == 0) & (labels == torch.from_numpy(true))
    # The mixture is fitted to some of the samples, and leave-one-out is not exact, as of large data.
    settings = NoiseSettings(mixture=MixtureSettings(samples=1000), head=HeadSettings(exact_flop=0))
    pids: list[int] = []

    def kill_one(step: Step) -> None:
        if killed and not pids:
            pids.append(next(iter(client.run(os.getpid).values())))
            os.kill(pids[0], signal.SIGKILL)

    alone, spread = (
        NoiseModel(rows, 5, trusted=trusted, settings=settings) for rows in (x, DaskWorkers(client).spread(x))
    )
    fitted, fitted_on_workers = alone.fit(labels), spread.fit(labels, kill_one)
    assert len(pids) == killed
    assert isinstance(spread.votes.places, DaskRows)
    here, there = fitted.diagnosis, fitted_on_workers.diagnosis
    for name in ("prior", "posterior", "probabilities", "loo_probabilities", "self_influence", "neighbour_share"):
        difference = (getattr(there, name) - getattr(here, name)).abs()
        assert float(difference.max()) < 5e-6, name  # heads are trained in single precision
        assert float(difference.mean()) < 1e-6, name
    assert there.trusted_weight == pytest.approx(here.trusted_weight, abs=1e-4)
    controls, controls_on_workers = spike_in(alone, fitted, labels, 0), spike_in(spread, fitted_on_workers, labels, 0)
    assert np.array_equal(controls.labels, controls_on_workers.labels)
    assert np.abs(controls.suspicion - controls_on_workers.suspicion).max() < 1e-5


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("local:none", "it takes local:N"),
        ("somewhere", "it takes local:N or an address"),
        ("tcp://127.0.0.1:1", "cannot be reached"),
    ],
)
def test_what_is_no_scheduler(scheduler: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("integrations.dask.SETTINGS", DaskSettings(connect_seconds=1))
    with pytest.raises(InputError, match=message), workers_at(scheduler, print):
        pass
