"""Events that tell the panel nothing new: the App sends them after changes that the panel itself has made."""

from __future__ import annotations

from typing import Any

from audit.errors import InputError

from .check import is_blind
from .filters import filters_of
from .operators.operator import dataset_of


def is_echo(ctx: Any) -> bool:
    """Whether an event tells nothing new."""
    state, value = ctx.panel_state or {}, ctx.params.get("value")
    match ctx.params.get("__method__"):
        case "on_change_current_sample":
            return not state.get("by_hand")
        case "choose_audit":
            return value == state.get("audit_key")
        case "move_threshold":
            return value == state.get("threshold")
        case "on_change_view":
            key = state.get("audit_key")
            if key and state.get("checking"):
                return is_blind(ctx.view, key)
            return not key or is_blind(ctx.view, key) or _shows_what_is(ctx, state)
    return False


def _shows_what_is(ctx: Any, state: dict[str, Any]) -> bool:
    """Whether the audit that the state says is there, and the view in the grid has the filters that it says.

    The App may lose the answer that tells of a renamed audit while it shows the dataset's new fields.
    """
    try:
        dataset = dataset_of(ctx)
    except InputError:
        return False
    if not dataset.has_run(state["audit_key"]):
        return False
    hidden = (bool(state.get("only_unreviewed")), bool(state.get("hide_injected")))
    now = (state.get("threshold"), state.get("class_label"), *hidden, state.get("suggested"))
    filters = filters_of(ctx.view, dataset, state["audit_key"], state.get("label_field") or "")
    return now[1:] == (None, False, False, None) if filters is None else filters == now
