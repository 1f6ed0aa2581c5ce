"""The weights that are part of this package, and whether torchvision's own can be had in their place."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor

from audit.images.backbone_request import BUNDLED_BACKBONE
from audit.images.download import answers
from audit.images.transform import Transform

BUNDLED_FILE = "resnet18-tinyimagenet.safetensors"
BUNDLED_TRANSFORM = Transform(resize=64, image_size=64)  # the bundled weights have seen whole images
IMAGENET_URL = "https://download.pytorch.org/models/resnet18-f37072fd.pth"
"""torchvision's weights of the same network, which 'auto' takes if they are available."""


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
