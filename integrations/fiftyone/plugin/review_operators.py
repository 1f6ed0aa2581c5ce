"""Operators that decide on samples, take decisions back, apply and export them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from audit.errors import InputError
from integrations.fiftyone import review
from integrations.fiftyone.background_audit import (
    results_home,
)
from integrations.fiftyone.review.log import Decided
from integrations.fiftyone.runs import audit_config

from .forms import (
    AuditOperator,
    FileOperator,
    chosen_key,
    counted,
    file_input,
    in_app,
    key_input,
    offer_download,
    path_to_write,
    refresh,
    show_changed_fields,
    target_input,
    target_samples,
)


class _Decision(AuditOperator):
    """One of the decisions on samples: `decision` is what the library does."""

    decision: Callable[[fo.Dataset, str, Any, str | None], Decided]

    def __call__(
        self,
        sample_collection: SampleCollection,
        samples: list[str] | None = None,
        audit_key: str | None = None,
        by: str | None = None,
        delegate: bool = False,
        **more: Any,
    ) -> Any:
        """Decide from Python.

        Args:
            sample_collection: the dataset, or a view to decide on as a whole.
            samples: ids; by default all of a view. A whole dataset is only decided on where it is given as a view.
            audit_key: of the audit; by default the newest.
            by: who decides; by default the user that runs this.
            delegate: queue it for `fiftyone delegated launch`.

        Returns:
            A dict with action, count, unchanged and batch.

        Raises:
            InputError: if there is no such audit or no sample.
        """
        if samples is None and isinstance(sample_collection, fo.Dataset):
            raise InputError("no samples were named; give their ids, or a view to decide on as a whole")
        params = {"samples": samples, "target": "view" if samples is None else None, "audit_key": audit_key, "by": by}
        return self.call(sample_collection, {**params, **more}, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Which audit and which samples."""
        key_input(ctx, dataset, inputs)
        if not ctx.params.get("samples"):
            target_input(ctx, inputs)
        self.more(ctx, dataset, inputs)
        target_samples(ctx)

    def more(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Further inputs."""

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Decide, and say on how many samples."""
        decided = self.decide(ctx, dataset, chosen_key(ctx, dataset), target_samples(ctx))
        ctx.ops.notify(said(decided), variant="success" if decided.count else "warning")
        refresh(ctx)
        if in_app(ctx) and ctx.selected:
            ctx.ops.clear_selected_samples()  # or else the next decision would be on them, too
        return asdict(decided)

    def decide(self, ctx: Any, dataset: fo.Dataset, key: str, samples: SampleCollection | list[str]) -> Decided:
        """Call the library."""
        return type(self).decision(dataset, key, samples, ctx.params.get("by"))


VERBS = {
    "confirm": "confirmed as a mistake",
    "dismiss": "dismissed: the label is right",
    "accept": "relabelled as suggested",
    "relabel": "relabelled",
    "apply": "corrected in the label field",
}


def said(decided: Decided) -> str:
    """What came of a decision, in a sentence."""
    text = f"{counted(decided.count, 'sample')} {VERBS[decided.action]}"
    if decided.unchanged:
        text += f"; {decided.unchanged:,} stay as they were" + (
            " (already so, not audited, or nothing suggested)" if decided.action == "accept" else ""
        )
    return f"{text}."


class Confirm(_Decision):
    """Decide that labels are wrong."""

    name_ = "confirm"
    label = "Confirm mistake"
    description = "Decide that labels are wrong, without saying which ones would be right"
    icon = "report"
    decision = staticmethod(review.confirm)


class Dismiss(_Decision):
    """Decide that labels are right."""

    name_ = "dismiss"
    label = "Dismiss flag"
    description = "Decide that labels are right as they are"
    icon = "check_circle"
    decision = staticmethod(review.dismiss)


class AcceptSuggestion(_Decision):
    """Decide that the suggested labels are right."""

    name_ = "accept_suggestion"
    label = "Accept suggestion"
    description = "Decide that the suggested labels are right; 'Apply corrections' writes them into the label field"
    icon = "auto_fix_high"
    decision = staticmethod(review.accept)


class Relabel(_Decision):
    """Say what the right label is."""

    name_ = "relabel"
    label = "Relabel"
    description = "Say which label is right; 'Apply corrections' writes it into the label field"
    icon = "edit"

    def more(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """The right label, of the classes that there are or a new one."""
        field = audit_config(dataset, chosen_key(ctx, dataset)).label_field
        choices = types.AutocompleteView()
        for label in dataset.distinct(f"{field}.label"):
            choices.add_choice(label, label=label)
        prop = inputs.str("label", required=True, label="Right label", view=choices)
        if ctx.params.get("label") is not None and not str(ctx.params["label"]).strip():
            prop.invalid, prop.error_message = True, "the new label is blank; give the name of a class"

    def decide(self, ctx: Any, dataset: fo.Dataset, key: str, samples: Any) -> Decided:
        """Relabel."""
        return review.relabel(dataset, key, samples, ctx.params.get("label") or "", ctx.params.get("by"))


class UndoLastDecision(AuditOperator):
    """Take the last decision back."""

    name_ = "undo_last_decision"
    label = "Undo last decision"
    description = "Take the last decision back, on all samples that it was made on"
    icon = "undo"

    def __call__(
        self,
        sample_collection: SampleCollection,
        audit_key: str | None = None,
        by: str | None = None,
        delegate: bool = False,
    ) -> Any:
        """Undo from Python; a dict with action, by and count, count 0 where there was nothing to undo."""
        return self.call(sample_collection, {"audit_key": audit_key, "by": by}, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Which audit."""
        key_input(ctx, dataset, inputs)

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Undo."""
        undone = review.undo_last(dataset, chosen_key(ctx, dataset), ctx.params.get("by"))
        ctx.ops.notify(undone_said(undone), variant="info")
        refresh(ctx)
        return {"action": None, "by": None, "count": 0, "sample": None} if undone is None else asdict(undone)


def undone_said(undone: review.Undone | None) -> str:
    """What was undone, in a sentence."""
    if undone is None:
        return "There is no decision to undo."
    return f"Undone: {counted(undone.count, 'sample')} {VERBS[undone.action]} by {undone.by}."


class ApplyCorrections(AuditOperator):
    """Write the corrected labels."""

    name_ = "apply_corrections"
    label = "Apply corrections"
    description = "Write the corrected labels into the label field (the old ones are kept) or into a new one"
    icon = "save_as"
    risk = types.RiskLevel.HIGH

    def __call__(
        self,
        sample_collection: SampleCollection,
        audit_key: str | None = None,
        into: str | None = None,
        by: str | None = None,
        delegate: bool = False,
    ) -> Any:
        """Apply from Python; the arguments are those of `review.apply_corrections`."""
        return self.call(sample_collection, {"audit_key": audit_key, "into": into, "by": by}, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Which audit, and into which field."""
        key = key_input(ctx, dataset, inputs)
        field = audit_config(dataset, key).label_field
        waiting = review.review_progress(dataset, key).to_apply
        inputs.view(
            "waiting",
            types.Notice(
                label=f"{counted(waiting, 'corrected label')} of the {field!r} field will be written. "
                f"The old ones are kept in {key}_original, and 'Undo last decision' puts them back."
            ),
        )
        inputs.str(
            "into",
            default=field,
            label="Field to write",
            description="The audited label field, or a new one that gets a copy of its labels with the corrections.",
        )

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Apply."""
        decided = review.apply_corrections(
            dataset, chosen_key(ctx, dataset), ctx.params.get("into"), ctx.params.get("by")
        )
        ctx.ops.notify(said(decided), variant="success" if decided.count else "warning")
        if in_app(ctx):
            show_changed_fields(ctx, dataset)
        return asdict(decided)


class ExportCorrections(FileOperator):
    """Write what was decided to a file."""

    name_ = "export_corrections"
    label = "Export corrections"
    description = "Write what was decided, by whom and when, with old and new labels, to a CSV or JSON file"
    icon = "download"
    risk = types.RiskLevel.LOW

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Which audit, and to which file."""
        key = key_input(ctx, dataset, inputs)
        default = results_home(dataset, key) / "corrections.csv"
        prop = file_input(inputs, default, "A .csv or .json file")
        path = ctx.params.get("path")
        if path and Path(path).suffix.lower() not in review.EXPORT_FORMATS:
            prop.invalid, prop.error_message = True, "the file is neither .csv nor .json; name one that is"

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Export, and offer the file for download."""
        key = chosen_key(ctx, dataset)
        path = path_to_write(ctx, results_home(dataset, key), "corrections.csv")
        count = review.export_corrections(dataset, key, path)
        ctx.ops.notify(f"{counted(count, 'decision')} written to {path}.", variant="success")
        offer_download(ctx, path)
        return {"path": str(path), "count": count}
