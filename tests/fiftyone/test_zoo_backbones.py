"""Backbones of FiftyOne's model zoo: its own classes run them, with weights that the tests make."""

from __future__ import annotations

import gzip
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
import torch
from fiftyone.utils.clip.model import CLIP
from PIL import Image
from torchvision import models

from audit import AuditConfig
from audit.data.samples import Samples
from audit.errors import InputError
from audit.images.backbone import Backbone
from audit.images.embedding import embed
from audit.images.load_backbone import load_backbone
from integrations.fiftyone.zoo_backbones import ZooBackbone

CLIP_NAME, RESNET_NAME = "clip-vit-base32-torch", "resnet18-imagenet-torch"


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_network: None) -> Path:
    """An empty folder for the zoo's models."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    monkeypatch.setattr(fo.config, "model_zoo_dir", str(folder))
    return folder


def put_clip(folder: Path) -> None:
    """A small CLIP whose weights are random, and a tokenizer of one pair, as the zoo downloads them."""
    torch.manual_seed(0)
    clip = CLIP(
        embed_dim=32,
        image_resolution=224,
        vision_layers=1,
        vision_width=64,
        vision_patch_size=32,
        context_length=77,
        vocab_size=600,
        transformer_width=64,
        transformer_heads=1,
        transformer_layers=1,
    ).eval()
    traced = torch.jit.trace(clip, (torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.int)))
    traced.save(str(folder / "CLIP-ViT-B-32.pt"))
    with gzip.open(folder / "clip_bpe_simple_vocab_16e6.txt.gz", "wt", encoding="utf-8") as file:
        file.write("version\na b\n")


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize(size)


def embedded(backbone: Backbone, *images: Image.Image) -> np.ndarray:
    return backbone.embed(torch.from_numpy(np.stack([backbone.prepared(image) for image in images]))).numpy()


@pytest.mark.filterwarnings("ignore")  # of torch about TorchScript, in which the zoo's CLIP comes
def test_clip_embeds_as_fiftyone_does(zoo: Path, tmp_path: Path) -> None:
    put_clip(zoo)
    clip = load_backbone(f"zoo:{CLIP_NAME}", device="cpu")
    assert isinstance(clip, ZooBackbone)
    assert (clip.weights, clip.features, clip.image_size, clip.crop) == ("pretrained", 32, 224, None)
    images = [picture((300, 200)), picture((90, 130), 1)]
    found = embedded(clip, *images)
    clip.model.preprocess = True
    for row, image in zip(found, images, strict=True):
        np.testing.assert_allclose(row, clip.model.embed(np.asarray(image)), rtol=1e-4, atol=1e-5)
    samples = Samples(["a", "b"], images, ["x", "y"])
    assert (embed(samples, clip, cache_dir=tmp_path).computed, embed(samples, clip, cache_dir=tmp_path).cached) == (
        2,
        2,
    )
    with pytest.raises(InputError, match="takes images of 224 px; leave out --image-size"):
        load_backbone(f"zoo:{CLIP_NAME}", image_size=96, device="cpu")


def test_a_model_that_takes_any_size_gets_crops_of_one(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = models.resnet18(weights=None).state_dict()
    monkeypatch.setenv("TORCH_HOME", str(zoo))
    torchvisions = zoo / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    torchvisions.parent.mkdir(parents=True)
    for path in (zoo / "resnet18-5c106cde.pth", torchvisions):  # the zoo looks for one, torchvision for the other
        torch.save(state, path)
    found = load_backbone(f"zoo:{RESNET_NAME}", image_size=96, device="cpu")
    assert isinstance(found, ZooBackbone)
    assert (found.image_size, found.features) == (96, 512)
    values = embedded(found, picture((300, 200)), picture((90, 400), 1))
    assert values.shape == (2, 512)
    assert np.isfinite(values).all()
    usual = load_backbone(f"zoo:{RESNET_NAME}", device="cpu")
    assert usual.image_size == 224
    assert usual.transform_key != found.transform_key, "the cache would mix them"


def test_models_that_cannot_be_used_are_refused_in_one_line(zoo: Path) -> None:
    cases = {
        "zoo:clip-vit-base33-torch": r"has no model .* did you mean 'clip-vit-base32-torch'",
        f"zoo:{CLIP_NAME}": r"is not available \(not in FiftyOne's model zoo folder, .* --weights bundled",
        "zoo:dinov2-vits14-torch": r"is not available \(.*this machine has none.*--embeddings FIELD",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message) as error:
            load_backbone(name, device="cpu")
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="brings its own weights; leave out --weights"):
        load_backbone(f"zoo:{CLIP_NAME}", "bundled", device="cpu")
    with pytest.raises(InputError, match="runs in float32; leave out --precision"):
        load_backbone(f"zoo:{CLIP_NAME}", precision="bfloat16", device="cpu")
    with pytest.raises(InputError, match="heat_maps need derivatives by pixels"):
        AuditConfig(backbone=f"zoo:{CLIP_NAME}", heat_maps=3)
