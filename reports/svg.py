"""Figures as SVG in the page: in its colours, as wide as there is room, and readable without a script.

A plotly figure is drawn in two parts side by side: the labels of the y axis, as wide as they are, and the area, whose
x coordinates are in per cent. So text keeps its size on every screen and on paper, and a figure in a closed fold has
the right size when it opens. The page's script moves only what depends on the threshold.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

from reports.figure_style import PALETTES, translucent
from reports.text import MINUS

_TOP, _BOTTOM, _TURNED = 10, 26, 92  # pixels above the area, below it for labels, and below it for turned labels
_LETTER = 7.2  # pixels of a letter of an axis
_TITLES = 50  # pixels of a plotly figure that its legend and titles take, which are text of the page here
_HOVERED = 40  # places on a curve that show their values under the pointer
_COLOURS = {
    value: name for name, value in vars(PALETTES["light"]).items() if name in ("clean", "corrupted", "faint", "line")
}
_COLOURS |= {translucent(PALETTES["light"].clean): "clean", translucent(PALETTES["light"].corrupted): "corrupted"}
_DASHES = {"dash": "6 4", "dot": "2 3"}


@dataclass(frozen=True)
class _Axis:
    """A numeric axis: its ends (of the logarithm, on a logarithmic axis), and its ticks with their texts."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    is_log: bool = False

    def part(self, value: float) -> float:
        """Where a value lies, from 0 at the low end to 1 at the high end."""
        if self.is_log:
            value = math.log10(value) if value > 0 else self.low
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class _Area:
    """The drawing area: both axes, and the pixels from its top to its bottom."""

    x: _Axis
    y: _Axis
    height: float

    def across(self, value: float) -> str:
        """The x coordinate of a value."""
        return f"{100 * self.x.part(value):.2f}%"

    def down(self, value: float) -> float:
        """The y coordinate of a value, in pixels."""
        return round(_TOP + (1 - self.y.part(value)) * self.height, 1)


def figure_svg(figure: go.Figure) -> Markup:
    """A figure as HTML: the legend, the titles of the axes, and the two SVG images that it is drawn in.

    Args:
        figure: of `reports.figures`, for the light theme; the page's style gives the colours of both themes.
    """
    layout, turned = figure.layout, figure.layout.xaxis.tickangle == -45
    across = _axis(figure, "x")
    letters = max((len(text) for _, text in across.ticks), default=0)
    bottom = 22 + round(0.71 * _LETTER * letters) if turned else _BOTTOM
    height = int(layout.height) - _TITLES + (bottom - _TURNED if turned else 0)
    area = _Area(across, _axis(figure, "y"), height - _TOP - bottom)
    marks = Markup("").join(_marks(figure, area))
    labels = [text for _, text in area.y.ticks]
    room = round(_LETTER * max((len(text) for text in labels), default=0)) + 12
    return Markup(
        '<div class="legend">{legend}</div><p class="axis-title">{y}</p><div class="drawn">'
        '<svg class="y-labels" aria-hidden="true" width="{room}" height="{height}">{y_labels}</svg>'
        '<svg class="area" aria-hidden="true" width="100%" height="{height}" data-low="{low:g}" data-high="{high:g}" '
        'data-top="{top}" data-tall="{tall}">{grid}{marks}</svg></div><p class="axis-title across">{x}</p>'
    ).format(
        legend=_legend(figure),
        y=_title(layout.yaxis),
        x=_title(layout.xaxis),
        room=room,
        height=height,
        low=area.x.low,
        high=area.x.high,
        top=_TOP,
        tall=area.height,
        y_labels=_y_labels(area, room),
        grid=_grid(area, figure, turned),
        marks=marks,
    )


def _title(axis: Any) -> str:
    return " · ".join(part.strip() for part in re.split(" {3,}", html.unescape(axis.title.text or "")))


