"""The HTML page that compares two results, for example before and after corrections, or with another backbone or
seed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.result import AuditResult
from reports.changes import compare, flag_groups, headline, matched, sentences
from reports.finding_changes import FindingChanges
from reports.galleries import THUMBNAIL_BUDGET
from reports.history import Run, trend_of
from reports.page import asset, environment, policy, write_page


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """How much the page shows."""

    # Samples of a gallery at most; the page gives the number of the others.
    max_shown: int = 200
    # Samples that a gallery shows at first; a click shows the others.
    shown_at_first: int = 12
    # Rows of the table of confused classes.
    max_pairs: int = 30
    # Rows of the table of classes.
    max_classes: int = 200
    # Cells per side of the two-dimensional histogram of both suspicions.
    bins: int = 40


SETTINGS = ComparisonSettings()


def write_comparison(first: AuditResult, second: AuditResult, path: str | Path, runs: Sequence[Run] = ()) -> Path:
    """Write an HTML page about what changed from the first result to the second. It is one self-contained file.

    Args:
        first, second: the results.
        path: the HTML file.
        runs: the trend that the second result ends, the oldest run first; empty for none.

    Raises:
        InputError: if the results have no sample in common, or the file cannot be written.
    """
    return write_page(render_comparison(first, second, runs), path)


def render_comparison(first: AuditResult, second: AuditResult, runs: Sequence[Run] = ()) -> str:
    """The page as HTML text."""
    values = compare(first, second)
    both = matched(first, second)
    shelf = _Thumbnails(first, second)
    galleries = {name: _cards(both[rows], shelf) for name, rows in flag_groups(both).items()}
    style = asset("report.css") + "\n" + asset("compare.css")
    return (
        environment()
        .get_template("compare.html.j2")
        .render(
            title="What changed between two label audits",
            values=values,
            headline=headline(values),
            sentences=sentences(values),
            trend=trend_of(runs),
            galleries=galleries,
            classes=sorted(values.classes, key=lambda row: -(row.gone + row.new))[: SETTINGS.max_classes],
            max_classes=SETTINGS.max_classes,
            max_pairs=SETTINGS.max_pairs,
            at_first=SETTINGS.shown_at_first,
            totals={name: int(rows.sum()) for name, rows in flag_groups(both).items()},
            new_findings=_new_findings(values.findings, shelf),
            cells=_cells(both),
            bins=SETTINGS.bins,
            thresholds=(first.summary.threshold, second.summary.threshold),
            style=style,
            theme_script=asset("theme.js"),
            policy=policy([asset("theme.js")], style),
        )
    )


class _Thumbnails:
    """The thumbnails of both results, up to a number of bytes."""

    def __init__(self, *results: AuditResult) -> None:
        self._images = [result.thumbnails["image"].to_dict() if len(result.thumbnails) else {} for result in results]
        self._bytes = 0

    def of(self, *ids: Any) -> str | None:
        """A data URL of the sample's thumbnail, from the first result that has one; the sample has one id per
        result."""
        found = (images.get(id) for images, id in zip(self._images, ids, strict=True))
        image = next((image for image in found if isinstance(image, bytes)), None)
        if image is None or self._bytes + len(image) > THUMBNAIL_BUDGET:
            return None
        self._bytes += len(image)
        return f"data:image/webp;base64,{base64.b64encode(image).decode('ascii')}"


@dataclass(frozen=True)
class ComparedSample:
    """What a gallery shows of a sample; `picture` is a data URL, None if no result has a thumbnail."""

    id: str
    path: str | None
    picture: str | None
    label_first: str
    label_second: str
    audited: str
    suggested: str
    suspicion_first: float
    suspicion_second: float


def _new_findings(
    changes: list[FindingChanges], shelf: _Thumbnails
) -> list[tuple[FindingChanges, list[tuple[str, list[str]]]]]:
    """The kinds of findings, each with its first new ones: what was seen, and the pictures that there are."""
    return [
        (
            change,
            [
                (found.detail, [picture for sample in found.samples[:4] if (picture := shelf.of(sample, sample))])
                for found in change.examples
            ],
        )
        for change in changes
    ]


def _cards(rows: pd.DataFrame, shelf: _Thumbnails) -> list[ComparedSample]:
    """The gallery entries of these samples, the largest change of suspicion first."""
    change = (rows["suspicion_second"] - rows["suspicion_first"]).abs()
    ranked = rows.loc[change.sort_values(ascending=False, kind="stable").index][: SETTINGS.max_shown]
    return [
        ComparedSample(
            id=str(row["id_second"]),
            path=row["filepath_second"] if isinstance(row["filepath_second"], str) else None,
            picture=shelf.of(row["id_first"], row["id_second"]),
            label_first=str(row["own_first"]),
            label_second=str(row["own_second"]),
            audited=str(row["label_second"] if row["flag_second"] else row["label_first"]),
            suggested=str(row["suggested_label_second"] if row["flag_second"] else row["suggested_label_first"]),
            suspicion_first=float(row["suspicion_first"]),
            suspicion_second=float(row["suspicion_second"]),
        )
        for row in ranked.to_dict("records")
    ]


def _cells(both: pd.DataFrame) -> list[dict[str, float]]:
    """A two-dimensional histogram of both suspicions: its non-empty cells, with a shade from 0 to 1 by log count."""
    counts, _, _ = np.histogram2d(
        both["suspicion_first"], both["suspicion_second"], bins=SETTINGS.bins, range=[[0.0, 1.0], [0.0, 1.0]]
    )
    shades = np.log1p(counts) / max(np.log1p(counts.max()), 1e-12)
    return [
        {"x": int(x), "y": int(y), "count": int(counts[x, y]), "shade": round(0.15 + 0.85 * float(shades[x, y]), 3)}
        for x, y in zip(*np.nonzero(counts), strict=True)
    ]
