"""The HTML report: one self-contained file, made only from a saved audit result."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from audit.config import help_of
from audit.result import SCORE_MEANINGS, AuditResult
from audit.summary.correction import RetrainedHead
from audit.summary.parts import ClassLabel, JsonObject, Part, to_json
from reports import figures, verdict
from reports.acceptance import acceptance_sentences, accepted_at
from reports.beside_result import BesideResult, read_beside
from reports.claims import claims_of
from reports.correction import ARMS, correction_texts
from reports.figure_style import Theme
from reports.findings import finding_tables, leak_sentences
from reports.galleries import gallery_values
from reports.history import trend_of
from reports.known_mislabels import Comparison, compare_with_known
from reports.next_steps import app_command, next_steps, run_again
from reports.page import asset, environment, mark, plotly_script, policy, write_page
from reports.ranges import Figure, count_range, share_range
from reports.seals import SEAL_MEANINGS
from reports.text import threshold
from reports.threshold_slider import threshold_values
from reports.verified import verified_texts
from reports.wrong_labels_by_class import most_affected_classes, wrong_by_class

APP_ADDRESS = "http://localhost:5151"
"""The default address at which `influence-audit app` serves the App; the reader can change it in the page."""

MAX_TABLE_ROWS = 200
"""Largest number of rows of a table in the report; a line below gives the number of the others."""

_STYLE_ID = re.compile(r'getElementById\("([0-9a-f]{64})"\)')


def write_report(result: AuditResult | str | Path, path: str | Path, beside: BesideResult = BesideResult()) -> Path:
    """Write the report of a result, or of the folder it was saved in, to one HTML file.

    The file needs no network and no other file. An existing file is replaced completely or not at all. The same result
    always gives the same bytes.

    Args:
        result: the result, or its folder, which says what lies beside it.
        path: the HTML file.
        beside: the conditions and former runs to show.

    Raises:
        InputError: if the folder holds no complete result, or the file cannot be written.
    """
    if not isinstance(result, AuditResult):
        beside = read_beside(Path(result))
        result = AuditResult.load(result)
    return write_page(render_report(result, beside), path)


def render_report(result: AuditResult, beside: BesideResult = BesideResult()) -> str:
    """The report as HTML text."""
    known = compare_with_known(result)
    values = {
        "summary": result.summary,
        "counts": result.summary.counts,
        "app_address": APP_ADDRESS,
        "max_rows": MAX_TABLE_ROWS,
        "max_classes": figures.MAX_CLASSES,
        "trend": trend_of(beside.runs),
    }
    values |= _statements(result, known) | _measurements(result, known) | _tables(result)
    values |= _figures_and_data(result, known) | _scripts()
    return environment().get_template("report.html.j2").render(values)


def _statements(result: AuditResult, known: Comparison | None) -> dict[str, object]:
    """What the report says in words, and the numbers in it with their seals."""
    summary = result.summary
    return {
        "claims": claims_of(summary),
        "cautions": verdict.cautions(summary),
        "verified": verified_texts(summary),
        "seals": SEAL_MEANINGS,
        "accepted": accepted_at(summary),
        "acceptance": acceptance_sentences(summary),
        "headline": verdict.headline(summary),
        "sentences": verdict.sentences(summary, known, mark),
        "key_numbers": verdict.key_numbers(summary, known, mark),
        "where": most_affected_classes(result, mark),
        "next_steps": next_steps(summary, known, mark),
        "app_command": app_command(summary),
        "the_same_again": run_again(summary) if summary.source else None,
    }


def _measurements(result: AuditResult, known: Comparison | None) -> dict[str, object]:
    """What is measured: on known mislabels, on the heads, and by correcting."""
    summary, correction = result.summary, correction_texts(result.summary)
    return {
        "detection": known.measures if known else None,
        "injected": known is not None and known.kind == "injected",
        "by_kind": known.by_kind if known else {},
        "correction": summary.correction,
        "correction_texts": correction[0].texts if correction else {},
        "correction_thresholds": [threshold(measured.threshold) for measured in correction[1:]],
        "arms": ARMS,
        "heads": summary.heads.by_name if summary.heads else {},
    }


def _tables(result: AuditResult) -> dict[str, object]:
    """The tables of the report, row by row."""
    summary = result.summary
    return {
        "source": summary.source,
        "source_facts": _facts(summary.source, but=("slug", "options", "in_fiftyone")),
        "machine_facts": _facts(summary.machine),
        "class_rows": _class_rows(result),
        "skipped": _skipped(result),
        "findings": finding_tables(result),
        "leaks": leak_sentences(result.summary.leaks),
        "settings": [(name, value, help_of(name)) for name, value in summary.config.to_dict().items()],
        "score_meanings": SCORE_MEANINGS,
        "score_names": figures.SCORE_NAMES,
    }


def _figures_and_data(result: AuditResult, known: Comparison | None) -> dict[str, object]:
    """Galleries and figures, and `page`: the data that the page's script reads."""
    summary, source = result.summary, result.summary.source
    galleries, plots = gallery_values(result), fitting_plots(result)
    page = {
        "correction": to_json(correction_texts(summary)),
        "galleries": to_json(galleries),
        "threshold": to_json(threshold_values(result, known))
        | {"again": run_again(summary, inject=0, any_threshold=True)},
        "app": f"/datasets/{quote(source.dataset, safe='')}" if source and source.in_fiftyone else None,
        "figures": {theme: {plot.name: _plain(plot, result, theme) for plot in plots} for theme in ("light", "dark")},
    }
    return {"galleries": galleries, "plots": {plot.name: plot for plot in plots}, "page": page}


