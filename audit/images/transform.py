"""How an image becomes the square that a network sees: resized, cropped, and normalised by channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1], by RGB channel: what torchvision's weights were trained on."""

MOST_ELONGATED = 16
"""Of a strip that is longer than this times its width, only the middle is resized."""

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
INTERPOLATIONS = tuple(_FILTERS)


@dataclass(frozen=True, kw_only=True)
class Transform:
    """From an RGB image to the input of a network.

    Attributes:
        resize: length that the shorter side is resized to (pixels); both sides where `squash` is set.
        image_size: side of the centre crop that the network sees (pixels).
        interpolation: one of INTERPOLATIONS.
        squash: resize to a square, whatever the image's proportions.
        mean, std: of pixels in [0, 1], by RGB channel.
    """

    resize: int
    image_size: int
    interpolation: str = "bilinear"
    squash: bool = False
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @property
    def key(self) -> str:
        """Identifies the transform in the embedding cache."""
        key = f"{self.resize}-{self.image_size}"
        usual = Transform(resize=self.resize, image_size=self.image_size)
        if self == usual:
            return key
        numbers = "_".join(f"{value:.4g}" for value in (*self.mean, *self.std))
        return f"{key}-{self.interpolation}{'-squash' if self.squash else ''}-{numbers}"

    def of_size(self, image_size: int | None) -> Transform:
        """The same for another side of the input, with the same share of the image in the crop; None for its own."""
        if image_size is None or image_size == self.image_size:
            return self
        return Transform(
            resize=round(image_size * self.resize / self.image_size),
            image_size=image_size,
            interpolation=self.interpolation,
            squash=self.squash,
            mean=self.mean,
            std=self.std,
        )

    def scaled_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of an image of a size after it is resized, before the crop; never below the crop's."""
        least = self.image_size
        if self.squash:
            return (max(least, self.resize), max(least, self.resize))
        scale = self.resize / min(size)
        return (max(least, round(size[0] * scale)), max(least, round(size[1] * scale)))

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The resized and cropped image: uint8 (image_size, image_size, 3).

        Args:
            image: RGB, of any size.
        """
        width, height = image.size
        if not self.squash and max(width, height) > MOST_ELONGATED * min(width, height):
            wide, high = (min(side, MOST_ELONGATED * min(width, height)) for side in (width, height))
            left, top = (width - wide) // 2, (height - high) // 2
            image = image.crop((left, top, left + wide, top + high))
        size = self.scaled_size(image.size)
        if size != image.size:
            image = image.resize(size, _FILTERS[self.interpolation])
        left, top = (size[0] - self.image_size) // 2, (size[1] - self.image_size) // 2
        return np.asarray(image.crop((left, top, left + self.image_size, top + self.image_size)))


class Normalise(nn.Module):
    """Pixels in [0, 1] (b, 3, size, size), less the mean and divided by the deviation of each channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(transform.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(transform.std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """The normalised pixels, of the same shape."""
        return (pixels - self.mean) / self.std
