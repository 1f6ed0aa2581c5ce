"""The runs of one audit over time, and what their trend is in words: `influence-audit run --history`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from audit.summary.parts import JsonObject, to_json
from audit.summary.summary import Summary
from reports.claims import claims_of
from reports.new_flags import NewFlags, moment
from reports.ranges import Figure, has_wide_count, share_range
from reports.text import count, count_decisions

SHOWN_RUNS = 12
"""Runs in a table, the newest first."""


@dataclass(frozen=True)
class Run:
    """One audit as a history keeps it: one line of JSON.

    Attributes:
        created: when the audit ended (UTC, ISO 8601).
        dataset, label_field, audit_key: what was audited.
        samples, classes, flagged: how many there were.
        mistakes: the number of wrong labels, with its range and seal.
        new_flags, gone_flags: flags that the run before did not have, and flags of its that are gone; None for the
            first run.
        findings: number of findings by kind.
        decisions: samples that a person had decided by then; None where that is not known.
        result: the result's folder.
        kept: the folder of a copy of the result within the history; '' where it is kept no longer.
        version: of influence-audit.
    """

    created: str
    dataset: str
    label_field: str
    audit_key: str
    samples: int
    classes: int
    flagged: int
    mistakes: Figure
    new_flags: int | None = None
    gone_flags: int | None = None
    findings: dict[str, int] = field(default_factory=dict)
    decisions: int | None = None
    result: str = ""
    kept: str = ""
    version: str = ""

    @property
    def name(self) -> tuple[str, str, str]:
        """What was audited: runs with the same name are one trend."""
        return self.dataset, self.label_field, self.audit_key

    @property
    def share(self) -> Figure:
        """The share of wrong labels."""
        return self.mistakes.scaled(1 / max(self.samples, 1), 1.0)

    @property
    def moment(self) -> str:
        """When the audit ended, as people read it."""
        return moment(self.created)

    def to_line(self) -> str:
        """The run as a line of JSON, without its end."""
        return json.dumps(to_json(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> Run:
        """The run of a line; keys that a later version may have added are left out.

        Raises:
            ValueError: if the line is none.
        """
        try:
            values: JsonObject = json.loads(line)
            known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
            return cls(**{**known, "mistakes": Figure(**values["mistakes"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a run ({error})") from None


def run_of(summary: Summary, new: NewFlags | None, **others: Any) -> Run:
    """An audit as a run.

    Args:
        summary: of the audit; it names what was audited.
        new: how its flags changed since the run before; None for the first run.
        others: the attributes of a `Run` that a summary does not say.
    """
    source, counts = summary.source, summary.counts
    named = ("", "", "") if source is None else (source.dataset, source.label_field, source.audit_key)
    dataset, label_field, audit_key = named
    return Run(
        created=summary.created,
        dataset=dataset,
        label_field=label_field,
        audit_key=audit_key,
        samples=counts.samples,
        classes=counts.classes,
        flagged=counts.flagged,
        mistakes=claims_of(summary).mistakes,
        new_flags=None if new is None else new.number,
        gone_flags=None if new is None else new.gone,
        findings={found.kind: found.findings for found in summary.findings},
        version=summary.versions.get("influence-audit", ""),
        **others,
    )


def trend_sentences(runs: Sequence[Run]) -> list[str]:
    """What changed up to the last run: the share of wrong labels, the flags, the decisions. Empty for a single run.

    Args:
        runs: of one trend, the oldest first.
    """
    if len(runs) < 2:
        return []
    before, now = runs[-2], runs[-1]
    said = [
        f"Wrong labels: {share_range(before.share)} on {before.moment}, {share_range(now.share)} now "
        f"({now.mistakes.seal})."
    ]
    if before.share.high >= now.share.low and now.share.high >= before.share.low and _is_known_badly(before, now):
        said.append("The two ranges overlap, so they do not show that the share changed.")
    if now.new_flags is not None and now.gone_flags is not None:
        said.append(
            f"Since then {count(now.new_flags)} flag{'' if now.new_flags == 1 else 's'} came and "
            f"{count(now.gone_flags)} went."
        )
    if now.decisions is not None:
        made = "" if before.decisions is None else f", {count(max(0, now.decisions - before.decisions))} of them since"
        said.append(f"People made {count_decisions(now.decisions)}{made}." if now.decisions else "Nobody decided yet.")
    return said


def _is_known_badly(before: Run, now: Run) -> bool:
    return has_wide_count(before.mistakes) or has_wide_count(now.mistakes) or before.share != now.share


@dataclass(frozen=True)
class TrendRow:
    """A run in a table, in words, and the range of its share for a bar.

    Attributes:
        moment, samples, share, flagged, new_flags, decisions: the cells; '–' for what is not known.
        seal: how the share is known.
        left, width: where the range of the share begins, and its length, in percent of the table's largest share.
    """

    moment: str
    samples: str
    share: str
    seal: str
    flagged: str
    new_flags: str
    decisions: str
    left: float
    width: float


@dataclass(frozen=True)
class Trend:
    """What a page shows of a history.

    Attributes:
        sentences: what changed since the run before.
        rows: the last runs, the newest first.
        earlier: how many runs are left out.
    """

    sentences: tuple[str, ...]
    rows: tuple[TrendRow, ...]
    earlier: int


def trend_of(runs: Sequence[Run]) -> Trend | None:
    """The trend of two runs or more; None of fewer.

    Args:
        runs: of one trend, the oldest first.
    """
    if len(runs) < 2:
        return None
    shown = runs[-SHOWN_RUNS:][::-1]
    most = max(run.share.high for run in shown) or 1.0
    rows = tuple(
        TrendRow(
            moment=run.moment,
            samples=count(run.samples),
            share=share_range(run.share),
            seal=run.mistakes.seal,
            flagged=count(run.flagged),
            new_flags=count(run.new_flags),
            decisions=count(run.decisions),
            left=round(100 * run.share.low / most, 2),
            width=round(max(100 * (run.share.high - run.share.low) / most, 1.0), 2),
        )
        for run in shown
    )
    return Trend(tuple(trend_sentences(runs)), rows, len(runs) - len(shown))
