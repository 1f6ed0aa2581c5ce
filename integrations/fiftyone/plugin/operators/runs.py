"""Operators that load, rename and delete audits."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from audit.errors import InputError
from integrations.fiftyone import review
from integrations.fiftyone.appearance import REVIEW_VIEWS, check_view_names
from integrations.fiftyone.background_audit import RUNNING, find_job
from integrations.fiftyone.fields import ORIGINAL, UNREVIEWED, check_audit_key
from integrations.fiftyone.lock import one_at_a_time
from integrations.fiftyone.runs import audit_config

from .inputs import chosen_key, key_input
from .operator import AuditOperator
from .sentences import counted
from .window import PANEL, PLUGIN, in_app, is_view_of, show_changed_fields


class LoadAudit(AuditOperator):
    """Show the samples of an audit."""

    name_ = "load_audit"
    label = "Load audit"
    description = "Show the samples of an audit in the grid, and open the panel on it"
    icon = "folder_open"
    risk = types.RiskLevel.LOW

    def __call__(
        self, sample_collection: SampleCollection, audit_key: str | None = None, delegate: bool = False
    ) -> Any:
        """Load from Python. Returns a dict with audit_key and samples, the number of audited samples."""
        return self.call(sample_collection, {"audit_key": audit_key}, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """The form: which audit, and which of its samples."""
        key_input(ctx, dataset, inputs)
        choices = types.RadioGroup()
        choices.add_choice("all", label="all audited samples")
        for view in REVIEW_VIEWS:
            choices.add_choice(view.title, label=view.title)
        inputs.enum("show", choices.values(), default="all", label="Show", view=choices)

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Show the samples in the grid, and open the panel."""
        key = chosen_key(ctx, dataset)
        title = ctx.params.get("show") or "all"
        view = dataset.load_run_view(key)
        if title != "all":  # an older version may not have saved it
            view = next(view.make(dataset, key) for view in REVIEW_VIEWS if view.title == title)
        if in_app(ctx):
            ctx.ops.set_view(view=view)
            ctx.ops.open_panel(PANEL, layout="horizontal", state={"audit_key": key})
            # Tell a panel that is already open.
            ctx.trigger(f"{PLUGIN}/tell_panel", {"method": "changed", "audit_key": key})
        return {"audit_key": key, "samples": len(view)}


class RenameAudit(AuditOperator):
    """Rename an audit and everything that it wrote."""

    name_ = "rename_audit"
    label = "Rename audit"
    description = "Rename an audit with its fields, saved views and sidebar group"
    icon = "drive_file_rename_outline"

    def __call__(
        self, sample_collection: SampleCollection, audit_key: str, new_key: str, delegate: bool = False
    ) -> Any:
        """Rename from Python."""
        return self.call(sample_collection, {"audit_key": audit_key, "new_key": new_key}, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """The form: which audit, and its new key."""
        key = key_input(ctx, dataset, inputs)
        prop = inputs.str("new_key", required=True, label="New key")
        new_key = ctx.params.get("new_key")
        if new_key:
            try:
                _check_new_key(dataset, key, new_key)
            except InputError as error:
                prop.invalid, prop.error_message = True, str(error)

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Rename."""
        key, new_key = chosen_key(ctx, dataset), ctx.params.get("new_key") or ""
        _check_new_key(dataset, key, new_key)
        leave_view = in_app(ctx) and is_view_of(ctx, dataset, key)
        with one_at_a_time:
            dataset.rename_run(key, new_key)
        ctx.ops.notify(f"Audit {key!r} is now called {new_key!r}.", variant="success")
        if in_app(ctx):
            show_changed_fields(ctx, dataset, new_key, leave_view)
        return {"audit_key": new_key}


def _check_new_key(dataset: fo.Dataset, key: str, new_key: str) -> None:
    if new_key in dataset.list_runs():
        raise InputError(f"dataset {dataset.name!r} has a run {new_key!r} already; choose another key")
    check_audit_key(dataset, new_key, audit_config(dataset, key).label_field)
    check_view_names(dataset, new_key)
    job = find_job(dataset, key)
    if job is not None and job.state == RUNNING:
        raise InputError(f"audit {key!r} is running; wait for it to end")


class DeleteAudit(AuditOperator):
    """Delete an audit and everything that it wrote."""

    name_ = "delete_audit"
    label = "Delete audit"
    description = "Delete an audit with its fields, decisions, saved views and sidebar group, and nothing else"
    icon = "delete"
    risk = types.RiskLevel.DANGEROUS

    def __call__(self, sample_collection: SampleCollection, audit_key: str, delegate: bool = False) -> Any:
        """Delete from Python."""
        return self.call(sample_collection, {"audit_key": audit_key}, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """The form: which audit, and what is deleted with it."""
        key = key_input(ctx, dataset, inputs)
        progress = review.review_progress(dataset, key)
        decided = sum(count for status, count in progress.statuses.items() if status != UNREVIEWED)
        originals = len(dataset.exists(ORIGINAL.name(key)))
        if decided or originals:
            inputs.view(
                "loss",
                types.Warning(
                    label=f"{counted(decided, 'decision')} and {counted(originals, 'old label')} go with it. "
                    "Labels that were corrected stay corrected. 'Export corrections' keeps a copy."
                ),
            )

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Delete."""
        if not ctx.params.get("audit_key"):
            raise InputError("no audit was named; give the key of the one to delete")
        key = chosen_key(ctx, dataset)
        leave_view = in_app(ctx) and is_view_of(ctx, dataset, key)
        with one_at_a_time:
            dataset.delete_run(key)
        ctx.ops.notify(f"Audit {key!r} is deleted.", variant="success")
        if in_app(ctx):
            show_changed_fields(ctx, dataset, leave_view=leave_view)
        return {"audit_key": key}
