"""Models of FiftyOne's model zoo as backbones, such as CLIP and DINOv2: FiftyOne runs them."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from audit.errors import InputError, first_line
from audit.images.backbone_request import BackboneRequest
from audit.images.decoding import DECODING
from audit.images.download import answers
from audit.images.network import digest_of
from audit.images.transform import Transform
from integrations.fiftyone.database import connect

PRETRAINED = "pretrained"
USUAL_SIZE = 224
"""Side of the images (pixels) for models that take any size, as DINOv2 does."""


@dataclass(frozen=True)
class ZooBackbone:
    """A model of FiftyOne's zoo; a `Backbone`.

    Attributes:
        name, key, features, device, precision: as in `Backbone`.
        model: FiftyOne's model, which prepares images and embeds them.
        crop: what every image is cropped to first; None where the model brings all images to one size itself.
        prepares: whether an image can be prepared apart from others; else FiftyOne prepares the whole batch.
        image_size: side of the square that the model sees, in pixels.
    """

    name: str
    key: str
    features: int
    device: torch.device
    precision: str
    model: Any
    crop: Transform | None
    prepares: bool
    image_size: int

    @property
    def weights(self) -> str:
        """Those of the zoo."""
        return PRETRAINED

    @cached_property
    def transform_key(self) -> str:
        """Identifies everything that an embedding depends on, apart from the image."""
        crop = "own" if self.crop is None else self.crop.key
        name = self.name.replace(":", "-").replace("/", "-")
        return f"{name}-{self.key[:16]}-{crop}-{self.image_size}-{self.precision}-{DECODING}"

    def prepared(self, image: Image.Image) -> np.ndarray:
        """float32 (3, image_size, image_size), as the model takes it; else uint8 (image_size, image_size, 3)."""
        if self.prepares:
            return _prepared(self.model, self.crop, image)
        assert self.crop is not None
        return self.crop.pixels(image)

    @torch.inference_mode()
    def embed(self, prepared: Tensor) -> Tensor:
        """Features float32 (b, d), on the CPU, of a batch of prepared images."""
        return torch.cat([self._pass(part) for part in prepared.split(64)])

    def _pass(self, prepared: Tensor) -> Tensor:
        self.model.preprocess = not self.prepares
        batch = prepared.to(self.device) if self.prepares else list(prepared.numpy())
        found = np.asarray(self.model.embed_all(batch), dtype=np.float32)
        return torch.from_numpy(found.reshape(len(found), -1))


def load(request: BackboneRequest) -> ZooBackbone:
    """A model of FiftyOne's zoo that embeds images.

    Raises:
        InputError: if there is no such model, it embeds no images, or it cannot be downloaded.
    """
    if request.weights not in ("auto", PRETRAINED):
        raise InputError(f"backbone {request.name!r} brings its own weights; leave out --weights {request.weights}")
    if request.precision != "float32":
        raise InputError(f"backbone {request.name!r} runs in float32; leave out --precision {request.precision}")
    connect()
    with _quiet():
        model = _loaded(request)
    crop, size, prepares = _sizes(model, request)
    backbone = ZooBackbone(
        name=request.name,
        key=digest_of(model._model.state_dict()),
        features=0,
        device=request.device,
        precision=request.precision,
        model=model,
        crop=crop,
        prepares=prepares,
        image_size=size,
    )
    try:
        empty = torch.from_numpy(backbone.prepared(Image.new("RGB", (size, size))).copy())
        return replace(backbone, features=int(backbone.embed(empty[None]).shape[1]))
    except Exception as error:  # each model checks its input in its own way
        raise InputError(
            f"backbone {request.name!r} cannot embed images of {size} px ({first_line(error)}); choose another model"
        ) from None


def _loaded(request: BackboneRequest) -> Any:
    """FiftyOne's model.

    Raises:
        InputError: as `load`.
    """
    import fiftyone.zoo as foz
    from fiftyone.utils.torch import TorchImageModel

    name = request.bare_name
    embedding = foz.list_zoo_models(tags="embeddings")
    if name not in foz.list_zoo_models():
        close = difflib.get_close_matches(name, embedding, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(
            f"backbone {request.name!r}: FiftyOne's model zoo has no model {name!r}; {hint}it has "
            "clip-vit-base32-torch, dinov2-vits14-torch and others (fiftyone zoo models list)"
        )
    described = foz.get_zoo_model(name)
    url = getattr(getattr(described.manager, "config", None), "url", None)
    if url and not foz.list_downloaded_zoo_models().get(name) and not answers(url):
        raise _not_available(request, "not in FiftyOne's model zoo folder, and the network does not answer")
    try:
        model = foz.load_zoo_model(name, device=str(request.device))
    except Exception as error:  # of a download, or a package that the model needs
        raise _not_available(request, first_line(error)) from None
    if not getattr(model, "has_embeddings", False) or not isinstance(model, TorchImageModel):
        raise InputError(
            f"backbone {request.name!r} embeds no images; choose a model with the tag 'embeddings' "
            "(fiftyone zoo models list --tags embeddings)"
        )
    model._model.eval()
    return model


def _not_available(request: BackboneRequest, reason: str) -> InputError:
    """The error about a model that cannot be loaded, with those that can."""
    import fiftyone.zoo as foz

    downloaded = foz.list_downloaded_zoo_models()
    here = [
        name for name, (_, model) in downloaded.items() if model.has_tag("embeddings") and name != request.bare_name
    ]
    listed = f"this machine has {', '.join(f'zoo:{name}' for name in here)}" if here else "this machine has none"
    return InputError(
        f"backbone {request.name!r} is not available ({reason}); of the zoo's models that embed images {listed}; use "
        "one that it has, --weights bundled with --backbone resnet18, or --embeddings FIELD"
    )


def _sizes(model: Any, request: BackboneRequest) -> tuple[Transform | None, int, bool]:
    """The `crop` of a model's backbone, its `image_size`, and whether it prepares images one by one.

    Raises:
        InputError: if the model has a size of its own, and another was asked for.
    """
    try:
        found = {_prepared(model, None, Image.new("RGB", size)).shape for size in ((300, 260), (260, 300), (512, 500))}
        prepares = True
    except Exception:  # of a model that prepares a batch as a whole
        found, prepares = set(), False
    if len(found) == 1:
        (shape,) = found
        own = int(shape[-1])
        if request.image_size not in (None, own):
            raise InputError(f"backbone {request.name!r} takes images of {own} px; leave out --image-size")
        return None, own, True
    size = request.image_size or USUAL_SIZE
    return Transform(resize=round(size * 256 / 224), image_size=size, interpolation="bicubic"), size, prepares


def _prepared(model: Any, crop: Transform | None, image: Image.Image) -> np.ndarray:
    """An image as the model takes it; float32 (3, height, width)."""
    pixels = np.asarray(image) if crop is None else crop.pixels(image)
    return np.asarray(model.transforms(pixels.copy()), dtype=np.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what FiftyOne and torch log while a model is loaded."""
    loggers = [logging.getLogger(name) for name in ("fiftyone", "eta", "timm")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
