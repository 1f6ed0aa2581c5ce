"""The figure of the comparison with other methods: how well each one ranks, and how long it takes."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reports.figure_style import FONT, short_label

LABEL_LENGTH = 40  # characters of a case's name on the axis
COLOURS = ("#c65102", "#1f6fb4", "#4f9bd9", "#8fc1ea", "#7a5195", "#2f8f6b", "#8a8f98", "#b0851c", "#d98fb3", "#5c6672")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross", "triangle-down")


def peers_figure(
    average_precision: Mapping[str, Mapping[str, float | None]],
    seconds: Mapping[str, Mapping[str, float | None]],
    ours: str,
) -> go.Figure:
    """Two panels, average precision and seconds (log scale), with a row per labelling and a mark per method.

    Args:
        average_precision: by labelling and method, 0 to 1; None if a method has no value.
        seconds: computing time, by labelling and method.
        ours: the method to highlight.
    """
    labellings = list(average_precision)
    rows = [short_label(name, LABEL_LENGTH) for name in labellings]
    figure = make_subplots(
        1,
        2,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        column_widths=[0.65, 0.35],
        subplot_titles=["average precision of the ranking", "seconds"],
    )
    methods = list(dict.fromkeys(method for found in average_precision.values() for method in found))
    for number, method in enumerate(methods):
        marker = {
            "size": 15 if method == ours else 9,
            "symbol": "star" if method == ours else SYMBOLS[number % len(SYMBOLS)],
            "color": COLOURS[number % len(COLOURS)],
        }
        for column, values in enumerate((average_precision, seconds), 1):
            figure.add_scatter(
                x=[values[name].get(method) for name in labellings],
                y=rows,
                mode="markers",
                name=method,
                legendgroup=method,
                showlegend=column == 1,
                marker=marker,
                row=1,
                col=column,
                hovertemplate=f"{method}<br>%{{y}}<br>%{{x:.3f}}<extra></extra>",
            )
    figure.update_xaxes(range=[0, 1.02], row=1, col=1)
    figure.update_xaxes(type="log", row=1, col=2)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(
        template="plotly_white",
        font={"family": FONT},
        height=180 + 60 * len(rows),
        legend={"orientation": "h", "yanchor": "top", "y": -0.12},
        margin={"l": 20, "r": 20, "t": 50, "b": 20},
    )
    return figure
