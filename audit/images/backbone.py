"""A backbone: a frozen network that turns images into embeddings."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from audit.errors import InputError


class Backbone(Protocol):
    """What an audit needs of a frozen network. `audit.images.network.NetworkBackbone` is one that torch can derive."""

    @property
    def name(self) -> str:
        """As `load_backbone` takes it: torchvision's name, timm:NAME or zoo:NAME."""

    @property
    def weights(self) -> str:
        """Where its weights came from, as `load_backbone` takes it: 'imagenet', 'bundled', 'pretrained' or a path."""

    @property
    def key(self) -> str:
        """Digest of the weights."""

    @property
    def transform_key(self) -> str:
        """Identifies everything that an embedding depends on, apart from the image; a folder's name in the cache."""

    @property
    def image_size(self) -> int:
        """Side of the square that the network sees, in pixels."""

    @property
    def features(self) -> int:
        """d, the length of an embedding."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    @property
    def precision(self) -> str:
        """'float32' or 'bfloat16', what images pass through it in."""

    def prepared(self, image: Image.Image) -> np.ndarray:
        """An RGB image as an array that `embed` takes a batch of; of the same shape and type for every image."""

    def embed(self, prepared: Tensor) -> Tensor:
        """Features float32 (b, d), on the CPU, of a batch of prepared images."""


def choose_device(device: str) -> torch.device:
    """The device that 'auto', 'cpu', 'cuda' or 'cuda:N' stands for.

    Raises:
        InputError: if this machine does not have it.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"device {device!r} is unknown; it takes auto, cpu, cuda or cuda:N") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(f"no such device {device!r}: this machine has {_cuda_devices()}; use --device auto")
    if chosen.type not in ("cpu", "cuda"):
        raise InputError(f"device {device!r} is not supported; it takes auto, cpu, cuda or cuda:N")
    return chosen


def _cuda_devices() -> str:
    count = torch.cuda.device_count()
    return f"{count} CUDA device{'' if count == 1 else 's'}" if count else "no CUDA device"
