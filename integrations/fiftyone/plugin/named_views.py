"""The panel's filters as saved views with a name that can be read in the App, in place of stages that cannot.

The App shows the name of a saved view only. So each place of the filters is saved under a name that says it, and the
oldest of these views go again.
"""

from __future__ import annotations

from typing import Any

import fiftyone as fo
from fiftyone.core.utils import to_slug

from integrations.fiftyone.appearance import MADE_IN_PANEL, is_made_in_panel

from .filters import Filters
from .operators.window import PLUGIN

KEPT = 8  # of an audit; the windows that are open show some of them
LONGEST = 90  # characters of a name


def name_of(key: str, filters: Filters) -> str:
    """A short name for the samples that the filters leave: the App shows some 25 characters of it."""
    words = [f"≥ {filters.threshold:.4g}"]
    if filters.class_label is not None:
        other = "" if filters.suggested is None else f" → {filters.suggested}"
        words.append(filters.class_label + other)
    if filters.only_unreviewed:
        words.append("undecided")
    if filters.hide_injected:
        words.append("not injected")
    return f"{key}: {', '.join(words)}"


def show_view(ctx: Any, dataset: fo.Dataset, key: str, filters: Filters, view: fo.DatasetView) -> None:
    """Show the view of the filters in the grid, under a name where there can be one."""
    name = name_of(key, filters)
    if not _save(dataset, name, view):
        ctx.ops.set_view(view=view)
        return
    made = [other for other in dataset.list_saved_views() if is_made_in_panel(dataset, key, other) and other != name]
    for former in made[: max(0, len(made) - KEPT)]:
        dataset.delete_saved_view(former)
    ctx.trigger(f"{PLUGIN}/show_named_view", {"slug": to_slug(name), "view": view._serialize()})


def _save(dataset: fo.Dataset, name: str, view: fo.DatasetView) -> bool:
    """Whether the view could be saved: not where the name is too long, or like that of a view of the user's own."""
    if len(name) > LONGEST:
        return False
    try:
        taken = {to_slug(other): other for other in dataset.list_saved_views()}
        former = taken.get(to_slug(name))
        is_ours = former == name and dataset.get_saved_view_info(name)["description"] == MADE_IN_PANEL
        if former is not None and not is_ours:
            return False
        dataset.save_view(name, view, description=MADE_IN_PANEL, color="#FFB682", overwrite=True)
    except ValueError:  # FiftyOne takes no name that leaves nothing in an address
        return False
    return True
