"""A backbone as it is asked for: its name with the prefix of its kind, its weights, and where it is to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BUNDLED_BACKBONE = "resnet18"
"""The backbone whose weights are part of this package."""

KINDS_IN_WORDS = (
    "a classifier of torchvision (resnet50, efficientnet_b0, vit_b_16, ...), timm:NAME (any model of timm), or "
    "zoo:NAME (an embeddings model of FiftyOne's model zoo)"
)


@dataclass(frozen=True)
class BackboneRequest:
    """A backbone as it was asked for.

    Attributes:
        name: with the prefix of its kind.
        weights: 'auto', 'imagenet', 'bundled', a name that the kind knows, or a path.
        image_size: side of the network's input (pixels); None for the weights' own.
        device: where it is to run.
        precision: 'float32' or 'bfloat16'.
        note: is told in one line what the user should know.
    """

    name: str
    weights: str
    image_size: int | None
    device: torch.device
    precision: str
    note: Callable[[str], None]

    @property
    def bare_name(self) -> str:
        """The name without its prefix."""
        return self.name.partition(":")[2] or self.name
