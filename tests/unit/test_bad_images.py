"""Files that are no images, are broken, or are images of an unusual kind: skipped with a reason, or decoded right."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import audit
from audit.data.left_out import note_of_unreadable
from audit.data.samples import Samples, decode_image
from audit.images.backbone import Backbone
from audit.images.embedding import embed
from audit.images.load_backbone import load_backbone
from integrations.sources.digits import digits
from tests.peak_memory import ROOT

RED, BLUE = (220, 30, 40), (20, 60, 210)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(weights="bundled", device="cpu")


def halves(size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image


def corners(image: Image.Image) -> tuple[tuple[int, ...], tuple[int, ...]]:
    pixels = np.asarray(image).astype(int)
    return tuple(pixels[1, 1]), tuple(pixels[-2, -2])


def assert_close(found: tuple[int, ...], wanted: tuple[int, ...], tolerance: int) -> None:
    assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= tolerance, (found, wanted)


# --- unusual, and decoded right -------------------------------------------------------------------------------------


def as_cmyk(path: Path) -> Path:
    halves().convert("CMYK").save(path.with_suffix(".jpg"), quality=95)
    return path.with_suffix(".jpg")


def as_palette(path: Path) -> Path:
    halves().quantize(4).save(path.with_suffix(".png"))
    return path.with_suffix(".png")


def as_gif(path: Path) -> Path:
    """Animated: the first frame counts."""
    halves().save(path.with_suffix(".gif"), save_all=True, append_images=[Image.new("RGB", (40, 20), "green")])
    return path.with_suffix(".gif")


def as_rotated(path: Path) -> Path:
    """As a camera on its side stores it: turned, with an EXIF note to turn it back."""
    exif = Image.Exif()
    exif[0x0112] = 6
    halves().transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".jpg"), quality=95, exif=exif)
    return path.with_suffix(".jpg")


def as_webp(path: Path) -> Path:
    halves().save(path.with_suffix(".webp"), lossless=True)
    return path.with_suffix(".webp")


@pytest.mark.parametrize("make", [as_cmyk, as_palette, as_gif, as_rotated, as_webp])
def test_an_unusual_image_has_the_pixels_that_a_viewer_shows(make: Callable[[Path], Path], tmp_path: Path) -> None:
    decoded = decode_image(make(tmp_path / "image"))
    assert (decoded.mode, decoded.size) == ("RGB", (40, 20))
    left, right = corners(decoded)
    assert_close(left, RED, 12)
    assert_close(right, BLUE, 12)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    grey = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (8, 1))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    decoded = np.asarray(decode_image(tmp_path / "grey.png"))
    np.testing.assert_array_equal(decoded, np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2))
    rows = b"".join(b"\x00" + struct.pack(">3H", 65535, 32768, 256) * 4 for _ in range(4))
    (tmp_path / "colour.png").write_bytes(png((4, 4), 16, 2, rows))
    assert corners(decode_image(tmp_path / "colour.png"))[0] == (255, 128, 1)


def test_what_has_no_known_scale_is_refused_rather_than_guessed(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(tmp_path / "unit.tif")
    assert corners(decode_image(tmp_path / "unit.tif"))[1] == (218, 218, 218)
    for name, pixels in {
        "metres.tif": np.linspace(-3, 4000, 64, dtype=np.float32),
        "nothing.tif": np.full(64, np.nan, dtype=np.float32),
        "counts.tif": np.arange(64, dtype=np.int32) * 100_000,
        "small.tif": np.arange(64, dtype=np.int32),
    }.items():
        Image.fromarray(pixels.reshape(8, 8)).save(tmp_path / name)
        with pytest.raises(ValueError, match="have no known scale"):
            decode_image(tmp_path / name)


def test_transparency_shows_white_and_not_what_lies_under_it(tmp_path: Path) -> None:
    image = halves().convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat([[255] * 20 + [0] * 20], 20, axis=0).astype(np.uint8)))
    image.save(tmp_path / "alpha.png")
    assert corners(decode_image(tmp_path / "alpha.png")) == (RED, (255, 255, 255))
    palette = halves().quantize(2)
    under = palette.getpixel((39, 19))
    palette.save(tmp_path / "palette.png", transparency=under)
    left, right = corners(decode_image(tmp_path / "palette.png"))
    assert right == (255, 255, 255)
    assert_close(left, RED, 3)


def test_tiny_images_and_long_strips_are_embedded_without_blowing_up(backbone: Backbone, tmp_path: Path) -> None:
    sizes = {"dot": (1, 1), "line": (1, 60_000), "strip": (60_000, 2)}
    for name, size in sizes.items():
        Image.new("RGB", size, RED).save(tmp_path / f"{name}.png")
    samples = Samples(list(sizes), [tmp_path / f"{name}.png" for name in sizes], ["a"] * 3)
    embedded = embed(samples, backbone, 2, tmp_path / "cache")
    assert embedded.rows.tolist() == [0, 1, 2]
    # All three are red all over, so that whatever their shape they look alike.
    np.testing.assert_allclose(embedded.values[1:], embedded.values[:1].repeat(2, 0), rtol=1e-3, atol=1e-3)


# --- unreadable, and skipped ----------------------------------------------------------------------------------------


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def bad_files(folder: Path) -> dict[Path, str]:
    """Files that cannot be audited, with the reason that is to be given."""
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = io.BytesIO()
    Image.fromarray(noise).save(whole, "JPEG")
    (folder / "truncated.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (folder / "zero.png").touch()
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "bomb.png").write_bytes(png((20_000, 20_000), 8, 2, b""))
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.jpg").symlink_to(folder / "nothing.jpg")
    (folder / "line\nbreak 🦊 <b>.jpg").write_text("nor this")
    return {
        folder / "truncated.jpg": "truncated",
        folder / "zero.png": "the file is empty",
        folder / "text.jpg": "not an image that Pillow can read",
        folder / "bomb.png": "too large to decode",
        folder / "loop.jpg": "symbolic links",
        folder / "folder.jpg": "is a folder",
        folder / "pipe.jpg": "is not a regular file",
        folder / "dangling.jpg": "file does not exist",
        folder / "missing.jpg": "file does not exist",
        folder / "line\nbreak 🦊 <b>.jpg": "not an image that Pillow can read",
    }


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Samples, dict[Path, str]]:
    """Eighty readable digits, one of them under a name with a line break and an emoji, among the bad files."""
    folder = tmp_path_factory.mktemp("images")
    bad = bad_files(folder / "bad")
    images = list(digits(["3", "8"]))[:80]
    paths = [folder / ("a\nb 🦊.png" if number == 0 else f"{number}.png") for number in range(80)]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image.image)  # type: ignore[arg-type]
    files = [*paths[:40], *bad, *paths[40:]]
    labels = [*(i.label for i in images[:40]), *["3"] * len(bad), *(i.label for i in images[40:])]
    return Samples([f"id-{row}" for row in range(len(files))], files, labels), bad


def test_unreadable_files_are_skipped_counted_and_listed_and_never_scored(
    mixed: tuple[Samples, dict[Path, str]], tmp_path: Path
) -> None:
    from reports.html import render_report

    samples, bad = mixed
    result = audit.audit_images(samples, audit.AuditConfig(weights="bundled", device="cpu"))
    counts = result.summary.counts
    assert (counts.samples, counts.unreadable) == (80, len(bad))
    reasons = result.skipped.set_index("filepath")["reason"].to_dict()
    assert set(reasons) == set(map(str, bad))
    for path, reason in bad.items():
        assert reason in reasons[str(path)]
        assert "\n" not in reasons[str(path)]
    assert not set(result.skipped["id"]) & set(result.scores.index)
    assert str(samples.images[0]) in set(result.scores["filepath"])
    assert any(f"{len(bad)} images cannot be read" in note for note in result.summary.notes)
    loaded = audit.AuditResult.load(result.save(tmp_path / "result"))
    assert loaded.skipped["filepath"].tolist() == result.skipped["filepath"].tolist()
    page = render_report(loaded)
    for path in bad:
        assert path.name.replace("<b>", "&lt;b&gt;") in page
    assert "too large to decode" in page


def test_strict_makes_them_fatal_in_one_line(mixed: tuple[Samples, dict[Path, str]]) -> None:
    samples, bad = mixed
    with pytest.raises(audit.InputError) as error:
        audit.audit_images(samples, audit.AuditConfig(weights="bundled", device="cpu", strict=True))
    message = str(error.value)
    assert f"{len(bad)} of 90 samples cannot be audited" in message
    assert "truncated.jpg" in message
    assert "without --strict" in message
    assert "\n" not in message


def test_a_bomb_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png((13_000, 13_000), 8, 2, b""))  # below Pillow's own limit
    (tmp_path / "larger.png").write_bytes(png((20_000, 20_000), 8, 2, b""))
    code = (
        "import sys, PIL.Image\n"
        "from tests.peak_memory import peak_mib\n"
        "from audit.data.samples import decode_image\n"
        "before = peak_mib()\n"
        "if sys.argv[2] == 'off': PIL.Image.MAX_IMAGE_PIXELS = None\n"
        "try: decode_image(sys.argv[1])\n"
        "except ValueError as error: print(error)\n"
        "print(peak_mib() - before < 49)"
    )
    for limit in ("on", "off"):  # a program around us may have switched Pillow's own limit off
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "larger.png"), limit],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        reason, small = done.stdout.splitlines()
        assert "too large to decode" in reason
        assert small == "True"


def test_a_file_without_permission_is_skipped(backbone: Backbone) -> None:
    """As another user where the tests run as root, who may read everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("secret.png", "open.png"):
            halves().save(folder / file)
        (folder / "secret.png").chmod(0)
        (folder / "cache").mkdir()
        for path in (folder, folder / "cache"):
            path.chmod(0o777)
        samples = Samples(["a", "b"], [folder / "secret.png", folder / "open.png"], ["x", "x"])
        user = os.geteuid()
        os.seteuid(user or 65534)
        try:
            embedded = embed(samples, backbone, 2, folder / "cache")
        finally:
            os.seteuid(user)
    assert embedded.skipped == [(0, "permission denied")]
    assert embedded.rows.tolist() == [1]


