"""The HTML report: one self-contained file, made from a saved audit result and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.config import help_of
from audit.result import SCORE_MEANINGS, AuditResult
from reports import figures, verdict
from reports.galleries import gallery_values
from reports.page import asset, environment, plotly_script, policy, write_page

MAX_TABLE_ROWS = 200
"""Rows of a table in the report; the rest is counted below it."""

_STYLE_ID = re.compile(r'getElementById\("([0-9a-f]{64})"\)')


def write_report(result: AuditResult | str | Path, path: str | Path) -> Path:
    """Write the report of a result, or of the folder it was saved in, to one HTML file.

    The file needs no network and no other file. It is replaced as a whole or not at all, and the same result gives the
    same bytes.

    Raises:
        InputError: if the folder holds no complete result, or the file cannot be written.
    """
    if not isinstance(result, AuditResult):
        result = AuditResult.load(result)
    return write_page(render_report(result), path)


def render_report(result: AuditResult) -> str:
    """The report as HTML text."""
    summary = result.summary
    galleries = gallery_values(result)
    plots = [plot for plot in _PLOTS if plot.fits(result)]
    page = {
        "galleries": galleries,
        "figures": {theme: {plot.name: _plain(plot, result, theme) for plot in plots} for theme in ("light", "dark")},
    }
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            counts=summary["counts"],
            estimates=summary["estimates"],
            detection=summary["detection"],
            heads=summary["heads"],
            source={"dataset": None, "label_field": None} | (summary.get("source") or {}),
            headline=verdict.headline(summary),
            sentences=verdict.sentences(summary),
            key_numbers=verdict.key_numbers(summary),
            next_steps=verdict.next_steps(summary),
            galleries=galleries,
            plots={plot.name: plot for plot in plots},
            class_rows=_class_rows(result),
            skipped=_records(result.skipped),
            findings=summary.get("findings", []),
            settings=[(name, value, _help(name)) for name, value in summary["config"].items()],
            score_meanings=SCORE_MEANINGS,
            score_names=figures.SCORE_NAMES,
            max_rows=MAX_TABLE_ROWS,
            max_classes=figures.MAX_CLASSES,
            page=page,
            style=asset("report.css"),
            theme_script=asset("theme.js"),
            report_script=asset("report.js"),
            plotly_script=plotly_script(),
            plotly_style_ids=_STYLE_ID.findall(plotly_script()),
            policy=policy([asset("theme.js"), asset("report.js"), plotly_script()], asset("report.css")),
        )
    )


@dataclass(frozen=True)
class _Plot:
    """A figure of the page: its name there, what it shows in words, and when there is something to draw."""

    name: str
    alt: str
    draw: Callable[[AuditResult, figures.Theme], Any]
    fits: Callable[[AuditResult], bool]


def _measured(result: AuditResult) -> bool:
    detection = result.summary["detection"]
    return detection is not None and detection["injected"] > 0


_PLOTS = (
    _Plot(
        "given_by_suggested",
        "Matrix of flagged samples: given label against suggested label",
        figures.given_by_suggested,
        lambda result: len(result.flagged) > 0,
    ),
    _Plot(
        "precision_recall",
        "Precision against recall on the injected mislabels, with the chosen threshold",
        figures.precision_recall,
        _measured,
    ),
    _Plot(
        "roc",
        "Share of injected mislabels found against share of clean samples flagged, with the chosen threshold",
        figures.roc,
        _measured,
    ),
    _Plot(
        "suspicion_histogram",
        "Number of samples by suspicion, with the threshold",
        figures.suspicion_histogram,
        lambda result: True,
    ),
    _Plot(
        "influence_by_class",
        "Distribution of influence in each class, corrupted or flagged samples beside the others",
        figures.influence_by_class,
        lambda result: bool(result.scores["influence"].notna().any()),
    ),
    _Plot(
        "loss_curves",
        "Training and validation loss of the head by training step",
        figures.loss_curves,
        lambda result: len(result.curves) > 0,
    ),
    _Plot(
        "confusion_given",
        "Confusion matrix on the test split of the head trained on the given labels",
        lambda result, theme: figures.confusion(result, "given", theme),
        lambda result: "given" in result.summary["heads"],
    ),
    _Plot(
        "confusion_corrupted",
        "Confusion matrix on the test split of the head trained on the corrupted labels",
        lambda result, theme: figures.confusion(result, "corrupted", theme),
        lambda result: "corrupted" in result.summary["heads"],
    ),
)


def _plain(plot: _Plot, result: AuditResult, theme: figures.Theme) -> dict[str, Any]:
    figure: dict[str, Any] = json.loads(plot.draw(result, theme).to_json())
    return figure


def _class_rows(result: AuditResult) -> list[dict[str, Any]]:
    """The table of mean influence, with each class's number of samples and of flags; all classes first."""
    flags = result.scores.groupby("label", sort=False)["flag"].agg(["size", "sum"])
    rows = []
    for row in result.summary["influence_by_class"]:
        label = row["class"]
        counted = (len(result.scores), result.scores["flag"].sum()) if label is None else (0, 0)
        if label in flags.index:
            counted = tuple(flags.loc[label])
        rows.append(row | {"samples": int(counted[0]), "flagged": int(counted[1])})
    everything, classes = rows[-1:], rows[:-1]
    if len(classes) > MAX_TABLE_ROWS:
        classes = sorted(classes, key=lambda row: -row["flagged"])[:MAX_TABLE_ROWS]
    return everything + classes


def _records(table: Any) -> list[dict[str, Any]]:
    return [dict(record) for record in table.astype(object).where(table.notna(), None).to_dict("records")]


def _help(setting: str) -> str:
    try:
        return help_of(setting)
    except KeyError:  # a result may come from a version with other settings
        return ""
