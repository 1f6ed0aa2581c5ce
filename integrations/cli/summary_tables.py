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
    from audit.summary.summary import Summary
    from reports.index import IndexEntry
    from reports.ranges import Figure

CLASSES_IN_SUMMARY = 10  # lines of a table that a terminal shows without scrolling

SHOWN_ANNOTATORS = 5  # of several annotators, the worst first; the report has all


def show_summary(console: Console, result: AuditResult, report_path: Path) -> None:
    """The numbers of a result, and where its report and its dataset are."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from reports.next_steps import RESULT_FOLDER, VERIFY, app_command, needs_check

    summary = result.summary
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1), title="Label audit", title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    for name, text in (
        *_verdict_row(summary),
        *_sample_rows(summary),
        *_estimate_rows(summary),
        *_measured_rows(summary),
    ):
        table.add_row(name, text)
    console.print(table)
    if summary.influence is not None:
        console.print(_influence_table(summary))
    lines = [f"report    {escape(str(report_path.resolve()))}"]
    in_fiftyone = summary.source is not None and summary.source.in_fiftyone
    if summary.source is not None and in_fiftyone:
        dataset, view = summary.source.dataset, f"{summary.source.audit_key}: flagged"
        lines.append(f"FiftyOne  dataset {escape(dataset)!r}, view {escape(view)!r}")
    if needs_check(summary):
        command = VERIFY.replace(RESULT_FOLDER, shlex.quote(str(report_path.parent)))
        lines.append(f"next      {escape(command)}    decide on drawn pictures, to know")
    if summary.counts.flagged:
        table_of_flags = f"influence-audit export {shlex.quote(str(report_path.parent))} -o flagged.csv"
        step = app_command(summary) if in_fiftyone or summary.source is None else table_of_flags
        lines.append(f"next      {escape(step)}    review the flagged samples")
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _verdict_row(summary: Summary) -> Iterator[tuple[str, str]]:
    from reports.verdict import headline

    yield "verdict", f"[bold]{headline(summary)}[/bold]"


def _sample_rows(summary: Summary) -> Iterator[tuple[str, str]]:
    """How many samples there are, what is wrong with them, and how many are flagged; name and text of each row."""
    from rich.markup import escape

    from audit.findings.registry import kind_of

    counts = summary.counts
    left_out = [
        f"{number} {text}"
        for number, text in (
            (counts.without_label, "without a label"),
            (counts.unreadable, "unreadable"),
            (counts.rare_class, "in too small a class"),
            (counts.without_input, "without an embedding or prediction"),
        )
        if number
    ]
    without = f" (left out: {', '.join(left_out)})" if left_out else ""
    yield "samples", f"{counts.samples} in {counts.classes} classes{without}"
    for found in summary.findings:
        yield (
            (found.title or kind_of(found.kind).title).lower(),
            f"{found.findings}, the first: {escape(found.examples[0])}",
        )
    for annotator in summary.annotators[:SHOWN_ANNOTATORS]:
        right = f"{100 * annotator.quality:.1f} % right, worst at {escape(str(annotator.worst_class))}"
        yield f"annotator {escape(annotator.name)}", f"{right} ({annotator.labels} labels, modelled)"
    yield "flagged", f"[bold]{counts.flagged}[/bold] at suspicion ≥ {summary.threshold:.3f}"


def _estimate_rows(summary: Summary) -> Iterator[tuple[str, str]]:
    """How many labels are wrong, how good the flags are, and what limits that; name and text of each row."""
    from rich.markup import escape

    from reports.acceptance import acceptance_sentences
    from reports.claims import claims_of
    from reports.ranges import share_range
    from reports.verdict import cautions, copies_sentences

    claims = claims_of(summary)
    yield f"wrong labels, {claims.mistakes.seal}", _mistakes(claims.mistakes)
    if claims.precision is not None and summary.detection is None:  # measured numbers say more
        recall = "" if claims.recall is None else f", {share_range(claims.recall)} of the mistakes found"
        yield f"flags, {claims.precision.seal}", f"{share_range(claims.precision)} right{recall}"
    if claims.too_little:
        yield "why", claims.too_little
    if sentences := acceptance_sentences(summary):
        yield "accepting unseen", " ".join(sentences)
    for sentence in copies_sentences(summary):
        yield "copies", sentence
    for caution in cautions(summary):
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
    for name, head in (summary.heads.by_name if summary.heads else {}).items():
        yield f"head on {name} labels", f"test F1 {head.test.f1:.3f}, accuracy {head.test.accuracy:.3f}"
    if (given := summary.predictions) is not None:
        alone = "; no head was trained, and influence is undefined" if given.alone else ""
        of_neighbours = "in-sample, so each sample is judged by its neighbours'; " if given.in_sample else ""
        yield "given predictions", f"{of_neighbours}agree with {given.agreement:.1%} of the labels{alone}"
    if (backbone := summary.backbone) is not None:
        yield "backbone", f"{backbone.name}, {backbone.weights} weights, {backbone.image_size} px"


def _mistakes(mistakes: Figure) -> str:
    """The number of wrong labels; a point has its range in brackets."""
    from reports.ranges import count_ends, count_range, has_wide_count, is_any_number, is_none

    text = count_range(mistakes)
    wide = has_wide_count(mistakes) or is_any_number(mistakes) or is_none(mistakes)
    return text if wide else f"{text} ({count_ends(mistakes)})"


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
    for name in ("audit", "field", "samples", "wrong labels", "share", "flagged"):
        table.add_column(name, justify="left" if name in ("audit", "field") else "right")
    for entry in entries:
        if entry.summary is None:
            table.add_row(escape(entry.source), escape(entry.label_field or ""), "[red]failed[/red]")
            continue
        counts, source, wrong = entry.summary.counts, entry.summary.source, entry.wrong
        table.add_row(
            escape(source.dataset if source else entry.source),
            escape(source.label_field if source else entry.label_field or ""),
            str(counts.samples),
            "–" if wrong is None else f"{_mistakes(wrong)}, {wrong.seal}",
            entry.share_text,
            str(counts.flagged),
        )
    console.print(table)
    console.print(f"index     {escape(str(index.resolve()))}", soft_wrap=True, highlight=False)
