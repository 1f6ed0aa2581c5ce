"""What is written of a source with other labels: never the source itself, and whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import InputError
from audit.files.storage import replace_file
from integrations.sources.table_files import LOG_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

FILE_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Corrected:
    """A source that can be written with other labels.

    Args:
        labels: the label of each sample in the source now, by its key; None where it has none.
        place: the source's file or folder; None where it is neither.
        suffix: that the output's name must end with; None where the output is a folder.
        write: writes the source with some labels changed, by key, to a path; returns remarks for the user.
    """

    labels: Mapping[str, str | None]
    place: Path | None
    suffix: str | None
    write: Callable[[Path, Mapping[str, str]], list[str]]


def check_output(output: Path, log: Path, source: Corrected) -> None:
    """Refuse an output that would replace the source, or anything but an earlier output.

    Raises:
        InputError: saying what is in the way.
    """
    if source.suffix is not None and output.suffix.lower() != source.suffix:
        raise InputError(
            f"output {str(output)!r} has another form than the source; give a name that ends in {source.suffix!r}"
        )
    if source.suffix is None and output.suffix.lower() in FILE_SUFFIXES:
        raise InputError(f"output {str(output)!r} is named like a file, and the source is a folder; name a new folder")
    if source.place is not None and _is_inside(output, source.place):
        raise InputError(f"output {str(output)!r} is the source or in it, which is never overwritten; give another")
    if output.is_dir() and (source.suffix is not None or any(output.iterdir())):
        raise InputError(f"output {str(output)!r} is a folder that holds files; give the name of a new one")
    ours = log.is_file() and log.read_bytes().startswith(",".join(LOG_COLUMNS[:4]).encode())
    if log.exists() and not ours:
        raise InputError(f"{str(log)!r}, where the log would go, holds something else; give another output")
    if output.is_file() and not ours:
        raise InputError(f"output {str(output)!r} exists and is no output of this command; give another, or remove it")


def check_new_folder(output: Path) -> None:
    """Refuse a folder that holds anything, and a file.

    Raises:
        InputError: if it is one.
    """
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise InputError(f"output {str(output)!r} exists; give the name of a new folder")


def write_file(path: Path, content: bytes, option: str = "--output") -> None:
    """Write a file whole or not at all, and make its folder.

    Args:
        path: of the file.
        content: its bytes.
        option: the option that takes another path, for the message.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be written ({error.strerror}); give another with {option}") from None


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    from audit.files.spreadsheet import write_csv

    write_file(path, write_csv(table, index=False).encode("utf-8", errors="replace"))


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name when all is in it; nothing stays of one that is not finished.

    Raises:
        InputError: if it cannot be made.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.is_dir():
            path.rmdir()  # an empty one
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"folder {str(path)!r} cannot be written ({error.strerror}); give another with -o") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_inside(path: Path, place: Path) -> bool:
    path, place = path.resolve(), place.resolve()
    return path == place or (place.is_dir() and place in path.parents)
