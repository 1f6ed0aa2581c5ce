"""What the command prints when an audit is done."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from audit.result import AuditResult
    from audit.summary.estimates import Estimates
    from audit.summary.summary import Summary
    from reports.index import IndexEntry

CLASSES_IN_SUMMARY = 10  # lines of a table that a terminal shows without scrolling


def show_summary(console: Console, result: AuditResult, report_path: Path) -> None:
    """The numbers of a result, and where its report and its dataset are."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from reports.next_steps import app_command

    summary = result.summary
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1), title="Label audit", title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    for name, text in (*_sample_rows(summary), *_estimate_rows(summary), *_measured_rows(summary)):
        table.add_row(name, text)
    console.print(table)
    console.print(_influence_table(summary))
    lines = [f"report    {escape(str(report_path.resolve()))}"]
    in_fiftyone = summary.source is not None and summary.source.in_fiftyone
    if summary.source is not None and in_fiftyone:
        dataset, view = summary.source.dataset, f"{summary.source.audit_key}: flagged"
        lines.append(f"FiftyOne  dataset {escape(dataset)!r}, view {escape(view)!r}")
    if summary.counts.flagged:
        table_of_flags = f"influence-audit export {shlex.quote(str(report_path.parent))} -o flagged.csv"
        step = app_command(summary) if in_fiftyone or summary.source is None else table_of_flags
        lines.append(f"next      {escape(step)}    review the flagged samples")
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _sample_rows(summary: Summary) -> Iterator[tuple[str, str]]:
    """How many samples there are, what is wrong with them, and how many are flagged; name and text of each row."""
    from rich.markup import escape

    from audit.data.findings import FINDING_TITLES

    counts = summary.counts
    left_out = [
        f"{number} {text}"
        for number, text in (
            (counts.without_label, "without a label"),
            (counts.unreadable, "unreadable"),
            (counts.rare_class, "in too small a class"),
        )
        if number
    ]
    without = f" (left out: {', '.join(left_out)})" if left_out else ""
    yield "samples", f"{counts.samples} in {counts.classes} classes{without}"
    for found in summary.findings:
        yield FINDING_TITLES[found.kind].lower(), f"{found.findings}, the first: {escape(found.examples[0])}"
    yield "flagged", f"[bold]{counts.flagged}[/bold] at suspicion ≥ {summary.threshold:.3f}"


def _estimate_rows(summary: Summary) -> Iterator[tuple[str, str]]:
    """How many labels are wrong, and what limits the estimate; name and text of each row."""
    from rich.markup import escape

    from reports.verdict import copies_sentences

    estimates = summary.estimates
    yield "wrong labels, estimated", _mistakes(estimates)
    if estimates.precision is not None and estimates.recall is not None:
        expected = f"≈ {estimates.precision:.0%} right, ≈ {estimates.recall:.0%} of the mistakes found"
        yield "flags, estimated", expected
    for sentence in copies_sentences(summary):
        yield "copies", sentence
    for caution in estimates.cautions:
        yield "mind", caution
    for failure in summary.failed_stages:
        yield "not done", escape(failure.reason)


def _measured_rows(summary: Summary) -> Iterator[tuple[str, str]]:
    """How good the flags and the heads are, and the backbone; name and text of each row."""
    if (measured := summary.detection) is not None:
        yield (
            f"flags, measured on {measured.injected} injected",
            f"precision {measured.precision:.3f}, recall {measured.recall:.3f}, F1 {measured.f1:.3f}, "
            f"AP {measured.average_precision:.3f}, AUROC {measured.auroc:.3f}",
        )
    for name, head in summary.heads.by_name.items():
        yield f"head on {name} labels", f"test F1 {head.test.f1:.3f}, accuracy {head.test.accuracy:.3f}"
    if (backbone := summary.backbone) is not None:
        yield "backbone", f"{backbone.name}, {backbone.weights} weights, {backbone.image_size} px"


def _mistakes(estimates: Estimates) -> str:
    return f"≈ {estimates.mistakes:.0f} ({estimates.mistakes_low:.0f} to {estimates.mistakes_high:.0f})"


def _influence_table(summary: Summary) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    rows = summary.influence_by_class
    shown = [*rows[:-1][:CLASSES_IN_SUMMARY], rows[-1]]
    injected = summary.detection is not None
    table = Table(box=box.SIMPLE, title="Mean influence", title_justify="left")
    table.add_column("class")
    table.add_column("clean" if injected else "all samples", justify="right")
    if injected:
        table.add_column("corrupted", justify="right")
    for row in shown:
        name = "all classes" if row.class_ is None else escape(str(row.class_))
        values = [row.clean, row.corrupted] if injected else [row.clean]
        table.add_row(name, *("–" if value is None else f"{value:+.4f}" for value in values))
    left_out = len(rows) - len(shown)
    if left_out:
        table.caption = f"{left_out} more classes are in the report"
    return table


def show_batch(console: Console, entries: Sequence[IndexEntry], index: Path) -> None:
    """One line an audit, and where the page over them is."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE, title=f"{len(entries)} label audits", title_justify="left")
    for name in ("audit", "field", "samples", "wrong labels, estimated", "share", "flagged"):
        table.add_column(name, justify="left" if name in ("audit", "field") else "right")
    for entry in entries:
        if entry.summary is None:
            table.add_row(escape(entry.source), escape(entry.label_field or ""), "[red]failed[/red]")
            continue
        counts, source = entry.summary.counts, entry.summary.source
        assert source is not None  # a batch audits datasets
        table.add_row(
            escape(source.dataset),
            escape(source.label_field),
            str(counts.samples),
            _mistakes(entry.summary.estimates),
            f"{entry.wrong_share:.1%}",
            str(counts.flagged),
        )
    console.print(table)
    console.print(f"index     {escape(str(index.resolve()))}", soft_wrap=True, highlight=False)
