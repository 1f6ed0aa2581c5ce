"""What looking at pictures costs beside embedding them, as `run --dry-run` measures it on some of them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from audit.config import AuditConfig
from audit.data.samples import Samples
from audit.errors import InputError
from audit.findings.registry import NONE
from audit.pipeline import audit_images

LEAST_IMAGES = 16
STAGES = ("findings", "thumbnails")
"""The stages that read pictures again: the time of both grows with the number of samples."""


def seconds_for_pictures(images: Sequence[Any], config: AuditConfig, samples: int) -> float:
    """Seconds for findings and thumbnails, by an audit of some images with labels that say nothing.

    Args:
        images: some of the source's images.
        config: the settings of the audit.
        samples: that would be audited.
    """
    if config.findings == NONE or len(images) < LEAST_IMAGES:
        return 0.0
    labels = ["first" if row % 2 else "second" for row in range(len(images))]
    tried = Samples([str(row) for row in range(len(images))], list(images), labels)
    with tempfile.TemporaryDirectory() as folder:
        alike = config.replace(
            cache_dir=folder,
            use_splits=False,
            strict=False,
            heat_maps=0,
            inject=0.0,
            scope="head",
            engine="exact",
            predictions_in_sample=False,
        )
        try:
            timings = audit_images(tried, alike).summary.timings
        except InputError:  # none of these can be read: the audit will say so
            return 0.0
    return sum(timings.get(stage, 0.0) for stage in STAGES) * samples / len(images)
