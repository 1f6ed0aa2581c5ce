"""The figures of an audit: each function takes a result and returns a plotly figure.

The HTML report and the App's panel draw the same figures. Every figure is made for a light or a dark page. Class names
are shortened and escaped, because plotly reads its text as HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy.sparse import coo_array, csr_array

from audit.errors import InputError
from audit.result import AuditResult
from audit.summary.correction import RetrainedHead
from audit.summary.heads import HeadQuality
from audit.summary.parts import ClassLabel
from reports.figure_style import (
    PALETTES,
    Palette,
    Theme,
    add_baseline,
    empty_figure,
    mark_point,
    set_unit_axes,
    short_label,
    translucent,
)
from reports.flagged_scores import FlaggedScores
from reports.known_mislabels import Comparison, compare_with_known
from reports.most_confused import most_confused
from reports.text import threshold

MAX_CLASSES = 20
"""Largest number of classes in a figure with one row per class; more could not be read."""

_CURVE_POINTS = 400  # points of a curve; at this width more would not be visible
_HISTOGRAM_BINS = 25  # bars of a histogram


SCORE_NAMES = {
    "suspicion": "suspicion",
    "loo_probability": "leave-one-out probability",
    "self_influence": "self-influence",
    "influence": "influence",
}
"""Names in texts of the scores that can rank samples, in display order."""

_LOW_IS_WRONG = ("loo_probability", "influence")


class LineStyle(TypedDict, total=False):
    """The style of a line, as plotly expects it."""

    color: str
    width: float
    dash: str


def most_flagged_classes(audited: AuditResult | FlaggedScores, limit: int = MAX_CLASSES) -> list[ClassLabel]:
    """The classes, or the `limit` classes with the most flagged samples, in the dataset's order."""
    flagged = FlaggedScores.of(audited)
    classes = flagged.classes
    if len(classes) <= limit:
        return list(classes)
    flags = flagged.scores.groupby("label", sort=False)["flag"].sum()
    ranked = sorted(classes, key=lambda label: -int(flags.get(label, 0)))
    chosen = set(ranked[:limit])
    return [label for label in classes if label in chosen]


def precision_recall(result: AuditResult, theme: Theme = "light") -> go.Figure:
    """Precision-recall curves on the known mislabels, one per score; the threshold is marked.

    Needs an audit with injected mislabels or spike-in controls.
    """
    palette = PALETTES[theme]
    known = _known(result)
    figure = empty_figure(palette, height=380)
    for score, style in _score_styles(palette, known.scores):
        recall, precision = _precision_recall_points(_ranking(known.scores, score), known.wrong)
        figure.add_scatter(
            x=recall,
            y=precision,
            mode="lines",
            name=SCORE_NAMES[score],
            line=style,
            hovertemplate=f"{SCORE_NAMES[score]}<br>recall %{{x:.3f}}<br>precision %{{y:.3f}}<extra></extra>",
        )
    mark_point(
        figure, palette, known.measures.recall, known.measures.precision, _threshold_text(result.summary.threshold)
    )
    add_baseline(figure, palette, [0, 1], [known.wrong.mean()] * 2, "picking at random")
    set_unit_axes(
        figure, "recall: share of the known mislabels that is found", "precision: share of flags that are known"
    )
    return figure


def roc(result: AuditResult, theme: Theme = "light") -> go.Figure:
    """ROC curves on the known mislabels, one per score, as for `precision_recall`; the threshold is marked."""
    palette = PALETTES[theme]
    known = _known(result)
    clean = max(int((~known.wrong).sum()), 1)
    figure = empty_figure(palette, height=380)
    for score, style in _score_styles(palette, known.scores):
        hits, alarms = _cumulative(_ranking(known.scores, score), known.wrong)
        figure.add_scatter(
            x=_thinned(alarms / clean),
            y=_thinned(hits / max(int(known.wrong.sum()), 1)),
            mode="lines",
            name=SCORE_NAMES[score],
            line=style,
            hovertemplate=f"{SCORE_NAMES[score]}<br>found %{{y:.3f}}<br>false alarms %{{x:.3f}}<extra></extra>",
        )
    false_alarms = known.measures.false_positive / clean
    mark_point(figure, palette, false_alarms, known.measures.recall, _threshold_text(result.summary.threshold))
    add_baseline(figure, palette, [0, 1], [0, 1], "picking at random")
    set_unit_axes(figure, "share of the other samples that is flagged", "share of the known mislabels found")
    return figure


