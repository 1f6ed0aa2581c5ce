"""Decoding: an image in any form becomes 8-bit RGB, for the backbone and the galleries."""

from __future__ import annotations

import hashlib
import stat
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audit.images.arrays import array_bytes, bit_depth, eight_bits, is_array, picture_of_array
from audit.images.formats import check_opened, open_image
from audit.images.pillow_warnings import begin

if TYPE_CHECKING:
    from PIL.Image import Image

KEY_BYTES = 16  # length of the digest that identifies an image's content
MOST_BYTES = 1 << 30  # size of the largest file that is read, so that a mistaken path does not fill the memory
DECODING = 3  # version of `decode_image`, raised when it decodes a file differently, so that no cache mixes versions


class _TiffTag(IntEnum):
    BITS_PER_SAMPLE = 258
    MAX_SAMPLE_VALUE = 281


_SWAPPED = {"16B": "16L", "16L": "16B"}


def image_bytes(image: str | Path | bytes | Image | Any) -> bytes:
    """The bytes that identify an image's content: the file's own, or the pixels' with their size and mode or type.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is empty, larger than MOST_BYTES or no regular file (reading a pipe would never end), or what
            was given is no picture.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | Path):
        return _file_bytes(Path(image))
    if is_array(image):
        return array_bytes(image)
    if not hasattr(image, "tobytes") or not hasattr(image, "mode"):
        kind = type(image).__name__
        raise ValueError(f"a picture is a path, encoded bytes, a Pillow image, an array or a tensor, not a {kind}")
    check_opened(image)
    return repr((image.size, image.mode)).encode() + image.tobytes()


def _file_bytes(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file")
    if not status.st_size:
        raise ValueError("the file is empty")
    if status.st_size > MOST_BYTES:
        raise ValueError(f"the file has {status.st_size} bytes, and the limit is {MOST_BYTES}")
    return path.read_bytes()


def content_key(content: bytes) -> bytes:
    """16 bytes that identify an image's content (BLAKE2b)."""
    return hashlib.blake2b(content, digest_size=KEY_BYTES).digest()


def decode_image(image: str | Path | bytes | Image | Any) -> Image:
    """The image as 8-bit RGB: upright (EXIF), its first frame, transparency on white, more than 8 bits scaled down.

    A picture of 16 bits a channel is scaled by the bits that it uses: TIFF's MaxSampleValue or BitsPerSample where it
    gives them, else the smallest depth that holds its largest value (`audit.images.arrays.bit_depth`).

    Args:
        image: a path, encoded bytes, a Pillow image, an array or a tensor.

    Raises:
        OSError, ValueError, SyntaxError: if the image cannot be decoded (Pillow's own errors), is of a format that the
            audit does not open, has more than MOST_PIXELS (found before decoding), or has pixels of no known
            scale.
    """
    import PIL.Image
    import PIL.ImageOps

    begin()
    if isinstance(image, PIL.Image.Image):
        check_opened(image)
        opened = image
    elif is_array(image):
        opened = picture_of_array(image)
    else:
        content = image_bytes(image)
        opened = open_image(content)
        opened = _of_fewer_bits(opened, content)
    bits = _stated_bits(opened)
    opened = PIL.ImageOps.exif_transpose(opened)
    if opened.mode == "F" or opened.mode.startswith("I"):
        opened = PIL.Image.fromarray(_grey(np.asarray(opened), opened.mode, bits))
    if opened.has_transparency_data:
        # What lies under transparent pixels is arbitrary, and never meant to be seen.
        visible = opened.convert("RGBA")
        opened = PIL.Image.new("RGBA", visible.size, "white")
        opened.alpha_composite(visible)
    return opened.convert("RGB")


def _grey(pixels: np.ndarray, mode: str, bits: int | None) -> np.ndarray:
    """Greys of 16 or 32 bits, or floating point, as uint8; converting them as they are would clip them to white."""
    low, high = float(pixels.min()), float(pixels.max())
    if mode == "F":
        scale = 255.0 if 0 <= low <= high <= 1 else 1.0 if 0 <= low <= high <= 255 else None
        if scale is not None:
            return (pixels.astype(np.float64) * scale).astype(np.uint8)
    elif mode != "I" or (low >= 0 and 255 < high <= 65535):
        used = bit_depth(high)
        return eight_bits(pixels, max(used, bits) if bits is not None else used)
    raise ValueError(f"32-bit pixels from {low:g} to {high:g} have no known scale; save the image with 8 or 16 bits")


def _stated_bits(image: Image) -> int | None:
    """The number of bits that the greys of a TIFF use, from its tags; None if it is not given, or if it is all 16."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return None
    for tag, bits_of in (
        (_TiffTag.MAX_SAMPLE_VALUE, lambda value: int(value).bit_length()),
        (_TiffTag.BITS_PER_SAMPLE, int),
    ):
        value = tags.get(tag)
        value = max(value) if isinstance(value, tuple) and value else value
        if isinstance(value, int) and 8 < (bits := bits_of(value)) < 16:
            return bits
    return None


def _of_fewer_bits(image: Image, content: bytes) -> Image:
    """A colour picture of 16 bits a channel that uses fewer, scaled by those; any other picture as it is.

    Pillow keeps the higher 8 of 16 bits, in which a picture of 12 bits is nearly black. The lower 8 are read by
    decoding the file once more as if its bytes were in the other order.
    """
    import PIL.Image

    layout = _sixteen_bits(image)
    if layout is None or "transparency" in image.info:
        return image
    high = np.asarray(image)  # decodes it
    colours = high[..., :3]
    if int(colours.max()) >= 1 << 6:  # more than 14 bits are used
        return image
    again = open_image(content)
    order = layout.rpartition(";")[2]
    _set_layout(again, layout.replace(order, _SWAPPED[order]))
    low = np.asarray(again)
    whole = (high.astype(np.uint16) << 8) | low
    pixels = eight_bits(whole, bit_depth(int(whole[..., :3].max())))
    if pixels.shape[2] == 4:
        pixels[..., 3] = high[..., 3]  # opaque is 65535, whatever the colours' depth
    scaled = PIL.Image.fromarray(pixels)
    if orientation := image.getexif().get(0x0112):
        scaled.getexif()[0x0112] = orientation
    return scaled


def _sixteen_bits(image: Image) -> str | None:
    """Pillow's name of the file's pixel layout if it is RGB or RGBA with 16 bits per channel; else None."""
    for tile in getattr(image, "tile", ()):
        parts = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        for part in parts:
            if isinstance(part, str) and part in ("RGB;16B", "RGB;16L", "RGBA;16B", "RGBA;16L"):
                return part
    return None


def _set_layout(image: Any, layout: str) -> None:
    current = _sixteen_bits(image)
    image.tile = [
        tile._replace(args=tuple(layout if part == current else part for part in tile[3]))
        if isinstance(tile[3], tuple)
        else tile._replace(args=layout)
        for tile in image.tile
    ]
