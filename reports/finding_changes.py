"""What is new, and what is gone, among the findings of two audits beside single labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from audit.findings.registry import check_names, checks, kind_of
from audit.findings.table import classes_of
from audit.result import AuditResult
from reports.text import count

EXAMPLES = 5
"""New findings of a kind that are written out."""


@dataclass(frozen=True)
class NewFinding:
    """A finding that the first audit had not: what was seen, in a sentence, and its samples' ids in the second."""

    detail: str
    samples: list[str]


@dataclass(frozen=True)
class FindingChanges:
    """The findings of one kind in two audits.

    Attributes:
        kind: its name.
        title: what people call it.
        first, second: how many each audit found.
        new: how many the second found that the first had not, or not with all of their samples.
        gone: how many of the first the second did not find.
        examples: the first few new ones.
        looked: whether the first audit looked for the kind; where it did not, all are new.
    """

    kind: str
    title: str
    first: int
    second: int
    new: int
    gone: int
    examples: list[NewFinding]
    looked: bool


@dataclass(frozen=True)
class _Found:
    """One finding: what it is about, and its sentence."""

    about: frozenset[str]
    samples: list[str]
    detail: str


def finding_changes(first: AuditResult, second: AuditResult, ids: Mapping[str, str]) -> list[FindingChanges]:
    """What is new and gone, a kind each, in the order of the second audit.

    Args:
        first, second: the results.
        ids: the id in the second result, by the id in the first, of samples that are in both.
    """
    before, after = _by_kind(first.findings, ids), _by_kind(second.findings, {})
    looked = _looked_for(first.summary.config.findings), _looked_for(second.summary.config.findings)
    changes = []
    for kind in [*after, *(kind for kind in before if kind not in after)]:
        former, now = before.get(kind, []), after.get(kind, [])
        new = [found for found in now if not any(_covers(known, found) for known in former)]
        gone = [found for found in former if not any(_overlap(found, known) for known in now)]
        changes.append(
            FindingChanges(
                kind=kind,
                title=kind_of(kind).title,
                first=len(former),
                second=len(now),
                new=len(new),
                gone=len(gone) if kind in looked[1] else 0,
                examples=[NewFinding(found.detail, found.samples) for found in new[:EXAMPLES]],
                looked=kind in looked[0],
            )
        )
    return changes


def finding_sentences(changes: Sequence[FindingChanges]) -> list[str]:
    """What to say of the findings in the verdict; nothing where neither audit has any."""
    if not changes:
        return []
    looked = [change for change in changes if change.looked]
    new, gone = [change for change in looked if change.new], sum(change.gone for change in looked)
    said = []
    if new:
        named = ", ".join(f"{count(change.new)} {change.title[:1].lower()}{change.title[1:]}" for change in new[:4])
        more = f", and {len(new) - 4} more kinds" if len(new) > 4 else ""
        total = sum(change.new for change in new)
        said.append(f"{count(total)} {'finding is' if total == 1 else 'findings are'} new: {named}{more}.")
    elif looked:
        said.append("No finding beside single labels is new.")
    if gone:
        said.append(f"{count(gone)} of the first audit's findings {'is' if gone == 1 else 'are'} gone.")
    unlooked = [change for change in changes if not change.looked and change.second]
    if unlooked:
        titles = ", ".join(f"{change.title[:1].lower()}{change.title[1:]}" for change in unlooked)
        said.append(f"The first audit did not look for {titles}, so whether those are new is not known.")
    return said


def _looked_for(chosen: str) -> set[str]:
    """The kinds that an audit with these `--findings` looks for."""
    made = checks()
    names = set(check_names(chosen, "findings"))
    return {kind.name for check in made.values() if check.always or check.name in names for kind in check.kinds}


def _by_kind(findings: pd.DataFrame, ids: Mapping[str, str]) -> dict[str, list[_Found]]:
    """The findings of each kind; ids of the first result become those of the second where they are known."""
    by_kind: dict[str, list[_Found]] = {}
    if not len(findings):
        return by_kind
    for _, rows in findings.groupby("finding", sort=True):
        row = rows.iloc[0]
        samples = [ids.get(str(sample), str(sample)) for sample in rows["id"].dropna()]
        detail = str(row["detail"])
        about = samples or classes_of(rows) or [re.sub(r"\d[\d.,]*", "#", detail)]
        by_kind.setdefault(str(row["kind"]), []).append(_Found(frozenset(about), samples, detail))
    return by_kind


def _covers(known: _Found, found: _Found) -> bool:
    """Whether a known finding is about all that another one is about."""
    return found.about <= known.about


def _overlap(one: _Found, other: _Found) -> bool:
    """Whether two findings are about the same, perhaps with a sample more or less."""
    return len(one.about & other.about) >= min(2, len(one.about), len(other.about))
