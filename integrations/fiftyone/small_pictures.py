"""Small pictures for the panel, inside its data: a page of thumbnails needs no request for each of them."""

from __future__ import annotations

import base64
import io
import os
from functools import lru_cache

SIDE = 96  # pixels of the longer side
KEPT = 4000  # in memory: some 10 MB


def small_picture(filepath: str, side: int = SIDE) -> str | None:
    """A picture as a `data:` address, at most `side` pixels wide and high; None where it cannot be read."""
    try:
        return _made(filepath, os.stat(filepath).st_mtime_ns, side)
    except (OSError, ValueError, SyntaxError):  # Pillow's own errors, and those of `decode_image`
        return None


@lru_cache(maxsize=KEPT)
def _made(filepath: str, changed: int, side: int) -> str:
    """The picture of a file that was last changed at a time."""
    from PIL import Image

    from audit.images.decoding import decode_image, image_bytes
    from audit.images.formats import open_image

    opened = open_image(image_bytes(filepath))
    if opened.format == "JPEG":
        opened.draft("RGB", (2 * side, 2 * side))  # a large photograph is decoded at a fraction of its size
        picture = decode_image(opened)
    else:
        picture = decode_image(filepath)
    picture.thumbnail((side, side), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
