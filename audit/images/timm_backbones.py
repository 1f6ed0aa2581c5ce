"""timm's models as backbones: their weights from the hub's cache, the hub, or a file."""

from __future__ import annotations

import difflib
import math
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from audit.errors import InputError, first_line
from audit.extras import require_backbone
from audit.images.backbone_request import BUNDLED_BACKBONE, BackboneRequest
from audit.images.download import answers
from audit.images.network import Made, NetworkBackbone, digest_of, features_of, not_fitting, problem_of_fit
from audit.images.transform import INTERPOLATIONS, Transform
from audit.images.weights_file import state_from_file

PRETRAINED = "pretrained"
_HUB_FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def load(request: BackboneRequest) -> NetworkBackbone:
    """A model of timm without its classifier.

    Raises:
        InputError: if timm is not installed or has no such model, or its weights are not available or do not fit it.
    """
    require_backbone(request.name)
    name = request.bare_name
    _check_name(request.name, name)
    if request.weights in ("imagenet", "bundled"):
        raise InputError(
            f"--weights {request.weights} are torchvision's, and {request.name!r} is timm's; use --weights auto or PATH"
        )
    if request.weights in ("auto", PRETRAINED):
        network, source = _pretrained(request), PRETRAINED
    else:
        network, source = _with_file(request, Path(request.weights)), request.weights
    transform = _transform_of(network, request)
    network = network.eval().requires_grad_(False)
    return NetworkBackbone(
        name=request.name,
        weights=source,
        key=digest_of(network.state_dict()),
        transform=transform,
        features=features_of(network, request.name, transform.image_size),
        device=request.device,
        make_module=Made(network.to(request.device)),
        precision=request.precision,
    )


def _check_name(asked: str, name: str) -> None:
    import timm

    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, 1)
        hint = f"did you mean 'timm:{close[0]}'? " if close else ""
        raise InputError(
            f"backbone {asked!r}: timm has no model {architecture!r}; {hint}timm.list_models() names all {len(known)}"
        )
    tags = [each.partition(".")[2] for each in timm.list_models(f"{architecture}.*", pretrained=True)]
    if tag and tag not in tags:
        listed = ", ".join(sorted(tags)) or "none"
        raise InputError(f"backbone {asked!r}: timm has no weights {tag!r} of {architecture}; it has: {listed}")


def _made(request: BackboneRequest, **options: Any) -> nn.Module:
    """The network without its classifier.

    Raises:
        InputError: if timm cannot make it with this size of images.
    """
    import timm

    name = request.bare_name
    size = request.image_size
    fixed = timm.get_pretrained_cfg(name)
    if size is not None and fixed is not None and fixed.fixed_input_size:
        options["img_size"] = size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return timm.create_model(name, num_classes=0, **options)
    except TypeError as error:  # the architecture has no such option
        raise InputError(
            f"backbone {request.name!r} cannot take images of {size} px ({first_line(error)}); leave out --image-size"
        ) from None


def _pretrained(request: BackboneRequest) -> nn.Module:
    """The network with timm's own weights.

    Raises:
        InputError: if they are neither in a cache nor to be had from the network.
    """
    import timm

    described = timm.get_pretrained_cfg(request.bare_name)
    if described is None or not described.has_weights:
        raise InputError(f"backbone {request.name!r}: timm has no weights of this model; use --weights PATH")
    cached = _cached_file(described)
    if cached is None and not answers(_address_of(described)):
        raise _not_available(request, "in no cache, and the network does not answer")
    overlay = {"file": str(cached)} if cached is not None else {}
    try:
        return _made(request, pretrained=True, pretrained_cfg_overlay=overlay)
    except InputError:
        raise
    except Exception as error:  # of the hub, the network or a damaged file
        raise _not_available(request, first_line(error)) from None


def _cached_file(described: Any) -> Path | None:
    """The file of a model's weights in the hub's or torch's cache; None if there is none."""
    import torch
    from huggingface_hub import try_to_load_from_cache

    if described.hf_hub_id:
        for file in filter(None, (described.hf_hub_filename, *_HUB_FILES)):
            found = try_to_load_from_cache(described.hf_hub_id, file)
            if isinstance(found, str):
                return Path(found)
    if described.url:
        found_file = Path(torch.hub.get_dir()) / "checkpoints" / described.url.rsplit("/", 1)[-1]
        return found_file if found_file.is_file() else None
    return None


def _address_of(described: Any) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{described.hf_hub_id}" if described.hf_hub_id else str(described.url)


def _not_available(request: BackboneRequest, reason: str) -> InputError:
    here = on_this_machine()
    has = f"the hub's cache has {', '.join(here)}, and " if here else ""
    others = " or ".join([*here[:1], BUNDLED_BACKBONE])
    return InputError(
        f"weights of {request.name!r} are not available ({reason}); {has}{BUNDLED_BACKBONE} is bundled; use --weights "
        f"PATH, or --backbone {others}"
    )


def on_this_machine() -> list[str]:
    """timm's models whose weights are in the hub's cache, as `--backbone` takes them."""
    from huggingface_hub import constants

    folders = Path(constants.HF_HUB_CACHE).glob("models--timm--*")
    names = [folder.name.removeprefix("models--timm--") for folder in folders if any(folder.glob("snapshots/*/*"))]
    return [f"timm:{name}" for name in sorted(names)]


def _with_file(request: BackboneRequest, path: Path) -> nn.Module:
    """The network with the weights of a file.

    Raises:
        InputError: if there is no such file, or the weights do not fit.
    """
    network = _made(request)
    state = state_from_file(path, network.state_dict().keys())
    reason = problem_of_fit(network, _of_network(network, state))
    if reason is not None and (converted := _converted(network, state)) is not None:
        reason = problem_of_fit(network, _of_network(network, converted))
    if reason is not None:
        raise not_fitting(request.name, str(path), reason)
    return network


def _of_network(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state dict without those of its classifier."""
    heads = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    return {name: value for name, value in state.items() if not name.startswith(tuple(f"{head}." for head in heads))}


def _converted(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """The state dict of another package's or size's network as timm's, where timm knows how; else None."""
    module = sys.modules[type(network).__module__]
    for name in ("checkpoint_filter_fn", "_filter_fn"):
        if (convert := getattr(module, name, None)) is not None:
            with suppress(Exception):  # it was made for the files that it knows, and fails on others in many ways
                return dict(convert(dict(state), network))
    return None


def _transform_of(network: nn.Module, request: BackboneRequest) -> Transform:
    """The transform that timm evaluates a network with.

    Raises:
        InputError: if its input is no RGB square.
    """
    from timm.data import resolve_model_data_config

    found = resolve_model_data_config(network)
    channels, height, width = found["input_size"]
    if channels != 3 or height != width:
        raise InputError(
            f"backbone {request.name!r} takes input of {channels} channels and {height} x {width} pixels; choose a "
            "model for RGB squares"
        )
    interpolation = found["interpolation"]
    transform = Transform(
        resize=math.floor(height / found["crop_pct"]),
        image_size=height,
        interpolation=interpolation if interpolation in INTERPOLATIONS else "bicubic",
        squash=found["crop_mode"] == "squash",
        mean=tuple(found["mean"]),
        std=tuple(found["std"]),
    )
    return transform.of_size(request.image_size)
