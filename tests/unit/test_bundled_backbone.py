"""The bundled backbone is described without its network, and is the same one as torchvision loads."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision import models

from audit.images import torchvision_backbones
from audit.images.backbone_request import BackboneRequest
from audit.images.bundled_backbone import load_bundled
from audit.images.bundled_weights import IMAGENET_URL
from audit.images.network import NetworkBackbone
from audit.influence.pixels import pixels_to_embedding

REQUEST = BackboneRequest("resnet18", "bundled", None, torch.device("cpu"), "float32", print)


def _bundled(request: BackboneRequest = REQUEST) -> NetworkBackbone:
    found = load_bundled(request)
    assert found is not None
    return found


@pytest.mark.parametrize("image_size", [None, 96])
def test_its_cache_key_and_embeddings_are_those_of_the_network(image_size: int | None) -> None:
    request = replace(REQUEST, image_size=image_size)
    lazy, loaded = _bundled(request), torchvision_backbones.load(request)
    assert "module" not in vars(lazy)
    of_cache = ("name", "weights", "key", "transform_key", "image_size", "features", "precision")
    assert [getattr(lazy, name) for name in of_cache] == [getattr(loaded, name) for name in of_cache]
    size = lazy.image_size
    pixels = torch.arange(2 * size * size * 3).remainder(251).to(torch.uint8).view(2, size, size, 3)
    assert torch.equal(pickle.loads(pickle.dumps(lazy)).embed(pixels), loaded.embed(pixels))


def test_there_are_derivatives_by_pixels_after_images_were_embedded() -> None:
    backbone = _bundled()
    backbone.embed(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    pixels = torch.rand(1, 3, 64, 64, requires_grad=True)
    pixels_to_embedding(backbone)(pixels).sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0


def test_imagenet_weights_are_those_that_torchvision_names() -> None:
    assert models.get_model_weights("resnet18").DEFAULT.url == IMAGENET_URL


def test_it_is_not_taken_where_other_weights_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_bundled(replace(REQUEST, name="resnet50")) is None
    assert load_bundled(replace(REQUEST, weights="imagenet")) is None
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / IMAGENET_URL.rsplit("/", 1)[-1]).touch()  # in torchvision's cache
    assert load_bundled(replace(REQUEST, weights="auto")) is None
