"""Which pictures are opened, and how greys, arrays and tensors become 8-bit RGB."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image

import audit
from audit.data.samples import Samples
from audit.images.decoding import decode_image, image_bytes
from audit.images.formats import FORMATS, HEIF, open_image, opened_formats
from audit.images.pillow_warnings import listening
from audit.images.thumbnails import thumbnails
from integrations.sources.digits import digits

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF"
BINARY_POSTSCRIPT = b"\xc5\xd0\xd3\xc6" + struct.pack("<6I", 32, len(POSTSCRIPT), 0, 0, 0, 0) + b"\0\0\0\0" + POSTSCRIPT


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def brightest(image: Any) -> int:
    return int(np.asarray(decode_image(image)).max())


# --- formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [POSTSCRIPT, BINARY_POSTSCRIPT])
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.tif", "photo.eps"])
def test_postscript_under_any_name_starts_no_other_program(
    content: bytes, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / name).write_bytes(content)
    for image in (tmp_path / name, str(tmp_path / name), content, Image.open(tmp_path / name)):
        with pytest.raises(ValueError, match="a PostScript file, which the audit does not open; save it as PNG"):
            decode_image(image)
    assert thumbnails(Samples(["a"], [tmp_path / name], ["x"]), ["a"]).empty
    with pytest.raises(ValueError, match="PostScript"):
        image_bytes(Image.open(tmp_path / name))
    assert not (tmp_path / "started").exists()


def test_other_formats_are_refused_by_name() -> None:
    for content, name in {
        b"%PDF-1.7\n": "PDF",
        b"8BPS\0\1": "Photoshop",
        encoded(Image.new("RGB", (8, 8)), "ICO"): "ICO",
        b"\xd7\xcd\xc6\x9a": "WMF",
    }.items():
        with pytest.raises(ValueError, match=f"a {name} file, which the audit does not open"):
            open_image(content)
    for content in (b"text", b"\0" * 100, encoded(Image.new("RGB", (8, 8)), "TGA")):
        with pytest.raises(ValueError, match="not an image that Pillow can read"):
            open_image(content)


def test_every_listed_format_is_opened() -> None:
    picture = Image.new("RGB", (40, 30), (200, 30, 40))
    kinds = [kind for kind in opened_formats() if kind != "DIB"]
    assert set(FORMATS) - set(opened_formats()) <= {"AVIF"}  # depends on how Pillow was built
    for kind in kinds:
        decoded = decode_image(encoded(picture, kind))
        assert decoded.size == (40, 30)
        assert abs(np.asarray(decoded)[15, 20].astype(int) - (200, 30, 40)).max() < 12, kind


def test_heic_is_read_where_pillow_heif_is_installed_and_named_where_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pillow_heif.register_heif_opener()
    (tmp_path / "phone.heic").write_bytes(encoded(Image.new("RGB", (64, 48), (20, 60, 210)), HEIF, quality=90))
    decoded = decode_image(tmp_path / "phone.heic")
    assert decoded.size == (64, 48)
    assert abs(np.asarray(decoded)[20, 20].astype(int) - (20, 60, 210)).max() < 12
    without = tuple(kind for kind in opened_formats() if kind != HEIF)
    monkeypatch.setattr("audit.images.formats.opened_formats", lambda: without)
    with pytest.raises(ValueError, match=r"a HEIC picture, .*pip install 'influence-audit\[heic\]'"):
        decode_image(tmp_path / "phone.heic")


# --- more than 8 bits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("largest", "shown"), [(200, 200), (1000, 250), (4000, 250), (16000, 250), (64000, 250)])
def test_greys_are_scaled_by_the_bits_that_they_use(kind: str, largest: int, shown: int) -> None:
    grey = np.linspace(0, largest, 64).astype(np.uint16).reshape(8, 8)
    assert brightest(encoded(Image.fromarray(grey), kind)) == shown
    assert brightest(grey) == shown


def test_a_tiff_that_states_its_largest_value_is_scaled_by_it() -> None:
    grey = Image.fromarray(np.full((8, 8), 1000, dtype=np.uint16))
    assert brightest(encoded(grey, "TIFF", tiffinfo={281: 4095})) == 62  # 1000 of 4095, of 255
    assert brightest(encoded(grey, "TIFF", tiffinfo={281: 65535})) == 250  # says no more than the file's depth does


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4)])
def test_colours_of_twelve_bits_in_sixteen_are_not_black(colour: int, channels: int) -> None:
    values = [4095, 2048, 16, 65535][:channels]
    rows = b"".join(b"\0" + struct.pack(f">{channels}H", *values) * 4 for _ in range(4))
    assert np.asarray(decode_image(png((4, 4), 16, colour, rows)))[0, 0].tolist() == [255, 128, 1]


# --- arrays and tensors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "shown"),
    [
        (np.full((6, 5), 200, np.uint8), 200),
        (np.full((6, 5, 1), 200, np.uint8), 200),
        (np.full((6, 5, 3), 200, np.uint8), 200),
        (np.full((6, 5, 4), 255, np.uint8), 255),
        (np.full((6, 5), 200, np.int64), 200),
        (np.full((6, 5), 4000, np.uint16), 250),
        (np.full((6, 5), True), 255),
        (np.full((6, 5, 3), 0.5), 128),
        (np.full((6, 5), 0.5, np.float16), 128),
        (np.full((6, 5), 77.0), 77),
        (np.full((5, 6, 3), 200, np.uint8).transpose(1, 0, 2), 200),
        (torch.full((3, 6, 5), 0.5), 128),
        (torch.full((6, 5), 0.5, dtype=torch.bfloat16, requires_grad=True), 128),
        (torch.full((6, 5, 3), 200, dtype=torch.uint8), 200),
    ],
)
def test_pixels_are_read_as_they_are(pixels: Any, shown: int) -> None:
    decoded = decode_image(pixels)
    assert (decoded.mode, decoded.size) == ("RGB", (5, 6))
    assert np.asarray(decoded).max() == shown
    assert image_bytes(pixels) == image_bytes(pixels.copy() if isinstance(pixels, np.ndarray) else pixels.clone())


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros(64), r"an array of shape \(64,\) is no picture"),
        (np.zeros((2, 6, 5, 3)), "is no picture"),
        (np.zeros((6, 5, 2)), "is no picture"),
        (np.zeros((3, 6, 5)), r"channels first; give it .transpose\(1, 2, 0\)"),
        (np.zeros((0, 5)), "has no pixels"),
        (np.full((6, 5), np.nan), "from nan to nan"),
        (np.full((6, 5), -1), "from -1 to -1"),
        (np.full((6, 5), 70_000), "up to 70000"),
        (np.full((6, 5), 300.0), "up to 300"),
        (np.zeros((6, 5), complex), "of type complex128"),
        (np.zeros((6, 5), object), "of type object"),
        ([[0, 1], [1, 0]], "not a list"),
        (None, "not a NoneType"),
        (7, "not a int"),
    ],
)
def test_what_is_no_picture_is_refused_in_our_own_words(pixels: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        decode_image(pixels)
    assert "\n" not in str(error.value)


def test_an_audit_of_arrays_is_that_of_the_same_pictures(tmp_path: Path) -> None:
    pictures = [np.asarray(Image.open(io.BytesIO(each.image))) for each in digits(["0", "1"])][:40]  # type: ignore[arg-type]
    labels = [str(each.label) for each in digits(["0", "1"])][:40]
    config = audit.AuditConfig(weights="bundled", device="cpu", cache_dir=str(tmp_path))
    ids = [str(row) for row in range(40)]
    of_arrays = audit.audit_images(Samples(ids, np.stack(pictures), labels), config=config)  # type: ignore[arg-type]
    of_files = audit.audit_images(Samples(ids, [encoded(Image.fromarray(p), "PNG") for p in pictures], labels), config)
    np.testing.assert_array_equal(of_arrays.scores["suspicion"], of_files.scores["suspicion"])
    assert of_arrays.scores["filepath"].isna().all()
    assert len(of_arrays.thumbnails) == len(of_files.thumbnails) > 0


# --- what Pillow warns of -------------------------------------------------------------------------------------------


def test_damage_that_pillow_reads_over_is_noted_with_the_pictures_name(tmp_path: Path) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 20
    (tmp_path / "broken exif.jpg").write_bytes(encoded(Image.new("RGB", (40, 40)), "JPEG", exif=exif))
    listed = list(digits(["0", "1"]))[:40]
    images = [tmp_path / "broken exif.jpg", *(each.image for each in listed)]
    samples = Samples([str(row) for row in range(41)], images, ["0", *(each.label for each in listed)])  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none gets out
        result = audit.audit_images(
            samples, audit.AuditConfig(weights="bundled", device="cpu", cache_dir=str(tmp_path / "cache"))
        )
    (note,) = [note for note in result.summary.notes if "damaged" in note]
    assert note.startswith(f"1 image is damaged and was read as far as possible: {tmp_path / 'broken exif.jpg'} (Corr")


def test_listening_leaves_other_warnings_and_the_filters_as_they_were() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        before, shown = list(warnings.filters), warnings.showwarning
        with listening(), listening():
            warnings.warn("of somebody else", stacklevel=1)
        assert list(warnings.filters) == before
        assert warnings.showwarning is shown
    assert [str(each.message) for each in heard] == ["of somebody else"]
