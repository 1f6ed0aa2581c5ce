"""An audit of real images with injected mislabels and heat maps, for the tests that explain samples."""

from __future__ import annotations

from pathlib import Path

from audit import AuditConfig, AuditResult, audit_images
from audit.data.samples import Samples

COUNT = 90


def digit_files(folder: Path) -> Samples:
    """The digits 3 and 8 as files in the folder."""
    from integrations.sources.digits import digits

    images = list(digits(["3", "8"]))[:COUNT]
    paths = [folder / f"{number}.png" for number in range(COUNT)]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image.image)
    return Samples([f"s{number}" for number in range(COUNT)], paths, [image.label for image in images])


def audited(samples: Samples, cache: Path) -> AuditResult:
    """The audit of these files, with twelve of them flagged; the cache folder is named in its summary."""
    config = AuditConfig(
        weights="bundled",
        device="cpu",
        l2=1e-1,
        inject=0.2,
        max_review=12,
        heat_maps=3,
        validation_size=0.2,
        train_size=0.7,
        cache_dir=str(cache),
    )
    return audit_images(samples, config)
