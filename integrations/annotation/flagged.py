"""The flagged samples as an annotation tool takes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit.errors import InputError

if TYPE_CHECKING:
    from audit.result import AuditResult


@dataclass(frozen=True)
class FlaggedPicture:
    """A flagged sample whose picture is a file.

    Args:
        key: what the source calls it.
        file: the picture.
        given: the label that was audited.
        suggested: the label that the audit would give.
        probability: of the suggested label, 0 to 1.
        suspicion: of the given label, 0 to 1.
    """

    key: str
    file: str
    given: str
    suggested: str
    probability: float
    suspicion: float


def flagged_pictures(result: AuditResult) -> list[FlaggedPicture]:
    """The flagged samples, the most suspicious first.

    Raises:
        InputError: if nothing is flagged, or the pictures are no files that are there.
    """
    flagged = result.flagged
    if flagged.empty:
        raise InputError("the audit flags no sample, so there is no task to make")
    missing = [path for path in flagged["filepath"] if not isinstance(path, str) or not os.path.isfile(path)]
    if missing:
        first = "pictures inside a table" if missing[0] is None else repr(missing[0])
        raise InputError(
            f"{len(missing)} flagged pictures are no files that are there (the first: {first}); annotation tools need "
            "files, which an audit in FiftyOne keeps of every source"
        )
    keys = flagged.get("key", flagged.index)
    columns = ("filepath", "label", "suggested_label", "suggested_probability", "suspicion")
    return [
        FlaggedPicture(str(key), str(file), str(given), str(suggested), float(probability), float(suspicion))
        for key, file, given, suggested, probability, suspicion in zip(
            keys, *(flagged[name] for name in columns), strict=True
        )
    ]


def file_names(pictures: Sequence[FlaggedPicture]) -> list[str]:
    """A distinct file name for each picture: its own, with a number in front where another has it too."""
    taken: set[str] = set()
    names = []
    for number, picture in enumerate(pictures, 1):
        name = os.path.basename(picture.file)
        name = f"{number:06d}-{name}" if name.casefold() in taken else name
        taken.add(name.casefold())
        names.append(name)
    return names