def test_a_picture_that_goes_after_it_was_embedded_costs_its_thumbnail_and_no_more(
    mixed: tuple[Samples, dict[Path, str]], tmp_path: Path
) -> None:
    from audit.images.thumbnails import thumbnails

    samples, _ = mixed
    (tmp_path / "there.png").write_bytes(Path(str(samples.images[0])).read_bytes())
    two = Samples(["there", "gone"], [tmp_path / "there.png", tmp_path / "gone.png"], ["3", "3"])
    assert thumbnails(two, ["gone", "there"]).index.tolist() == ["there"]


def test_an_image_that_repeats_is_embedded_once_and_alike(backbone: Backbone, tmp_path: Path) -> None:
    paths = []
    for number in range(7):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (32, 32), (number * 30, 10, 10)).save(paths[-1])
    order = [0, 1, 0, 2, 3, 1, 4, 5, 6, 0]
    samples = Samples([str(i) for i in range(10)], [paths[place] for place in order], ["a"] * 10)
    embedded = embed(samples, backbone, 3, tmp_path / "cache")
    assert embedded.computed == 7
    np.testing.assert_array_equal(embedded.values[[2, 9, 5]], embedded.values[[0, 0, 1]])
    assert (embedded.keys[2] == embedded.keys[0]).all()
    assert len({key.tobytes() for key in embedded.keys}) == 7


def test_a_class_none_of_whose_images_can_be_read_is_named() -> None:
    assert note_of_unreadable(["cat", "dog", "dog", "owl"], [0, 1]) == (
        "2 images cannot be read and are left out (listed in the result); of these classes no image can be read: "
        "'cat' (1)"
    )
    many = [str(number) for number in range(7)]
    assert note_of_unreadable(many, range(7)).endswith("'4' (1) and 2 more")
    assert note_of_unreadable(["cat", "cat"], [1]).endswith("(listed in the result)")