def _scripts() -> dict[str, object]:
    """Scripts and style of the page, and the policy that allows them and nothing else."""
    style, scripts = asset("report.css"), (asset("theme.js"), asset("report.js"), plotly_script())
    return {
        "style": style,
        "theme_script": scripts[0],
        "report_script": scripts[1],
        "plotly_script": scripts[2],
        "plotly_style_ids": _STYLE_ID.findall(scripts[2]),
        "policy": policy(scripts, style),
    }


@dataclass(frozen=True)
class _Plot:
    """A figure of the page."""

    name: str
    alt: str
    draw: Callable[..., Any]
    fits: Callable[[AuditResult], bool]


def _measured(result: AuditResult) -> bool:
    known = compare_with_known(result)
    return known is not None and bool(known.wrong.any())


def _retrained(head: str) -> Callable[[AuditResult], bool]:
    def fits(result: AuditResult) -> bool:
        correction = result.summary.correction
        return correction is not None and isinstance(correction.heads.by_name[head], RetrainedHead)

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
        # If nothing was injected and there is something to correct, this is the head before correction.
        lambda result: (
            result.summary.heads is not None
            and (result.summary.detection is not None or result.summary.correction is None)
        ),
    ),
)


def fitting_plots(result: AuditResult) -> list[_Plot]:
    """The figures for which this result has data."""
    return [plot for plot in _PLOTS if plot.fits(result)]


def _plain(plot: _Plot, result: AuditResult, theme: Theme) -> JsonObject:
    figure: JsonObject = json.loads(plot.draw(result, theme=theme).to_json())
    return figure


@dataclass(frozen=True)
class ClassRow:
    """A row of the report's class tables: one class, or all classes together.

    Attributes:
        label: the class; None for all classes.
        number: position among the classes; -1 for all classes.
        clean, corrupted: mean influence of unchanged samples and of injected mislabels; None if there are none.
        corrupted_count: number of injected mislabels.
        samples, flagged: numbers of samples and of flagged samples.
        wrong: number of wrong labels; None where the class has no samples.
        recall: share of the test samples that the head predicts right; None if there are none.
    """

    label: ClassLabel | None
    number: int
    clean: float | None
    corrupted: float | None
    corrupted_count: int
    samples: int
    flagged: int
    wrong: Figure | None
    recall: float | None

    @property
    def wrong_text(self) -> str:
        """The number of wrong labels."""
        return "–" if self.wrong is None else count_range(self.wrong)

    @property
    def share_text(self) -> str:
        """The share of wrong labels in the class."""
        return "–" if self.wrong is None else share_range(self.wrong.scaled(1 / max(self.samples, 1), 1.0))


def _class_rows(result: AuditResult) -> list[ClassRow]:
    """One row for all classes together, then the classes, the most wrong labels first."""
    scores, summary = result.scores, result.summary
    groups = scores.groupby("label", sort=False)
    flags, sizes, wrong_in = groups["flag"].sum().to_dict(), groups.size().to_dict(), wrong_by_class(result)
    right_of = tested_of = np.zeros(len(summary.classes))
    if summary.heads is not None:
        confusion = figures.confusions(result, summary.heads.given.test)
        right_of, tested_of = confusion.diagonal(), confusion.sum(axis=1)
    rows, total = [], claims_of(summary).mistakes
    for number, row in enumerate(summary.influence_by_class):
        label = row.class_
        wrong = total if label is None else wrong_in.get(label)
        if label is None:
            flagged, samples = scores["flag"].sum(), len(scores)
            right, tested = right_of.sum(), tested_of.sum()
        else:
            flagged, samples = flags.get(label, 0), sizes.get(label, 0)
            right, tested = right_of[number], tested_of[number]
        rows.append(
            ClassRow(
                label=label,
                number=-1 if label is None else number,
                clean=row.clean,
                corrupted=row.corrupted,
                corrupted_count=row.corrupted_count,
                samples=int(samples),
                flagged=int(flagged),
                wrong=wrong,
                recall=float(right / tested) if tested else None,
            )
        )
    everything, classes = rows[-1:], rows[:-1]
    return everything + sorted(classes, key=lambda row: -(row.wrong.value if row.wrong else 0.0))[:MAX_TABLE_ROWS]


def _facts(part: Part | None, but: tuple[str, ...] = ()) -> list[tuple[str, object]]:
    """Names and values in a part of the summary, without empty values and without the fields `but`."""
    values: JsonObject = {} if part is None else to_json(part)
    return [(name.replace("_", " "), value) for name, value in values.items() if value and name not in but]


class SkippedSample(NamedTuple):
    """A sample that was not audited, and the reason."""

    id: str
    filepath: str | None
    reason: str


def _skipped(result: AuditResult) -> list[SkippedSample]:
    table = result.skipped[["id", "filepath", "reason"]].astype(object)
    return [SkippedSample(*row) for row in table.where(table.notna(), None).itertuples(index=False, name=None)]
