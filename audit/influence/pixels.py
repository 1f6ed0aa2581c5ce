"""Which pixels of a training image would move the validation loss: influence differentiated through the backbone.

With H S = ḡ, the influence of a sample is I = rᵀ S z, where features z and residuals r depend on its pixels;
∂I/∂pixel is pyDVL's and Koh & Liang's perturbation influence (arXiv 1703.04730, section 2.2), with the sign of ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audit.errors import InputError
from audit.head.fit import Head
from audit.images.backbone import Backbone
from audit.images.network import NetworkBackbone
from audit.images.transform import Normalise


def influence_of_pixels(backbone: nn.Module, head: Head, solution: Tensor, pixels: Tensor, target: Tensor) -> Tensor:
    """∂ influence / ∂ pixel of one image.

    Args:
        backbone: pixels (b, channels, height, width) to embeddings (b, d).
        head: on these embeddings.
        solution: S (C, D) with H S = ḡ.
        pixels: (1, channels, height, width).
        target: (1, C).

    Returns:
        (channels, height, width), per unit of a pixel.
    """
    pixels = pixels.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        z = head.features(backbone(pixels).to(head.weight.dtype))
        residual = (z @ head.weight.T).softmax(1) * target.sum(1, keepdim=True) - target
        influence = (residual * (z @ solution.to(z.dtype).T)).sum()
    return torch.autograd.grad(influence, pixels)[0][0]


def pixels_to_embedding(backbone: Backbone) -> nn.Module:
    """The frozen backbone as a differentiable module from RGB pixels in [0, 1] (b, 3, size, size) to (b, d).

    Raises:
        InputError: as `differentiable`.
    """
    network = differentiable(backbone)
    return nn.Sequential(Normalise(network.transform).to(network.device), network.module).eval()


def differentiable(backbone: Backbone) -> NetworkBackbone:
    """The backbone as a network whose derivatives torch can compute.

    Raises:
        InputError: if another package runs it, as FiftyOne runs the models of its zoo.
    """
    if not isinstance(backbone, NetworkBackbone):
        raise InputError(
            f"backbone {backbone.name!r} has no derivatives by pixels, which heat maps and scope 'model' need; use a "
            "backbone of torchvision or timm"
        )
    return backbone
