"""Which kind of source a text names, and where it is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from audit.errors import InputError

PREFIXES = ("fiftyone", "hf", "folder", "parquet", "table", "coco")

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")


def kind_and_place(text: str, image_column: str | None, as_table: bool, in_fiftyone: bool) -> tuple[str, str]:
    """What a text names, and where: 'pictures' is a folder that may hold a table too.

    Args:
        text: as for `resolve_source`.
        image_column: the column with the images, where it was named.
        as_table: whether options were given that only a table takes.
        in_fiftyone: whether FiftyOne may be asked for its datasets.

    Raises:
        InputError: if there is no such source.
    """
    prefix, colon, rest = text.partition(":")
    if colon and prefix in PREFIXES:
        if not rest:
            raise InputError(f"source {text!r} names nothing after {prefix}:; give {prefix}:NAME or {prefix}:PATH")
        if prefix == "hf" and Path(rest).expanduser().is_dir():
            return "saved", rest
        if prefix == "table":
            return _kind_of_table(Path(rest).expanduser()), rest
        return prefix, rest
    if text == "digits":
        return "digits", text
    path = Path(text).expanduser()
    if text and path.exists():
        return _kind_of_path(path, image_column, as_table), text
    return _kind_of_name(text, in_fiftyone), text


def _kind_of_table(path: Path) -> str:
    from integrations.sources.table_files import is_parquet

    if not path.exists():
        raise InputError(f"table {str(path)!r} does not exist; check its name")
    return "parquet" if path.is_file() and is_parquet(path) else "table"


def _kind_of_path(path: Path, image_column: str | None, as_table: bool) -> str:
    from integrations.sources.csv_and_json import is_text_table
    from integrations.sources.huggingface import is_saved_to_disk
    from integrations.sources.table_files import how_to_read_spreadsheet, is_parquet, is_spreadsheet, refers_to_files

    if path.is_file():
        if is_parquet(path):
            return "parquet"
        if is_spreadsheet(path.name):
            raise InputError(f"source {str(path)!r}: {how_to_read_spreadsheet(str(path))}")
        if path.suffix.lower() == ".json" and _is_coco(path):
            return "coco"
        if is_text_table(path.name):
            return "table"
        raise InputError(
            f"source {str(path)!r} is a file but no .parquet file and no table; give a folder of images, a table of "
            "labels (.csv, .tsv, .jsonl, .json) or parquet"
        )
    if is_saved_to_disk(path):
        return "saved"
    kind = _kind_of_folder(path, lambda file: refers_to_files(file, image_column))
    return kind if kind in ("parquet", "coco") else "table" if as_table else "pictures"


def _is_coco(path: Path) -> bool:
    from integrations.sources.coco_files import is_coco

    return is_coco(path)


def _kind_of_folder(path: Path, refers_to_files: Callable[[Path], bool]) -> str:
    """'parquet' where a folder's pictures are in parquet files, or listed by them; 'folder' where they are files.

    A folder without pictures may hold COCO files of pictures beside it: 'coco'.
    """
    from integrations.sources.folder_tree import folder_tree

    tree = folder_tree(os.path.abspath(path))
    if not tree.holds_images:
        if any(folder.parquet for folder in tree.all_folders()):
            return "parquet"
        return "coco" if any(map(_is_coco, Path(path).glob("*.json"))) else "folder"
    parquet = [Path(folder.path, name) for folder in tree.all_folders() for name in folder.parquet]
    if parquet and all(map(refers_to_files, parquet)):
        return "parquet"
    # Deeper ones are side files of the images.
    near = [file for file in parquet if file.parent in (Path(tree.path), Path(tree.path, "data"))]
    if not near:
        return "folder"
    holding = next(folder for folder in tree.all_folders() if folder.pictures or folder.unread)
    raise InputError(
        f"source {str(path)!r} holds both images in folders (such as "
        f"{os.path.relpath(holding.path, path)!r}) and a parquet file "
        f"({os.path.relpath(near[0], path)}); give folder:{path} to audit the images, or parquet:{path} to audit "
        "the parquet files"
    )


def _kind_of_name(text: str, in_fiftyone: bool) -> str:
    hint = ""
    if in_fiftyone:
        from integrations.fiftyone.read import close_to, dataset_names

        names = dataset_names()
        if text in names:
            return "fiftyone"
        hint = f", no FiftyOne dataset{close_to(text, names)}"
    if HUB_NAME.fullmatch(text):
        return "hf"
    raise InputError(
        f"source {text!r} is no path that exists{hint}, and no ORGANISATION/NAME of the Hugging Face hub; for a first "
        "try, use 'digits'"
    )
