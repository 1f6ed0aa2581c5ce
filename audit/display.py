"""A result as a notebook shows it: a verdict, a short table, and the most suspicious pictures.

It says less than the report, and is made of the result alone: no script, no other file, and every text is escaped.
"""

from __future__ import annotations

import base64
import sys
import tempfile
import webbrowser
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from audit.result import AuditResult
    from audit.summary.summary import Summary

SHOWN_PICTURES = 12
SHOWN_ROWS = 10
"""Samples in the table, where the result has no pictures."""

_FRAME_COLUMNS = (
    *("label", "suggested_label", "suggested_probability", "suspicion", "flag", "influence", "split", "filepath"),
)

_STYLE = """<style>
.influence-audit { font-family: system-ui, sans-serif; max-width: 60rem; line-height: 1.4; }
.influence-audit h3 { margin: 0.2em 0; }
.influence-audit table { border-collapse: collapse; margin: 0.6em 0; }
.influence-audit td, .influence-audit th { text-align: left; padding: 0.15em 1em 0.15em 0; vertical-align: top; }
.influence-audit ul { display: flex; flex-wrap: wrap; gap: 10px; list-style: none; padding: 0; margin: 0.6em 0; }
.influence-audit li { width: 104px; font-size: 12px; overflow-wrap: anywhere; }
.influence-audit img { display: block; max-width: 96px; max-height: 96px; min-width: 64px; }
</style>"""


def frame_of(result: AuditResult, flagged: bool) -> pd.DataFrame:
    """The samples of a result as a table, the most suspicious first; only the flagged ones if that is asked for."""
    scores = result.flagged if flagged else result.scores.sort_values("suspicion", ascending=False, kind="stable")
    first = [name for name in _FRAME_COLUMNS if name in scores]
    return scores[[*first, *(name for name in scores if name not in first)]]


def html_of(result: AuditResult, pictures: int = SHOWN_PICTURES) -> str:
    """A result as HTML.

    Args:
        result: the result.
        pictures: how many of the most suspicious samples are shown, at most.
    """
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in _facts(result))
    return (
        f'{_STYLE}<div class="influence-audit"><h3>{escape(verdict(result.summary))}</h3>'
        f"<table>{rows}</table>{_gallery(result, pictures)}</div>"
    )


def verdict(summary: Summary) -> str:
    """How many samples are flagged, and how many labels may be wrong, in two sentences."""
    counts = summary.counts
    are = "sample is" if counts.flagged == 1 else "samples are"
    flagged = f"{counts.flagged:,} of {counts.samples:,} {are} flagged"
    if not counts.flagged:
        flagged = f"None of {counts.samples:,} samples is flagged"
    if summary.verified is not None:
        found = summary.verified.mistakes
        return f"{flagged}. {_between(found.low, found.high)} labels are wrong, say decisions on drawn samples."
    estimates = summary.estimates
    if not estimates.told:
        return f"{flagged}. Labels alone cannot say how many are wrong."
    low = summary.copies.proven_mistakes if estimates.cautions else estimates.mistakes_low
    return f"{flagged}. {_between(low, estimates.mistakes_high)} labels may be wrong, say the models of the labels."


def show(result: AuditResult, pictures: int) -> None:
    """Show a result in the notebook that runs this, or else in a browser."""
    page = html_of(result, pictures)
    if _in_notebook():
        from IPython.display import HTML, display

        display(HTML(page))
        return
    with tempfile.NamedTemporaryFile("w", suffix=".html", delete=False, encoding="utf-8", errors="replace") as file:
        file.write(f'<!doctype html><meta charset="utf-8"><title>Label audit</title>{page}')
    if not webbrowser.open(Path(file.name).as_uri()):
        print(f"no browser could be opened; the page is {file.name}")


def _between(low: float, high: float) -> str:
    least, most = round(low), round(high)
    if least == most:
        return f"{most:,}"
    return f"Up to {most:,}" if least <= 0 else f"{least:,} to {most:,}"


def _facts(result: AuditResult) -> Iterable[tuple[str, str]]:
    """Name and text of each row of the table."""
    summary = result.summary
    counts = summary.counts
    if summary.source is not None:
        yield "dataset", f"{summary.source.dataset}, {summary.source.label_field}"
    yield "samples", f"{counts.samples:,} in {counts.classes:,} classes"
    left_out = counts.without_label + counts.unreadable + counts.rare_class + counts.without_input
    if left_out:
        yield "left out", f"{left_out:,} (without a label, unreadable, or in too small a class)"
    yield "threshold", f"suspicion of {summary.threshold:.3f} or more"
    if (measured := summary.detection) is not None:
        yield "on injected mislabels", f"precision {measured.precision:.2f}, recall {measured.recall:.2f} (measured)"
    if summary.heads is not None:
        yield "head", f"accuracy {summary.heads.given.test.accuracy:.1%} on the test split (measured)"
    for found in summary.findings:
        yield (found.title or found.kind.replace("-", " ")).lower(), f"{found.findings:,}"
    for caution in summary.estimates.cautions:
        yield "mind", caution
    for failure in summary.failed_stages:
        yield "not done", failure.reason


def _gallery(result: AuditResult, pictures: int) -> str:
    """The most suspicious samples: those that have a thumbnail, or a table where none has one."""
    flagged = result.flagged
    images = result.thumbnails["image"] if len(result.thumbnails) else pd.Series(dtype=object)
    shown = [sample for sample in flagged.index if isinstance(images.get(sample), bytes)][:pictures]
    if not shown:
        columns = ["label", "suggested_label", "suspicion"]
        table = flagged[columns].head(min(pictures, SHOWN_ROWS)).reset_index()
        return "" if table.empty else table.to_html(index=False, float_format="{:.3f}".format, border=0)
    items = []
    for sample in shown:
        row = flagged.loc[sample]
        source = f"data:image/webp;base64,{base64.b64encode(images[sample]).decode('ascii')}"
        items.append(
            f'<li title="{escape(str(sample))}"><img src="{source}" alt="{escape(str(sample))}">'
            f"{escape(str(row['label']))} → <b>{escape(str(row['suggested_label']))}</b><br>{row['suspicion']:.2f}</li>"
        )
    left = len(flagged) - len(shown)
    more = f"<p>and {left:,} more: result.to_frame()</p>" if left else ""
    return f"<ul>{''.join(items)}</ul>{more}"


def _in_notebook() -> bool:
    """Whether this runs in a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")
