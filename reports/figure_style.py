"""The style of all figures: colours for a light and a dark page, axes, and marks."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any, Literal

import plotly.graph_objects as go

Theme = Literal["light", "dark"]

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

_LABEL_LENGTH = 18  # characters of a class name on an axis


@dataclass(frozen=True)
class Palette:
    """The colours of one theme. Blue and orange can be told apart with every common kind of colour blindness."""

    ink: str
    muted: str
    line: str
    page: str
    clean: str
    corrupted: str
    faint: str


PALETTES: dict[str, Palette] = {
    "light": Palette("#1c2330", "#586172", "#e4e7ec", "#ffffff", "#1f6fb4", "#c65102", "#9aa3b2"),
    "dark": Palette("#e8ebf0", "#a3adbb", "#313947", "#171c24", "#6fb4f0", "#ff9a4a", "#6d7888"),
}


def short_label(label: Any, length: int = _LABEL_LENGTH) -> str:
    """A class name for plotly to show as it is: shortened in the middle, with its markup escaped."""
    text = " ".join(str(label).split()) or "(empty)"
    if len(text) > length:
        head = (length - 1) * 2 // 3
        text = f"{text[:head]}…{text[-(length - 1 - head) :]}"
    return html.escape(text, quote=False)


def mark_point(figure: go.Figure, palette: Palette, x: float, y: float, text: str) -> None:
    """Draw a point with a text beside it."""
    figure.add_scatter(
        x=[x],
        y=[y],
        mode="markers",
        name=text,
        showlegend=False,
        marker={"size": 13, "color": palette.corrupted, "line": {"color": palette.page, "width": 2}},
        hovertemplate=f"{text}<br>%{{x:.3f}}, %{{y:.3f}}<extra></extra>",
    )
    figure.add_annotation(
        x=x,
        y=y,
        text=text,
        bgcolor=palette.page,
        showarrow=True,
        arrowhead=0,
        arrowcolor=palette.muted,
        ax=-46 if x > 0.5 else 60,
        ay=46 if y > 0.5 else -46,
        font={"color": palette.ink},
    )


def add_baseline(figure: go.Figure, palette: Palette, x: list[float], y: list[float], name: str) -> None:
    """Draw a pale line to compare with."""
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        name=name,
        line={"color": palette.line, "width": 2},
        hoverinfo="skip",
    )


def set_unit_axes(figure: go.Figure, x: str, y: str) -> None:
    """Set both axes to the range 0 to 1, with these titles."""
    figure.update_xaxes(title=x, range=[-0.02, 1.02])
    figure.update_yaxes(title=y, range=[-0.02, 1.04])


def translucent(colour: str) -> str:
    """The colour in a translucent version, for areas."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.28)"


def empty_figure(palette: Palette, height: int) -> go.Figure:
    """A figure without data, `height` pixels high."""
    axis = {
        "gridcolor": palette.line,
        "zeroline": False,
        "linecolor": palette.line,
        "tickcolor": palette.line,
        "automargin": True,
        "fixedrange": True,
        "title": {"font": {"size": 12, "color": palette.muted}, "standoff": 10},
    }
    template = go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 12, "color": palette.muted},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": [palette.clean, palette.corrupted, palette.faint],
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": palette.ink}},
            "margin": {"l": 8, "r": 12, "t": 48, "b": 8},
            "hoverlabel": {
                "bgcolor": palette.page,
                "bordercolor": palette.faint,
                "font": {"family": FONT, "color": palette.ink},
            },
        }
    )
    return go.Figure(layout={"template": template, "height": height, "dragmode": False})
