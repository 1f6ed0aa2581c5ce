"""A page that links the reports of several audits, with the verdict or the error of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from audit.summary.parts import JsonObject, to_json
from audit.summary.summary import Summary
from reports.claims import claims_of
from reports.limit import Limit, wrong_share
from reports.page import asset, environment, policy, write_page
from reports.ranges import (
    Figure,
    count_phrase,
    count_range,
    figure,
    has_wide_count,
    is_any_number,
    is_none,
    share_range,
)
from reports.text import count, share

ABOVE = 3
"""The exit code of an audit that is above the limit."""


@dataclass(frozen=True)
class IndexEntry:
    """One of several audits.

    Attributes:
        source: the source to audit, as the user gave it.
        label_field: the field that the user named; None for the source's own labels.
        audit_key: of the audit.
        exit_code: the exit code of the command for this audit alone; 0 if the audit is done, None while it is not.
        summary: of the result; None if there is no result.
        report: the HTML report; None if there is none.
        error: why the audit failed, in one line.
    """

    source: str
    label_field: str | None
    audit_key: str
    exit_code: int | None
    summary: Summary | None = None
    report: Path | None = None
    error: str = ""

    @property
    def wrong(self) -> Figure | None:
        """The number of wrong labels."""
        return None if self.summary is None else claims_of(self.summary).mistakes

    @property
    def wrong_share(self) -> Figure | None:
        """The share of wrong labels."""
        return None if self.summary is None else wrong_share(self.summary)

    @property
    def precision(self) -> Figure | None:
        """The share of the flags that are right."""
        return None if self.summary is None else claims_of(self.summary).precision

    @property
    def wrong_text(self) -> str:
        """The number of wrong labels as text."""
        return "–" if self.wrong is None else count_range(self.wrong)

    @property
    def share_text(self) -> str:
        """The share of wrong labels as text."""
        return "–" if self.wrong_share is None else share_range(self.wrong_share)

    def to_json(self) -> JsonObject:
        """The entry as JSON values."""
        return {
            "source": self.source,
            "label_field": self.label_field,
            "audit_key": self.audit_key,
            "exit_code": self.exit_code,
            "error": self.error or None,
            "report": None if self.report is None else str(self.report.resolve()),
            "wrong": to_json(self.wrong),
            "summary": to_json(self.summary),
        }


def write_index(entries: Sequence[IndexEntry], path: Path, limit: Limit = Limit()) -> Path:
    """Write the page. Its links are relative, so that the folder can be moved.

    Args:
        entries: the audits, in the order in which they were given.
        path: the HTML file.
        limit: the share of wrong labels above which an audit counts as failed.

    Raises:
        InputError: if the file cannot be written.
    """
    style = asset("report.css")
    html = (
        environment()
        .get_template("index.html.j2")
        .render(
            title=f"{len(entries)} label audits",
            entries=entries,
            headline=_headline(entries),
            sentences=_sentences(entries, limit),
            links=[_link(entry.report, path.parent) for entry in entries],
            limit=limit.share,
            above=ABOVE,
            style=style,
            theme_script=asset("theme.js"),
            policy=policy([asset("theme.js")], style),
        )
    )
    return write_page(html, path)


def _headline(entries: Sequence[IndexEntry]) -> str:
    found = [(entry.summary, entry.wrong) for entry in entries if entry.summary is not None]
    waiting = sum(entry.exit_code is None for entry in entries)
    failed = len(entries) - len(found) - waiting
    if not found:
        return f"None of {len(entries)} audits {'is done yet' if waiting else 'could be made'}."
    samples = sum(summary.counts.samples for summary, _ in found)
    figures = [wrong for _, wrong in found if wrong is not None]
    value, low, high = (sum(getattr(wrong, end) for wrong in figures) for end in ("value", "low", "high"))
    text = _of_all(figure(value, low, high, samples, "modelled"), count(samples))
    rest = [f"{failed} of {len(entries)} audits failed"] if failed else []
    rest += [f"{waiting} of {len(entries)} are not done"] if waiting else []
    return f"{'; '.join([text, *rest])}."


def _sentences(entries: Sequence[IndexEntry], limit: Limit) -> list[str]:
    done = [entry for entry in entries if entry.summary is not None]
    sentences = []
    waiting = sum(entry.exit_code is None for entry in entries)
    if waiting:
        sentences.append(
            f"{waiting} of {len(entries)} audits are not done. This page is written again after each; if the call was "
            "interrupted, run the same command again: embeddings and finished stages are kept."
        )
    found = _largest(done) if len(done) > 1 else None
    if found is not None and found.summary is not None and found.summary.source is not None:
        source = found.summary.source
        sentences.append(
            f"The largest share of wrong labels is expected in {source.dataset!r}, field {source.label_field!r}: "
            f"{found.share_text}."
        )
    if limit.share is not None:
        above = sum(entry.exit_code == ABOVE for entry in done)
        sentences.append(f"{above} of {len(done)} are above the limit of {share(limit.share)} ({limit.basis}).")
    return sentences


def _of_all(mistakes: Figure, total: str) -> str:
    """How many labels of all audits are wrong."""
    if is_none(mistakes):
        return f"No label of {total} looks wrong"
    phrase = count_phrase(mistakes)
    wide = has_wide_count(mistakes) or is_any_number(mistakes)
    return f"{phrase[:1].upper()}{phrase[1:]} of {total} labels {'may be' if wide else 'look'} wrong"


def _largest(done: Sequence[IndexEntry]) -> IndexEntry | None:
    """The audit with the largest share of wrong labels, of those where the share is known at all."""
    known = [entry for entry in done if entry.wrong is not None and not is_any_number(entry.wrong)]
    worst = max(known, key=lambda entry: entry.wrong_share.value if entry.wrong_share else 0.0, default=None)
    return worst if worst is not None and worst.wrong is not None and worst.wrong.value >= 1 else None


def _link(report: Path | None, folder: Path) -> str | None:
    return None if report is None else quote(os.path.relpath(report, folder).replace(os.sep, "/"))
