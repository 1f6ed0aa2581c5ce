"""The FiftyOne plugin: declares operators and the panel; what they do is in the installed package.

FiftyOne executes this file at nearly every request, so it only names what there is.
"""

from __future__ import annotations

from typing import Any

try:
    from integrations.fiftyone.app_server import shorten_pauses
except ModuleNotFoundError as error:
    raise ImportError(
        f"the plugin needs the package influence-audit ({error}); install it into the Python that runs FiftyOne"
    ) from None

from .findings_panel import FindingsPanel
from .operators import OPERATORS
from .panel import LabelAuditPanel


def register(plugin: Any) -> None:
    """Called by FiftyOne with the context to register on."""
    for operator in OPERATORS:
        plugin.register(operator)
    plugin.register(LabelAuditPanel)
    plugin.register(FindingsPanel)
    shorten_pauses()
