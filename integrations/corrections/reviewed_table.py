"""What a table of decisions says of each sample: saved by the report, exported from a review, or filled in by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from audit.errors import InputError
from integrations.corrections.decisions import NEW_LABEL, columns_of, text_of

ReviewedAs = Literal["dismiss", "relabel", "remove", "confirm", "unsure"]

_BY_STATUS: dict[str, ReviewedAs] = {
    **{"dismissed": "dismiss", "keep": "dismiss", "relabelled": "relabel", "relabel": "relabel"},
    **{"removed": "remove", "remove": "remove", "confirmed": "confirm", "unsure": "unsure"},
}
_UNDECIDED = ("", "unreviewed")
_NAMES = ("id", "key", "filepath")
_OLD_LABELS = ("old_label", "label")


@dataclass(frozen=True)
class ReviewedRow:
    """A decision on a sample.

    Attributes:
        number: of the row, from 1.
        names: what the row calls the sample, by column ('id', 'key', 'filepath'); at least one.
        action: what was decided.
        old_label: that it was decided on; '' where the table does not say.
        new_label: the right one, of 'relabel' only.
        by: who decided; None where the table does not say.
    """

    number: int
    names: dict[str, str]
    action: ReviewedAs
    old_label: str
    new_label: str | None
    by: str | None

    @property
    def name(self) -> str:
        """What messages call the sample."""
        return next(iter(self.names.values()))


def read_reviewed_table(path: Path) -> list[ReviewedRow]:
    """The decisions of a table; rows without one are left out.

    A new label that is the old one says that the label is right.

    Args:
        path: of CSV, JSON or parquet, with one of the columns `id`, `key` and `filepath`, and one of `status` and
            `new_label`.

    Raises:
        InputError: if the table cannot be read, has no such columns, or a row that says nothing that can be done.
    """
    columns = {name.strip().lower(): values for name, values in columns_of(path).items()}
    for needed in (_NAMES, ("status", NEW_LABEL)):
        if not any(name in columns for name in needed):
            raise InputError(
                f"decisions {str(path)!r} have no column {needed[0]!r}; give the table that the report saves or "
                "`influence-audit export` writes"
            )
    rows = []
    for place in range(len(next(iter(columns.values())))):
        cells = {name: text_of(values[place]) for name, values in columns.items()}
        row = _row(path, place + 1, cells)
        if row is not None:
            rows.append(row)
    if not rows:
        raise InputError(f"decisions {str(path)!r} hold no decision; decide on some samples first")
    return rows


def _row(path: Path, number: int, cells: dict[str, str]) -> ReviewedRow | None:
    where, status = f"row {number} of decisions {str(path)!r}", cells.get("status", "").lower()
    new, old = cells.get(NEW_LABEL, ""), next((cells[name] for name in _OLD_LABELS if cells.get(name)), "")
    if status in _UNDECIDED and not new:
        return None
    names = {name: cells[name] for name in _NAMES if cells.get(name)}
    if not names:
        raise InputError(f"{where} names no sample; fill in its id, or remove the row")
    action = "relabel" if status in _UNDECIDED else _BY_STATUS.get(status)
    if action is None:
        raise InputError(f"{where} has the status {status!r}; it is one of {', '.join(_BY_STATUS)}")
    if action == "relabel" and not new:
        raise InputError(f"{where} relabels {next(iter(names.values()))!r} and has no new_label; fill it in")
    if action == "relabel" and new == old:
        action = "dismiss"
    return ReviewedRow(number, names, action, old, new if action == "relabel" else None, cells.get("by") or None)
