"""Where the development data are: the folder that the environment variable INFLUENCE_AUDIT_DATA names.

They are no part of the repository. `make check` and `make test` need none of them.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "INFLUENCE_AUDIT_DATA"


def data_folder() -> Path:
    """The folder of the development data; without it, the program ends with one line that says how to name it."""
    named = os.environ.get(VARIABLE)
    if not named:
        raise SystemExit(
            f"error: {VARIABLE} is not set, and this benchmark measures the development data; "
            f"set it to their folder: {VARIABLE}=/path/to/data"
        )
    if not Path(named).is_dir():
        raise SystemExit(f"error: {VARIABLE} names {named!r}, which is no folder; set it to that of the data")
    return Path(named)


def data_set(name: str) -> Path:
    """The folder of one set of the development data."""
    folder = data_folder() / name
    if not folder.is_dir():
        raise SystemExit(f"error: {VARIABLE} names {str(folder.parent)!r}, which has no folder {name!r}; name another")
    return folder
