"""How people and other tools reach the audit: the command, FiftyOne, and the sources of labelled images.

Importing it makes the backbones of FiftyOne's model zoo available (`zoo:NAME`); FiftyOne is imported when one is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.images.backbone_kinds import register
from audit.images.backbone_request import BackboneRequest

if TYPE_CHECKING:
    from audit.images.backbone import Backbone


def _load_from_zoo(request: BackboneRequest) -> Backbone:
    from integrations.fiftyone.zoo_backbones import load

    return load(request)


register("zoo", _load_from_zoo)
