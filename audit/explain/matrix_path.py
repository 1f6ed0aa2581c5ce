"""Where an influence matrix is written, and what it may replace; imports nothing that takes time."""

from __future__ import annotations

from pathlib import Path

from audit.errors import InputError

ID_COLUMNS = ("axis", "position", "id", "label", "filepath")


def ids_path(matrix: Path) -> Path:
    """The file with the ids of rows and columns beside a matrix."""
    return matrix.with_suffix(".parquet")


def checked_path(to: str | Path) -> Path:
    """The path of a matrix to write, which may replace only an earlier matrix with its ids beside it.

    Raises:
        InputError: if it does not end with .npy, or there is something else.
    """
    path = Path(to)
    if path.suffix != ".npy":
        raise InputError(
            f"the influence matrix is written as a .npy file, not {str(path)!r}; give a name that ends with .npy"
        )
    ids = ids_path(path)
    there = next((file for file in (path, ids) if file.exists() or file.is_symlink()), None)
    if there is not None and not (path.is_file() and _names_matrix(ids)):
        raise InputError(f"{str(there)!r} exists and is no influence matrix; give another name, or remove it")
    return path


def _names_matrix(ids: Path) -> bool:
    from pyarrow import ArrowException
    from pyarrow.parquet import read_schema

    try:
        return tuple(read_schema(ids).names) == ID_COLUMNS
    except (ArrowException, OSError):
        return False
