"""The bundled backbone, described without its network.

The weights alone say what the cache of embeddings asks for. Where all embeddings are cached, torchvision, whose import
takes as long as that of torch, is not imported at all.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import nn

from audit.images.backbone_request import BUNDLED_BACKBONE, BackboneRequest
from audit.images.bundled_weights import (
    BUNDLED_TRANSFORM,
    IMAGENET_URL,
    bundled_state,
    note_of_bundled,
    why_not_available,
)
from audit.images.network import NetworkBackbone, digest_of

_LAST = "layer4.1.bn2.weight"
"""One number for each feature, in the last layer but the pooling."""

_HEAD = "fc."
"""How the names of the last layer's tensors begin; no embedding depends on them."""


def load_bundled(request: BackboneRequest) -> NetworkBackbone | None:
    """The bundled backbone, if it is what a request comes to; else None."""
    if request.name != BUNDLED_BACKBONE or request.weights not in ("auto", "bundled"):
        return None
    if request.weights == "auto":
        if (problem := why_not_available(IMAGENET_URL)) is None:
            return None
        request.note(note_of_bundled(problem))
    state = bundled_state()
    return NetworkBackbone(
        name=BUNDLED_BACKBONE,
        weights="bundled",
        key=digest_of({name: tensor for name, tensor in state.items() if not name.startswith(_HEAD)}),
        transform=BUNDLED_TRANSFORM.of_size(request.image_size),
        features=len(state[_LAST]),
        device=request.device,
        make_module=partial(_module, replace(request, weights="bundled", note=_told_already)),
        precision=request.precision,
        is_plain=True,
    )


def _module(request: BackboneRequest) -> nn.Module:
    from audit.images.torchvision_backbones import load

    return load(request).module


def _told_already(text: str) -> None:
    """For a message that the user has had."""
