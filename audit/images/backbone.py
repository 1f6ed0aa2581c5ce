"""The frozen ImageNet ResNet: where its weights come from, and how it turns images into features."""

from __future__ import annotations

import copy
import difflib
import hashlib
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision import models

from audit.errors import InputError
from audit.images.decoding import DECODING
from audit.images.weights_file import state_from_file

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1], by RGB channel: the inputs that torchvision's weights were trained on."""
BUNDLED_BACKBONE = "resnet18"
BUNDLED_FILE = "resnet18-tinyimagenet.safetensors"


@dataclass(frozen=True)
class Backbone:
    """A frozen ResNet without its classification layer.

    Attributes:
        name: torchvision's name of the architecture.
        weights: where the weights came from: 'imagenet', 'bundled' or a path.
        key: digest of the weights, for the embedding cache.
        resize: length that the shorter side is resized to, in pixels.
        image_size: side of the centre crop that the network sees, in pixels.
        features: d, the length of an embedding.
        device: where it runs.
        module: the network, in eval mode.
        precision: 'float32' or 'bfloat16', what images pass through it in.
    """

    name: str
    weights: str
    key: str
    resize: int
    image_size: int
    features: int
    device: torch.device
    module: nn.Module
    precision: str

    @property
    def transform_key(self) -> str:
        """Identifies everything that an embedding depends on, apart from the image."""
        return f"{self.name}-{self.key[:16]}-{self.resize}-{self.image_size}-{self.precision}-{DECODING}"

    @cached_property
    def _network(self) -> nn.Module:
        """The network that `embed` runs: batch normalisation folded into the convolutions, in its precision.

        On the CPU, oneDNN's own layouts of the weights are made once, rather than in every pass.
        """
        network = _fold_batch_norms(copy.deepcopy(self.module)).to(getattr(torch, self.precision))
        if self._by_onednn:
            with warnings.catch_warnings():  # of torch about its own use of TorchScript there
                warnings.simplefilter("ignore", FutureWarning)
                from torch.utils.mkldnn import to_mkldnn

                return to_mkldnn(network)
        return network.to(memory_format=self._layout)

    @property
    def _layout(self) -> torch.memory_format:
        """The faster layout: on an H100, float32 is a fifth faster channels first, TF32 and bfloat16 channels last."""
        by_channel = self.device.type == "cuda" and self.precision == "float32"
        return torch.contiguous_format if by_channel else torch.channels_last

    @property
    def _by_onednn(self) -> bool:
        on_cpu = self.device.type == "cpu" and torch.backends.mkldnn.is_available()
        return on_cpu and self.precision == "float32"

    def __getstate__(self) -> dict[str, object]:
        """For other processes, which make their own `_network`: its weights cannot be pickled."""
        return {name: value for name, value in self.__dict__.items() if name != "_network"}

    @torch.inference_mode()
    def embed(self, pixels: Tensor) -> Tensor:
        """Features of a batch of images.

        Args:
            pixels: uint8 (b, image_size, image_size, 3), RGB.

        Returns:
            float32 (b, d), on the CPU.
        """
        if self.device.type == "cpu":
            # The activations of more than 64 images do not stay in the processor's caches.
            return torch.cat([self._pass(part) for part in pixels.split(64)])
        # cuDNN would multiply in TF32, ten bits of float32's 23, and sum in an order that differs from run to run.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return self._pass(pixels).cpu()

    def _pass(self, pixels: Tensor) -> Tensor:
        x = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
        mean, std = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (MEAN, STD))
        x = ((x - mean) / std).to(getattr(torch, self.precision))
        if self._by_onednn:
            return self._network(x.contiguous().to_mkldnn()).to_dense()
        return self._network(x.contiguous(memory_format=self._layout)).float()


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


def backbone_names() -> list[str]:
    """The torchvision classification ResNets."""
    return [name for name in models.list_models(module=models) if name.startswith(("resne", "wide_resnet"))]


