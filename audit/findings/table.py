"""Findings as a table, and as parts of the summary."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from audit.findings.contract import EstimatedPrecision, Finding
from audit.findings.registry import kind_of
from audit.summary.counts import Finding as FindingsOfKind

COLUMNS = ("kind", "finding", "id", "detail", "score", "advice", "worth", "class", "other_class")
EXAMPLES = 5  # findings of a kind that the summary names: enough to look at
_TYPES = {"finding": np.int64, "score": np.float64}


def no_findings() -> pd.DataFrame:
    """The table of an audit that found nothing of the kind."""
    return pd.DataFrame({name: pd.Series(dtype=_TYPES.get(name, object)) for name in COLUMNS})


def table_of(found: Iterable[Finding], ids: Sequence[str]) -> pd.DataFrame:
    """`AuditResult.findings`: a row for each sample of a finding; id is None for a finding about classes.

    A finding about more than two classes has a row for each of them.

    Args:
        found: in the order of the table. Findings of one kind are together, the highest score first.
        ids: of the audited samples.
    """
    by_kind: dict[str, list[Finding]] = {}
    for one in found:
        by_kind.setdefault(one.kind, []).append(one)
    ordered = [one for kind in by_kind.values() for one in sorted(kind, key=lambda finding: -finding.score)]
    rows: list[tuple[object, ...]] = []
    for number, one in enumerate(ordered):
        members: list[str | None] = [ids[row] for row in one.samples]
        pairs = [(*one.classes, None, None)[:2]]
        if not members and len(one.classes) > 2:
            pairs = [(name, None) for name in one.classes]
        advice = kind_of(one.kind).advice
        for member, classes in itertools.product(members or [None], pairs):
            rows.append((one.kind, number, member, one.evidence, one.score, advice, one.worth, *classes))
    if not rows:
        return no_findings()
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(_TYPES)


def classes_of(rows: pd.DataFrame) -> list[str]:
    """The labels that a finding is about, from its rows in `AuditResult.findings`."""
    about = rows if rows["id"].isna().all() else rows.head(1)
    names = [name for column in ("class", "other_class") if column in about for name in about[column]]
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def summarise(
    findings: pd.DataFrame, precisions: Mapping[str, EstimatedPrecision] | None = None
) -> tuple[FindingsOfKind, ...]:
    """For each kind that was found: how often, in how many samples, what it means, and a few examples.

    Args:
        findings: as `table_of` makes them.
        precisions: by kind, where they could be estimated.
    """
    known = precisions or {}
    return tuple(
        FindingsOfKind(
            kind=kind,
            findings=int(table["finding"].nunique()),
            samples=int(table["id"].dropna().nunique()),
            meaning=kind_of(kind).meaning,
            examples=tuple(table.drop_duplicates("finding")["detail"].head(EXAMPLES)),
            title=kind_of(kind).title,
            advice=kind_of(kind).advice,
            threshold=kind_of(kind).threshold,
            precision_low=known[kind].low if kind in known else None,
            precision_high=known[kind].high if kind in known else None,
            precision_basis=known[kind].basis if kind in known else kind_of(kind).precision,
        )
        for kind, table in ((kind, findings[findings["kind"] == kind]) for kind in findings["kind"].unique().tolist())
    )
