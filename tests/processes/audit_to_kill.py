"""An audit that tests run in processes of their own, to kill them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

import audit.images.embedding
from audit import AuditConfig, Samples, audit_images
from audit.checkpoint import checkpoint_for
from audit.progress import Step
from integrations.sources.digits import digits

IMAGES = 90


def audit_digits(cache: str, folder: str) -> None:
    """Audit some digits as the command does: result saved, then no checkpoint any more. What is said goes to a file."""
    torch.set_num_threads(1)
    audit.images.embedding.SHARD_ROWS = 32  # so that this small audit has several
    images = list(digits(["3", "8"]))[:IMAGES]
    samples = Samples(
        [f"id-{row}" for row in range(IMAGES)],
        [image.image for image in images],  # type: ignore[misc]
        [image.label for image in images],
    )
    config = AuditConfig(weights="bundled", image_size=32, device="cpu", cache_dir=cache, batch_size=16, inject=0.1)
    said = Path(folder).with_suffix(".said")

    with said.open("a") as log:

        def tell(step: Step) -> None:
            log.write(json.dumps([step.stage, step.note]) + "\n")
            log.flush()

        checkpoint = checkpoint_for(config)
        audit_images(samples, config, tell, checkpoint).save(folder)
        checkpoint.discard()
