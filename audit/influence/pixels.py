"""Which pixels of a training image would move the validation loss: influence differentiated through the backbone.

With H S = ḡ, the influence of a sample is I = rᵀ S z, where features z and residuals r depend on its pixels;
∂I/∂pixel is pyDVL's and Koh & Liang's perturbation influence (arXiv 1703.04730, section 2.2), with the sign of ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audit.head.fit import Head
from audit.images.backbone import MEAN, STD, Backbone


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
    """The frozen backbone as a differentiable module from RGB pixels in [0, 1] (b, 3, size, size) to (b, d)."""
    return nn.Sequential(_Normalise().to(backbone.device), backbone.module).eval()


class _Normalise(nn.Module):
    """ImageNet's mean and standard deviation, as the backbone expects its input."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels - self.mean) / self.std
