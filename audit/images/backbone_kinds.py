"""The kinds of backbones by the prefix of their names: 'resnet18' is torchvision's, 'timm:resnet18.a1_in1k' is timm's.

Importing this module is cheap: what loads a backbone is imported when one is asked for. A package above this one
registers kinds of its own, as `integrations` does with 'zoo:'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from audit.errors import InputError
from audit.extras import LITE_BACKBONE
from audit.images.backbone_request import BUNDLED_BACKBONE, KINDS_IN_WORDS, BackboneRequest

if TYPE_CHECKING:
    from audit.images.backbone import Backbone


Loader = Callable[[BackboneRequest], "Backbone"]


def _of_torchvision(request: BackboneRequest) -> Backbone:
    if request.name == BUNDLED_BACKBONE:
        from audit.images.bundled_backbone import load_bundled

        if (bundled := load_bundled(request)) is not None:
            return bundled
    from audit.images.torchvision_backbones import load

    return load(request)


def _of_timm(request: BackboneRequest) -> Backbone:
    from audit.images.timm_backbones import load

    return load(request)


def _of_packages(request: BackboneRequest) -> Backbone:
    from audit.images.lite_backbones import load

    return load(request)


_LOADERS: dict[str, Loader] = {"": _of_torchvision, "timm": _of_timm}
_BY_NAME: dict[str, Loader] = {LITE_BACKBONE: _of_packages}


def register(kind: str, loader: Loader) -> None:
    """Add a kind of backbone.

    Args:
        kind: the prefix of its names, without the colon.
        loader: makes a backbone that was asked for; raises an InputError where it cannot.
    """
    _LOADERS[kind] = loader


def kind_of(name: str) -> str:
    """The prefix of a backbone's name; '' for torchvision's."""
    return name.partition(":")[0] if ":" in name else ""


def loader_of(name: str) -> Loader:
    """What loads a backbone of this name.

    Raises:
        InputError: if there is no such kind.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    kind = kind_of(name)
    if kind not in _LOADERS:
        way_out = "; `import integrations` makes it available" if kind == "zoo" else ""
        raise InputError(f"backbone {name!r}: kind {kind!r} is unknown; it takes {KINDS_IN_WORDS}{way_out}")
    return _LOADERS[kind]
