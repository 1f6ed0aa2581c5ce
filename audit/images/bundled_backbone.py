"""The backbone whose weights are part of this package, described without its network.

The weights alone say what the cache of embeddings asks for. Where all embeddings are cached, torchvision, whose import
takes as long as that of torch, is not imported at all.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor, nn

from audit.images.backbone_request import BUNDLED_BACKBONE, BackboneRequest
from audit.images.download import answers
from audit.images.network import NetworkBackbone, digest_of
from audit.images.transform import Transform

BUNDLED_FILE = "resnet18-tinyimagenet.safetensors"
BUNDLED_TRANSFORM = Transform(resize=64, image_size=64)  # the bundled weights have seen whole images
IMAGENET_URL = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
"""torchvision's weights of the same network, which 'auto' takes if they are available."""

_LAST = "layer4.1.bn2.weight"
"""One number for each feature, in the last layer but the pooling."""

_HEAD = "fc."
"""How the names of the last layer's tensors begin; no embedding depends on them."""


def cache_folder() -> Path:
    """Where torch keeps the weights that it downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def bundled_state() -> dict[str, Tensor]:
    """The bundled weights by their names."""
    from safetensors.torch import load_file

    with as_file(files("audit") / "weights" / BUNDLED_FILE) as path:
        return load_file(path)


def why_not_available(url: str) -> str | None:
    """Why weights cannot be had, in a few words, or None where it is worth a try."""
    if (cache_folder() / url.rsplit("/", 1)[-1]).is_file() or answers(url):
        return None
    return "not in torchvision's cache, and the network does not answer"


def note_of_bundled(problem: str) -> str:
    """What the user is told where the bundled weights stand in for ImageNet's."""
    return f"ImageNet weights are not available ({problem}): using the bundled {BUNDLED_BACKBONE} instead"


def load_bundled(request: BackboneRequest) -> BundledBackbone | None:
    """The bundled backbone, if it is what a request comes to; else None."""
    if request.name != BUNDLED_BACKBONE or request.weights not in ("auto", "bundled"):
        return None
    if request.weights == "auto":
        if (problem := why_not_available(IMAGENET_URL)) is None:
            return None
        request.note(note_of_bundled(problem))
    return BundledBackbone(request)


class BundledBackbone(NetworkBackbone):
    """A `NetworkBackbone` whose network is made when it is first used.

    Args:
        request: the image size, device and precision to use.
    """

    def __init__(self, request: BackboneRequest) -> None:
        state = bundled_state()
        body = {name: tensor for name, tensor in state.items() if not name.startswith(_HEAD)}
        self.__dict__.update(
            name=BUNDLED_BACKBONE,
            weights="bundled",
            key=digest_of(body),
            transform=BUNDLED_TRANSFORM.of_size(request.image_size),
            features=len(state[_LAST]),
            device=request.device,
            precision=request.precision,
            is_plain=True,
            _request=replace(request, weights="bundled", note=_nothing),
        )

    @cached_property
    def module(self) -> nn.Module:
        """The network in eval mode, from normalised pixels (b, 3, size, size) to (b, d)."""
        from audit.images.torchvision_backbones import load

        return load(self.__dict__["_request"]).module


def _nothing(text: str) -> None:
    """For a message that the user has had."""
