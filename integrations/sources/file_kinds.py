"""Which files are pictures that an audit reads, which could be pictures, and which are none."""

from __future__ import annotations

import os
import re
from enum import Enum
from functools import cache

from audit.extras import EXTRAS, problem_of
from integrations.sources.labelled_images import IMAGE_SUFFIXES

HEIF_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
AVIF_SUFFIXES = frozenset((".avif",))
HEIC_REMEDY = f"{EXTRAS['heic'].remedy} to read them"
CONVERT_REMEDY = "convert them to JPEG or PNG"
RENAME_REMEDY = "rename them to the suffix of their format, such as .jpg"

_RAW = "3fr arw cr2 cr3 crw dcr dng erf fff gpr iiq k25 kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f"
_OTHER = (
    "ai apng avifs bpg cur dcm dcx dds dib dicom djvu emf eps exr fits flif heics hdr icns ico j2c j2k jls jng jpc jpf "
    "jpm jps jpx jxl jxr mng mpo nii pam pbm pcx pfm pic pict ppm ps psb psd qoi ras rgb rgba sgi svg svgz tga webp2 "
    "wdp wmf xbm xcf xpm"
)
UNREAD_PICTURE_SUFFIXES = frozenset(f".{name}" for name in f"{_RAW} {_OTHER}".split()) - IMAGE_SUFFIXES
"""How the names of picture files end that no audit reads."""

_NO_PICTURES = (
    "aux avi bak bin cfg conf csv dat db doc docx gz h5 hdf5 htm html idx index ini ipynb js json json5 jsonl lnk "
    "jsonld lock log m4v mat md mkv mov mp3 mp4 npy npz onnx parquet pb pdf pickle pkl pq prj pt pth py pyc rar rst "
    "safetensors sh sidecar sql sqlite tar tfrecord tgz toml torrent tsv txt url wav webm xls xlsx xml xmp yaml yml "
    "zip zst 7z tab psv ndjson xls ods"
)
_NO_PICTURE_SUFFIXES = frozenset(f".{name}" for name in _NO_PICTURES.split())
_CLUTTER = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
"""What file browsers leave in folders; like hidden files, nobody misses it."""

_CAMERA_NAME = re.compile(
    r"(img|dsc[nf]?|dscf|pxl|p|gopr|mvimg|image|img_e|photo|pic|picture|frame|scan)[ _-]?\d+", re.I
)
_SIGNATURES = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG",
    b"GIF8",
    b"BM",
    b"II*\0",  # TIFF, and most raw formats of cameras
    b"MM\0*",
    b"II+\0",
    b"8BPS",  # Photoshop
    b"\xff\x0a",  # JPEG XL
    b"\0\0\0\x0cJXL ",
    b"\0\0\0\x0cjP  ",  # JPEG 2000
    b"\xff\x4f\xff\x51",
    b"FUJIFILM",
    b"qoif",
    b"DDS ",
    b"\x76\x2f\x31\x01",  # OpenEXR
)
_BOXES = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif", b"avis", b"crx ")


class FileKind(Enum):
    """What a file's name, and where that says nothing its first bytes, make of it."""

    PICTURE = "picture"
    COULD_BE_PICTURE = "could be a picture"
    NO_PICTURE = "no picture"
    CLUTTER = "clutter"


@cache
def readable_suffixes() -> frozenset[str]:
    """How the names of pictures end that an audit reads on this machine, in lower case."""
    suffixes = IMAGE_SUFFIXES
    if not _pillow_reads_avif():
        suffixes = suffixes - AVIF_SUFFIXES
    return suffixes | HEIF_SUFFIXES if problem_of("heic") is None else suffixes


def kind_of_file(path: str) -> FileKind:
    """What a file is; only files with a name that tells nothing are opened.

    Args:
        path: of a file, or of a link that leads nowhere.
    """
    name = os.path.basename(path)
    suffix = suffix_of(name)
    if name.startswith(".") or name.lower() in _CLUTTER:
        return FileKind.CLUTTER
    if suffix in readable_suffixes():
        return FileKind.PICTURE
    if suffix in _NO_PICTURE_SUFFIXES:
        return FileKind.NO_PICTURE
    is_like_one = (
        suffix in UNREAD_PICTURE_SUFFIXES | HEIF_SUFFIXES | AVIF_SUFFIXES
        or _continues_picture_suffix(name)
        or _CAMERA_NAME.fullmatch(name)
        or _begins_like_picture(path)
    )
    return FileKind.COULD_BE_PICTURE if is_like_one else FileKind.NO_PICTURE


def suffix_of(name: str) -> str:
    """'.jpg' for 'a.JPG'; '' for a name without one."""
    return os.path.splitext(name)[1].lower()


def remedy_for(suffix: str) -> str:
    """What to do with pictures whose names end so, and which the audit leaves out."""
    if suffix in HEIF_SUFFIXES | AVIF_SUFFIXES:
        return HEIC_REMEDY
    return CONVERT_REMEDY if suffix in UNREAD_PICTURE_SUFFIXES else RENAME_REMEDY


def begins_like_picture(start: bytes) -> bool:
    """Whether the first 16 bytes of a file are those of a picture, in a format that is read or not."""
    return (
        start.startswith(_SIGNATURES)
        or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
        or (start[4:8] == b"ftyp" and start[8:12] in _BOXES)
    )


@cache
def _pillow_reads_avif() -> bool:
    from PIL import features

    return bool(features.check("avif"))


def _continues_picture_suffix(name: str) -> bool:
    """Whether a name has a picture's suffix with more behind it: photo.jpeg_large, photo.jpg.1, photo.png~."""
    known = readable_suffixes() | UNREAD_PICTURE_SUFFIXES | HEIF_SUFFIXES
    return any(f".{word.lower()}" in known for word in re.findall(r"\.([A-Za-z0-9]+)(?=[^A-Za-z0-9])", name))


def _begins_like_picture(path: str) -> bool:
    """Whether a regular file's first bytes are those of a picture; True where it cannot be read, as nobody knows."""
    if not os.path.isfile(path):  # opening a pipe would wait for ever
        return False
    try:
        with open(path, "rb") as file:
            return begins_like_picture(file.read(16))
    except OSError:
        return True


def is_picture_path(text: str) -> bool:
    """Whether a text reads like the path of a picture."""
    return suffix_of(text) in IMAGE_SUFFIXES | HEIF_SUFFIXES
