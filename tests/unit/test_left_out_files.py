"""Pictures that the audit does not read are named with suffix, count, class and remedy; what is no picture is not."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from audit.errors import InputError
from integrations.sources.file_kinds import readable_suffixes
from integrations.sources.folder import image_folder
from integrations.sources.left_out import refuse_left_out


def encoded(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind)
    return buffer.getvalue()


def pets(root: Path, **files: bytes) -> Path:
    """Classes cat and dog with a picture each, and more files of the class cat."""
    for place in ("cat/1.png", "dog/1.png"):
        (root / place).parent.mkdir(parents=True)
        (root / place).write_bytes(encoded())
    for name, content in files.items():
        (root / "cat" / name).write_bytes(content)
    return root


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine without pillow-heif."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    readable_suffixes.cache_clear()
    yield
    monkeypatch.undo()
    readable_suffixes.cache_clear()


@pytest.mark.usefixtures("without_heif")
def test_a_class_of_pictures_that_are_not_read_is_named_with_the_remedy(tmp_path: Path) -> None:
    root = pets(tmp_path)
    (root / "phone").mkdir()
    for number in range(3):
        (root / "phone" / f"IMG_{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    images = image_folder(root)
    assert {image.label for image in images} == {"cat", "dog"}
    assert images.notes == (
        "3 .heic files left out (class 'phone': 3): the audit does not read them; pip install 'influence-audit[heic]' "
        "to read them",
        "not audited, as none of its pictures can be read: class 'phone'",
    )
    with pytest.raises(InputError, match=r"3 \.heic files left out .*'phone'.*IMG_0.HEIC\), or run without --strict"):
        refuse_left_out(images.description, images.left_out)


@pytest.mark.usefixtures("without_heif")
def test_a_folder_of_nothing_else_says_so(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(InputError, match=r"2 \.heic files .*'cat': 1, 'dog': 1.*influence-audit\[heic\]"):
        image_folder(tmp_path)


def test_heic_is_a_picture_where_pillow_heif_is_installed() -> None:
    import pillow_heif  # noqa: F401 - the extra `dev` brings it

    readable_suffixes.cache_clear()
    assert {".heic", ".heif", ".avif"} <= readable_suffixes()


@pytest.mark.parametrize(
    ("name", "content", "kind", "remedy"),
    [
        ("raw.CR2", b"II*\0", ".cr2 file", "convert"),
        ("raw.nef", b"x", ".nef file", "convert"),
        ("raw.dng", b"x", ".dng file", "convert"),
        ("logo.svg", b"<svg/>", ".svg file", "convert"),
        ("layers.psd", b"8BPS", ".psd file", "convert"),
        ("new.jxl", b"x", ".jxl file", "convert"),
        ("burst.heics", b"x", ".heics file", "convert"),
        ("photo.jpeg_large", b"x", ".jpeg_large file", "rename"),
        ("photo.jpg.1", b"x", ".1 file", "rename"),
        ("photo.png~", b"x", ".png~ file", "rename"),
        ("IMG_1", b"x", "file without a suffix", "rename"),
        ("untitled", encoded("JPEG"), "file without a suffix", "rename"),
        ("picture.dump", encoded("WEBP"), ".dump file", "rename"),
    ],
)
def test_what_could_be_a_picture_is_left_out_by_name(
    tmp_path: Path, name: str, content: bytes, kind: str, remedy: str
) -> None:
    images = image_folder(pets(tmp_path, **{name: content}))
    (left_out,) = images.left_out
    assert (left_out.source_id, left_out.label, left_out.kind) == (f"cat/{name}", "cat", kind)
    assert left_out.remedy.startswith(remedy)
    assert len(images) == 2


@pytest.mark.parametrize(
    "name",
    ["1.txt", "1.json", "1.jpg.json", "1.xml", "1.csv", "Thumbs.db", ".DS_Store", "desktop.ini", "._1.png", "README"],
)
def test_side_files_are_no_pictures(tmp_path: Path, name: str) -> None:
    assert image_folder(pets(tmp_path, **{name: b"nothing to see"})).left_out == ()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(pets(tmp_path) / "cat" / "pipe")
    assert len(image_folder(tmp_path)) == 2


def test_a_class_whose_name_is_not_text_is_named_and_counted(tmp_path: Path) -> None:
    folder = os.fsencode(pets(tmp_path)) + b"/caf\xe9"
    os.mkdir(folder)
    for number in range(3):
        Path(os.fsdecode(folder + b"/%d.png" % number)).write_bytes(encoded())
    images = image_folder(tmp_path)
    assert {image.label for image in images} == {"cat", "dog"}
    assert r"3 files left out (class 'caf\xe9': 3): paths must be valid UTF-8 text" in images.notes[0]
    assert images.left_out[0].source_id == r"caf\xe9/0.png"
    assert all(note.isascii() for note in images.notes)


def test_keeping_some_classes_leaves_the_others_out_of_account(tmp_path: Path) -> None:
    root = pets(tmp_path, **{"raw.cr2": b"x"})
    assert image_folder(root, ["dog"]).left_out == ()
    assert len(image_folder(root, ["cat"]).left_out) == 1
