"""What the command prints of verified numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from audit.summary.summary import Summary
    from audit.summary.verified import Verified, VerifiedNumber


def show_verified(console: Console, summary: Summary, classes: bool = False) -> None:
    """The verified numbers of a result, and if wanted those of its classes."""
    from rich import box
    from rich.table import Table

    verified = summary.verified
    assert verified is not None  # the caller has applied decisions
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1), title="Verified", title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    for name, text in _rows(summary, verified):
        table.add_row(name, text)
    console.print(table)
    console.print(f"Intervals hold in 9 of 10 cases. {_enough(summary, verified)}", highlight=False)
    if classes:
        _show_classes(console, verified)


def _rows(summary: Summary, verified: Verified) -> Iterator[tuple[str, str]]:
    """Name and text of each row."""
    from reports.text import count, count_flags

    right = verified.decided - verified.found
    rests = f"{count(verified.decided)} drawn samples: {count(verified.found)} labels wrong, {count(right)} right"
    if verified.unsure:
        rests += f"; left out as undecided: {count(verified.unsure)}"
    yield "decided", rests
    if verified.reviewed:
        yield "known besides", f"{count(verified.reviewed)} labels that were decided in ordinary review"
    mistakes = verified.mistakes
    total = count(summary.counts.samples)
    yield (
        "wrong labels",
        f"[bold]{count(mistakes.value)}[/bold] ({count(mistakes.low)} to {count(mistakes.high)}) of {total}",
    )
    if_right, if_wrong = verified.mistakes_if_unsure_right, verified.mistakes_if_unsure_wrong
    if if_right is not None and if_wrong is not None:
        yield (
            "",
            f"{count(if_right.low)} to {count(if_right.high)} if all undecided ones are right, "
            f"{count(if_wrong.low)} to {count(if_wrong.high)} if all are wrong",
        )
    before = verified.before
    if before is not None:
        yield from _rows_of_flags(
            f"the audit's {count_flags(before.flagged)}", before.precision, before.recall, before.suggestions_right
        )
    yield from _rows_of_flags(
        f"now {count_flags(summary.counts.flagged)}", verified.precision, verified.recall, verified.suggestions_right
    )
    yield "threshold", f"{summary.threshold:.3f}. {summary.threshold_rule}"


def _rows_of_flags(
    name: str, precision: VerifiedNumber | None, recall: VerifiedNumber | None, suggestions: VerifiedNumber | None
) -> Iterator[tuple[str, str]]:
    """How good some flags are."""
    if precision is None:
        yield name, "nothing is flagged"
        return
    yield name, f"{_share(precision)} of them are wrong labels"
    if recall is not None:
        yield "", f"{_share(recall)} of the wrong labels are among them"
    if suggestions is not None:
        yield "", f"{_share(suggestions)} of their suggested labels are right"


def _show_classes(console: Console, verified: Verified) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from reports.text import count

    if not verified.by_class:
        console.print("No class has ten decisions or more, so none is estimated by itself.", highlight=False)
        return
    table = Table(box=box.SIMPLE, title="Wrong labels by class", title_justify="left")
    for name in ("class", "samples", "decided", "wrong", "at any moment"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for row in verified.by_class:
        number = row.mistakes
        table.add_row(
            escape(str(row.label)),
            count(row.samples),
            count(row.decided),
            f"{count(number.value)} ({count(number.low)} to {count(number.high)})",
            f"{count(number.anytime_low)} to {count(number.anytime_high)}",
        )
    console.print(table)


def _share(number: VerifiedNumber) -> str:
    return f"[bold]{number.value:.0%}[/bold] ({number.low:.0%} to {number.high:.0%})"


def _enough(summary: Summary, verified: Verified) -> str:
    """What a reviewer knows who looks now and then, and may stop here."""
    from reports.text import count, count_flags

    mistakes, before = verified.mistakes, verified.before
    said = (
        f"{count(mistakes.anytime_low)} to {count(mistakes.anytime_high)} of {count(summary.counts.samples)} labels "
        "are wrong"
    )
    if before is not None and (precision := before.precision) is not None:
        share = f"{precision.anytime_low:.0%} to {precision.anytime_high:.0%}"
        said += f", and that {share} of the audit's {count_flags(before.flagged)} mark wrong labels"
    return (
        f"If you look after every ten decisions and stop when content, {count(verified.decided)} decisions say that "
        f"{said}."
    )
