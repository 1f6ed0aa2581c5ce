"""What is wrong with a dataset beside single labels: duplicates that disagree, leaks between splits, class names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from audit.data.class_names import doubtful_names
from audit.data.exact_copies import Copies
from audit.summary.counts import Finding, FindingKind

DUPLICATE_LABELS: Final = "duplicate-labels"
SPLIT_LEAK: Final = "split-leak"
CLASS_NAMES: Final = "class-names"
NO_VALIDATION: Final = "class-without-validation"

FINDING_TITLES: dict[FindingKind, str] = {
    DUPLICATE_LABELS: "Duplicates with different labels",
    SPLIT_LEAK: "Leaks between splits",
    CLASS_NAMES: "Doubtful class names",
    NO_VALIDATION: "Classes without validation samples",
}
"""What each kind of finding is called where people read it."""

FINDING_MEANINGS: dict[FindingKind, str] = {
    DUPLICATE_LABELS: "Identical samples have different labels: at most one of the labels can be right.",
    SPLIT_LEAK: "Identical samples are in the training split and in a held-out one: the head is measured on what it "
    "was trained on.",
    CLASS_NAMES: "Class names that are probably one class, or no class at all: they were audited as they are.",
    NO_VALIDATION: "Classes without a validation sample: the influence of their samples says nothing about them.",
}
"""What each kind of finding means; report, App and command say it so."""

COLUMNS = ("kind", "finding", "id", "detail")
EXAMPLES = 5  # ids that a finding names: enough to look at


def no_findings() -> pd.DataFrame:
    """The table of an audit that found nothing of the kind."""
    return pd.DataFrame({name: pd.Series(dtype=np.int64 if name == "finding" else object) for name in COLUMNS})


def find(
    ids: Sequence[str],
    labels: np.ndarray,
    split: np.ndarray,
    keys: np.ndarray,
    every_label: np.ndarray,
    audited: str,
) -> pd.DataFrame:
    """Look for all kinds of findings.

    Args:
        ids: of the n audited samples.
        labels: (n,) as given.
        split: (n,) 'train', 'validation' or 'test'.
        keys: uint8 (n, 16); samples with the same content have the same.
        every_label: (m,) distinct labels of all samples, those that are left out included.
        audited: what the samples are, 'images' or 'rows'.

    Returns:
        `AuditResult.findings`: columns kind, finding (its number, from 0), id (of a sample, None for a finding about
        classes), detail (in a sentence); a row for each sample of a finding.
    """
    rows: list[tuple[str, int, str | None, str]] = []

    def add(kind: str, members: Sequence[str | None], detail: str) -> None:
        number = rows[-1][1] + 1 if rows else 0
        rows.extend((kind, number, member, detail) for member in members)

    duplicates = Copies.of(keys).groups()
    for group in duplicates:
        counts = Counter(labels[group].tolist())
        if len(counts) > 1:
            shown = ", ".join(f"{label!r} ({count})" for label, count in counts.most_common(EXAMPLES))
            add(DUPLICATE_LABELS, [ids[row] for row in group], f"{len(group)} identical {audited} are labelled {shown}")
    for group in duplicates:
        counts = Counter(split[group].tolist())
        if "train" in counts and len(counts) > 1:
            held_out = " and ".join(f"{counts[name]} in {name}" for name in ("validation", "test") if counts[name])
            detail = f"{counts['train']} of {len(group)} identical {audited} are in train, {held_out}"
            add(SPLIT_LEAK, [ids[row] for row in group], detail)
    if every_label.dtype.kind in "UO":
        for detail in doubtful_names(set(map(str, every_label))):
            add(CLASS_NAMES, [None], detail)
    for label in np.setdiff1d(labels, labels[split == "validation"]).tolist():
        add(NO_VALIDATION, [None], f"class {label!r} has no validation sample")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"finding": np.int64}) if rows else no_findings()


def summarise(findings: pd.DataFrame) -> tuple[Finding, ...]:
    """For each kind that was found: how often, in how many samples, what it means, and a few examples."""
    by_kind = {kind: findings[findings["kind"] == kind] for kind in FINDING_MEANINGS}
    return tuple(
        Finding(
            kind=kind,
            findings=int(table["finding"].nunique()),
            samples=int(table["id"].dropna().nunique()),
            meaning=FINDING_MEANINGS[kind],
            examples=tuple(table.drop_duplicates("finding")["detail"].head(EXAMPLES)),
        )
        for kind, table in by_kind.items()
        if len(table)
    )
