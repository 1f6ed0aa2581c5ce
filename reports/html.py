"""The HTML report: one self-contained file, made from a saved audit result and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from audit.config import help_of
from audit.data.findings import FINDING_TITLES
from audit.result import SCORE_MEANINGS, AuditResult
from reports import figures, verdict
from reports.galleries import gallery_values
from reports.known_mislabels import compare_with_known
from reports.page import asset, environment, mark, plotly_script, policy, write_page
from reports.threshold import threshold_values
from reports.where import where, wrong_by_class

APP_ADDRESS = "http://localhost:5151"
"""Where `influence-audit app` serves the App unless another port is asked for; the reader can change it in the page."""

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
    summary, known = result.summary, compare_with_known(result)
    galleries = gallery_values(result)
    plots = fitting_plots(result)
    source = {"dataset": None, "slug": None, "label_field": None} | (summary.get("source") or {})
    correction = verdict.correction_texts(summary)
    page = {
        "correction": correction,
        "galleries": galleries,
        "threshold": threshold_values(result, known)
        | {"again": verdict.run_again(summary, inject=0, any_threshold=True)},
        "app": f"/datasets/{quote(source['dataset'], safe='')}" if source["dataset"] else None,
        "figures": {theme: {plot.name: _plain(plot, result, theme) for plot in plots} for theme in ("light", "dark")},
    }
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            counts=summary["counts"],
            estimates=summary["estimates"],
            detection=known.measures if known else None,
            injected=known is not None and known.kind == "injected",
            by_kind=known.by_kind if known else {},
            correction=summary["correction"],
            correction_texts=correction[0]["texts"] if correction else {},
            correction_thresholds=[verdict.threshold(measured["threshold"]) for measured in correction[1:]],
            arms=verdict.ARMS,
            heads=summary["heads"],
            source=source,
            app_address=APP_ADDRESS,
            app_command=verdict.app_command(summary),
            headline=verdict.headline(summary),
            sentences=verdict.sentences(summary, known, mark),
            key_numbers=verdict.key_numbers(summary, known, mark),
            where=where(result, mark),
            next_steps=verdict.next_steps(summary, known, mark),
            the_same_again=verdict.run_again(summary) if source["dataset"] else None,
            galleries=galleries,
            plots={plot.name: plot for plot in plots},
            class_rows=_class_rows(result),
            skipped=_records(result.skipped),
            findings=_findings(result),
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
    draw: Callable[..., Any]
    fits: Callable[[AuditResult], bool]


def _measured(result: AuditResult) -> bool:
    known = compare_with_known(result)
    return known is not None and bool(known.wrong.any())


def _retrained(head: str) -> Callable[[AuditResult], bool]:
    def fits(result: AuditResult) -> bool:
        correction = result.summary["correction"]
        return correction is not None and "error" not in correction["heads"][head]

    return fits


_PLOTS = (
    _Plot(
        "precision_recall",
        "Precision against recall on the known mislabels, with the threshold",
        figures.precision_recall,
        _measured,
    ),
    _Plot(
        "roc",
        "Share of known mislabels found against share of other samples flagged, with the threshold",
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
        "given_by_suggested",
        "Matrix of flagged samples: given label against suggested label",
        figures.given_by_suggested,
        lambda result: True,
    ),
    *(
        _Plot(
            f"confusion_{head}",
            f"Confusion matrix on the test split of the head {words}",
            partial(figures.confusion_corrected, head=head),
            _retrained(head),
        )
        for head, words in (
            ("before", "before correction"),
            ("removed", "without the flagged samples"),
            ("corrected", "with the suggested labels"),
        )
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
        partial(figures.confusion, head="given"),
        # Without injection, and where there is something to correct, this is the head before correction.
        lambda result: result.summary["detection"] is not None or result.summary["correction"] is None,
    ),
)


def fitting_plots(result: AuditResult) -> list[_Plot]:
    """The figures that there is something to draw in for this result."""
    return [plot for plot in _PLOTS if plot.fits(result)]


def _plain(plot: _Plot, result: AuditResult, theme: figures.Theme) -> dict[str, Any]:
    figure: dict[str, Any] = json.loads(plot.draw(result, theme=theme).to_json())
    return figure


def _class_rows(result: AuditResult) -> list[dict[str, Any]]:
    """All classes together, then each, most wrong labels first: mean influence, number of samples and flags, estimated
    number of wrong labels and the share of the class's test samples that the head gets right. `number` is a class's
    position, -1 for all."""
    scores = result.scores
    groups = scores.groupby("label", sort=False)
    sums = groups[["flag"]].sum().assign(samples=groups.size(), wrong=wrong_by_class(result))
    confusion = figures.confusions(result, result.summary["heads"]["given"]["test"])
    right_of, tested_of = confusion.diagonal(), confusion.sum(axis=1)
    rows = []
    for number, row in enumerate(result.summary["influence_by_class"]):
        label = row["class"]
        if label is None:
            mistakes = result.summary["estimates"]["mistakes"]
            counted = {"flag": scores["flag"].sum(), "wrong": mistakes, "samples": len(scores)}
            right, tested = right_of.sum(), tested_of.sum()
        else:
            counted = sums.loc[label] if label in sums.index else {"flag": 0, "wrong": 0.0, "samples": 0}
            right, tested = right_of[number], tested_of[number]
        rows.append(
            row
            | {
                "number": -1 if label is None else number,
                "samples": int(counted["samples"]),
                "flagged": int(counted["flag"]),
                "wrong": float(counted["wrong"]),
                "recall": float(right / tested) if tested else None,
            }
        )
    everything, classes = rows[-1:], rows[:-1]
    return everything + sorted(classes, key=lambda row: -row["wrong"])[:MAX_TABLE_ROWS]


def _findings(result: AuditResult) -> list[dict[str, Any]]:
    """Each kind that was found: title, meaning, how many, how many samples, and the first findings with their files."""
    filepaths = result.scores["filepath"].dropna().to_dict()
    kinds = []
    for found in result.summary.get("findings", []):
        table = result.findings[result.findings["kind"] == found["kind"]]
        shown = table[table["finding"].isin(table["finding"].drop_duplicates().head(MAX_TABLE_ROWS))]
        rows = [
            {"detail": members["detail"].iloc[0], "names": [filepaths.get(i, i) for i in members["id"].dropna()]}
            for _, members in shown.groupby("finding", sort=True)
        ]
        kinds.append(found | {"title": FINDING_TITLES[found["kind"]], "rows": rows})
    return kinds


def _records(table: Any) -> list[dict[str, Any]]:
    return [dict(record) for record in table.astype(object).where(table.notna(), None).to_dict("records")]


def _help(setting: str) -> str:
    try:
        return help_of(setting)
    except KeyError:  # a result may come from a version with other settings
        return ""
