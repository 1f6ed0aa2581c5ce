"""What looking at pictures costs beside embedding them, as `run --dry-run` measures it on some of them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audit.config import AuditConfig
from audit.data.samples import Samples
from audit.errors import InputError
from audit.findings.registry import NONE
from audit.images.thumbnails import ThumbnailSettings
from audit.pipeline import audit_images

LEAST_IMAGES = 16


@dataclass(frozen=True)
class _Looked:
    """What looking at some pictures took: seconds of the stages that read pictures again, by name."""

    images: int
    timings: Mapping[str, float]

    def seconds(self, stage: str) -> float:
        return self.timings.get(stage, 0.0)


def seconds_for_pictures(images: Sequence[Any], config: AuditConfig, samples: int, shown: int) -> float:
    """Seconds for findings and thumbnails, by audits of some images with labels that say nothing.

    A first audit of few images tells what these stages take once, for imports too; two others of different size tell
    what each image adds.

    Args:
        images: some of the source's images.
        config: the settings of the audit.
        samples: that would be audited.
        shown: samples of which thumbnails would be made.
    """
    if len(images) < LEAST_IMAGES:
        return 0.0
    counts = (LEAST_IMAGES, max(LEAST_IMAGES, len(images) // 4), len(images))
    try:
        first, few, many = (_looked(images[:count], config) for count in counts)
    except InputError:  # none of these can be read: the audit will say so
        return 0.0
    total = 0.0
    for stage, number in (("findings", samples), ("thumbnails", shown)):
        added = max(0.0, many.seconds(stage) - few.seconds(stage)) / max(1, many.images - few.images)
        total += first.seconds(stage) + added * max(0, number - first.images)
    return total


def looks_at_pictures(images: Sequence[Any], config: AuditConfig) -> bool:
    """Whether `seconds_for_pictures` has the time for findings, so that nothing else is to have it."""
    return config.findings != NONE and len(images) >= LEAST_IMAGES


def most_shown(samples: int, classes: int) -> int:
    """How many samples about get a thumbnail: suspects, and the most helpful and harmful of each class."""
    settings = ThumbnailSettings
    of_classes = 2 * settings.per_class * min(classes, settings.classes)
    return min(samples, settings.suspects // 2 + of_classes)


def _looked(images: Sequence[Any], config: AuditConfig) -> _Looked:
    """An audit of these images by itself.

    Raises:
        InputError: if none of them can be read.
    """
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
        return _Looked(len(images), audit_images(tried, alike).summary.timings)
