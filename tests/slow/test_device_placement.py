"""Everything that an audit computes on a GPU stays there, and comes to what the processor computes.

The GPU is one that the processor acts (`acted_device`); where there is a real one, that one, too.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import audit
from audit.head.fit import Head, probabilities, residuals, targets_of, train_head
from audit.head.hessian import HeadHessian
from audit.head.leave_one_out.choose_method import leave_one_out
from audit.head.stable import StableSolver
from audit.images.load_backbone import load_backbone
from audit.images.transform import IMAGENET_MEAN, IMAGENET_STD
from audit.influence.averaged import influence_on_validation
from audit.influence.pairwise import influence_on_targets
from integrations.sources.digits import digits
from tests.slow.acted_device import DEVICE, DEVICES, acted_device

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")  # in what pyDVL imports

SCORES = ("influence", "self_influence", "loo_probability", "suspicion")


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 600)
    x = (3 * rng.normal(size=(4, 20))[labels] + 2 * rng.normal(size=(600, 20))).astype(np.float32)
    labels[:40] = rng.integers(0, 4, 40)
    return x, labels


def assert_alike(ours: audit.AuditResult, theirs: audit.AuditResult) -> None:
    for name in SCORES:
        expected = theirs.scores[name].to_numpy()
        np.testing.assert_allclose(ours.scores[name], expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    assert (ours.scores["flag"] == theirs.scores["flag"]).mean() > 0.99
    assert ours.summary.machine.gpu is not None
    assert theirs.summary.machine.gpu is None


def test_the_acted_device_refuses_what_a_gpu_refuses() -> None:
    with acted_device() as device:
        there = torch.arange(6.0, device="cuda").view(2, 3)
        assert there.device == DEVICE
        with pytest.raises(RuntimeError, match="same device, found cuda:0 and cpu"):
            there @ torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert (device.scalars, device.numbers) == (0, 0)
        assert float(there.sum()) == 15
        assert there[torch.tensor([1])].cpu().tolist() == [[3.0, 4.0, 5.0]]
        assert (device.scalars, device.numbers) == (1, 3)


def test_two_acted_devices_refuse_each_others_tensors() -> None:
    with acted_device(devices=2) as session:
        first, second = (torch.arange(6.0).to(device) for device in ("cuda", "cuda:1"))
        assert [str(held.device) for held in (first, second, second.to("cuda:0"))] == ["cuda:0", "cuda:1", "cuda:0"]
        with pytest.raises(RuntimeError, match="same device, found cuda:0 and cuda:1"):
            first + second
        with pytest.raises(RuntimeError, match="same device, found cuda:0 and cuda:1"):
            first[second.long()]
        with pytest.raises(RuntimeError, match="invalid device ordinal"):
            first.to("cuda:2")
        assert (second + 1).device == torch.device("cuda:1")
        assert first.copy_(second + 1).tolist() == [1, 2, 3, 4, 5, 6]
        assert session.operations["cuda:1"] > 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("trusted", [False, True])
def test_a_whole_audit(arrays: tuple[np.ndarray, np.ndarray], trusted: bool, device: str) -> None:
    settings = {"inject": 0.05, "validation_trusted": trusted}
    theirs = audit.audit_embeddings(*arrays, config=audit.AuditConfig(device="cpu", **settings))
    with DEVICES[device]():
        ours = audit.audit_embeddings(*arrays, config=audit.AuditConfig(device="cuda", **settings))
    assert_alike(ours, theirs)


@pytest.mark.parametrize("device", DEVICES)
def test_a_whole_audit_of_embeddings_that_do_not_fit_the_device(
    arrays: tuple[np.ndarray, np.ndarray], tmp_path: Path, device: str
) -> None:
    x, labels = arrays
    np.save(tmp_path / "x.npy", x)
    theirs = audit.audit_embeddings(x, labels, config=audit.AuditConfig(device="cpu"))
    with DEVICES[device](memory=4 * x.nbytes):
        ours = audit.audit_embeddings(tmp_path / "x.npy", labels, config=audit.AuditConfig(device="cuda"))
    assert_alike(ours, theirs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_the_engine_brings_nothing_but_single_numbers_to_the_host(
    arrays: tuple[np.ndarray, np.ndarray], solver: str, device: str
) -> None:
    with DEVICES[device]() as session:
        x = torch.from_numpy(arrays[0]).to("cuda")
        labels = torch.from_numpy(arrays[1]).to("cuda")
        train, validation = torch.arange(500, device="cuda"), torch.arange(500, 600, device="cuda")
        head: Head = train_head(x[train], labels[train], x[validation], labels[validation], 4)
        z = head.features(x)
        p = probabilities(z, head.weight)
        wrong = residuals(p, targets_of(labels, 4, z))
        hessian = HeadHessian(z[train], p[train], head.l2)
        influence, _ = influence_on_validation(StableSolver(hessian, solver), z, wrong, validation, wrong[validation])
        rows = influence_on_targets(StableSolver(hessian, solver), z[:8], wrong[:8], z, wrong, tolerance=1e-4)
        left_out = leave_one_out(
            hessian, z[train], z[train] @ head.weight.T, wrong[train], method="kfac" if solver == "cg" else "exact"
        )
        assert session is None or session.numbers == 0  # which a real one does not count
        assert all(found.device == DEVICE for found in (influence, rows, left_out.probabilities))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def test_images_are_embedded_in_the_precision_that_is_stated(precision: str, device: str) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8))
    backbone = load_backbone(weights="bundled", device=device, precision=precision)
    found = backbone.embed(pixels)
    exact = copy.deepcopy(backbone.module).to("cpu").double()
    mean, std = (torch.tensor(values).double().view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    expected = exact((pixels.permute(0, 3, 1, 2).double() / 255 - mean) / std)
    assert found.device.type == "cpu"
    allowed = {"float32": 1e-5, "bfloat16": 3e-2}[precision]  # TF32 would be off by about 1e-3
    assert float((found - expected).norm() / expected.norm()) < allowed


@pytest.mark.parametrize("device", ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
@pytest.mark.parametrize(
    "settings",
    [
        {"heat_maps": 2},
        {"precision": "bfloat16"},
        {"trainer": "adam", "damping": 1e-3},
        {"engine": "pydvl-direct"},
        {"engine": "pydvl-arnoldi"},
    ],
    ids=lambda settings: ",".join(f"{name}={value}" for name, value in settings.items()),
)
def test_images_are_audited_in_every_way(settings: dict[str, Any], device: str, tmp_path: Path) -> None:
    images = list(digits(["0", "1", "2"]))[:200]
    samples = audit.Samples(
        ids=[image.source_id for image in images],
        images=[cast(bytes, image.image) for image in images],
        labels=[image.label for image in images],
    )
    config = audit.AuditConfig(weights="bundled", device=device, cache_dir=str(tmp_path), inject=0.1, **settings)
    result = audit.audit_images(samples, config=config)
    assert (result.summary.machine.gpu is None) == (device == "cpu")
    assert result.summary.detection.average_precision > 0.9
