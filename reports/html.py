"""The HTML report: one self-contained file, made only from a saved audit result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from audit.config import help_of
from audit.result import SCORE_MEANINGS, AuditResult
from audit.summary.parts import JsonObject, Part, to_json
from reports import figures, verdict
from reports.acceptance import acceptance_sentences, accepted_at
from reports.answers import answers
from reports.beside_result import read_beside
from reports.claims import claims_of
from reports.class_table import MAX_TABLE_ROWS, class_rows
from reports.conditions import Condition, conditions_of
from reports.correction import ARMS, correction_texts
from reports.findings import finding_tables, leak_sentences
from reports.first_cards import first_cards
from reports.galleries import gallery_values
from reports.history import Run, trend_of
from reports.known_mislabels import Comparison, compare_with_known
from reports.next_steps import RESULT_FOLDER, app_command, next_steps, run_again
from reports.page import asset, environment, mark, policy, script, write_page
from reports.page_texts import LIMITS, SCRIPTS, WORDS, decision_values
from reports.plots import fitting_plots
from reports.seals import SEAL_MEANINGS
from reports.svg import figure_svg
from reports.text import threshold
from reports.threshold_slider import threshold_values
from reports.verified import verified_texts
from reports.wrong_labels_by_class import flagged_pairs

APP_ADDRESS = "http://localhost:5151"
"""The default address at which `influence-audit app` serves the App; the reader can change it in the page."""

REPORT_FILE = "report.html"
"""The name of the report in the folder of its result: where it has this name, the page knows the folder."""

WORST_CLASSES = 8
"""Classes that the table shows at first, those with most wrong labels; the others are in a fold."""

FIRST_SKIPPED = 20
"""Skipped samples that the table shows at first; the others are in a fold."""


def write_report(
    result: AuditResult | str | Path,
    path: str | Path,
    conditions: Sequence[Condition] = (),
    runs: Sequence[Run] = (),
) -> Path:
    """Write the report of a result, or of the folder it was saved in, to one HTML file.

    The file needs no network and no other file. An existing file is replaced completely or not at all. The same result
    always gives the same bytes.

    Args:
        result: what was found, or its folder, which also says what lies beside it.
        path: the HTML file.
        conditions: as the audit was judged; by default those that the result alone is judged by.
        runs: the trend that the audit is the last run of, the oldest first; empty without a history.

    Raises:
        InputError: if the folder holds no complete result, or the file cannot be written.
    """
    if not isinstance(result, AuditResult):
        beside = read_beside(Path(result))
        conditions, runs = beside.conditions, beside.runs
        result = AuditResult.load(result)
    return write_page(render_report(result, conditions, runs), path)


def render_report(result: AuditResult, conditions: Sequence[Condition] = (), runs: Sequence[Run] = ()) -> str:
    """The report as HTML text; its arguments are those of `write_report`."""
    known = compare_with_known(result)
    values = {
        "summary": result.summary,
        "counts": result.summary.counts,
        "app_address": APP_ADDRESS,
        "max_rows": MAX_TABLE_ROWS,
        "max_classes": figures.MAX_CLASSES,
        "trend": trend_of(runs),
        "title": _title(result),
        "conditions": conditions or conditions_of(result.summary),
    }
    values |= _statements(result, known) | _measurements(result, known) | _tables(result)
    values |= _figures_and_data(result, known) | _scripts()
    return environment().get_template("report.html.j2").render(values)


def _statements(result: AuditResult, known: Comparison | None) -> dict[str, object]:
    """What the report says in words, and the numbers in it with their seals."""
    summary = result.summary
    return {
        "claims": claims_of(summary),
        "answers": answers(result, mark),
        "verified": verified_texts(summary),
        "seals": SEAL_MEANINGS,
        "accepted": accepted_at(summary),
        "acceptance": acceptance_sentences(summary),
        "headline": verdict.headline(summary),
        "sentences": verdict.sentences(summary, known, mark),
        "key_numbers": verdict.key_numbers(summary, known, mark),
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
        "class_rows": class_rows(result),
        "worst_classes": WORST_CLASSES,
        "pairs": flagged_pairs(result)[: LIMITS["pairs_listed"]],
        "skipped": _skipped(result),
        "first_skipped": FIRST_SKIPPED,
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
        "words": WORDS,
        "limits": LIMITS,
        "decisions": decision_values(result),
        "report_file": REPORT_FILE,
        "result_folder": RESULT_FOLDER,
        "correction": to_json(correction_texts(summary)),
        "galleries": to_json(galleries),
        "threshold": to_json(threshold_values(result, known))
        | {"again": run_again(summary, inject=0, any_threshold=True)},
        "app": f"/datasets/{quote(source.dataset, safe='')}" if source and source.in_fiftyone else None,
    }
    drawn = {plot.name: {"alt": plot.alt, "svg": figure_svg(plot.draw(result, theme="light"))} for plot in plots}
    return {"galleries": galleries, "plots": drawn, "page": page, "first_cards": first_cards(galleries)}


def _title(result: AuditResult) -> str:
    """What was audited and when, for the window and for the name of a printed file."""
    source, day = result.summary.source, result.summary.created[:10]
    return f"Label audit of {source.dataset}, {day}" if source else f"Label audit, {day}"


def _scripts() -> dict[str, object]:
    """Scripts and style of the page, and the policy that allows them and nothing else."""
    style, scripts = asset("report.css"), (asset("theme.js"), script(SCRIPTS))
    return {"style": style, "theme_script": scripts[0], "report_script": scripts[1], "policy": policy(scripts, style)}


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
