"""What the command prints when an audit is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from audit.result import AuditResult
    from reports.index import IndexEntry

CLASSES_IN_SUMMARY = 10


def show_summary(console: Console, result: AuditResult, report_path: Path) -> None:
    """The numbers of a result, and where its report and its dataset are."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from audit.data.findings import FINDING_TITLES
    from reports.verdict import app_command, copies_sentences

    summary = result.summary
    counts, estimates = summary["counts"], summary["estimates"]
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1), title="Label audit", title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    left_out = [
        f"{counts[name]} {text}"
        for name, text in (
            ("without_label", "without a label"),
            ("unreadable", "unreadable"),
            ("rare_class", "in too small a class"),
        )
        if counts[name]
    ]
    table.add_row(
        "samples",
        f"{counts['samples']} in {counts['classes']} classes"
        + (f" (left out: {', '.join(left_out)})" if left_out else ""),
    )
    for found in summary["findings"]:
        table.add_row(
            FINDING_TITLES[found["kind"]].lower(), f"{found['findings']}, the first: {escape(found['examples'][0])}"
        )
    table.add_row("flagged", f"[bold]{counts['flagged']}[/bold] at suspicion ≥ {summary['threshold']:.3f}")
    table.add_row(
        "wrong labels, estimated",
        f"≈ {estimates['mistakes']:.0f} ({estimates['mistakes_low']:.0f} to {estimates['mistakes_high']:.0f})",
    )
    if estimates["precision"] is not None:
        table.add_row(
            "flags, estimated",
            f"≈ {estimates['precision']:.0%} right, ≈ {estimates['recall']:.0%} of the mistakes found",
        )
    for sentence in copies_sentences(summary):
        table.add_row("copies", sentence)
    for caution in estimates["cautions"]:
        table.add_row("mind", caution)
    for failure in summary["failed_stages"]:
        table.add_row("not done", escape(failure["reason"]))
    if measured := summary["detection"]:
        table.add_row(
            f"flags, measured on {measured['injected']} injected",
            f"precision {measured['precision']:.3f}, recall {measured['recall']:.3f}, F1 {measured['f1']:.3f}, "
            f"AP {measured['average_precision']:.3f}, AUROC {measured['auroc']:.3f}",
        )
    for name, head in summary["heads"].items():
        table.add_row(
            f"head on {name} labels", f"test F1 {head['test']['f1']:.3f}, accuracy {head['test']['accuracy']:.3f}"
        )
    if summary["backbone"]:
        backbone = summary["backbone"]
        table.add_row("backbone", f"{backbone['name']}, {backbone['weights']} weights, {backbone['image_size']} px")
    console.print(table)
    console.print(_influence_table(summary))
    dataset, flagged_view = summary["source"]["dataset"], f"{summary['source']['audit_key']}: flagged"
    console.print(f"report    {escape(str(report_path.resolve()))}", soft_wrap=True, highlight=False)
    console.print(
        f"FiftyOne  dataset {escape(dataset)!r}, view {escape(flagged_view)!r}", soft_wrap=True, highlight=False
    )
    if counts["flagged"]:
        console.print(
            f"next      {escape(app_command(summary))}    review the flagged samples", soft_wrap=True, highlight=False
        )


def _influence_table(summary: dict[str, Any]) -> Any:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    rows = summary["influence_by_class"]
    shown = [*rows[:-1][:CLASSES_IN_SUMMARY], rows[-1]]
    injected = bool(summary["detection"])
    table = Table(box=box.SIMPLE, title="Mean influence", title_justify="left")
    table.add_column("class")
    table.add_column("clean" if injected else "all samples", justify="right")
    if injected:
        table.add_column("corrupted", justify="right")
    for row in shown:
        name = "all classes" if row["class"] is None else escape(str(row["class"]))
        values = [row["clean"], row["corrupted"]] if injected else [row["clean"]]
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
        counts, estimates, source = (entry.summary[name] for name in ("counts", "estimates", "source"))
        table.add_row(
            escape(source["dataset"]),
            escape(source["label_field"]),
            str(counts["samples"]),
            f"≈ {estimates['mistakes']:.0f} ({estimates['mistakes_low']:.0f} to {estimates['mistakes_high']:.0f})",
            f"{entry.wrong_share:.1%}",
            str(counts["flagged"]),
        )
    console.print(table)
    console.print(f"index     {escape(str(index.resolve()))}", soft_wrap=True, highlight=False)
