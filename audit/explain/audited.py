"""The head and the images of a saved audit; the images are embedded again as the audit embedded them."""

from __future__ import annotations

import pandas as pd
import torch

from audit.data.samples import Samples
from audit.errors import InputError
from audit.head.fit import Head, head_from_arrays
from audit.images.embedding import Embedded, embed
from audit.images.load_backbone import load_backbone
from audit.progress import ProgressCallback, silent
from audit.result import AuditResult


def audited_head(result: AuditResult, device: torch.device | None = None) -> Head:
    """The audited head, on a device; None for the CPU.

    Raises:
        InputError: if the audit has no head.
    """
    heads = result.summary.heads
    if heads is None:
        raise InputError("this audit rests on given predictions alone and trained no head; there is no influence")
    described = heads.audited
    return head_from_arrays(result.heads[result.audited_head], described.l2, described.trainer, device)


class AuditedImages:
    """Embeds samples of an audit: from the cache, or through the backbone where the cache lacks them.

    Args:
        result: an audit of image files.

    Attributes:
        backbone: the one of the audit.
        config: the audit's settings.

    Raises:
        InputError: if the audit was made of embeddings, or its backbone cannot be loaded any more.
    """

    def __init__(self, result: AuditResult) -> None:
        described = result.summary.backbone
        if result.summary.heads is None:
            raise InputError("this audit rests on given predictions alone and trained no head; there is no influence")
        if described is None or not result.heads:
            raise InputError("this audit was made from embeddings; only audits of images can be explained")
        self.config = result.summary.config
        # What 'auto' took is known by now, and need not be looked for on the network again.
        weights = described.weights if self.config.weights == "auto" else self.config.weights
        self.backbone = load_backbone(
            described.name, weights, described.image_size, self.config.device, precision=described.precision
        )
        if self.backbone.key != described.key:
            raise InputError("the backbone's weights are no longer those of the audit; run the audit again")

    def embed(self, rows: pd.DataFrame, progress: ProgressCallback = silent) -> Embedded:
        """Embeddings of samples, rows of `AuditResult.scores`, of which some images may be gone."""
        samples = Samples(list(rows.index), [path or "" for path in rows["filepath"]], list(rows["label"]))
        return embed(samples, self.backbone, self.config.batch_size, self.config.cache_dir, progress)
