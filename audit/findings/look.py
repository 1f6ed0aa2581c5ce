"""Make the checks of an audit that were chosen, and put what they find into the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from audit.findings.contract import Audited, Finding
from audit.findings.registry import check_names, checks
from audit.findings.table import summarise, table_of
from audit.flags.threshold import likeliest_classes
from audit.summary.counts import LeakedSplit

if TYPE_CHECKING:
    from audit.config import AuditConfig
    from audit.inputs import Material
    from audit.progress import Stages
    from audit.result import AuditResult


def audited_before(material: Material) -> Audited:
    """What checks may look at before labels were judged."""
    return Audited(
        ids=list(material.ids),
        labels=material.labels,
        classes=material.classes,
        split=material.split,
        own_split=material.own_split,
        keys=material.keys,
        every_label=material.every_label,
        noun=material.audited,
        x=material.x,
        files=list(material.filepaths),
    )


def found_always(audited: Audited) -> pd.DataFrame:
    """What the checks find that are always made: `AuditResult.findings` before the others."""
    return table_of(_always(audited), audited.ids)


def _always(audited: Audited) -> list[Finding]:
    return [found for check in checks().values() if check.always for found in check.made(audited)]


def add_findings(result: AuditResult, audited: Audited, config: AuditConfig, stages: Stages) -> AuditResult:
    """The result with what the chosen checks find; a check that fails is recorded, and the others are made.

    Args:
        result: with scores and flags.
        audited: what the checks look at.
        config: says which checks are chosen.
        stages: which records failures, and times the stage that this is.
    """
    chosen = [check for name in check_names(config.findings, "findings") if not (check := checks()[name]).always]
    audited = replace(audited, asked=frozenset(kind.name for check in chosen for kind in check.kinds))
    found = _always(audited)
    for check in chosen:
        with stages.part("findings", f"findings about {check.name.replace('-', ' ')}"):
            found += check.made(audited)
    findings = table_of(found, audited.ids)
    scores = result.scores.assign(**audited.columns) if audited.columns else result.scores
    summary = replace(result.summary, findings=summarise(findings, audited.precisions), leaks=tuple(audited.leaks))
    return replace(result, findings=findings, scores=scores, summary=summary)


def leaked_splits(
    leaked: np.ndarray, split: np.ndarray, is_right: Callable[[np.ndarray], np.ndarray] | None
) -> list[LeakedSplit]:
    """The held-out splits that have leaked samples, with the head's score with and without them.

    Args:
        leaked: bool (n,), samples of a held-out split with a copy in the training split.
        split: (n,) as the audit used them.
        is_right: tells whether the head predicts the label of rows; None without a head, for which nothing is measured.
    """
    measured: list[LeakedSplit] = []
    for name in ("validation", "test"):
        rows = np.flatnonzero(split == name)
        of_split = leaked[rows]
        if is_right is None or not of_split.any():
            continue
        right = is_right(rows)
        measured.append(
            LeakedSplit(
                split=name,
                samples=len(rows),
                leaked=int(of_split.sum()),
                accuracy=float(right.mean()),
                accuracy_without=float(right[~of_split].mean()) if not of_split.all() else None,
            )
        )
    return measured


def head_is_right(predict: Callable[[np.ndarray], Any], numbers: np.ndarray) -> Callable[[np.ndarray], Any]:
    """Whether the head predicts the label of rows (k,), bool (k,), from its probabilities (k, C)."""
    return lambda rows: likeliest_classes(predict(rows)) == numbers[rows]
