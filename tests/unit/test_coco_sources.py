"""COCO's JSON with one label a picture becomes a source; detections are refused with what makes pictures of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from integrations.corrections.tables import corrected_coco
from integrations.sources.coco import read_coco, rewritten
from tests.unit.test_table_sources import LABELS, NAMES, check, pictures, refusal, source

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 9, "name": "owl"}]
NUMBERS = {str(category["name"]): category["id"] for category in CATEGORIES}


def coco(path: Path, several: bool = False, box: list[float] | None = None, **picture: Any) -> Path:
    """A COCO file of NAMES and LABELS; with two annotations of the first picture, or with a box of each."""
    boxes = {} if box is None else {"bbox": box}
    annotations = [
        {"id": 100 + place, "image_id": place, "category_id": NUMBERS[label], **boxes}
        for place, label in enumerate(LABELS)
    ]
    content = {
        "info": {"year": 2026},
        "images": [{"id": place, "file_name": name, **picture} for place, name in enumerate(NAMES)],
        "annotations": [*annotations, annotations[0] | {"id": 1}] if several else annotations,
        "categories": CATEGORIES,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    "place", ["labels.json", "annotations/instances_val2017.json", "images/_annotations.coco.json"]
)
@pytest.mark.parametrize("box", [None, [], [0, 0, 0, 0], [0, 0, 8, 8]])
def test_one_label_a_picture_is_read(tmp_path: Path, place: str, box: list[float] | None) -> None:
    pictures(tmp_path / "images")
    path = coco(tmp_path / place, box=box, width=8, height=8)
    for text in (path, f"coco:{path}"):
        images = check(source(text))
        assert images.description == f"coco:{path}"
        assert [image.source_id for image in images] == NAMES
    if "annotations/" not in place:
        check(source(tmp_path))
    elif box is None:  # a folder of COCO files alone, beside the pictures
        check(source(path.parent))


@pytest.mark.parametrize(
    "places",
    [
        ("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
        ("annotations/train.json", "annotations/val.json"),
        ("train2017/_annotations.coco.json", "val2017/_annotations.coco.json"),
        ("train.json", "val.json"),
    ],
)
def test_files_of_several_splits_are_one_source(tmp_path: Path, places: tuple[str, str]) -> None:
    for folder in ("train2017", "val2017"):  # the same names in both, as other pictures
        pictures(tmp_path / folder)
    files = [coco(tmp_path / place) for place in places]
    if "annotations/" in places[0]:  # COCO has other files beside them
        captions = {"images": [{"id": 0, "file_name": "000.png"}], "annotations": [{"image_id": 0, "caption": "a"}]}
        (tmp_path / "annotations" / "captions_train2017.json").write_text(json.dumps(captions))
        (tmp_path / "annotations" / "image_info_test2017.json").write_text(json.dumps({"images": []}))
    for text in (tmp_path, f"coco:{tmp_path}"):
        images = list(source(text))
        assert [image.label for image in images] == LABELS * 2
        assert [image.split for image in images] == ["train"] * 12 + ["validation"] * 12
        assert [image.image.parent.name for image in images] == ["train2017"] * 12 + ["val2017"] * 12  # type: ignore[union-attr]
        assert len({image.source_id for image in images}) == 24
    assert "splits by the names of 2 files" in source(tmp_path).layout
    alone = list(source(files[1]))
    assert {image.image.parent.name for image in alone} == {"val2017"}  # type: ignore[union-attr]
    corrected = corrected_coco(tmp_path)
    assert corrected.suffix is None
    key = images[0].source_id
    corrected.write(tmp_path.with_name(f"{tmp_path.name}-new"), {key: "owl"})
    new = tmp_path.with_name(f"{tmp_path.name}-new")
    assert read_coco(new / places[0]).labels == ("owl", *LABELS[1:])
    assert (new / places[1]).read_text() == files[1].read_text()


def test_several_files_that_are_no_splits_are_refused_with_the_way_out(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    for name in ("cats.json", "dogs.json"):
        coco(tmp_path / name)
    assert "(cats.json, dogs.json), and their names say no splits" in refusal(tmp_path)
    assert f"give one: coco:{tmp_path / 'cats.json'}" in refusal(f"coco:{tmp_path}")
    assert "holds no COCO file; give the file itself" in refusal(f"coco:{tmp_path / 'images'}")


def test_pictures_without_an_annotation_have_no_label_and_missing_ones_are_left_out(tmp_path: Path) -> None:
    pictures(tmp_path / "images", NAMES[:-1])
    path = coco(tmp_path / "labels.json")
    content = json.loads(path.read_text())
    content["annotations"] = content["annotations"][1:]
    path.write_text(json.dumps(content))
    images = source(path)
    assert [image.label for image in images] == [None, *LABELS[1:-1]]
    assert [(row.source_id, row.label) for row in images.left_out] == [(NAMES[-1], LABELS[-1])]
    assert "give their folder with --images" in refusal(coco(tmp_path / "far" / "away" / "labels.json"))
    assert len(source(coco(tmp_path / "far" / "away" / "labels.json"), images=tmp_path / "images")) == 11


def test_several_annotations_and_boxes_are_refused_with_the_way_out(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    message = refusal(coco(tmp_path / "labels.json", several=True))
    assert "1 pictures with several annotations (the first: '000.png')" in message
    for several in (True, False):
        message = refusal(coco(tmp_path / "labels.json", several, [0, 0, 4, 8], width=8, height=8))
        assert "dataset_type=fo.types.COCODetectionDataset" in message
        assert f"data_path={str(tmp_path / 'images')!r}" in message


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"categories": []}, "has no category"),
        ({"images": []}, "lists no images"),
        ({"images": [{"id": 0}]}, "lacks file_name"),
        ({"annotations": [{"image_id": 0}]}, "lacks category_id"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, damage: dict[str, Any], message: str) -> None:
    pictures(tmp_path)
    path = coco(tmp_path / "labels.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    assert message in refusal(path)


def test_labels_are_written_back_as_categories(tmp_path: Path) -> None:
    path = coco(tmp_path / "labels.json")
    (tmp_path / "new.json").write_bytes(rewritten(path, {0: "owl", 1: "fox"}))
    assert read_coco(tmp_path / "new.json").labels == ("owl", "fox", *LABELS[2:])
    before, after = (json.loads((tmp_path / name).read_text()) for name in ("labels.json", "new.json"))
    assert after["categories"] == [*CATEGORIES, {"id": 10, "name": "fox"}]
    assert (before["images"], before["info"]) == (after["images"], after["info"])
