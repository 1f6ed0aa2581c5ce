"""Figures as SVG hold what the plotly figures hold."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from audit.result import AuditResult
from reports import figures
from reports.plots import fitting_plots
from reports.svg import figure_svg


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{svg}</div>")


@pytest.mark.parametrize("name", ["injected", "hostile", "many"])
def test_every_figure_is_well_formed_and_has_no_style_or_script(name: str, request: pytest.FixtureRequest) -> None:
    result: AuditResult = request.getfixturevalue(name)
    for plot in fitting_plots(result):
        nodes = list(parsed(figure_svg(plot.draw(result))).iter())
        assert {node.tag for node in nodes} <= {
            "div",
            "p",
            "span",
            "svg",
            "g",
            "rect",
            "line",
            "circle",
            "polyline",
            "text",
            "title",
        }
        assert not [
            node for node in nodes if "style" in node.attrib or any(key.startswith("on") for key in node.attrib)
        ]
        assert "nan" not in figure_svg(plot.draw(result))


def test_a_matrix_has_a_cell_for_each_pair(injected: AuditResult) -> None:
    titles = [node.text or "" for node in parsed(figure_svg(figures.given_by_suggested(injected))).iter("title")]
    told = {
        (found[1], found[2]): int(found[3])
        for found in (re.fullmatch(r"given label (.+), suggested label (.+), (\d+) samples", text) for text in titles)
        if found
    }
    assert told == injected.flagged.groupby(["label", "suggested_label"]).size().to_dict()


def test_bars_and_boxes_are_where_their_values_are(injected: AuditResult) -> None:
    svg = figure_svg(figures.influence_by_class(injected))
    boxes = re.findall(r'data-values="\[([^\]]+)\]"', svg)
    medians = np.sort([float(values.split(",")[2]) for values in boxes])
    expected = [trace.median for trace in figures.influence_by_class(injected).data]
    np.testing.assert_allclose(medians, np.sort(np.concatenate(expected)), rtol=1e-6)
    bars = parsed(figure_svg(figures.suspicion_histogram(injected)))
    heights = [float(node.attrib["height"]) for node in bars.iter("rect") if "bar" in node.attrib["class"]]
    assert min(heights) > 0
    (line,) = (node for node in bars.iter("line") if node.attrib.get("class") == "threshold-line")
    assert line.attrib["x1"] == f"{100 * injected.summary.threshold:.2f}%"
