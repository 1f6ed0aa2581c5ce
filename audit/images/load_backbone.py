"""How a backbone is loaded by its name."""

from __future__ import annotations

from collections.abc import Callable

from audit.images.backbone import Backbone, choose_device
from audit.images.backbone_kinds import loader_of
from audit.images.backbone_request import BUNDLED_BACKBONE, BackboneRequest


def load_backbone(
    name: str = BUNDLED_BACKBONE,
    weights: str = "auto",
    image_size: int | None = None,
    device: str = "auto",
    note: Callable[[str], None] = lambda text: None,
    precision: str = "float32",
) -> Backbone:
    """Load a frozen backbone.

    Args:
        name: a torchvision classifier, timm:NAME, or a name of a kind that was registered
            (`audit.images.backbone_kinds`).
        weights: 'auto', 'imagenet' or an entry of torchvision's such as 'IMAGENET1K_V1', 'bundled', 'pretrained'
            (timm's or the zoo's), or the path of a .safetensors or .pth state dict.
        image_size: side of the network's input in pixels; None for the weights' own.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        note: is told in one line when 'auto' falls back on the bundled weights.
        precision: 'float32' or 'bfloat16'.

    Raises:
        InputError: if the backbone is unknown, or its weights are not available or do not fit it.
    """
    loader = loader_of(name)
    return loader(BackboneRequest(name, weights, image_size, choose_device(device), precision, note))
