"""The names that a user gives for embeddings and predictions: files, or fields of a dataset.

Apart from what reads the files, so that a name can be checked before anything that takes time is imported.
"""

from __future__ import annotations

from pathlib import Path

from audit.errors import InputError

FILE_SUFFIXES = (".npy", ".parquet", ".csv")


def is_file_name(text: str) -> bool:
    """Whether a text names a file of embeddings or predictions, and not a field."""
    return Path(text).suffix.lower() in FILE_SUFFIXES


def check_file(path: Path, option: str) -> None:
    """Refuse a file that does not exist, before anything is computed.

    Raises:
        InputError: naming it and the option.
    """
    if not path.is_file():
        raise InputError(
            f"{option} {str(path)!r}: there is no such file; give a .npy, .parquet or .csv file, or a field"
        )
