"""How operators update an open window of the App."""

from __future__ import annotations

import json
from typing import Any

import fiftyone as fo

from integrations.fiftyone.appearance import shown_colors, shown_groups
from integrations.fiftyone.fields import audit_fields
from integrations.fiftyone.plugin_install import PANEL, PLUGIN

__all__ = ["FINDINGS_PANEL", "PANEL", "PLUGIN", "in_app", "is_view_of", "refresh", "show_changed_fields"]

FINDINGS_PANEL = "label_audit_findings"


def in_app(ctx: Any) -> bool:
    """Whether the operator was called in the App (and not from Python or by the worker of a delegated run)."""
    return "operator_uri" in ctx.request_params and not ctx.delegated


def refresh(ctx: Any) -> None:
    """Update the grid and the review after a decision."""
    if in_app(ctx):
        ctx.ops.reload_samples()
        ctx.trigger(f"{PLUGIN}/look_again")


def show_changed_fields(
    ctx: Any,
    dataset: fo.Dataset,
    audit_key: str | None = None,
    leave_view: bool = False,
    leave_check: bool = False,
) -> list[Any]:
    """Show the dataset's current fields, with their groups and colors, in an open window, and update the panel.
    Reloading the dataset alone would update only the fields. The triggers are returned too, for generators to yield.

    Args:
        ctx: the operator's context.
        dataset: the dataset whose fields have changed.
        audit_key: the audit for the panel to show; by default the one that it shows, or else the newest.
        leave_view: show the whole dataset, because the view uses fields that no longer exist.
        leave_check: show the review, whatever the panel shows.
    """
    dataset.reload()
    shown = {
        "groups": shown_groups(dataset),
        "audit_key": audit_key,
        "leave_view": leave_view,
        "leave_check": leave_check,
    }
    return [
        ctx.trigger(f"{PLUGIN}/show_changed_fields", shown),
        ctx.trigger("set_color_scheme", {"fields": shown_colors(dataset)}),
    ]


def is_view_of(ctx: Any, dataset: fo.Dataset, key: str) -> bool:
    """Whether the view that is open in the App uses the audit's fields."""
    stages = json.dumps(ctx.view._serialize(), default=str)
    return any(f'"{name}' in stages or f'"${name}' in stages for name in audit_fields(dataset, key))
