"""The texts and limits that the report's script uses: it formats numbers with them, and has none of its own."""

from __future__ import annotations

from typing import Any

from audit.files import spreadsheet
from audit.result import AuditResult
from reports import ranges, wrong_labels_by_class

SCRIPTS = (
    *("elements", "threshold", "cards", "app_link", "sheet"),
    *("decide", "flagged", "galleries", "plots", "start"),
)
"""The parts of the page's script in `templates/report/`, in the order in which they need each other."""

UNIT_AXIS = (-0.02, 1.04)
"""Ends of the y axis of the curves, as `figure_style.set_unit_axes` sets them."""

WORDS: dict[str, str] = {
    # numbers
    "empty": "(empty)",
    "unknown": "–",
    "minus": "−",
    "nearly_all": "> 99%",
    "nearly_one": "> 0.99",
    "about": "≈\u00a0{text}",
    "no_share": "0%",
    "any_share": "any share",
    "up_to": "up to {high}",
    "at_least": "at least {low}",
    "between": "{low} to {high}",
    "unknown_share": "an unknown share",
    "samples_one": "{number} sample",
    "samples_many": "{number} samples",
    # pairs of classes
    "no_pair": wrong_labels_by_class.NO_PAIR,
    "one_flag": wrong_labels_by_class.ONE_FLAG,
    "most_flags": wrong_labels_by_class.MOST_FLAGS,
    "frequent_flags": wrong_labels_by_class.FREQUENT_FLAGS,
    # the threshold
    "threshold": "threshold {threshold}",
    "spoken_threshold": "{threshold}, {flagged} flagged",
    "matrix_cell": "given label {given}, suggested label {other}, {number} samples",
    "box": "median {median}, middle half {low} to {high}",
    # a card
    "picture_of": "sample labelled {label}",
    "heat_map": "heat map",
    "heat_map_of": "the sample with its heat map",
    "heat_map_meaning": "Red: pixels that move the validation loss most, through this sample's influence",
    "labelled": "labelled",
    "looks_right": "looks right",
    "suspicion_of": "suspicion {value}",
    "injected": "injected mislabel",
    "your_label": "your label",
    "against": "against it",
    "for": "for it",
    "most_alike": "most alike, labelled",
    "nearest_of": "Nearest images labelled {label}",
    "suspect_too": "sample labelled {label}, a suspect too",
    # the gallery
    "any": "any",
    "flagged": "flagged",
    "flagged_one": "{number} flagged sample",
    "flagged_many": "{number} flagged samples",
    "showing": "Showing {shown} of {scope}.",
    "matching": "{number} that match, of {all}",
    "no_match": "No flagged sample matches.",
    "none_reaches": "No sample reaches the threshold of {threshold}.",
    "without_picture_one": "1 of them has no picture in this report.",
    "without_picture_many": "{number} of them have no picture in this report.",
    "more_flagged_one": "1 more is flagged at this threshold and is not shown here; scores.parquet holds all.",
    "more_flagged_many": "{number} more are flagged at this threshold and are not shown here; "
    "scores.parquet holds all.",
    "show_more": "Show {number} more",
    "none": "There is none.",
    "in_this_report": "{number} of them are in this report.",
    # decisions
    "keep": "Keep",
    "relabel": "Relabel",
    "remove": "Remove",
    "keep_help": "The label is right ({key})",
    "relabel_help": "Take the suggested label ({key})",
    "remove_help": "Take the sample out ({key})",
    "decide_on": "decide on sample {id}",
    "decided": "{number} of {total} decided",
    "clear_decisions": "Forget all decisions that were made in this page?",
    "another_label": "another label …",
    # a sample in full
    "given_label": "given label",
    "suggested_label": "suggested label",
    "label_before": "label before injection",
    "suspicion": "suspicion",
    "loo_probability": "leave-one-out probability",
    "influence": "influence (nats)",
    "self_influence": "self-influence (nats)",
    "split": "split",
    "origin": "origin",
    "sample_id": "sample id",
    "file": "file",
    "yes": "yes",
    "no": "no",
    "close": "Close",
    "previous": "previous sample",
    "next": "next sample",
    "sample_of": "Sample {number} of {total}",
    "speaks_for": "Training images that speak for its label",
    "speaks_against": "Training images that speak against its label",
    "help_most": "Training images that help it most",
    "harm_most": "Training images that harm it most",
    "open_in_app": "Open in App",
    "open_sample_in_app": "Open in App: sample {id}",
    "app_runs": " (while influence-audit app runs, at {address})",
    "predicted": "predicted",
    "believed": "believed to be",
    "rightly": "rightly but not surely",
    # the page
    "dark": "Dark",
    "light": "Light",
    "to_dark": "switch to the dark theme",
    "to_light": "switch to the light theme",
    "copy": "Copy",
    "copied": "Copied",
    "selected": "Selected",
}
"""The texts, by name; braces hold what the script fills in."""

LIMITS: dict[str, Any] = {
    "nearly_all": ranges.NEARLY_ALL,
    "nearly_none": ranges.NEARLY_NONE,
    "as_good_as_none": ranges.AS_GOOD_AS_NONE,
    "wide": ranges.WIDE,
    "whole_percent": ranges.WHOLE_PERCENT,
    "pairs": wrong_labels_by_class.PAIRS,
    "stands_out": wrong_labels_by_class.STANDS_OUT,
    "class_name": wrong_labels_by_class.SHORT,
    "unit_axis": UNIT_AXIS,
    "box": (0.05, 0.25, 0.5, 0.75, 0.95),
    "cards_a_page": 24,
    "compared_a_page": 12,
    "pairs_listed": 10,
    "explained_at_first": 3,
}
"""Numbers that the script compares with, by name."""

DECISION_STATUSES = {"keep": "dismissed", "relabel": "relabelled", "remove": "removed"}
"""The status of each decision, as the review in FiftyOne calls it."""

DECISION_COLUMNS = ("id", "key", "filepath", "status", "old_label", "new_label", "suspicion", "at")
"""Columns of the saved decisions, as `influence-audit export` names them for a review."""


def decision_values(result: AuditResult) -> dict[str, object]:
    """What the script needs to keep decisions and to save them as a table."""
    source = result.summary.source
    audited = f"{source.dataset}-{source.audit_key}" if source else "arrays"
    return {
        "key": f"{audited}-{result.summary.created}",
        "file": "decisions.csv",
        "columns": DECISION_COLUMNS,
        "statuses": DECISION_STATUSES,
        "keys": {"keep": "k", "relabel": "r", "remove": "x"},
        "formula": spreadsheet.LIKE_A_FORMULA.pattern,
        "number": spreadsheet.NUMBER.pattern,
    }
