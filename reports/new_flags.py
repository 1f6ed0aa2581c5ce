"""The flags of an audit that a former result does not have."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from audit.errors import InputError
from reports.changes import flag_groups, matched_scores
from reports.text import count, count_flags


@dataclass(frozen=True)
class NewFlags:
    """How the flags changed since a former result.

    Attributes:
        of_known: flags of samples that the former audit had too, and did not flag.
        of_added: flags of samples that the former audit did not have.
        gone: former flags of samples that both audits have, and that are not flagged now.
        since: when the former audit ended (UTC, ISO 8601).
    """

    of_known: int
    of_added: int
    gone: int
    since: str

    @property
    def number(self) -> int:
        """How many flags are new."""
        return self.of_known + self.of_added

    @property
    def sentence(self) -> str:
        """How many are new and gone, and since when."""
        are = "is" if self.number == 1 else "are"
        first = f"{count_flags(self.number)} {are} new since {moment(self.since)}"
        first += f" ({count(self.of_added)} of samples that were added since)" if self.of_added else ""
        return f"{first}; {count(self.gone)} {'is' if self.gone == 1 else 'are'} gone."


def new_flags(former: pd.DataFrame, since: str, scores: pd.DataFrame) -> NewFlags:
    """Count the flags that a former result does not have.

    Args:
        former: the former result's scores.
        since: when the former audit ended (UTC, ISO 8601).
        scores: the scores now. Samples are matched as by `compare`; all flags are new where none match.
    """
    try:
        both = matched_scores(former, scores)
    except InputError:
        return NewFlags(0, int(scores["flag"].sum()), 0, since)
    changes = {name: int(rows.sum()) for name, rows in flag_groups(both).items()}
    of_added = scores.index[scores["flag"].to_numpy(bool)].difference(pd.Index(both["id_second"]))
    return NewFlags(changes["new"], len(of_added), changes["gone"], since)


def moment(created: str) -> str:
    """A moment in ISO 8601 as people read it: '2026-11-29 03:00'."""
    return created[:16].replace("T", " ")
