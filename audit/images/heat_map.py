"""Heat maps: where in an image its influence comes from, by the perturbation influence of its pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from audit.data.samples import Samples
from audit.errors import InputError
from audit.head.fit import Head, head_from_arrays, one_hot
from audit.images.backbone import Backbone
from audit.images.decoding import decode_image
from audit.images.pillow_warnings import listening
from audit.influence.pixels import differentiable, influence_of_pixels, pixels_to_embedding
from audit.progress import ProgressCallback, Step, silent
from audit.result import AuditResult

OVERLAY_SIDE = 160  # longest side of an overlay, in pixels


def heat_map(
    backbone: Backbone, head: Head, solution: Tensor, image: Image.Image, label: int, squares: int = 16
) -> np.ndarray:
    """How much each place of an image contributes to the image's influence on the mean validation loss.

    The map is the norm over the colour channels of ∂ influence / ∂ pixel (`influence_of_pixels`), slightly blurred and
    divided by its largest value.

    Args:
        backbone: embeds images for the head.
        head: trained on these embeddings.
        solution: S (C, D) with H S = the gradient of the mean validation loss.
        image: RGB.
        label: its class number in training.
        squares: the map is averaged over squares of the side divided by this, since derivatives by single pixels are
            noise.

    Returns:
        float32 (height, width) in [0, 1] for the whole image, at the scale at which the backbone sees it; 0 outside of
        the backbone's crop.
    """
    transform = differentiable(backbone).transform
    pixels = torch.from_numpy(backbone.prepared(image).copy()).to(backbone.device)
    target = one_hot(torch.tensor([label], device=backbone.device), len(head.weight), head.weight.dtype)
    derivative = influence_of_pixels(
        pixels_to_embedding(backbone), head, solution, pixels.permute(2, 0, 1)[None] / 255, target
    )
    size = max(1, backbone.image_size // squares) | 1
    strength = derivative.norm(dim=0)[None, None]
    blurred = functional.avg_pool2d(strength, size, stride=1, padding=size // 2, count_include_pad=False)[0, 0]
    values = (blurred / blurred.max().clamp_min(torch.finfo(blurred.dtype).tiny)).float().cpu().numpy()
    side = transform.image_size
    width, height = transform.scaled_size(image.size)
    left, top = (width - side) // 2, (height - side) // 2
    whole = np.zeros((height, width), dtype=np.float32)
    whole[top : top + side, left : left + side] = values
    return whole


def drawn_heat_maps(
    result: AuditResult, samples: Samples, backbone: Backbone, count: int, progress: ProgressCallback = silent
) -> pd.Series:
    """Overlays for the most suspicious flagged training samples, by id.

    Args:
        result: of an audit with engine 'exact'.
        samples: those that it audited.
        backbone: that embedded them.
        count: how many, at most.
        progress: told after each.
    """
    maps = HeatMaps(result, backbone)
    flagged = result.flagged
    chosen = list(flagged.index[flagged["split"] == "train"][:count])
    rows = {sample_id: row for row, sample_id in enumerate(samples.ids)}
    drawn = {}
    for number, sample_id in enumerate(chosen, 1):
        with listening():
            image = decode_image(samples.images[rows[sample_id]])
        drawn[sample_id] = overlay(image, maps.of(image, flagged.at[sample_id, "label"]))
        progress(Step("heat maps", number, len(chosen), "images"))
    return pd.Series(drawn, dtype=object)


class HeatMaps:
    """Makes heat maps of images with the head of an audit.

    Args:
        result: the audit.
        backbone: that its embeddings are from.

    Raises:
        InputError: if the result has no head, or no solution for the validation gradient: its engine was not 'exact'.
    """

    def __init__(self, result: AuditResult, backbone: Backbone) -> None:
        heads = result.summary.heads
        if heads is None:
            raise InputError("heat maps need a head, and this audit rests on given predictions alone; audit the images")
        arrays, described = result.heads[result.audited_head], heads.audited
        if "solution" not in arrays:
            raise InputError(
                "heat maps need engine 'exact', and this audit used another; run it again with --engine exact"
            )
        self._head = head_from_arrays(arrays, described.l2, described.trainer, backbone.device)
        self._solution = torch.from_numpy(arrays["solution"]).to(backbone.device)
        self._classes = {label: number for number, label in enumerate(result.summary.classes)}
        self._backbone = backbone

    def of(self, image: Image.Image, label: Any) -> np.ndarray:
        """`heat_map` of an image under a class's name."""
        return heat_map(self._backbone, self._head, self._solution, image, self._classes[label])


def overlay(image: Image.Image, heat: np.ndarray, opacity: float = 0.75) -> bytes:
    """The image with its map in orange over a paler version of itself, as WebP.

    The colour's opacity grows with the square of the map, so that the strongest places stand out.

    Args:
        image: of any size.
        heat: (height, width) in [0, 1].
        opacity: where the map is 1.
    """
    picture = image.convert("RGB")
    scale = OVERLAY_SIDE / max(picture.size)
    picture = picture.resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.LANCZOS
    )
    grey = Image.blend(picture.convert("L").convert("RGB"), picture, 0.3)
    mask = Image.fromarray((heat**2 * opacity * 255).astype(np.uint8)).resize(picture.size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    Image.composite(Image.new("RGB", picture.size, (255, 64, 0)), grey, mask).save(buffer, "WEBP", quality=82)
    return buffer.getvalue()
