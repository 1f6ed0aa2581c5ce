"""COCO's JSON with one label for each picture; detections are refused with what makes pictures of them."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.errors import InputError
from integrations.sources.class_choice import chosen_classes
from integrations.sources.coco_files import CocoFile, coco_files
from integrations.sources.csv_and_json import like_json
from integrations.sources.labelled_images import LabelledImage, LabelledImages
from integrations.sources.left_out import LeftOutImage, sentences
from integrations.sources.picture_lookup import PictureLookup
from integrations.sources.table import MISSING, dataset_name_of, folders_for, images_folder

WHOLE = 0.95
"""Share of a picture's area from which a box is the whole picture."""


@dataclass(frozen=True)
class CocoLabels:
    """What a COCO file says of each picture.

    Args:
        path: of the file.
        names: of the picture files, as the file has them.
        labels: of the pictures; None where there is none.
        places: of each picture's annotation in the file's list; None where there is none.
    """

    path: Path
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    places: tuple[int | None, ...]


def coco_source(
    path: str | Path, images: str | Path | None = None, keep_labels: Sequence[str] | None = None
) -> LabelledImages:
    """The pictures of a COCO file, or of the files of several splits.

    Args:
        path: of the JSON file, or of the folder that holds one for each split, such as COCO's own with `annotations`.
        images: the folder of the pictures; by default they are looked for beside the file and below its folder.
        keep_labels: the classes to keep; all by default.

    Raises:
        InputError: if a file is damaged, has several labels or boxes for a picture, or none of its pictures is there.
    """
    path = Path(os.path.abspath(Path(path).expanduser()))
    files = coco_files(path)
    description = f"coco:{path if len(files) > 1 else files[0].path}"
    listed = [row for file in files for row in _rows_of(file, images_folder(images))]
    classes = sorted({row.label for row in listed if row.label is not None})
    kept = chosen_classes(keep_labels, classes, description)
    order = tuple(row.source_id for row in listed)
    listed = [row for row in listed if kept is None or row.label in kept]
    found = [row for row in listed if row.image is not None]
    left_out = tuple(
        LeftOutImage(
            row.source_id, row.source_id, row.label, "row", MISSING, "add the files, or give their folder with --images"
        )
        for row in listed
        if row.image is None
    )

    def read_images() -> Iterator[LabelledImage]:
        return iter(found)

    splits = f", splits by the names of {len(files)} files" if len(files) > 1 else ""
    return LabelledImages(
        dataset_name_of(path if len(files) > 1 else files[0].path),
        description,
        len(found),
        read_images,
        kept,
        tuple(sentences(left_out)),
        left_out,
        f"COCO, one label for each picture{splits}",
        tuple(image.label for image in found),
        rows=order,
    )


def _rows_of(file: CocoFile, images: Path | None) -> list[LabelledImage]:
    """The pictures that a file lists; without an image where it is not there."""
    lookup = PictureLookup([*file.picture_folders(images), *folders_for(file.path, images)])
    read = read_coco(file.path, lookup)
    found = lookup.find_all(read.names)
    if not any(found):
        raise InputError(
            f"none of the {len(found):,} pictures of coco:{file.path} is there (the first: {read.names[0]!r}); give "
            "their folder with --images"
        )
    return [
        LabelledImage(file.key(name), picture, label, file.split)
        for name, label, picture in zip(read.names, read.labels, found, strict=True)
    ]


def read_coco(path: Path, lookup: PictureLookup | None = None) -> CocoLabels:
    """Read a COCO file; errors as those of `coco_source`.

    Args:
        path: of the file.
        lookup: finds its pictures, for what is said where they have boxes.
    """
    content = _content(path)
    categories = {category["id"]: str(category["name"]) for category in content.get("categories", ())}
    annotations: dict[Any, list[int]] = defaultdict(list)
    for number, annotation in enumerate(content["annotations"]):
        annotations[annotation["image_id"]].append(number)
    names, labels, places = [], [], []
    for picture in content["images"]:
        own = annotations.get(picture["id"], [])
        if len(own) > 1 or any(_is_part(content["annotations"][number], picture) for number in own):
            raise _detections(path, content, annotations, lookup or PictureLookup([path.parent]))
        names.append(str(picture["file_name"]))
        place = own[0] if own else None
        places.append(place)
        labels.append(None if place is None else categories[content["annotations"][place]["category_id"]])
    if not names:
        raise InputError(f"coco:{path} lists no images; give a file with some")
    return CocoLabels(path, tuple(names), tuple(labels), tuple(places))


def rewritten(path: Path, changes: Mapping[int, str]) -> bytes:
    """The file with other labels for some annotations; a class that is new becomes a category.

    Args:
        path: of the file.
        changes: class names by the annotation's place in the file's list.
    """
    text = path.read_text(encoding="utf-8-sig")
    content = json.loads(text)
    numbers = {str(category["name"]): category["id"] for category in content["categories"]}
    for place, label in changes.items():
        if label not in numbers:
            numbers[label] = max(numbers.values(), default=0) + 1
            content["categories"].append({"id": numbers[label], "name": label})
        content["annotations"][place]["category_id"] = numbers[label]
    return like_json(content, text).encode()


def _content(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        for part, keys in (("images", {"id", "file_name"}), ("annotations", {"image_id", "category_id"})):
            for entry in content[part]:
                if not keys <= set(entry):
                    raise InputError(f"an entry of {part!r} in coco:{path} lacks {', '.join(keys - set(entry))}")
        named = {category["id"] for category in content.get("categories", ())}
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"coco:{path} cannot be read ({type(error).__name__}: {error}); check the file") from None
    unknown = {annotation["category_id"] for annotation in content["annotations"]} - named
    if unknown:
        raise InputError(f"coco:{path} has no category {min(unknown, key=str)!r}, which annotations name; add it")
    return content


def _is_part(annotation: Mapping[str, Any], picture: Mapping[str, Any]) -> bool:
    """Whether an annotation has a box that is not the whole picture."""
    box: Sequence[float] = annotation.get("bbox") or ()
    if len(box) != 4 or not (box[2] and box[3]):
        return False
    area = picture.get("width", 0) * picture.get("height", 0)
    return not area or box[2] * box[3] < WHOLE * area


def _detections(
    path: Path, content: Mapping[str, Any], annotations: Mapping[Any, Sequence[int]], lookup: PictureLookup
) -> InputError:
    """What to say about pictures with several annotations, or with boxes."""
    several = [picture["file_name"] for picture in content["images"] if len(annotations.get(picture["id"], ())) > 1]
    boxes = any(annotation.get("bbox") for annotation in content["annotations"])
    what = f"{len(several):,} pictures with several annotations (the first: {several[0]!r})" if several else "boxes"
    if not boxes:
        return InputError(f"coco:{path} has {what}; an audit needs one label for each picture, so leave one of each")
    name = str(content["images"][0]["file_name"])
    file = lookup.find_all([name])[0]
    folder = str(path.parent) if file is None else str(file).removesuffix(name).rstrip(os.sep)
    patches = path.with_name(f"{path.stem}-patches")
    code = (
        "import fiftyone as fo; d = fo.Dataset.from_dir(dataset_type=fo.types.COCODetectionDataset, "
        f"data_path={folder!r}, labels_path={str(path)!r}, label_field='boxes'); "
        f"d.to_patches('boxes').export(export_dir={str(patches)!r}, "
        "dataset_type=fo.types.ImageClassificationDirectoryTree, label_field='boxes')"
    )
    return InputError(
        f"coco:{path} has {what}; an audit needs one label for each picture: make a picture of each box in Python, "
        f"{code}, then audit {patches}"
    )
