"""Folders, parquet files and the Hugging Face hub become labelled images."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from PIL import Image

from audit.errors import InputError
from integrations.sources import ImportedSource, huggingface, resolve_source
from integrations.sources.digits import digits
from integrations.sources.folder import image_folder
from integrations.sources.huggingface import hub_dataset, parquet_files
from integrations.sources.labelled_images import LabelledImage
from tests.one_line import one_line
from tests.waiting import within


def jpeg(shade: int = 100) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(encoded, "JPEG")
    return encoded.getvalue()


def write(path: Path, content: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg() if content is None else content)
    return path


# --- digits ---------------------------------------------------------------------------------------------------------


def test_digits_need_no_network_and_are_large_enough_to_see() -> None:
    source = digits()
    first = next(iter(source))
    assert len(source) == len(list(source)) == 1797
    assert first.label == "0"
    assert isinstance(first.image, bytes)
    assert Image.open(io.BytesIO(first.image)).size == (64, 64)
    assert {image.label for image in digits(["3", "8"])} == {"3", "8"}


def test_importing_the_module_of_sources_imports_neither_fiftyone_nor_datasets() -> None:
    check = (
        "import sys, integrations.sources, integrations.fiftyone; "
        "print([m for m in ('fiftyone', 'datasets', 'torch', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_gives_its_classes_and_refers_to_images_where_they_are(tmp_path: Path) -> None:
    cat = write(tmp_path / "pets" / "cat" / "a.jpg")
    write(tmp_path / "pets" / "dog" / "deep" / "b.PNG")
    found = list(image_folder(tmp_path / "pets"))
    assert found[0] == LabelledImage("cat/a.jpg", cat, "cat", None)
    assert [(image.source_id, image.label) for image in found] == [("cat/a.jpg", "cat"), ("dog/deep/b.PNG", "dog")]


def test_split_folders_give_splits_and_a_class_called_train_stays_one(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write(tmp_path / "a" / split / "cat" / "1.jpg")
    assert [image.split for image in image_folder(tmp_path / "a")] == ["test", "train", "validation"]
    write(tmp_path / "b" / "train" / "1.jpg")
    write(tmp_path / "b" / "boat" / "1.jpg")
    assert {(image.label, image.split) for image in image_folder(tmp_path / "b")} == {("train", None), ("boat", None)}


def test_a_folder_keeps_damaged_images_for_the_audit_to_report_and_leaves_out_what_is_none(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "zero.jpg", b"")
    write(tmp_path / "cat" / "text.png", b"not an image")
    write(tmp_path / "cat" / "odd\n\N{CAT FACE}.jpg")
    write(tmp_path / "cat" / "readme.txt")
    write(tmp_path / "cat" / ".hidden.jpg")
    write(tmp_path / ".cache" / "x.jpg")
    write(tmp_path / "loose.jpg")
    (tmp_path / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    write(Path(os.fsdecode(os.fsencode(tmp_path / "cat") + b"/latin\xe9.jpg")))
    source = image_folder(tmp_path)
    assert {Path(image.source_id).name for image in source} == {
        "zero.jpg",
        "text.png",
        "odd\n\N{CAT FACE}.jpg",
        "gone.jpg",
    }
    assert source.notes == (
        "1 file left out (class 'cat': 1): paths must be valid UTF-8 text; rename the file or its folder",
        "1 left out: directly beside the class folders",
        "1 file is no picture (class 'cat': 1)",
    )


def test_links_that_make_a_loop_end(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "a.jpg")
    (tmp_path / "cat" / "again").symlink_to(tmp_path / "cat")
    (tmp_path / "up").symlink_to(tmp_path)
    assert [image.source_id for image in image_folder(tmp_path)] == ["cat/a.jpg"]


def test_a_folder_without_classes_says_how_to_lay_it_out(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="has no class folders with images; put the images into one folder per class"):
        image_folder(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        image_folder(tmp_path / "none")


# --- hugging face ---------------------------------------------------------------------------------------------------


def test_parquet_keeps_the_encoded_bytes_the_names_and_the_splits(parquet_folder: Path) -> None:
    source = parquet_files(parquet_folder)
    rows = list(source)
    table = datasets.load_dataset("parquet", data_files=str(parquet_folder / "valid.parquet"), split="train")
    raw = table.cast_column("image", datasets.Image(decode=False))
    validation = [row for row in rows if row.split == "validation"]
    assert [row.image for row in validation] == [row["image"]["bytes"] for row in raw]
    assert {row.label for row in rows} == {"dining table", "gondola"}
    assert rows[0].source_id == "train/000000"
    assert validation[0].source_id == "validation/000000"
    assert len(source) == len(rows)


def test_keep_labels_takes_names_and_numbers_and_leaves_the_ids_as_they_were(parquet_folder: Path) -> None:
    every = {row.source_id: row for row in parquet_files(parquet_folder)}
    for keep in (["gondola"], ["1"], ["1,gondola"], ["1", "gondola"]):
        kept = list(parquet_files(parquet_folder, keep_labels=keep))
        assert {row.label for row in kept} == {"gondola"}
        assert all(every[row.source_id] == row for row in kept)
    with pytest.raises(InputError, match=r"no class 'ferry' to keep; it has: dining table, gondola \(or the numbers 0"):
        parquet_files(parquet_folder, keep_labels=["ferry"])


def test_columns_are_found_by_type_and_can_be_chosen(tmp_path: Path) -> None:
    rows = {
        "index": [1, 2],
        "picture": [{"bytes": jpeg(), "path": None}] * 2,
        "coarse": ["x", " "],
        "fine": [3, 4],
    }
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(InputError, match="no column that is clearly the label; choose one with --label-column: index"):
        parquet_files(tmp_path)
    assert [row.label for row in parquet_files(tmp_path, label_column="coarse")] == ["x", None]
    assert [row.label for row in parquet_files(tmp_path, label_column="fine")] == ["3", "4"]
    assert {row.split for row in parquet_files(tmp_path, label_column="fine")} == {None}
    with pytest.raises(InputError, match=r"label column 'lable' is not in .*; its columns are: index, picture"):
        parquet_files(tmp_path, label_column="lable")
    with pytest.raises(
        InputError, match=r"image column 'fine' .* holds no encoded images or paths of images; these do: picture"
    ):
        parquet_files(tmp_path, image_column="fine", label_column="fine")


def test_a_dataset_saved_to_disk_reads_like_its_parquet(parquet_folder: Path, tmp_path: Path) -> None:
    loaded = datasets.load_dataset("parquet", data_files={"train": str(parquet_folder / "valid.parquet")})
    loaded.save_to_disk(tmp_path / "saved")
    source = resolve_source(str(tmp_path / "saved"))
    assert isinstance(source, ImportedSource)
    from_disk = [(row.image, row.label) for row in source.images]
    assert from_disk == [(row.image, row.label) for row in parquet_files(parquet_folder / "valid.parquet")]


def test_damaged_parquet_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", b"PAR1 and then nothing")
    with pytest.raises(InputError, match="cannot be read as a dataset") as error:
        parquet_files(tmp_path)
    one_line(error.value)


@pytest.mark.parametrize("answers", ["nobody listens", "nobody answers"])
def test_a_hub_that_cannot_be_reached_costs_seconds_and_says_what_to_do(
    answers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if answers == "nobody answers":
            silent.listen()
        assert huggingface.HUB_TIMEOUT <= 5
        monkeypatch.setattr(huggingface, "HUB_TIMEOUT", 1.0)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with (
            within(10),
            pytest.raises(InputError, match=r"hub cannot be reached .* download its parquet files") as error,
        ):
            hub_dataset("Maysee/tiny-imagenet")
    one_line(error.value)


def test_a_hub_dataset_in_the_cache_needs_no_hub(
    parquet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    builder = datasets.load_dataset_builder("parquet", data_files={"train": str(parquet_folder / "valid.parquet")})
    builder.download_and_prepare()
    prepared = Path(builder.cache_dir)
    cached = tmp_path / "house___boats" / "default" / "0.0.0" / prepared.name
    shutil.copytree(prepared, cached)
    for arrow in cached.glob("parquet-*.arrow"):
        arrow.rename(arrow.with_name(arrow.name.replace("parquet-", "boats-")))
    assert len(hub_dataset("house/boats")) == len(parquet_files(parquet_folder / "valid.parquet"))
