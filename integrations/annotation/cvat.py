"""Tasks for CVAT: a folder with the pictures and their annotations in the format "CVAT for images 1.1"."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from integrations.annotation.flagged import FlaggedPicture, file_names, flagged_pictures

if TYPE_CHECKING:
    from audit.result import AuditResult

ANNOTATIONS, PICTURES = "labels.xml", "data"
"""The names in the folder, as FiftyOne's importer of CVAT's format has them."""

ATTRIBUTES = ("given_label", "suspicion", "key")
_NOT_IN_XML = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


def write_cvat(result: AuditResult, folder: Path) -> int:
    """Write the flagged pictures and their annotations: each has its suggested label as a tag.

    Args:
        result: the audit's result.
        folder: to write, which exists.

    Returns:
        How many there are.

    Raises:
        InputError: if nothing is flagged, or the pictures are no files that are there.
        OSError: if a file cannot be written.
    """
    pictures = flagged_pictures(result)
    names = file_names(pictures)
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    for picture, name in zip(pictures, names, strict=True):
        shutil.copyfile(picture.file, folder / PICTURES / name)
    tree = _annotations(pictures, names, [str(name) for name in result.summary.classes])
    ElementTree.indent(tree)
    ElementTree.ElementTree(tree).write(folder / ANNOTATIONS, encoding="utf-8", xml_declaration=True)
    return len(pictures)


def _annotations(
    pictures: Sequence[FlaggedPicture], names: Sequence[str], classes: Sequence[str]
) -> ElementTree.Element:
    root = ElementTree.Element("annotations")
    _add(root, "version", "1.1")
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    _add(task, "name", "flagged by influence-audit")
    _add(task, "size", str(len(pictures)))
    labels = ElementTree.SubElement(task, "labels")
    for name in classes:
        label = ElementTree.SubElement(labels, "label")
        _add(label, "name", name)
        attributes = ElementTree.SubElement(label, "attributes")
        for attribute in ATTRIBUTES:
            described = ElementTree.SubElement(attributes, "attribute")
            for name_of_tag, text in (("name", attribute), ("mutable", "False"), ("input_type", "text")):
                _add(described, name_of_tag, text)
            _add(described, "default_value", "")
            _add(described, "values", "")
    for number, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        width, height = _size(picture.file)
        place = {"id": str(number), "name": _text(name), "width": str(width), "height": str(height)}
        image = ElementTree.SubElement(root, "image", place)
        tag = ElementTree.SubElement(image, "tag", {"label": _text(picture.suggested), "source": "auto"})
        for attribute, value in zip(ATTRIBUTES, (picture.given, f"{picture.suspicion:.6f}", picture.key), strict=True):
            _add(tag, "attribute", value).set("name", attribute)
    return root


def _size(file: str) -> tuple[int, int]:
    """Width and height of a picture, as a viewer shows it."""
    from audit.images.decoding import decode_image

    decoded = decode_image(file)
    return decoded.width, decoded.height


def _add(parent: ElementTree.Element, tag: str, text: str) -> ElementTree.Element:
    added = ElementTree.SubElement(parent, tag)
    added.text = _text(text)
    return added


def _text(text: str) -> str:
    """A text without the characters that XML cannot have."""
    return _NOT_IN_XML.sub("\ufffd", text)
