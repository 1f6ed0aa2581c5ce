"""Operators that make, undo and apply decisions on samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from audit.errors import InputError
from integrations.fiftyone import review
from integrations.fiftyone.runs import audit_config

from ..claims_shown import accepting
from .inputs import VIEW, chosen_key, key_input, target_input, target_samples
from .operator import AuditOperator
from .sentences import counted, said, undone_said
from .window import in_app, refresh, show_changed_fields


class _Decision(AuditOperator):
    """The base class of the operators that decide on samples. `decision` is the library's function for it."""

    decision: Callable[[fo.Dataset, str, Any, str | None], review.Decided]

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
            samples: sample ids; by default all samples of a view. To decide on a whole dataset, pass it as a view.
            audit_key: the key of the audit; by default of the newest.
            by: who decides; by default the user who runs this process.
            delegate: queue the work for `fiftyone delegated launch`.

        Returns:
            A dict with action, count, unchanged and batch.

        Raises:
            InputError: if there is no such audit or no sample.
        """
        if samples is None and isinstance(sample_collection, fo.Dataset):
            raise InputError("no samples were named; give their ids, or a view to decide on as a whole")
        params = {"samples": samples, "target": VIEW if samples is None else None, "audit_key": audit_key, "by": by}
        return self.call(sample_collection, {**params, **more}, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """The form: which audit and which samples."""
        key_input(ctx, dataset, inputs)
        if not ctx.params.get("samples"):
            target_input(ctx, inputs)
        self.more(ctx, dataset, inputs)
        target_samples(ctx)

    def more(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Further inputs."""

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Decide, and show on how many samples."""
        decided = self.decide(ctx, dataset, chosen_key(ctx, dataset), target_samples(ctx))
        ctx.ops.notify(said(decided), variant="success" if decided.count else "warning")
        refresh(ctx)
        if in_app(ctx) and ctx.selected:
            ctx.ops.clear_selected_samples()  # otherwise the next decision would include these samples
        return asdict(decided)

    def decide(self, ctx: Any, dataset: fo.Dataset, key: str, samples: SampleCollection | list[str]) -> review.Decided:
        """Call the library's function."""
        return type(self).decision(dataset, key, samples, ctx.params.get("by"))


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

    def more(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """What accepting several suggestions without looking at each is expected to come to."""
        chosen = target_samples(ctx)
        if not isinstance(chosen, list) or len(chosen) > 1:
            summary = dataset.get_run_info(chosen_key(ctx, dataset)).config.summary
            inputs.view("accepting", types.Notice(label=f"You accept several labels at once. {accepting(summary)}"))


class Relabel(_Decision):
    """Say what the right label is."""

    name_ = "relabel"
    label = "Relabel"
    description = "Say which label is right; 'Apply corrections' writes it into the label field"
    icon = "edit"

    def more(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """The input for the right label: an existing class or a new one."""
        field = audit_config(dataset, chosen_key(ctx, dataset)).label_field
        choices = types.AutocompleteView()
        for label in dataset.distinct(f"{field}.label"):
            choices.add_choice(label, label=label)
        prop = inputs.str("label", required=True, label="Right label", view=choices)
        if ctx.params.get("label") is not None and not str(ctx.params["label"]).strip():
            prop.invalid, prop.error_message = True, "the new label is blank; give the name of a class"

    def decide(self, ctx: Any, dataset: fo.Dataset, key: str, samples: Any) -> review.Decided:
        """Relabel."""
        return review.relabel(dataset, key, samples, ctx.params.get("label") or "", ctx.params.get("by"))


class Unsure(_Decision):
    """Say that nobody can tell from the picture whether labels are right."""

    name_ = "unsure"
    label = "Unsure"
    description = "Decide that nobody can tell from the picture whether labels are right; they leave the queue"
    icon = "help"
    decision = staticmethod(review.unsure)


class UndoLastDecision(AuditOperator):
    """Undo the last decision."""

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
        """Undo from Python. Returns a dict with action, by and count; count is 0 if there was nothing to undo."""
        return self.call(sample_collection, {"audit_key": audit_key, "by": by}, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Which audit."""
        key_input(ctx, dataset, inputs)

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Undo."""
        undone = review.undo_last(dataset, chosen_key(ctx, dataset), ctx.params.get("by"))
        ctx.ops.notify(undone_said(undone), variant="info")
        refresh(ctx)
        none = dict.fromkeys(("action", "by", "sample", "imported_from")) | {"count": 0}
        return asdict(undone) if undone else none


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
        """Apply from Python. Takes the arguments of `review.apply_corrections`."""
        return self.call(sample_collection, {"audit_key": audit_key, "into": into, "by": by}, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """The form: which audit, and which field to write."""
        key = key_input(ctx, dataset, inputs)
        field = audit_config(dataset, key).label_field
        waiting = review.review_progress(dataset, key).to_apply
        inputs.view(
            "waiting",
            types.Notice(
                label=f"{counted(waiting, 'corrected label')} of the {field!r} field will be written. "
                f"What was there before is kept in {key}_original, and 'Undo last decision' puts it back."
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
