"""The audit in FiftyOne: read samples from a dataset, write what was found back, and open the App on it.

`import integrations.fiftyone` is cheap: FiftyOne itself, which starts its database, is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from integrations.fiftyone.dataset import audit_dataset, write_result
    from integrations.fiftyone.read import read_samples

__all__ = ["audit_dataset", "read_samples", "write_result"]


def __getattr__(name: str) -> Any:
    """Import FiftyOne only when it is needed."""
    if name not in __all__:
        raise AttributeError(f"module 'integrations.fiftyone' has no attribute {name!r}")
    from integrations.fiftyone.database import require_fiftyone

    require_fiftyone()
    from integrations.fiftyone import dataset, read

    return getattr(read if name == "read_samples" else dataset, name)
