"""Parquet files as people write them: bytes, paths, odd suffixes, configuration folders; and what is refused."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from audit.errors import InputError
from integrations.sources import ImportedSource, resolve_source
from integrations.sources.labelled_images import LabelledImage, LabelledImages

LABELS = ["cat", "dog", "cat", "dog"]


def picture(shade: int) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(encoded, "PNG")
    return encoded.getvalue()


PICTURES = [picture(shade) for shade in range(4)]
ENCODED = [{"bytes": content, "path": None} for content in PICTURES]


def parquet(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_parquet(path)
    return path


def pictures(folder: Path) -> list[Path]:
    """The four pictures as files in class folders."""
    paths = [folder / label / f"{row}.png" for row, label in enumerate(LABELS)]
    for path, content in zip(paths, PICTURES, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return paths


def source(path: Path | str, **options: Any) -> LabelledImages:
    resolved = resolve_source(str(path), **options)
    assert isinstance(resolved, ImportedSource)
    return resolved.images


def contents(images: LabelledImages) -> list[bytes | None]:
    return [image.image.read_bytes() if isinstance(image.image, Path) else image.image for image in images]


def refusal(path: Path | str, **options: Any) -> str:
    with pytest.raises(InputError) as error:
        source(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "name", ["a.parquet", "a.PARQUET", "a.pq", "folder/a.Parquet", "conf/full/train.parquet", "table"]
)
@pytest.mark.parametrize("values", [ENCODED, PICTURES])
def test_encoded_pictures_are_read_from_any_parquet_file(tmp_path: Path, name: str, values: list[Any]) -> None:
    path = parquet(tmp_path / name, image=values, label=LABELS)
    images = source(tmp_path / name.split("/")[0] if "/" in name else path)
    assert contents(images) == PICTURES
    assert [image.label for image in images] == LABELS
    assert {image.split for image in images} == ({"train"} if "train" in name else {None})


@pytest.mark.parametrize("column", ["image", "file_name", "photo_of_it"])
@pytest.mark.parametrize("form", ["absolute", "relative", "struct", "windows", "address"])
def test_paths_are_looked_up_beside_the_file(
    tmp_path: Path, column: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = pictures(tmp_path / "pets" / "img")
    relative = [os.path.relpath(path, tmp_path / "pets") for path in paths]
    values: list[Any] = {
        "absolute": list(map(str, paths)),
        "relative": relative,
        "struct": [{"bytes": None, "path": path} for path in relative],
        "windows": [path.replace("/", "\\") for path in relative],
        "address": [f"file://{path}" for path in paths],
    }[form]
    parquet(tmp_path / "pets" / "train.parquet", **{column: values, "label": LABELS})
    monkeypatch.chdir(tmp_path)
    for place in ("pets", "pets/train.parquet"):
        images = source(place)
        assert contents(images) == PICTURES
        assert [image.label for image in images] == LABELS


def test_each_shard_looks_beside_itself_and_in_the_folder_above(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "img")
    relative = [os.path.relpath(path, tmp_path) for path in paths]
    parquet(tmp_path / "data" / "train-0.parquet", image=relative[:1], label=LABELS[:1])
    parquet(tmp_path / "data" / "train-1.parquet", image=["own.png"], label=["cat"])
    (tmp_path / "data" / "own.png").write_bytes(PICTURES[3])
    assert contents(source(f"parquet:{tmp_path}")) == [PICTURES[0], PICTURES[3]]


def test_a_path_that_leads_nowhere_is_named_beside_the_file(tmp_path: Path) -> None:
    images = source(parquet(tmp_path / "a.parquet", image=["gone.png", "gone2.png"], label=["cat", "dog"]))
    assert [image.image for image in images] == [tmp_path / "gone.png", tmp_path / "gone2.png"]


def test_folders_give_splits_too(tmp_path: Path) -> None:
    for split in ("train", "test"):
        parquet(tmp_path / "default" / split / "0000.parquet", image=ENCODED, label=LABELS)
    assert {image.split for image in source(tmp_path)} == {"train", "test"}


def test_several_configurations_are_asked_about(tmp_path: Path) -> None:
    for configuration in ("full", "small"):
        parquet(tmp_path / configuration / "train.parquet", image=ENCODED, label=LABELS)
    message = refusal(tmp_path)
    assert "full and small" in message
    assert len(source(message.rpartition("give one: ")[2])) == 4


def test_class_folders_beside_a_parquet_file_of_other_pictures_are_asked_about(tmp_path: Path) -> None:
    pictures(tmp_path)
    parquet(tmp_path / "cached.parquet", image=ENCODED[:2], label=LABELS[:2])
    message = refusal(tmp_path)
    assert f"folder:{tmp_path}" in message
    assert f"parquet:{tmp_path}" in message
    assert len(source(f"folder:{tmp_path}")) == 4
    assert len(source(f"parquet:{tmp_path}")) == 2


def test_a_parquet_file_inside_a_class_folder_is_a_side_file(tmp_path: Path) -> None:
    pictures(tmp_path)
    parquet(tmp_path / "cat" / "features.parquet", x=[0.5])
    assert source(tmp_path).description == f"folder:{tmp_path}"


def test_no_rows_and_labels_that_are_lists_are_said_in_one_line(tmp_path: Path) -> None:
    assert "holds no rows" in refusal(parquet(tmp_path / "empty.parquet", image=ENCODED[:0], label=LABELS[:0]))
    lists = parquet(tmp_path / "lists.parquet", image=ENCODED, label=[[label] for label in LABELS])
    for message in (refusal(lists), refusal(lists, label_column="label")):
        assert "holds lists" in message
        assert "table['label'] = table['label'].str[0]" in message
    addresses = parquet(tmp_path / "web.parquet", url=["https://example.org/1.png"] * 2, label=["cat", "dog"])
    assert "download the images first" in refusal(addresses)


@pytest.mark.parametrize("values", [ENCODED[:2], PICTURES[:2], ["1.png", "2.png"]])
def test_rows_without_a_picture_are_left_out_by_number(tmp_path: Path, values: list[Any]) -> None:
    images = source(parquet(tmp_path / "a.parquet", image=[*values, None, None], label=["a", "b", "a", None]))
    assert [(row.source_id, row.label) for row in images.left_out] == [("data/000002", "a"), ("data/000003", None)]
    assert images.notes == (
        "2 rows left out (class 'a': 1): rows that hold no image are not audited; fill or remove them",
    )
    assert list(images)[2:] == [
        LabelledImage("data/000002", None, "a", None),
        LabelledImage("data/000003", None, None, None),
    ]


def test_paths_begin_in_the_folder_that_is_given(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "img")
    table = parquet(tmp_path / "tables" / "a.parquet", file=[path.name for path in paths], label=LABELS)
    for path in paths:
        path.rename(tmp_path / "img" / path.name)
    assert contents(source(table, images=tmp_path / "img")) == PICTURES
    assert "does not exist or is not a folder" in refusal(table, images=tmp_path / "none")


def test_a_column_says_the_splits_where_no_file_does(tmp_path: Path) -> None:
    said = ["train", "train", "val", "test"]
    table = parquet(tmp_path / "a.parquet", image=ENCODED, label=LABELS, split=said)
    assert [image.split for image in source(table)] == ["train", "train", "validation", "test"]
    named = parquet(tmp_path / "b" / "train.parquet", image=ENCODED, label=LABELS, split=said)
    assert {image.split for image in source(named)} == {"train"}