def suspicion_histogram(audited: AuditResult | FlaggedScores, theme: Theme = "light") -> go.Figure:
    """Histogram of the suspicions, with injected mislabels (if any) as a separate group; the threshold is marked."""
    flagged, palette = FlaggedScores.of(audited), PALETTES[theme]
    edges = np.linspace(0, 1, _HISTOGRAM_BINS + 1)
    figure = empty_figure(palette, height=300)
    groups = _groups(flagged, palette, flagged_apart=False)
    width = 0.86 * edges[1] / len(groups)
    for number, (name, rows, colour) in enumerate(groups):
        counts, _ = np.histogram(rows["suspicion"].dropna().clip(0, 1), bins=edges)
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2 + (number - (len(groups) - 1) / 2) * width,
            y=counts,
            width=width,
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate=f"{name}<br>suspicion about %{{x:.2f}}<br>%{{y:,}} samples<extra></extra>",
        )
    figure.add_vline(x=flagged.threshold, line={"color": palette.ink, "width": 1.5, "dash": "dot"})
    figure.add_annotation(
        x=flagged.threshold,
        y=1.0,
        yref="paper",
        yanchor="top",
        xanchor="right" if flagged.threshold > 0.5 else "left",
        text=_threshold_text(flagged.threshold),
        showarrow=False,
        font={"color": palette.ink},
    )
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(title="suspicion", range=[0, 1])
    # On a logarithmic axis that starts at 1, a bar of one sample would have no height.
    top = np.log10(max(float(max(bars.y.max() for bars in figure.data)), 10)) * 1.05
    figure.update_yaxes(title="samples (log scale)", type="log", dtick=1, range=[-0.2, top])
    return figure


def influence_by_class(audited: AuditResult | FlaggedScores, theme: Theme = "light") -> go.Figure:
    """Box plots of the influence of corrupted and clean samples: a pair for each class, and one for all classes.

    Without injection the groups are flagged and not flagged. Box: quartiles and median; whiskers: 5 to 95 per cent.
    """
    flagged, palette = FlaggedScores.of(audited), PALETTES[theme]
    classes = most_flagged_classes(flagged)
    positions = np.arange(len(classes) + 1)
    figure = empty_figure(palette, height=90 + 38 * len(positions))
    for number, (name, group, colour) in enumerate(_groups(flagged, palette, flagged_apart=True)):
        values = [group.loc[group["label"] == label, "influence"].dropna().to_numpy() for label in classes]
        values.append(group["influence"].dropna().to_numpy())
        filled = [position for position, value in zip(positions, values, strict=True) if len(value)]
        quantiles = [np.quantile(values[position], [0.05, 0.25, 0.5, 0.75, 0.95]) for position in filled]
        low, q1, median, q3, high = np.array(quantiles).reshape(-1, 5).T
        figure.add_box(
            orientation="h",
            y=np.array(filled) + (-0.19 if number == 0 else 0.19),
            lowerfence=low,
            q1=q1,
            median=median,
            q3=q3,
            upperfence=high,
            name=name,
            width=0.3,
            line={"color": colour, "width": 1.5},
            fillcolor=translucent(colour),
            whiskerwidth=0.6,
        )
    figure.add_vline(x=0, line={"color": palette.faint, "width": 1}, layer="below")
    # Set the axis type: plotly would guess it for a group without samples, such as when nothing is flagged.
    figure.update_xaxes(
        title="← harms the validation loss      influence (nats)      helps it →", zeroline=False, type="linear"
    )
    figure.update_yaxes(
        tickvals=positions,
        ticktext=[*(short_label(label) for label in classes), "all classes"],
        autorange="reversed",
        gridcolor="rgba(0,0,0,0)",
        type="linear",
    )
    figure.update_layout(boxmode="overlay")
    return figure


