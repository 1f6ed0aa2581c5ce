"""What is a class, what is a split, and what is neither, in folders as people have them."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from audit.errors import InputError
from integrations.sources import resolve_source
from integrations.sources.folder import image_folder
from integrations.sources.labelled_images import LabelledImages

CAT_AND_DOG = {("cat", "train"), ("dog", "train"), ("cat", "test"), ("dog", "test")}
CLASSES = {("cat", None), ("dog", None)}


def make(root: Path, *places: str) -> Path:
    """Two pictures in every place; a place with a suffix is a file of a few letters, one that ends in / stays empty."""
    for place in places:
        path = root / place
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("a,b\n")
        else:
            path.mkdir(parents=True, exist_ok=True)
            for name in ("1.png", "2.JPG") if not place.endswith("/") else ():
                (path / name).write_bytes(b"\x89PNG")
    return root


def splits(train: str, test: str) -> list[str]:
    return [f"{split}/{label}" for split in (train, test) for label in ("cat", "dog")]


def labels_and_splits(images: LabelledImages) -> set[tuple[str | None, str | None]]:
    return {(image.label, image.split) for image in images}


def refusal(root: Path, layout: str | None = None) -> str:
    with pytest.raises(InputError) as error:
        image_folder(root, layout=layout)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "beside", ["__MACOSX/train/._1.png", "annotations/train.csv", "docs", "labels/", ".idea/x.xml"]
)
def test_split_folders_are_splits_beside_any_other_folder(tmp_path: Path, beside: str) -> None:
    assert labels_and_splits(image_folder(make(tmp_path, *splits("train", "test"), beside))) == CAT_AND_DOG


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("TRAIN", "TEST"),
        ("train_set", "test_set"),
        ("trainset", "testset"),
        ("seg_train", "seg_test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train-images", "holdout"),
        ("train2017", "hold-out"),
        ("train/images", "test/images"),
        ("data/archive/train", "data/archive/test"),
        ("images/Train_Data", "images/Test_Data"),
    ],
)
def test_splits_have_many_names_and_folders_around_them(tmp_path: Path, train: str, test: str) -> None:
    assert labels_and_splits(image_folder(make(tmp_path, *splits(train, test)))) == CAT_AND_DOG


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "dev", "eval", "val2017", "valset"])
def test_validation_has_many_names(tmp_path: Path, name: str) -> None:
    found = labels_and_splits(image_folder(make(tmp_path, *splits("train", name))))
    assert {split for _, split in found} == {"train", "validation"}


def test_a_split_without_class_folders_is_left_out_with_a_word(tmp_path: Path) -> None:
    images = image_folder(make(tmp_path, "train/cat", "train/dog", "test"))
    assert labels_and_splits(images) == {("cat", "train"), ("dog", "train")}
    assert images.notes == ("2 left out: in folder 'test', which is beside the splits",)
    assert images.layout == "2 class folders inside the split folders train (train: 4 pictures)"


@pytest.mark.parametrize("around", ["archive", "archive/dataset", "archive/images"])
def test_folders_around_the_classes_are_looked_through(tmp_path: Path, around: str) -> None:
    images = image_folder(make(tmp_path, f"{around}/cat", f"{around}/dog", "README.md"))
    assert labels_and_splits(images) == CLASSES
    assert next(iter(images)).source_id == f"{around}/cat/1.png"


def test_splits_inside_each_class_are_splits(tmp_path: Path) -> None:
    images = image_folder(make(tmp_path, "cat/train", "cat/test", "dog/train", "dog/test"))
    assert labels_and_splits(images) == CAT_AND_DOG


@pytest.mark.parametrize(
    "places",
    [["train", "car", "boat"], ["train/steam", "train/electric", "car/suv", "car/van", "boat/sail", "boat/motor"]],
)
def test_trains_among_other_vehicles_are_a_class(tmp_path: Path, places: list[str]) -> None:
    assert labels_and_splits(image_folder(make(tmp_path, *places))) == {("train", None), ("car", None), ("boat", None)}


@pytest.mark.parametrize(
    "places",
    [
        [*splits("train", "test"), "boat"],
        [*splits("train", "test"), "cat", "dog"],
        ["train/steam", "train/electric", "car"],
        splits("train", "quiz"),
        splits("site-a", "site-b"),
    ],
)
def test_what_can_be_read_in_two_ways_is_asked(tmp_path: Path, places: list[str]) -> None:
    message = refusal(make(tmp_path, *places))
    assert "--layout splits" in message
    assert "--layout folders" in message
    inside = {place.split("/")[1] for place in places if "/" in place}
    assert {image.label for image in image_folder(tmp_path, layout="splits")} == inside
    outside = {place.split("/")[0] for place in places}
    assert {image.label for image in image_folder(tmp_path, layout="folders")} == outside


def test_folders_named_like_splits_without_classes_are_asked_about(tmp_path: Path) -> None:
    assert "--layout folders" in refusal(make(tmp_path, "train", "test"))
    assert labels_and_splits(image_folder(tmp_path, layout="folders")) == {("train", None), ("test", None)}
    assert "does not fit" in refusal(tmp_path, layout="splits")


def test_a_layout_that_does_not_exist_or_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="layout is 'flat'; it takes folders or splits"):
        resolve_source(str(make(tmp_path, "cat", "dog")), layout="flat")
    with pytest.raises(InputError, match="--layout does not apply to 'digits'"):
        resolve_source("digits", layout="folders")


@pytest.mark.parametrize("files", [("summary.json", "manifest.json"), ("summary.json", "scores.parquet")])
@pytest.mark.parametrize("place", ["result", "cat/result", "results/pets/audit", "audit-results/pets/audit"])
def test_a_result_of_an_audit_is_never_a_class(tmp_path: Path, place: str, files: tuple[str, str]) -> None:
    make(tmp_path, "cat", "dog", f"{place}/figures", *(f"{place}/{name}" for name in files))
    images = image_folder(tmp_path)
    assert labels_and_splits(images) == CLASSES
    assert len(images) == 4
    assert any("holds the result of an audit" in note for note in images.notes)
    assert "result of an audit" in refusal(tmp_path / place)


@pytest.mark.parametrize("table", ["labels.csv", "images/metadata.csv", "images/labels.tsv", "labels.jsonl"])
def test_a_table_beside_pictures_without_class_folders_is_named(tmp_path: Path, table: str) -> None:
    assert f"give table:{tmp_path / table}" in refusal(make(tmp_path, "images", table))


@pytest.mark.parametrize("table", ["train.csv", "train/metadata.csv"])
def test_a_table_of_flat_splits_is_named_too(tmp_path: Path, table: str) -> None:
    assert f"give table:{tmp_path / table}" in refusal(make(tmp_path, "train", "test", table))


def test_empty_folders_are_named_and_no_class(tmp_path: Path) -> None:
    images = image_folder(make(tmp_path, "cat", "dog", "fox/", "owl/young/"))
    assert labels_and_splits(images) == CLASSES
    assert images.notes == ("no class, as no picture is inside: 'fox', 'owl'",)


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    make(tmp_path, "pets/cat", "elsewhere")
    (tmp_path / "pets" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pets" / "all").symlink_to(tmp_path / "pets")
    (tmp_path / "pets" / "cat" / "everything").symlink_to("/")
    for name, other in (("cat", "dog"), ("dog", "cat")):
        (tmp_path / "pets" / name / "friend").symlink_to(tmp_path / "pets" / other)
    images = image_folder(tmp_path / "pets")
    assert {image.label for image in images} == {"cat", "dog"}
    assert len(images) < 20
    assert any("not followed, as they lead back" in note for note in images.notes)


def test_a_class_folder_that_cannot_be_read_is_named() -> None:
    """As another user where the tests run as root, who may read everything."""
    with tempfile.TemporaryDirectory() as name:
        root = make(Path(name), "cat", "dog", "secret", "dog/deep")
        root.chmod(0o755)
        closed = [root / "secret", root / "dog" / "deep"]
        for folder in closed:
            folder.chmod(0)
        user = os.geteuid()
        os.seteuid(user or 65534)
        try:
            images = image_folder(root)
        finally:
            os.seteuid(user)
            for folder in closed:
                folder.chmod(0o755)
    assert labels_and_splits(images) == CLASSES
    assert [image.source_id for image in images.left_out] == ["dog/deep", "secret"]
    assert any("how many pictures it holds is unknown" in note and "'secret'" in note for note in images.notes)
    assert "not audited, as none of its pictures can be read: class 'secret'" in images.notes


def test_ten_thousand_folders_are_read_in_seconds(tmp_path: Path) -> None:
    for number in range(10_000):
        (tmp_path / f"{number:05d}").mkdir()
        (tmp_path / f"{number:05d}" / "1.jpg").touch()
    began = time.perf_counter()
    assert len(image_folder(tmp_path)) == 10_000
    assert time.perf_counter() - began < 20