def load_backbone(
    name: str = BUNDLED_BACKBONE,
    weights: str = "auto",
    image_size: int | None = None,
    device: str = "auto",
    note: Callable[[str], None] = lambda text: None,
    precision: str = "float32",
) -> Backbone:
    """Build a frozen backbone.

    Args:
        name: a torchvision classification ResNet.
        weights: 'auto', 'imagenet', 'bundled', or the path of a .safetensors or .pth state dict.
        image_size: side of the network's input in pixels; None for the weights' own.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        note: is told in one line when 'auto' falls back on the bundled weights.
        precision: 'float32' or 'bfloat16'.

    Raises:
        InputError: if the backbone is unknown, or its weights are not available or do not fit it.
    """
    if name not in backbone_names():
        close = difflib.get_close_matches(name, backbone_names(), 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(f"backbone {name!r} is unknown; {hint}it takes {', '.join(backbone_names())}")
    chosen_device = choose_device(device)
    state, source = _state_of(name, weights, note)
    module, features = _build(name, state, source)
    if image_size is None:
        image_size = 64 if source == "bundled" else 224
    # torchvision evaluates its ImageNet weights on a centre crop of 7/8; the bundled ones have seen whole images.
    resize = image_size if source == "bundled" else round(image_size * 256 / 224)
    return Backbone(
        name=name,
        weights=source,
        key=_digest(state),
        resize=resize,
        image_size=image_size,
        features=features,
        device=chosen_device,
        module=module.to(chosen_device, memory_format=torch.channels_last),  # type: ignore[call-overload]
        precision=precision,
    )


def _state_of(name: str, weights: str, note: Callable[[str], None]) -> tuple[dict[str, Tensor], str]:
    """The state dict of a backbone, and where it is from: 'imagenet', 'bundled' or a path."""
    source = weights
    if weights in ("auto", "imagenet"):
        state, problem = _imagenet_state(name)
        source = "imagenet"
        if state is None and weights == "imagenet":
            raise InputError(f"ImageNet weights of {name} are not available ({problem}); use --weights bundled or PATH")
        if state is None:
            if name != BUNDLED_BACKBONE:
                raise InputError(
                    f"ImageNet weights of {name} are not available ({problem}), and only {BUNDLED_BACKBONE} is "
                    f"bundled; use --backbone {BUNDLED_BACKBONE} or --weights PATH"
                )
            source = "bundled"
            note(f"ImageNet weights are not available ({problem}): using the bundled {BUNDLED_BACKBONE} instead")
    if source == "bundled":
        if name != BUNDLED_BACKBONE:
            raise InputError(f"the bundled weights are a {BUNDLED_BACKBONE}, not a {name}; use --weights auto or PATH")
        state = _bundled_state()
    elif source != "imagenet":
        state = state_from_file(Path(source))
    assert state is not None
    return state, source


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


def _build(name: str, state: dict[str, Tensor], source: str) -> tuple[nn.Module, int]:
    network = models.get_model(name, weights=None)
    features = network.fc.in_features
    network.fc = nn.Identity()
    body = {key: value.float() for key, value in state.items() if not key.startswith("fc.")}
    try:
        missing, unexpected = network.load_state_dict(body, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise InputError(f"weights {source!r} do not fit {name} ({reason}); give the matching --backbone") from None
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise InputError(
            f"weights {source!r} do not fit {name} ({len(missing)} tensors missing, {len(unexpected)} unexpected, "
            f"e.g. {(missing + unexpected)[0]!r}); give the matching --backbone"
        )
    return network.eval().requires_grad_(False), features


def _bundled_state() -> dict[str, Tensor]:
    from safetensors.torch import load_file

    with as_file(files("audit") / "weights" / BUNDLED_FILE) as path:
        return load_file(path)


def _imagenet_state(name: str) -> tuple[dict[str, Tensor] | None, str]:
    """torchvision's pretrained weights from its cache or the network, or why they are not available."""
    entry = models.get_model_weights(name).DEFAULT
    cached = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rsplit("/", 1)[-1]
    if not cached.is_file() and not _answers(entry.url):
        return None, "not in torchvision's cache, and the network does not answer"
    try:
        return torch.hub.load_state_dict_from_url(entry.url, map_location="cpu", check_hash=True, weights_only=True), ""
    except Exception as error:
        return None, str(error).splitlines()[0] if str(error) else type(error).__name__


def _answers(url: str, seconds: float = 4.0) -> bool:
    """Whether a URL answers within this time; in a thread, because looking up a name cannot be timed out."""
    import urllib.request

    answered = threading.Event()

    request = urllib.request.Request(url, method="HEAD")  # noqa: S310  # torchvision's own https addresses

    def ask() -> None:
        try:
            with urllib.request.urlopen(request, timeout=seconds):  # noqa: S310
                answered.set()
        except OSError:
            pass
        finally:
            finished.set()

    finished = threading.Event()
    threading.Thread(target=ask, daemon=True).start()
    finished.wait(seconds)
    return answered.is_set()


def _digest(state: dict[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(k for k in state if not k.startswith("fc.") and not k.endswith("num_batches_tracked")):
        digest.update(key.encode())
        digest.update(state[key].contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