def loss_curves(result: AuditResult, theme: Theme = "light") -> go.Figure:
    """Training loss (dotted) and validation loss (solid) of each head by step, in nats."""
    palette = PALETTES[theme]
    figure = empty_figure(palette, height=320)
    colours = {"given": palette.clean, "corrupted": palette.corrupted}
    for head, curve in result.curves.groupby("head", sort=False):
        for column, kind, dash in (("train_loss", "train", "dot"), ("validation_loss", "validation", "solid")):
            figure.add_scatter(
                x=curve["step"].to_numpy(),
                y=curve[column].to_numpy(),
                mode="lines" if len(curve) > 1 else "markers",
                name=f"{head} labels, {kind}",
                line={"color": colours.get(str(head), palette.muted), "width": 2, "dash": dash},
                hovertemplate=f"{head} labels, {kind}<br>step %{{x}}<br>loss %{{y:.4f}}<extra></extra>",
            )
    figure.update_xaxes(title="training step")
    figure.update_yaxes(title="loss (nats)", rangemode="tozero")
    return figure


def confusion(result: AuditResult, head: str = "given", theme: Theme = "light") -> go.Figure:
    """Confusion matrix of a head on the test split; if there are many classes, those with the most confusions."""
    heads = result.summary.heads
    assert heads is not None  # the figure is drawn for results with heads
    counts = confusions(result, heads.by_name[head].test)
    return _confusion(result, counts, most_confused(counts, MAX_CLASSES), theme)


def confusion_corrected(result: AuditResult, head: str = "before", theme: Theme = "light") -> go.Figure:
    """Confusion matrix of the head before or after correction, on the first set of test labels. Both show the same
    classes: those with the most confusions before correction."""
    correction = result.summary.correction
    assert correction is not None
    before, chosen = correction.heads.before, correction.heads.by_name[head]
    assert isinstance(chosen, RetrainedHead)
    on = correction.measured_on[0].name
    counts = confusions(result, chosen.quality[on])
    return _confusion(result, counts, most_confused(confusions(result, before.quality[on]), MAX_CLASSES), theme)


def confusions(result: AuditResult, quality: HeadQuality) -> csr_array:
    """The confusion matrix (C, C) of a head's quality: rows = label, columns = predicted."""
    label, predicted, samples = np.array(quality.confusion, dtype=int).reshape(-1, 3).T
    return _counted(result, label, predicted, samples)


def _counted(result: AuditResult, rows: np.ndarray, columns: np.ndarray, counts: np.ndarray) -> csr_array:
    """Counts (C, C) by the positions of two classes; sparse, because with many classes most pairs have none."""
    classes = len(result.summary.classes)
    return coo_array((counts, (rows, columns)), shape=(classes, classes)).tocsr()


def _share_of_row(counts: np.ndarray) -> np.ndarray:
    shares: np.ndarray = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _confusion(result: AuditResult, counts: csr_array, chosen: np.ndarray, theme: Theme) -> go.Figure:
    return _matrix(counts, chosen, result.summary.classes, PALETTES[theme], rows="label", columns="predicted")


def given_by_suggested(result: AuditResult, theme: Theme = "light") -> go.Figure:
    """Matrix of the flagged samples by given label and suggested label."""
    counts, classes = _suggestions(result), result.summary.classes
    chosen = most_confused(counts, MAX_CLASSES)
    palette = PALETTES[theme]
    return _matrix(counts, chosen, classes, palette, rows="given label", columns="suggested label", by_count=True)


def confused_classes(result: AuditResult) -> np.ndarray:
    """Positions of the classes that `given_by_suggested` shows."""
    return most_confused(_suggestions(result), MAX_CLASSES)


def _suggestions(result: AuditResult) -> csr_array:
    """Counts (C, C) of the flagged samples by given and suggested label; the diagonal is empty."""
    flagged = result.flagged
    given, suggested = (result.class_positions(flagged[column]) for column in ("label", "suggested_label"))
    return _counted(result, given, suggested, (given != suggested).astype(int))


