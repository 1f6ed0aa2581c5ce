"""Pictures that are arrays or tensors, and greys of more than 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

CHANNELS = (1, 3, 4)  # of a picture: grey, RGB, RGBA

_SHAPES = "an array is (height, width), (height, width, 1), (height, width, 3) or (height, width, 4)"


def is_array(image: object) -> bool:
    """Whether a picture is a NumPy array or a torch tensor."""
    return isinstance(image, np.ndarray) or _is_tensor(image)


def plain_array(image: Any) -> np.ndarray:
    """A picture as a NumPy array (height, width) or (height, width, channels).

    Args:
        image: a NumPy array of that shape, or a torch tensor of that shape or (channels, height, width).

    Raises:
        ValueError: if the shape is another.
    """
    if _is_tensor(image):
        image = image.detach().cpu()
        pixels = (image.float() if image.is_floating_point() else image).numpy()
        if pixels.ndim == 3 and pixels.shape[0] in CHANNELS and pixels.shape[2] not in CHANNELS:
            pixels = pixels.transpose(1, 2, 0)
    else:
        pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[2] not in CHANNELS and pixels.shape[0] in CHANNELS:
        raise ValueError(f"an array of shape {pixels.shape} has its channels first; give it .transpose(1, 2, 0)")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in CHANNELS):
        raise ValueError(f"an array of shape {pixels.shape} is no picture; {_SHAPES}")
    if not pixels.size:
        raise ValueError(f"an array of shape {pixels.shape} has no pixels; {_SHAPES}")
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def array_bytes(image: Any) -> bytes:
    """The bytes that identify a picture that is an array: its shape, its type and its pixels."""
    pixels = plain_array(image)
    if pixels.dtype.hasobject:
        raise ValueError(f"an array of type {pixels.dtype} is no picture; {_TYPES}")
    return repr((pixels.shape, pixels.dtype.str)).encode() + np.ascontiguousarray(pixels).tobytes()


def picture_of_array(image: Any) -> Image:
    """A Pillow image of mode L, RGB or RGBA from an array or a tensor.

    Pixels of type uint8 are taken as they are, and bool as black and white. Other whole numbers are scaled by
    `bit_depth`, except that values up to 255 are taken as they are. Floating point is from 0 to 1, or else from 0 to
    255.

    Raises:
        ValueError: if the shape or the type is no picture's, or a value is out of these ranges.
    """
    import PIL.Image

    return PIL.Image.fromarray(_as_uint8(plain_array(image)))


def bit_depth(largest: float) -> int:
    """How many bits a camera gave each pixel: the smallest of 8, 10, 12, 14 and 16 that hold the largest value.

    Files of 16 bits rarely say how many of them are used. A picture of 12 bits that is read as one of 16 is nearly
    black. A dark picture that does use 16 bits is made brighter by this rule, up to 256 times.
    """
    return next(bits for bits in (8, 10, 12, 14, 16) if largest < 1 << bits)


def eight_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Whole numbers from 0 to 2**bits - 1 as uint8: the highest 8 bits."""
    return (pixels.astype(np.uint32) >> (bits - 8)).clip(0, 255).astype(np.uint8)


def _as_uint8(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype.kind not in "iuf":
        raise ValueError(f"an array of type {pixels.dtype} is no picture; {_TYPES}")
    low, high = float(pixels.min()), float(pixels.max())
    if not 0 <= low <= high:
        raise ValueError(f"an array with pixels from {low:g} to {high:g} is no picture; {_TYPES}")
    if pixels.dtype.kind == "f":
        if high > 255:
            raise ValueError(f"an array of floating point up to {high:g} is no picture; {_TYPES}")
        return (pixels * (255.0 if high <= 1 else 1.0)).round().astype(np.uint8)
    if high > 65535:
        raise ValueError(f"an array with pixels up to {high:g} is no picture; {_TYPES}")
    return eight_bits(pixels, bit_depth(high))


_TYPES = "its values are bool, whole numbers from 0 to 255 or to 65535, or floating point from 0 to 1"


def _is_tensor(image: object) -> bool:
    """Without importing torch for those who have no tensors."""
    return type(image).__module__.split(".")[0] == "torch" and hasattr(image, "detach")
