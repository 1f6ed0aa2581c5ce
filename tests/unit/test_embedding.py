"""Backbone and embeddings: weights, what is not available, and the cache."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from audit.data.samples import Samples
from audit.errors import InputError
from audit.images.embedding import embed
from audit.images.load_backbone import load_backbone
from audit.images.network import NetworkBackbone
from audit.images.torchvision_backbones import backbone_names
from audit.influence.pixels import pixels_to_embedding
from audit.progress import Step


@pytest.fixture(scope="module")
def backbone() -> NetworkBackbone:
    return load_backbone(weights="bundled", device="cpu")


def pictures(folder: Path, count: int) -> Samples:
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (40, 64, 3), dtype=np.uint8)).save(path)
    return Samples([str(number) for number in range(count)], paths, ["a"] * count)


def test_the_bundled_backbone_is_frozen_and_gives_512_features(backbone: NetworkBackbone) -> None:
    assert (backbone.weights, backbone.features, backbone.image_size) == ("bundled", 512, 64)
    assert not backbone.module.training
    assert not any(parameter.requires_grad for parameter in backbone.module.parameters())
    pixels = torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8)
    alone, together = backbone.embed(pixels[:1]), backbone.embed(pixels)
    assert together.shape == (2, 512)
    assert torch.allclose(alone[0], together[0], atol=1e-4)  # BatchNorm does not see the batch


def test_embeddings_are_those_of_the_plain_network_in_either_precision(backbone: NetworkBackbone) -> None:
    pixels = torch.randint(0, 255, (4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = pixels_to_embedding(backbone)(pixels.permute(0, 3, 1, 2) / 255)
    assert float((backbone.embed(pixels) - plain).norm() / plain.norm()) < 1e-5
    coarse = load_backbone(weights="bundled", device="cpu", precision="bfloat16")
    assert 1e-5 < float((coarse.embed(pixels) - plain).norm() / plain.norm()) < 2e-2
    assert coarse.transform_key != backbone.transform_key, "the cache would mix them"


def test_images_are_embedded_once_whatever_their_names_and_labels(backbone: NetworkBackbone, tmp_path: Path) -> None:
    samples = pictures(tmp_path, 10)
    steps: list[Step] = []
    first = embed(samples, backbone, 4, tmp_path / "cache", steps.append)
    assert (first.computed, first.cached) == (10, 0)
    assert [step.done for step in steps] == [4, 8, 10]
    os.rename(samples.images[0], tmp_path / "renamed.png")
    again = Samples(samples.ids, [tmp_path / "renamed.png", *samples.images[1:]], ["b"] * 10)
    second = embed(again, backbone, 4, tmp_path / "cache")
    assert (second.computed, second.cached) == (0, 10)
    np.testing.assert_array_equal(first.values, second.values)
    other_size = load_backbone(weights="bundled", image_size=32, device="cpu")
    assert embed(samples.select(range(1, 10)), other_size, 4, tmp_path / "cache").computed == 9


def test_images_that_cannot_be_read_are_skipped_with_their_reason(backbone: NetworkBackbone, tmp_path: Path) -> None:
    samples = pictures(tmp_path, 4)
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.png").touch()
    whole = Path(samples.images[3]).read_bytes()  # type: ignore[arg-type]
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    bad = [tmp_path / name for name in ("text.jpg", "empty.png", "cut.png", "missing.png")]
    mixed = Samples([str(i) for i in range(8)], [*samples.images[:2], *bad, *samples.images[2:]], ["a"] * 8)
    embedded = embed(mixed, backbone, 3, tmp_path / "cache")
    assert embedded.rows.tolist() == [0, 1, 6, 7]
    reasons = dict(embedded.skipped)
    assert sorted(reasons) == [2, 3, 4, 5]
    assert reasons[2] == "not an image that Pillow can read"
    assert reasons[5] == "file does not exist"
    assert "truncated" in reasons[4]
    with pytest.raises(InputError, match="none of the 4 images can be read"):
        embed(mixed.select([2, 3, 4, 5]), backbone, 3, tmp_path / "cache")


def test_a_cache_file_that_was_changed_is_refused_by_name(backbone: NetworkBackbone, tmp_path: Path) -> None:
    samples = pictures(tmp_path, 3)
    embed(samples, backbone, 3, tmp_path / "cache")
    (shard,) = (tmp_path / "cache").rglob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match=f"{shard.name}.*damaged or was changed; delete it"):
        embed(samples, backbone, 3, tmp_path / "cache")


def test_a_cache_that_cannot_be_written_says_so(backbone: NetworkBackbone, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written .* give another"):
        embed(pictures(tmp_path, 1), backbone, 1, tmp_path / "file")


def test_weights_of_ones_own_fit_or_are_refused(tmp_path: Path) -> None:
    own = models.resnet34(weights=None).state_dict()
    torch.save(own, tmp_path / "own.pth")
    loaded = load_backbone("resnet34", str(tmp_path / "own.pth"), image_size=64, device="cpu")
    assert loaded.weights == str(tmp_path / "own.pth")
    with pytest.raises(InputError, match=r"do not fit resnet50 .* give the matching --backbone"):
        load_backbone("resnet50", str(tmp_path / "own.pth"), device="cpu")
    with pytest.raises(InputError, match="do not exist"):
        load_backbone(weights=str(tmp_path / "nothing.pth"), device="cpu")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match=r"cannot be used: .* give a state dict as \.safetensors or \.pth"):
        load_backbone(weights=str(tmp_path / "text.pth"), device="cpu")


def test_a_pickle_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'run'}",)

    torch.save({"state_dict": Touch()}, tmp_path / "hostile.pth")
    with pytest.raises(InputError, match="cannot be used"):
        load_backbone(weights=str(tmp_path / "hostile.pth"), device="cpu")
    assert not (tmp_path / "run").exists()


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        load_backbone("resnet81", device="cpu")
    with pytest.raises(InputError, match="the bundled weights are a resnet18"):
        load_backbone("resnet50", "bundled", device="cpu")
    with pytest.raises(InputError, match="device 'tpu'"):
        load_backbone(weights="bundled", device="tpu")
    assert {"resnet18", "resnet34", "resnet50"} <= set(backbone_names())


def test_without_network_and_cache_auto_falls_back_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_network: None
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    notes: list[str] = []
    loaded = load_backbone(weights="auto", device="cpu", note=notes.append)
    assert loaded.weights == "bundled"
    assert len(notes) == 1
    assert "using the bundled resnet18 instead" in notes[0]
    with pytest.raises(InputError, match="ImageNet weights of resnet18 are not available"):
        load_backbone(weights="imagenet", device="cpu")
    with pytest.raises(InputError, match="only resnet18 is bundled"):
        load_backbone("resnet50", "auto", device="cpu")


def test_imagenet_weights_in_torchvisions_cache_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    entry = models.get_model_weights("resnet18").DEFAULT  # type: ignore[attr-defined]
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(models.resnet18(weights=None).state_dict(), checkpoints / entry.url.rsplit("/", 1)[-1])
    loaded = load_backbone(weights="auto", device="cpu")
    assert (loaded.weights, loaded.image_size, loaded.resize) == ("imagenet", 224, 256)


def test_a_backbone_that_has_embedded_reaches_other_processes() -> None:
    backbone = load_backbone(weights="bundled", image_size=32, device="cpu")
    pixels = torch.randint(0, 256, (70, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    embedded = backbone.embed(pixels)
    torch.testing.assert_close(pickle.loads(pickle.dumps(backbone)).embed(pixels), embedded)  # our own
    with torch.inference_mode():
        plain = pixels_to_embedding(backbone)(pixels.permute(0, 3, 1, 2).float() / 255)
    torch.testing.assert_close(embedded, plain, rtol=1e-4, atol=1e-5)
