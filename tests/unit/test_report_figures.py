"""The report's figures hold what the result says."""

from __future__ import annotations

import re

import numpy as np

from audit.result import AuditResult
from reports import figures
from reports.figure_style import short_label
from tests.digits_result import CLASSES, pairs_of
from tests.made_reports import nothing_flagged

# -- figures


def test_curve_passes_through_the_chosen_threshold(injected: AuditResult) -> None:
    detection = injected.summary.detection
    figure = figures.precision_recall(injected)
    curve = next(trace for trace in figure.data if trace.name == "suspicion")
    distance = np.hypot(np.asarray(curve.x) - detection.recall, np.asarray(curve.y, dtype=float) - detection.precision)
    assert distance.min() < 0.01
    mark = next(trace for trace in figure.data if trace.mode == "markers")
    assert (mark.x[0], mark.y[0]) == (detection.recall, detection.precision)


def test_boxes_hold_the_quartiles_of_each_class(injected: AuditResult) -> None:
    clean, corrupted = figures.influence_by_class(injected).data
    scores = injected.scores
    for trace, rows in ((clean, scores[~scores["injected"]]), (corrupted, scores[scores["injected"]])):
        medians = [rows.loc[rows["label"] == label, "influence"].median() for label in CLASSES]
        np.testing.assert_allclose(trace.median, [*medians, rows["influence"].median()])


def test_boxes_have_a_number_axis_where_nothing_is_flagged(plain: AuditResult) -> None:
    figure = figures.influence_by_class(nothing_flagged(plain))
    assert len(figure.data[1].median) == 0
    assert figure.layout.xaxis.type == "linear"


def test_confusion_matrix_holds_the_counts(injected: AuditResult) -> None:
    heads = injected.summary.correction.heads
    for matrix, confusion in (
        (figures.confusion(injected, "corrupted"), injected.summary.heads.corrupted.test.confusion),
        (figures.confusion_corrected(injected, "removed"), heads.removed.quality["original"].confusion),
    ):
        assert pairs_of(np.array(matrix.data[0].customdata)[:, :, 2].astype(int)) == confusion


def test_themes_differ_in_colour_only(injected: AuditResult) -> None:
    light, dark = (
        re.sub(r"#[0-9a-f]{6}|rgba\([^)]*\)", "", str(figures.loss_curves(injected, theme).to_json()))
        for theme in ("light", "dark")
    )
    assert light == dark
    assert figures.loss_curves(injected, "light") != figures.loss_curves(injected, "dark")


def test_labels_in_figures_are_escaped_and_short() -> None:
    assert short_label("<b>x</b>") == "&lt;b&gt;x&lt;/b&gt;"
    assert len(short_label("y" * 300)) == 18
    assert short_label("") == "(empty)"
    assert short_label(3) == "3"
