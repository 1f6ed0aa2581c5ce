"""Names for what is made of a source, such that sources with the same last name do not get in each other's way."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path


def possible_names(name: str, description: str) -> list[str]:
    """The source's own name, then the same with names of parent folders, then with a digest of the whole path.

    Args:
        name: a short name for the source.
        description: where it is, such as 'folder:/data/pets'.
    """
    above = [folder.name for folder in Path(place_of(description)).parents if folder.name]
    if above and above[0] == name:  # if a file is named after a split, use its folder's name
        above = above[1:]
    longer = ["-".join([*reversed(above[:count]), name]) for count in range(1, 3)]  # one or two folders
    digest = hashlib.blake2b(description.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    return list(dict.fromkeys(map(_plain, (name, *longer, f"{name}-{digest}"))))


def place_of(description: str) -> str:
    """The path of a source, or what else it is called."""
    return description.partition(":")[2]


def is_gone(description: str) -> bool:
    """Whether a source is a path that no longer exists."""
    place = place_of(description)
    return os.path.isabs(place) and not os.path.lexists(place)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._").lower()
