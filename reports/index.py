"""A page that links the reports of several audits, with the verdict or the error of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from audit.summary.parts import JsonObject, to_json
from audit.summary.summary import Summary
from reports.page import asset, environment, policy, write_page
from reports.text import count, share


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
    def wrong_share(self) -> float | None:
        """The estimated share of wrong labels."""
        return None if self.summary is None else _wrong_share(self.summary)

    def to_json(self) -> JsonObject:
        """The entry as JSON values."""
        return {
            "source": self.source,
            "label_field": self.label_field,
            "audit_key": self.audit_key,
            "exit_code": self.exit_code,
            "error": self.error or None,
            "report": None if self.report is None else str(self.report.resolve()),
            "summary": to_json(self.summary),
        }


def write_index(entries: Sequence[IndexEntry], path: Path, fail_above: float | None = None) -> Path:
    """Write the page. Its links are relative, so that the folder can be moved.

    Args:
        entries: the audits, in the order in which they were given.
        path: the HTML file.
        fail_above: the share of wrong labels above which an audit counts as failed.

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
            sentences=_sentences(entries, fail_above),
            links=[_link(entry.report, path.parent) for entry in entries],
            fail_above=fail_above,
            style=style,
            theme_script=asset("theme.js"),
            policy=policy([asset("theme.js")], style),
        )
    )
    return write_page(html, path)


def _wrong_share(summary: Summary) -> float:
    return summary.estimates.mistakes / max(summary.counts.samples, 1)


def _headline(entries: Sequence[IndexEntry]) -> str:
    summaries = [entry.summary for entry in entries if entry.summary is not None]
    samples = sum(summary.counts.samples for summary in summaries)
    mistakes = sum(summary.estimates.mistakes for summary in summaries)
    waiting = sum(entry.exit_code is None for entry in entries)
    failed = len(entries) - len(summaries) - waiting
    if not summaries:
        return f"None of {len(entries)} audits {'is done yet' if waiting else 'could be made'}."
    text = f"About {count(mistakes)} of {count(samples)} labels look wrong"
    if round(mistakes) == 0:
        text = f"No label of {count(samples)} looks wrong"
    rest = [f"{failed} of {len(entries)} audits failed"] if failed else []
    rest += [f"{waiting} of {len(entries)} are not done"] if waiting else []
    return f"{'; '.join([text, *rest])}."


def _sentences(entries: Sequence[IndexEntry], fail_above: float | None) -> list[str]:
    done = [entry for entry in entries if entry.summary is not None]
    sentences = []
    waiting = sum(entry.exit_code is None for entry in entries)
    if waiting:
        sentences.append(
            f"{waiting} of {len(entries)} audits are not done. This page is written again after each; if the call was "
            "interrupted, run the same command again: embeddings and finished stages are kept."
        )
    worst = max(done, key=lambda entry: entry.wrong_share or 0.0, default=None)
    found = worst.summary if worst is not None and len(done) > 1 else None
    if found is not None and found.source is not None and found.estimates.mistakes >= 1:
        sentences.append(
            f"The largest share is estimated in {found.source.dataset!r}, field {found.source.label_field!r}: "
            f"{share(_wrong_share(found))}."
        )
    if fail_above is not None:
        above = sum((entry.wrong_share or 0.0) > fail_above for entry in done)
        sentences.append(f"{above} of {len(done)} are above the limit of {share(fail_above)}.")
    return sentences


def _link(report: Path | None, folder: Path) -> str | None:
    return None if report is None else quote(os.path.relpath(report, folder).replace(os.sep, "/"))
