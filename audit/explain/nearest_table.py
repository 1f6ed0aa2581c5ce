"""The table of the samples most like the most suspicious ones. A result reads it without torch."""

from __future__ import annotations

import pandas as pd

COLUMNS = ("target", "kind", "rank", "neighbour", "likeness")
GIVEN, OTHER = "given", "other"
"""The kinds: samples with the target's given label, and samples with its likeliest other label."""


def no_nearest() -> pd.DataFrame:
    """The table of an audit that compares no pictures."""
    types = {"rank": int, "likeness": float}
    return pd.DataFrame({name: pd.Series([], dtype=types.get(name, object)) for name in COLUMNS})
