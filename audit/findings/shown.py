"""Which findings a report shows, so that the audit keeps thumbnails of their samples."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True, kw_only=True)
class ShownSettings:
    """How many findings a report shows."""

    # Findings of a kind.
    most_shown: int = 12
    # Findings of a kind that are not about samples.
    most_written: int = 200
    # Samples of a finding.
    most_members: int = 4


SETTINGS = ShownSettings()


def shown_findings(findings: pd.DataFrame) -> pd.DataFrame:
    """The rows of the findings that a report shows: the first of each kind, with all their samples."""
    if not len(findings):
        return findings
    numbers = findings.drop_duplicates("finding")
    place = numbers.groupby("kind", sort=False).cumcount()
    most = numbers["id"].isna().map({True: SETTINGS.most_written, False: SETTINGS.most_shown})
    return findings[findings["finding"].isin(numbers.loc[place < most, "finding"])]


def shown_members(findings: pd.DataFrame) -> list[str]:
    """Ids of the samples whose pictures a report shows with its findings."""
    rows = shown_findings(findings).dropna(subset=["id"])
    first = rows[rows.groupby("finding").cumcount() < SETTINGS.most_members]
    return list(dict.fromkeys(first["id"]))
