"""Which classes of a source to keep (`--keep-labels`)."""

from __future__ import annotations

from collections.abc import Sequence

from audit.errors import InputError


def chosen_classes(
    keep_labels: Sequence[str] | None, classes: Sequence[str], source: str, numbered: bool = False
) -> tuple[str, ...] | None:
    """The class names that the user asked for, in the order of the classes; None for all.

    Args:
        keep_labels: class names, or the classes' numbers where the source numbers them, several with commas between
            them (a name, whole, wins over a list, and over a number).
        classes: every class name of the source.
        source: what to call the source in an error.
        numbered: whether a number stands for the class at that position.

    Raises:
        InputError: if the source has no such class.
    """
    if not keep_labels:
        return None
    known = set(classes)
    chosen: set[str] = set()
    given = map(str, keep_labels)
    for text in [part for whole in given for part in ([whole] if whole in known else map(str.strip, whole.split(",")))]:
        if text in known:
            chosen.add(text)
        elif numbered and text.isascii() and text.isdigit() and int(text) < len(classes):
            chosen.add(classes[int(text)])
        else:
            shown = ", ".join(classes[:12]) + (f", ... ({len(classes)} in all)" if len(classes) > 12 else "")
            numbers = f" (or the numbers 0 to {len(classes) - 1})" if numbered and classes else ""
            raise InputError(f"{source} has no class {text!r} to keep; it has: {shown or 'none'}{numbers}")
    return tuple(name for name in dict.fromkeys(classes) if name in chosen)