def _matrix(
    wanted: csr_array,
    chosen: np.ndarray,
    classes: Sequence[ClassLabel],
    palette: Palette,
    rows: str,
    columns: str,
    by_count: bool = False,
) -> go.Figure:
    """A square count matrix. The diagonal is blue, by its share of the row. Confusions are orange, by their share of
    the row, or with `by_count` by their number, where the largest number gets full orange."""
    counts = wanted[chosen][:, chosen].toarray()
    share = counts / max(float(counts.max(initial=0)), 1) if by_count else _share_of_row(counts)
    agreement = np.eye(len(chosen), dtype=bool)
    # On one scale, few confusions would be invisible beside many agreements, so each has its own scale. Full orange
    # means that a row loses a quarter of its samples or more.
    largest = max(float(share[~agreement].max(initial=0)), 0.25)
    colour = np.where(agreement, 0.9 * share, -np.sqrt(share / largest))
    names = [short_label(classes[number]) for number in chosen]
    pairs = [[[names[row], names[column]] for column in range(len(names))] for row in range(len(names))]
    figure = empty_figure(palette, height=max(280, 110 + 27 * len(names)))
    figure.add_heatmap(
        z=colour,
        zmin=-1,
        zmax=1,
        colorscale=[[0, palette.corrupted], [0.5, palette.page], [1, palette.clean]],
        showscale=False,
        # Gaps keep plotly from drawing the cells as one stretched picture.
        xgap=1,
        ygap=1,
        text=np.where(counts > 0, counts.astype(int).astype(str), "") if len(names) <= MAX_CLASSES else None,
        texttemplate="%{text}",
        textfont={"size": 11},
        customdata=np.dstack([np.array(pairs, dtype=object).reshape(len(names), len(names), 2), counts.astype(int)]),
        hovertemplate=f"{rows} %{{customdata[0]}}<br>{columns} %{{customdata[1]}}<br>"
        "%{customdata[2]:,} samples<extra></extra>",
    )
    figure.update_layout(margin={"t": 12})
    ticks = {"tickvals": list(range(len(names))), "ticktext": names, "showgrid": False, "type": "linear"}
    figure.update_xaxes(title=columns, constrain="domain", tickangle=-45 if len(names) > 2 else 0, **ticks)
    figure.update_yaxes(title=rows, autorange="reversed", **ticks)
    return figure


def _groups(flagged: FlaggedScores, palette: Palette, flagged_apart: bool) -> list[tuple[str, pd.DataFrame, str]]:
    rows = flagged.scores
    if flagged.with_injection:
        injected = rows["injected"].to_numpy(dtype=bool)
        return [
            ("clean (not injected)", rows[~injected], palette.clean),
            ("corrupted (injected mislabels)", rows[injected], palette.corrupted),
        ]
    if flagged_apart:
        flag = rows["flag"].to_numpy(dtype=bool)
        return [("not flagged", rows[~flag], palette.clean), ("flagged", rows[flag], palette.corrupted)]
    return [("samples", rows, palette.clean)]


def _ranking(rows: pd.DataFrame, score: str) -> np.ndarray:
    values = rows[score].to_numpy(dtype=float)
    return np.nan_to_num(-values if score in _LOW_IS_WRONG else values, nan=-np.inf)


def _cumulative(ranking: np.ndarray, injected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of injected and of clean samples at or above each distinct value, in falling order; starts at (0, 0)."""
    order = np.argsort(-ranking, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(ranking[order])), len(order) - 1)
    hits = np.append(0, np.cumsum(injected[order])[ends])
    alarms = np.append(0, np.cumsum(~injected[order])[ends])
    return hits, alarms


def _precision_recall_points(ranking: np.ndarray, injected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hits, alarms = _cumulative(ranking, injected)
    recall = hits[1:] / max(int(injected.sum()), 1)
    precision = hits[1:] / (hits[1:] + alarms[1:])
    # Without this point the curve starts in the middle of the figure if many samples share the largest value.
    return _thinned(np.append(0, recall)), _thinned(np.append(precision[:1], precision))


def _thinned(values: np.ndarray) -> np.ndarray:
    if len(values) <= _CURVE_POINTS:
        return values
    return values[np.unique(np.linspace(0, len(values) - 1, _CURVE_POINTS).astype(int))]


def _known(result: AuditResult) -> Comparison:
    known = compare_with_known(result)
    if known is None:
        raise InputError("this result knows no mislabels to compare with; run the audit with --inject")
    return known


def _score_styles(palette: Palette, scores: pd.DataFrame) -> list[tuple[str, LineStyle]]:
    styles: list[tuple[str, LineStyle]] = [
        ("loo_probability", {"color": palette.faint, "width": 1.5}),
        ("self_influence", {"color": palette.faint, "width": 1.5, "dash": "dash"}),
        ("influence", {"color": palette.faint, "width": 1.5, "dash": "dot"}),
        ("suspicion", {"color": palette.clean, "width": 3}),
    ]
    return [(score, style) for score, style in styles if score in scores]


def _threshold_text(value: float) -> str:
    return f"threshold {threshold(value)}"
