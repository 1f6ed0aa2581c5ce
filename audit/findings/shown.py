"""Which findings a report shows, so that the audit keeps thumbnails of their samples."""

from __future__ import annotations

import pandas as pd

MOST_SHOWN = 12  # findings of a kind
MOST_WRITTEN = 200  # findings of a kind that are not about samples
MOST_MEMBERS = 4  # samples of a finding


def shown_findings(findings: pd.DataFrame) -> pd.DataFrame:
    """The rows of the findings that a report shows: the first of each kind, with all their samples."""
    if not len(findings):
        return findings
    numbers = findings.drop_duplicates("finding")
    place = numbers.groupby("kind", sort=False).cumcount()
    most = numbers["id"].isna().map({True: MOST_WRITTEN, False: MOST_SHOWN})
    return findings[findings["finding"].isin(numbers.loc[place < most, "finding"])]


def shown_members(findings: pd.DataFrame) -> list[str]:
    """Ids of the samples whose pictures a report shows with its findings."""
    rows = shown_findings(findings).dropna(subset=["id"])
    first = rows[rows.groupby("finding").cumcount() < MOST_MEMBERS]
    return list(dict.fromkeys(first["id"]))