def _legend(figure: go.Figure) -> Markup:
    """A swatch and a name for each trace that has one."""
    named = [trace for trace in figure.data if trace.name and trace.showlegend is not False and trace.type != "heatmap"]
    if len(named) < 2:
        return Markup("")
    return Markup("").join(
        Markup('<span><svg width="22" height="10" aria-hidden="true">{}</svg>{}</span>').format(
            _swatch(trace), html.unescape(trace.name)
        )
        for trace in named
    )


def _swatch(trace: Any) -> Markup:
    if trace.type == "bar":
        return Markup('<rect width="22" height="10" class="{}"/>').format(_class(trace.marker.color))
    return Markup('<line x1="0" x2="22" y1="5" y2="5" class="stroke {}"{}/>').format(
        _class(trace.line.color), _style(trace.line)
    )


def _class(colour: str | None) -> str:
    return _COLOURS.get(colour or "", "clean")


def _style(line: Any) -> Markup:
    dash = _DASHES.get(getattr(line, "dash", None) or "", "")  # lines of boxes have none
    return Markup(' stroke-width="{}"').format(line.width or 2) + (
        Markup(' stroke-dasharray="{}"').format(dash) if dash else Markup("")
    )


# -- axes


def _axis(figure: go.Figure, name: str) -> _Axis:
    """The axis as the figure sets it, or else from its values."""
    axis = figure.layout[f"{name}axis"]
    if axis.tickvals is not None:
        texts = [html.unescape(str(text)) for text in axis.ticktext]
        low, high = -0.5, len(texts) - 0.5
        ends = (high, low) if axis.autorange == "reversed" else (low, high)
        return _Axis(*ends, tuple(zip(map(float, axis.tickvals), texts, strict=True)))
    if axis.type == "log":
        low, high = axis.range
        powers = range(math.ceil(low), math.floor(high) + 1)
        return _Axis(low, high, tuple((10.0**power, f"{10**power:,}") for power in powers), is_log=True)
    low, high = axis.range or _ends(figure, name, axis.rangemode == "tozero")
    return _Axis(low, high, tuple(_nice_ticks(low, high)))


def _ends(figure: go.Figure, name: str, to_zero: bool) -> tuple[float, float]:
    """The smallest and largest value on an axis, with a little room."""
    fields = ("lowerfence", "upperfence") if name == "x" else ()
    values = [
        np.asarray(trace[field], dtype=float)
        for trace in figure.data
        for field in (fields if trace.type == "box" else (name,))
        if trace[field] is not None
    ]
    known = np.concatenate(values)[np.isfinite(np.concatenate(values))] if values else np.array([])
    if not len(known):
        return -1.0, 1.0
    low, high = float(known.min()), float(known.max())
    if name == "x" and any(trace.type == "box" for trace in figure.data):
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.04 * (high - low) or max(abs(high), 1.0) * 0.04
    return (0.0 if to_zero else low - room), high + room


def _nice_ticks(low: float, high: float, most: int = 6) -> Iterator[tuple[float, str]]:
    """Round numbers between two ends."""
    step = 10 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= most)
    decimals = max(0, -math.floor(math.log10(step)))
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        value = number * step
        yield value, f"{value:,.{decimals}f}".replace("-", MINUS)


