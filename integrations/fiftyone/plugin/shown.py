"""What the panel shows of an audit and of a sample, as values for the browser."""

from __future__ import annotations

from typing import Any

import fiftyone as fo

from integrations.fiftyone.overview import Overview

CLASSES_SHOWN = 50
_SHOWN = ("counts", "estimates", "claims", "accepting", "verified", "since_last")  # parts of the run's summary
NEUTRAL = "#8b95a5"  # reads well on dark and on light


def sample_facts(dataset: fo.Dataset, key: str, label_field: str, sample_id: str) -> dict[str, Any] | None:
    """What the panel says about a sample, or None where it is gone."""
    with_injection = dataset.has_field(f"{key}_injected_label")
    names = {
        "filepath": "filepath",
        "label": f"{label_field}.label",
        "suggested": f"{key}_suggested.label",
        "probability": f"{key}_suggested.confidence",
        "suspicion": f"{key}_suspicion",
        "influence": f"{key}_influence",
        "status": f"{key}_status",
        "corrected": f"{key}_corrected.label",
        **({"injected": f"{key}_injected_label.label"} if with_injection else {}),
    }
    found = dataset.select([sample_id]).values(list(names.values()))
    if not found[0]:
        return None
    facts = {name: values[0] for name, values in zip(names, found, strict=True)}
    facts["given"] = facts.get("injected") or facts["label"]
    return facts


def class_table(overview: Overview, flagged: dict[str, int] | None = None) -> list[dict[str, str]]:
    """The rows of the table of classes.

    Args:
        overview: of the audit.
        flagged: samples at or above another threshold than the audit's own, by class.
    """
    return [
        {
            "class": row.label,
            "samples": f"{row.samples:,}",
            "flagged": f"{row.flagged if flagged is None else flagged.get(row.label, 0):,}",
            "confused": "–" if row.confused_with is None else f"{row.confused_with} ({row.confusions:,})",
            "influence": "–" if row.mean_influence is None else f"{row.mean_influence:+.3g}",
        }
        for row in overview.classes[:CLASSES_SHOWN]
    ]


def figure_layout(layout: dict[str, Any]) -> dict[str, Any]:
    """A figure's layout without its page's colors: the App sets its own, for the theme that the browser shows."""
    layout = {name: value for name, value in layout.items() if name != "template"}
    layout["annotations"] = [{**mark, "font": {"color": NEUTRAL}} for mark in layout.get("annotations", [])]
    layout["shapes"] = [
        {**shape, "line": {**shape.get("line", {}), "color": NEUTRAL}} for shape in layout.get("shapes", [])
    ]
    legend = {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"}
    axes = {name: {**layout.get(name, {}), "fixedrange": True, "zeroline": False} for name in ("xaxis", "yaxis")}
    margin = {"l": 8, "r": 12, "t": 36, "b": 8}
    return {**layout, **axes, "margin": margin, "showlegend": True, "legend": legend, "autosize": True}


def plain_summary(summary: Any) -> dict[str, Any]:
    """The parts of a run's summary that the panel shows, as JSON values."""
    return {name: _as_json(summary[name]) for name in _SHOWN if summary.get(name)}


def _as_json(value: Any) -> Any:
    """A list or dictionary of the database as Python's own, down to its values."""
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list) else value
