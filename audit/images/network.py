"""A backbone that is a torch network: how images pass through it, and whether weights fit it."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from audit.errors import InputError, first_line
from audit.images.decoding import DECODING
from audit.images.transform import Normalise, Transform

_COUNTS = "num_batches_tracked"
"""How often batch normalisation was trained; no embedding depends on it."""


@dataclass(frozen=True)
class Made:
    """Gives a network that is there already, as `make_module` of a `NetworkBackbone`."""

    module: nn.Module

    def __call__(self) -> nn.Module:
        """The network."""
        return self.module


@dataclass(frozen=True)
class NetworkBackbone:
    """A frozen network without its classification layer; a `Backbone`.

    Attributes:
        name, weights, key, features, device, precision: as in `Backbone`.
        transform: from an image to the network's input.
        make_module: makes `module`, once it is needed.
        is_plain: whether its layers run in the order in which they are listed, as a ResNet's do, so that batch
            normalisation may be folded into the convolution that is listed before it.
    """

    name: str
    weights: str
    key: str
    transform: Transform
    features: int
    device: torch.device
    make_module: Callable[[], nn.Module]
    precision: str
    is_plain: bool = False

    @property
    def image_size(self) -> int:
        """Side of the square that the network sees, in pixels."""
        return self.transform.image_size

    @property
    def resize(self) -> int:
        """Length that the shorter side of an image is resized to, in pixels."""
        return self.transform.resize

    @property
    def transform_key(self) -> str:
        """Identifies everything that an embedding depends on, apart from the image."""
        name = self.name.replace(":", "-").replace("/", "-")
        return f"{name}-{self.key[:16]}-{self.transform.key}-{self.precision}-{DECODING}"

    def prepared(self, image: Image.Image) -> np.ndarray:
        """uint8 (image_size, image_size, 3), RGB."""
        return self.transform.pixels(image)

    @cached_property
    def module(self) -> nn.Module:
        """The network in eval mode, from normalised pixels (b, 3, size, size) to (b, d)."""
        with torch.inference_mode(False):  # `embed` may be the first to need it, and derivatives the next
            return self.make_module()

    @cached_property
    def _network(self) -> nn.Module:
        """The network that `embed` runs, in its precision; batch normalisation is folded in where the order is known.

        A plain network on the CPU gets oneDNN's own layouts of the weights once, rather than in every pass.
        """
        network = copy.deepcopy(self.module)
        if self.is_plain:
            network = _fold_batch_norms(network)
        network = network.to(getattr(torch, self.precision))
        if self._by_onednn:
            with warnings.catch_warnings():  # of torch about its own use of TorchScript there
                warnings.simplefilter("ignore", FutureWarning)
                from torch.utils.mkldnn import to_mkldnn

                return to_mkldnn(network)
        return network.to(memory_format=self._layout)

    @cached_property
    def _normalise(self) -> Normalise:
        return Normalise(self.transform).to(self.device)

    @property
    def _layout(self) -> torch.memory_format:
        """The faster layout: on an H100, float32 is a fifth faster channels first, TF32 and bfloat16 channels last."""
        by_channel = self.device.type == "cuda" and self.precision == "float32"
        return torch.contiguous_format if by_channel else torch.channels_last

    @property
    def _by_onednn(self) -> bool:
        on_cpu = self.device.type == "cpu" and torch.backends.mkldnn.is_available()
        return self.is_plain and on_cpu and self.precision == "float32"

    def __getstate__(self) -> dict[str, object]:
        """For other processes, which make their own `_network`: its weights cannot be pickled."""
        made = ("module", "_network", "_normalise")
        return {name: value for name, value in self.__dict__.items() if name not in made}

    @torch.inference_mode()
    def embed(self, prepared: Tensor) -> Tensor:
        """Features of a batch of images.

        Args:
            prepared: uint8 (b, image_size, image_size, 3), RGB.

        Returns:
            float32 (b, d), on the CPU.
        """
        if self.device.type == "cpu":
            # The activations of more than 64 images do not stay in the processor's caches.
            return torch.cat([self._pass(part) for part in prepared.split(64)])
        # cuDNN would multiply in TF32, ten bits of float32's 23, and sum in an order that differs from run to run.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return self._pass(prepared).cpu()

    def _pass(self, pixels: Tensor) -> Tensor:
        x = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
        x = self._normalise(x).to(getattr(torch, self.precision))
        if self._by_onednn:
            return self._network(x.contiguous().to_mkldnn()).to_dense()
        return self._network(x.contiguous(memory_format=self._layout)).float()


def _fold_batch_norms(module: nn.Module) -> nn.Module:
    """Put every batch normalisation into the convolution before it, in place; the same function up to rounding."""
    children: list[tuple[str, nn.Module | None]] = [*module.named_children(), ("", None)]
    for (name, child), (next_name, following) in pairwise(children):
        assert child is not None
        if isinstance(child, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(child, following))
            setattr(module, next_name, nn.Identity())
        else:
            _fold_batch_norms(child)
    return module


def problem_of_fit(network: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """Load weights into a network; why they do not fit it, in a few words, or None where they do.

    Args:
        network: gets the weights.
        state: every tensor of the network by its name, and none besides.
    """
    body: OrderedDict[str, Tensor] = OrderedDict((name, tensor.float()) for name, tensor in state.items())
    if (metadata := getattr(state, "_metadata", None)) is not None:  # versions of layers, which torchvision asks for
        body._metadata = metadata  # type: ignore[attr-defined]
    try:
        missing, unexpected = network.load_state_dict(body, strict=False)
    except (RuntimeError, ValueError) as error:
        lines = str(error).splitlines()
        return lines[1].strip() if len(lines) > 1 else lines[0]
    missing = [name for name in missing if not name.endswith(_COUNTS)]
    if missing or unexpected:
        counts = f"{len(missing)} tensors missing, {len(unexpected)} unexpected"
        return f"{counts}, e.g. {(missing + unexpected)[0]!r}"
    return None


def not_fitting(name: str, source: str, reason: str) -> InputError:
    """The error about weights that do not fit a network."""
    return InputError(f"weights {source!r} do not fit {name} ({reason}); give the matching --backbone")


def digest_of(state: Mapping[str, Tensor]) -> str:
    """Digest of a network's weights, whatever the order of their names."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(name for name in state if not name.endswith(_COUNTS)):
        digest.update(name.encode())
        digest.update(state[name].detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.inference_mode()
def features_of(network: nn.Module, name: str, image_size: int) -> int:
    """The length of a network's embeddings, by one pass of an empty image.

    Raises:
        InputError: if the network takes no images of this size, or its output is no vector for each image.
    """
    try:
        found = network(torch.zeros(1, 3, image_size, image_size))
    except Exception as error:  # networks check their input in many ways
        raise InputError(
            f"backbone {name!r} cannot take images of {image_size} px ({first_line(error)}); leave out --image-size, "
            "or give another"
        ) from None
    if not isinstance(found, Tensor) or found.ndim != 2:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(f"backbone {name!r} gives {shape} for an image, not a vector; choose a classifier")
    return int(found.shape[1])