def _grid(area: _Area, figure: go.Figure, turned: bool) -> Markup:
    """Lines behind the marks, and the labels of the x axis; none behind a matrix."""
    foot = _TOP + area.height
    is_matrix = any(trace.type == "heatmap" for trace in figure.data)
    parts = []
    for value, text in area.x.ticks:
        x = area.across(value)
        if not is_matrix:
            parts.append(Markup('<line class="rule" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(x, _TOP, foot))
        if turned:
            parts.append(
                Markup(
                    '<svg x="{}" y="{}" overflow="visible">'
                    '<text class="turned" transform="rotate(-45)" text-anchor="end">{}</text></svg>'
                ).format(x, foot + 14, text)
            )
        else:
            parts.append(Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(x, foot + 18, text))
    if not is_matrix and figure.layout.yaxis.tickvals is None:
        for value, _ in area.y.ticks:
            parts.append(Markup('<line class="rule" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(area.down(value)))
    return Markup("").join(parts)


def _y_labels(area: _Area, room: int) -> Markup:
    return Markup("").join(
        Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(room - 8, area.down(value) + 4, text)
        for value, text in area.y.ticks
    )


# -- marks


def _marks(figure: go.Figure, area: _Area) -> Iterator[Markup]:
    for shape in figure.layout.shapes:
        yield _vertical(shape, area)
    for trace in figure.data:
        if trace.type == "heatmap":
            yield from _matrix(trace, area)
        elif trace.type == "bar":
            yield from _bars(trace, area)
        elif trace.type == "box":
            yield _boxes(trace, area)
        elif trace.mode == "lines":
            yield from _curve(trace, area)
        else:
            yield _points(trace, area)
    for annotation in figure.layout.annotations:
        yield _annotation(annotation, area)


def _vertical(shape: Any, area: _Area) -> Markup:
    is_threshold = shape.line.dash == "dot"
    return Markup('<line class="{}" x1="{x}" x2="{x}" y1="{}" y2="{}"/>').format(
        "threshold-line" if is_threshold else "zero", _TOP, _TOP + area.height, x=area.across(shape.x0)
    )


def _annotation(annotation: Any, area: _Area) -> Markup:
    """The text of the threshold, beside its line or its point, on the side where there is room."""
    part = area.x.part(annotation.x)
    y = _TOP + 12 if annotation.yref == "paper" else area.down(annotation.y) - 14
    if y < _TOP + 12:
        y = area.down(annotation.y) + 22
    return Markup('<text class="threshold-text" x="{}" y="{}" dx="{}" text-anchor="{}">{}</text>').format(
        area.across(annotation.x), y, -8 if part > 0.5 else 8, "end" if part > 0.5 else "start", annotation.text
    )


def _bars(trace: Any, area: _Area) -> Iterator[Markup]:
    foot = _TOP + area.height
    for x, y, width in zip(trace.x, trace.y, np.broadcast_to(trace.width, len(trace.x)), strict=True):
        if not y:
            continue
        top = area.down(y)
        yield Markup(
            '<rect class="bar {}" x="{}" width="{:.2f}%" y="{}" height="{:.1f}"><title>{}</title></rect>'
        ).format(
            _class(trace.marker.color),
            area.across(x - width / 2),
            100 * width / (area.x.high - area.x.low),
            top,
            foot - top,
            _hover(trace.hovertemplate, {"x": x, "y": y}),
        )


def _curve(trace: Any, area: _Area) -> Iterator[Markup]:
    """A line through all points, stretched to the width of the area, and the values under the pointer."""
    x, y = np.asarray(trace.x, dtype=float), np.asarray(trace.y, dtype=float)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    points = " ".join(
        f"{1000 * area.x.part(left):.1f},{area.down(up) - _TOP:.1f}" for left, up in zip(x, y, strict=True)
    )
    yield Markup(
        '<svg class="stretched" y="{}" width="100%" height="{:.1f}" viewBox="0 0 1000 {:.1f}" '
        'preserveAspectRatio="none">'
        '<polyline class="stroke {}"{} points="{}"/></svg>'
    ).format(_TOP, area.height, area.height, _class(trace.line.color), _style(trace.line), points)
    if trace.hoverinfo == "skip":
        return
    for place in np.unique(np.linspace(0, len(x) - 1, _HOVERED).astype(int)) if len(x) else ():
        yield Markup('<circle class="hover" cx="{}" cy="{}" r="7"><title>{}</title></circle>').format(
            area.across(x[place]), area.down(y[place]), _hover(trace.hovertemplate, {"x": x[place], "y": y[place]})
        )


def _points(trace: Any, area: _Area) -> Markup:
    return Markup("").join(
        Markup('<circle class="point corrupted" cx="{}" cy="{}" r="6"><title>{}</title></circle>').format(
            area.across(x), area.down(y), _hover(trace.hovertemplate, {"x": x, "y": y})
        )
        for x, y in zip(trace.x, trace.y, strict=True)
    )


def _boxes(trace: Any, area: _Area) -> Markup:
    """Each box: whiskers, the middle half, and the median."""
    fields = (trace.y, trace.lowerfence, trace.q1, trace.median, trace.q3, trace.upperfence)
    half = area.height / abs(area.y.high - area.y.low) * (trace.width or 0.3) / 2
    parts = [
        _box(area.down(y), half, [100 * area.x.part(value) for value in values], values, trace.name)
        for y, *values in zip(*(np.asarray(field, dtype=float) for field in fields), strict=True)
    ]
    return Markup('<g class="boxes stroke {}" data-half="{:.2f}">{}</g>').format(
        _class(trace.line.color), half, Markup("").join(parts)
    )


def _box(middle: float, half: float, places: list[float], values: list[float], name: str) -> Markup:
    """A box: its middle and half its height in pixels, five places in per cent, and the values there."""
    low, q1, median, _, high = (f"{place:.2f}%" for place in places)
    text = f"{name}: median {values[2]:.3g}, middle half {values[1]:.3g} to {values[3]:.3g}".replace("-", MINUS)
    return Markup(
        '<g data-values="{known}"><title>{text}</title><line x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'
        '<rect x="{q1}" width="{width:.2f}%" y="{top:.1f}" height="{tall:.1f}"/>'
        '<line x1="{median}" x2="{median}" y1="{top:.1f}" y2="{foot:.1f}"/></g>'
    ).format(
        known=json.dumps([float(f"{value:.7g}") for value in values]),
        text=text,
        low=low,
        high=high,
        y=middle,
        q1=q1,
        width=places[3] - places[1],
        median=median,
        top=middle - half,
        foot=middle + half,
        tall=2 * half,
    )


def _matrix(trace: Any, area: _Area) -> Iterator[Markup]:
    """The cells that hold samples: blue where both classes are the same, orange elsewhere, and the numbers on them."""
    shades, texts = np.asarray(trace.z, dtype=float), trace.text
    size = len(shades)
    tall, wide = area.height / max(size, 1), 100 / max(size, 1)
    cells, numbers = [], []
    for row, column in np.argwhere(shades != 0).tolist():
        values = trace.customdata[row][column]
        hover = _hover(trace.hovertemplate, {"customdata": values})
        cells.append(
            Markup(
                '<rect class="{}" fill-opacity="{:.2f}" x="{:.3f}%" width="{:.3f}%" y="{:.1f}" height="{:.1f}">'
                "<title>{}</title></rect>"
            ).format(
                "clean" if shades[row, column] > 0 else "corrupted",
                abs(shades[row, column]),
                column * wide,
                wide,
                _TOP + row * tall,
                tall - 1,
                hover,
            )
        )
        if texts is not None:
            numbers.append(
                Markup('<text x="{:.3f}%" y="{:.1f}" text-anchor="middle">{}</text>').format(
                    (column + 0.5) * wide, _TOP + (row + 0.5) * tall + 4, texts[row][column]
                )
            )
    yield Markup('<rect class="frame" width="100%" y="{}" height="{:.1f}"/>').format(_TOP, area.height)
    yield Markup('<g class="cells" data-size="{}">{}</g>').format(size, Markup("").join(cells))
    yield Markup('<g class="cell-numbers">{}</g>').format(Markup("").join(numbers))


_FIELD = re.compile(r"%\{(\w+)(?:\[(\d)\])?(?::([^}]*))?\}")


def _hover(template: str | None, values: Mapping[str, Any]) -> str:
    """A plotly hover text with its values filled in, in one line."""

    def filled(match: re.Match[str]) -> str:
        name, place, form = match.groups()
        value = values[name] if place is None else values[name][int(place)]
        return format(value, form or "")

    text = _FIELD.sub(filled, template or "").replace("<extra></extra>", "").replace("<br>", ", ")
    return html.unescape(text)
