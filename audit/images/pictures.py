"""The images of an audit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audit.data.samples import Samples, decode_image
from audit.errors import InputError
from audit.images.backbone import Backbone
from audit.images.traits import TraitNotes


@dataclass(frozen=True)
class Pictures:
    """The images of an audit, and the backbone that embedded them.

    Attributes:
        samples: the audited samples.
        backbone: the frozen network; None if no network is used, because embeddings or predictions were given.
        computed: how many images went through it now.
        cached: how many embeddings came from the cache.
        notes: what was noted of the pictures while they were decoded; None if nobody wanted to know.
    """

    samples: Samples
    backbone: Backbone | None
    computed: int = 0
    cached: int = 0
    notes: TraitNotes | None = None

    def pixels(self, most_bytes: int = 4 * 2**30) -> Tensor:
        """float32 (n, 3, size, size) in [0, 1], on the backbone's device.

        Raises:
            InputError: if they take more than `most_bytes`.
        """
        assert self.backbone is not None  # scope 'model' is refused without one
        side = self.backbone.image_size
        size = 12 * len(self.samples) * side**2
        if size > most_bytes:
            raise InputError(
                f"scope 'model' holds all images in memory: {len(self.samples)} of {side} × {side} pixels take "
                f"{size / 2**30:.1f} GiB, more than {most_bytes / 2**30:.0f}; use fewer images, or scope 'head'"
            )
        backbone = self.backbone
        images = [backbone.prepared(decode_image(image)) for image in self.samples.images]
        pixels = torch.from_numpy(np.stack(images)).to(self.backbone.device)
        return pixels.permute(0, 3, 1, 2).float() / 255
