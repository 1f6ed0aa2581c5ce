"""Which picture formats the audit opens. This is the one place that lets Pillow open a file.

Pillow chooses a format by a file's content, whatever its name, and some formats start another program (PostScript
starts Ghostscript) or have decoders that are rarely tested. So only the formats listed here are opened.
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

from audit.extras import EXTRAS, problem_of

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 178_956_970  # Pillow's own limit: half a GiB once decoded

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
"""Pillow's names of the formats that need nothing but Pillow; AVIF depends on how Pillow was built."""

HEIF = "HEIF"
"""The format of .heic and .heif files, which is opened where `pillow-heif` is installed."""

HEIF_REMEDY = EXTRAS["heic"].remedy

_REFUSED = {
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "PDF",
    b"\xd7\xcd\xc6\x9a": "WMF",
    b"8BPS": "Photoshop",
    b"SIMPLE  =": "FITS",
    b"\x89HDF": "HDF5",
    b"GRIB": "GRIB",
    b"BUFR": "BUFR",
    b"<svg": "SVG",
    b"\x00\x00\x01\x00": "ICO",
    b"icns": "ICNS",
    b"DDS ": "DDS",
}
"""How files of other formats begin, so that a message can name the format."""

_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def open_image(content: bytes) -> Image:
    """An encoded picture, opened by Pillow but not decoded.

    Args:
        content: the bytes of the file.

    Raises:
        ValueError: if the picture is of a format that the audit does not open, has more than MOST_PIXELS pixels, or is
            no picture.
        OSError, SyntaxError: if it is damaged (Pillow's own errors).
    """
    import PIL.Image

    try:
        image = PIL.Image.open(io.BytesIO(content), formats=opened_formats())
    except PIL.Image.DecompressionBombError as error:
        raise ValueError(f"too large to decode: {error}") from None
    except PIL.UnidentifiedImageError:
        raise ValueError(_why_not(content)) from None
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ValueError(f"too large to decode: {width} × {height} pixels exceed the limit of {MOST_PIXELS}")
    return image


@cache
def opened_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are opened on this machine; `pillow-heif` is registered where installed."""
    import PIL.Image

    PIL.Image.init()
    if problem_of("heic") is None:
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return tuple(name for name in (*FORMATS, HEIF) if name in PIL.Image.OPEN)


def _why_not(content: bytes) -> str:
    """Why Pillow opened no picture, with the way out where there is one."""
    start = content[:1024].lstrip(b"\xef\xbb\xbf\r\n\t ")
    if content[4:8] == b"ftyp":
        brand = content[8:12]
        if brand in _HEIF_BRANDS and HEIF not in opened_formats():
            return f"a HEIC picture, which Pillow alone cannot read; {HEIF_REMEDY}"
        if brand in _AVIF_BRANDS and "AVIF" not in opened_formats():
            return "an AVIF picture, which this Pillow cannot read; install Pillow 11.3 or later"
    for signature, name in _REFUSED.items():
        if start.startswith(signature) or content.startswith(signature):
            return f"a {name} file, which the audit does not open; save it as PNG or JPEG"
    return "not an image that Pillow can read"


def check_opened(image: Image) -> None:
    """Refuse a Pillow image that its caller opened and whose decoding would start another program.

    Raises:
        ValueError: if the image is PostScript.
    """
    if getattr(image, "format", None) == "EPS":
        raise ValueError("a PostScript file, which the audit does not open; save it as PNG or JPEG")
