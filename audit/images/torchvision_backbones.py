"""torchvision's classifiers as backbones: their weights from its cache, the network, a file or this package."""

from __future__ import annotations

import difflib
import math
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from audit.errors import InputError, first_line
from audit.images.backbone_request import BUNDLED_BACKBONE, KINDS_IN_WORDS, BackboneRequest
from audit.images.bundled_weights import (
    BUNDLED_TRANSFORM,
    bundled_state,
    cache_folder,
    note_of_bundled,
    why_not_available,
)
from audit.images.network import Made, NetworkBackbone, digest_of, features_of, not_fitting, problem_of_fit
from audit.images.transform import Transform
from audit.images.weights_file import state_from_file

_WITH_OTHER_INPUT = ("googlenet", "inception_v3")
"""Networks that scale their input once more, as their weights were trained."""

_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")
"""Names of tensors in torchvision's DenseNet files, which were made with an earlier network."""


def backbone_names() -> list[str]:
    """torchvision's classifiers."""
    return models.list_models(module=models)


def load(request: BackboneRequest) -> NetworkBackbone:
    """A classifier of torchvision without its last layer.

    Raises:
        InputError: if there is no such classifier, or its weights are not available or do not fit it.
    """
    name = request.name
    if name not in backbone_names():
        close = difflib.get_close_matches(name, backbone_names(), 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(f"backbone {name!r} is unknown; {hint}it takes {KINDS_IN_WORDS}")
    state, source, transform = _weights_of(name, request.weights, request.note)
    transform = transform.of_size(request.image_size)
    state = _fitted_state(name, state, transform.image_size)
    network = _network(name, transform.image_size)
    features, head = _remove_head(network)
    body = _without(state, head)
    if (reason := problem_of_fit(network, body)) is not None:
        raise not_fitting(name, source, reason)
    is_plain = isinstance(network, models.ResNet)
    network = network.eval().requires_grad_(False)
    if not is_plain:
        features = features_of(network, name, transform.image_size)
    return NetworkBackbone(
        name=name,
        weights=source,
        key=digest_of(body),
        transform=transform,
        features=features,
        device=request.device,
        make_module=Made(network.to(request.device, memory_format=torch.channels_last)),  # type: ignore[call-overload]
        precision=request.precision,
        is_plain=is_plain,
    )


def _weights_of(name: str, weights: str, note: Callable[[str], None]) -> tuple[dict[str, Tensor], str, Transform]:
    """The state dict of a backbone, where it is from ('imagenet', 'bundled', an entry or a path), and its transform."""
    entries = models.get_model_weights(name)
    if weights == "bundled":
        if name != BUNDLED_BACKBONE:
            raise InputError(f"the bundled weights are a {BUNDLED_BACKBONE}, not {name}; use --weights auto or PATH")
        return bundled_state(), "bundled", BUNDLED_TRANSFORM
    if weights not in ("auto", "imagenet") and weights not in entries.__members__:
        # A file of one's own is taken for weights of the architecture's first recipe.
        state = state_from_file(Path(weights), _names_in(name))
        return state, weights, _transform_for(name, state, next(iter(entries)))
    entry = entries.DEFAULT if weights in ("auto", "imagenet") else entries[weights]
    state_or_none, problem = _downloaded(entry)
    if state_or_none is not None:
        return state_or_none, "imagenet" if weights == "auto" else weights, _transform_of(entry)
    if name == BUNDLED_BACKBONE and weights == "auto":
        note(note_of_bundled(problem))
        return bundled_state(), "bundled", BUNDLED_TRANSFORM
    raise InputError(f"ImageNet weights of {name} are not available ({problem}); {_ways_out(name)}")


def _ways_out(name: str) -> str:
    """What there is on this machine in place of weights that are not."""
    if name == BUNDLED_BACKBONE:
        return "use --weights bundled or PATH"
    here = on_this_machine()
    also = f", and torchvision's cache has {', '.join(here)}" if here else ""
    others = f"--backbone {' or '.join([BUNDLED_BACKBONE, *here[:1]])}"
    return f"only {BUNDLED_BACKBONE} is bundled{also}; use {others}, or --weights PATH"


def on_this_machine() -> list[str]:
    """The classifiers whose ImageNet weights are in torchvision's cache."""
    folder = cache_folder()
    if not folder.is_dir():
        return []
    files_there = {file.name for file in folder.iterdir()}
    return [
        name
        for name in backbone_names()
        if models.get_model_weights(name).DEFAULT.url.rsplit("/", 1)[-1] in files_there
    ]


def _transform_of(entry: Any) -> Transform:
    """The transform that torchvision evaluates an entry of its weights with."""
    preset = entry.transforms()
    return Transform(
        resize=preset.resize_size[0],
        image_size=preset.crop_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def _transform_for(name: str, state: dict[str, Tensor], entry: Any) -> Transform:
    """An entry's transform; a transformer's input has the size that the positions in its weights are for."""
    transform = _transform_of(entry)
    if not name.startswith("vit_") or "encoder.pos_embedding" not in state:
        return transform
    patches = math.isqrt(max(1, state["encoder.pos_embedding"].shape[1] - 1))
    return transform.of_size(patches * _patch_of(name))


def _patch_of(name: str) -> int:
    return int(name.rpartition("_")[2])


def _network(name: str, image_size: int | None = None) -> nn.Module:
    """The architecture with weights that are not trained, and without what only training uses."""
    options: dict[str, Any] = {}
    if name.startswith("vit_") and image_size is not None:
        if image_size % _patch_of(name):
            raise InputError(
                f"backbone {name!r} cannot take images of {image_size} px; --image-size takes multiples of "
                f"{_patch_of(name)}"
            )
        options = {"image_size": image_size}
    if name in _WITH_OTHER_INPUT:
        options = {"transform_input": True, "init_weights": False}
    network = models.get_model(name, weights=None, **options)
    if name in _WITH_OTHER_INPUT:
        network.aux_logits = False
        for extra in ("AuxLogits", "aux1", "aux2"):
            if hasattr(network, extra):
                setattr(network, extra, None)
    return network


def _names_in(name: str) -> list[str]:
    """The names of an architecture's tensors."""
    try:
        with torch.device("meta"):  # which takes no time
            return list(_network(name).state_dict())
    except NotImplementedError:  # of an architecture that computes with its first weights
        return list(_network(name).state_dict())


def _remove_head(network: nn.Module) -> tuple[int, str]:
    """Take the last layer off: the length of what went into it, and how the names of its tensors begin."""
    linear = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear:  # SqueezeNet, whose head is a convolution
        network.classifier = nn.AdaptiveAvgPool2d(1)
        return 0, "classifier."
    name, layer = linear[-1]
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    return layer.in_features, f"{name}."


def _fitted_state(name: str, state: dict[str, Tensor], image_size: int) -> dict[str, Tensor]:
    """The state dict for a network that takes images of this size, with the names of today's networks."""
    if name.startswith("densenet"):
        state = _like(state, {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items()})
    if name.startswith("vit_") and "encoder.pos_embedding" in state:
        try:
            state = _like(state, interpolate_embeddings(image_size, _patch_of(name), OrderedDict(state)))
        except ValueError as error:
            raise not_fitting(name, "given", first_line(error)) from None
    if name.startswith("mnasnet") and getattr(state, "_metadata", None) is None:
        state = OrderedDict(state)
        state._metadata = _network(name).state_dict()._metadata  # type: ignore[attr-defined]
    return state


def _without(state: dict[str, Tensor], head: str) -> dict[str, Tensor]:
    """The tensors that embeddings depend on."""
    extras = (head, "AuxLogits.", "aux1.", "aux2.")
    return _like(state, {key: value for key, value in state.items() if not key.startswith(extras)})


def _like(state: dict[str, Tensor], changed: dict[str, Tensor]) -> dict[str, Tensor]:
    """Changed tensors with what the state dict says of the versions of its layers."""
    kept = OrderedDict(changed)
    if (metadata := getattr(state, "_metadata", None)) is not None:
        kept._metadata = metadata  # type: ignore[attr-defined]
    return kept


def _downloaded(entry: Any) -> tuple[dict[str, Tensor] | None, str]:
    """An entry of torchvision's weights from its cache or the network, or why it is not available."""
    if (problem := why_not_available(entry.url)) is not None:
        return None, problem
    try:
        return torch.hub.load_state_dict_from_url(entry.url, map_location="cpu", check_hash=True, weights_only=True), ""
    except Exception as error:
        return None, first_line(error)
