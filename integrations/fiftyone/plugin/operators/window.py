"""What operators change in an open window of the App, beside their own form."""

from __future__ import annotations

import json
from typing import Any

import fiftyone as fo

from integrations.fiftyone.appearance import shown_colors, shown_groups
from integrations.fiftyone.fields import audit_fields

PANEL = "label_audit"
PLUGIN = "@influence-audit/influence-audit"


def in_app(ctx: Any) -> bool:
    """Whether a person waits for it in the App (and not a Python caller or a delegated run's worker)."""
    return "operator_uri" in ctx.request_params and not ctx.delegated


def refresh(ctx: Any) -> None:
    """Show in the grid and in the panel beside it what was decided."""
    if in_app(ctx):
        ctx.ops.reload_samples()
        ctx.trigger(f"{PLUGIN}/tell_panel", {"method": "look"})


def show_changed_fields(
    ctx: Any, dataset: fo.Dataset, audit_key: str | None = None, leave_view: bool = False
) -> list[Any]:
    """Show in an open window what fields the dataset has now, in its groups and colors, and in the panel what became of
    its audit: reloading the dataset shows the fields only. What is done is returned too, for generators to yield.

    Args:
        ctx: the operator's.
        dataset: whose fields have changed.
        audit_key: the audit that the panel is to show; by default the one that it shows, or else the newest.
        leave_view: show the whole dataset, because the view is of fields that are gone.
    """
    dataset.reload()
    shown = {"groups": shown_groups(dataset), "audit_key": audit_key, "leave_view": leave_view}
    return [
        ctx.trigger(f"{PLUGIN}/show_changed_fields", shown),
        ctx.trigger("set_color_scheme", {"fields": shown_colors(dataset)}),
    ]


def is_view_of(ctx: Any, dataset: fo.Dataset, key: str) -> bool:
    """Whether the view that is open in the App asks for the audit's fields."""
    stages = json.dumps(ctx.view._serialize(), default=str)
    return any(f'"{name}' in stages or f'"${name}' in stages for name in audit_fields(dataset, key))
