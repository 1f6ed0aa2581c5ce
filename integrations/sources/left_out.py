"""Images that a source leaves out before the audit: files in formats that are not read, and rows without an image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from audit.errors import InputError

if TYPE_CHECKING:
    from audit.result import AuditResult

FOLDER = "folder"
"""The kind of a folder that cannot be read."""


@dataclass(frozen=True)
class LeftOutImage:
    """An image that the audit does not get, or a file or folder that may be or hold one.

    Args:
        source_id: its id, distinct within the source.
        path: of the file or folder; None where it is none.
        label: its class, or None.
        kind: what it is, for a count: '.heic file'.
        reason: why it is left out, in a few words.
        remedy: what to do, in a few words.
    """

    source_id: str
    path: str | None
    label: str | None
    kind: str
    reason: str
    remedy: str


def printable(text: str) -> str:
    r"""A name as it can be printed and stored; bytes that are not UTF-8 become \xe9 and the like."""
    surrogates = 0xDC00  # Python adds it to a byte of a name that is not UTF-8
    return "".join(
        f"\\x{ord(letter) - surrogates:02x}" if 0xDC80 <= ord(letter) <= 0xDCFF else letter for letter in text
    )


def first_few(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def quoted(name: str) -> str:
    r"""A name in quotes; bytes that are not UTF-8 as \xe9 and the like, other odd characters as Python writes them."""
    return re.sub(r"\\udc([89a-f][0-9a-f])", r"\\x\1", repr(name))


def sentences(left_out: Sequence[LeftOutImage]) -> list[str]:
    """A sentence for each kind and reason: how many there are, of which classes, and what to do."""
    groups: dict[tuple[str, str, str], Counter[str | None]] = {}
    for image in left_out:
        groups.setdefault((image.kind, image.reason, image.remedy), Counter())[image.label] += 1
    return [
        f"{counts.total():,} {kind if counts.total() == 1 else _plural(kind)} left out{_of_classes(counts)}: {reason}; "
        f"{remedy}"
        for (kind, reason, remedy), counts in groups.items()
    ]


def refuse_left_out(description: str, left_out: Sequence[LeftOutImage]) -> None:
    """Raise an InputError if anything is left out, for a strict audit."""
    if left_out:
        first = left_out[0].path or left_out[0].source_id
        raise InputError(
            f"{description}: {'; '.join(sentences(left_out)[:3])} (the first: {first}), or run without --strict"
        )


def with_left_out(result: AuditResult, left_out: Sequence[LeftOutImage]) -> AuditResult:
    """The result with the images in its skipped samples, counts and notes; an unreadable folder is not counted."""
    import pandas as pd

    if not left_out:
        return result
    rows = [
        (image.source_id, image.path, f"{image.kind} left out: {image.reason}; {image.remedy}") for image in left_out
    ]
    table = pd.DataFrame(rows, columns=["id", "filepath", "reason"], dtype=object)
    summary = result.summary
    unreadable = summary.counts.unreadable + sum(image.kind != FOLDER for image in left_out)
    counts = replace(summary.counts, unreadable=unreadable)
    summary = replace(summary, counts=counts, notes=(*summary.notes, *sentences(left_out)))
    return replace(result, skipped=pd.concat([result.skipped, table], ignore_index=True), summary=summary)


def _plural(kind: str) -> str:
    """'.heic files' for '.heic file', 'files without a suffix' for 'file without a suffix'."""
    return kind.replace("file", "files").replace("folder", "folders").replace("row", "rows")


def _of_classes(counts: Counter[str | None]) -> str:
    named = [(label, count) for label, count in counts.items() if label is not None]
    if not named:
        return ""
    shown = first_few([f"{quoted(label)}: {count:,}" for label, count in named])
    return f" (class {shown})" if len(named) == 1 else f" (classes {shown})"
