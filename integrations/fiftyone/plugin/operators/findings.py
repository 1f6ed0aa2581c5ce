"""Operators of the findings: open their panel, and apply the decisions on them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from audit.errors import InputError
from integrations.fiftyone.findings_apply import (
    AppliedDecisions,
    FindingsPlan,
    Removal,
    apply_findings,
    plan_of_findings,
    removal_tag,
)
from integrations.fiftyone.findings_decide import UndoneFinding

from .inputs import chosen_key, key_input
from .operator import AuditOperator, refuse
from .sentences import counted
from .window import in_app


class ApplyFindings(AuditOperator):
    """Apply the decisions on findings."""

    name_ = "apply_findings"
    label = "Apply decisions on findings"
    description = "Tag or delete the samples to remove, move copies to the training split, and merge labels, as decided"
    icon = "done_all"
    risk = types.RiskLevel.HIGH

    def __call__(
        self,
        sample_collection: SampleCollection,
        audit_key: str | None = None,
        removal: str = "tag",
        by: str | None = None,
        delegate: bool = False,
    ) -> Any:
        """Apply from Python. Takes the arguments of `findings_apply.apply_findings`."""
        params = {"audit_key": audit_key, "removal": removal, "by": by, "sure": removal == "delete"}
        return self.call(sample_collection, params, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """The form: which audit, what will happen, and whether samples are tagged or deleted."""
        key = key_input(ctx, dataset, inputs)
        plan = plan_of_findings(dataset, key)
        if not plan.findings:
            raise InputError(f"no decision on a finding of audit {key!r} waits to be applied; decide in 'Findings'")
        for number, sentence in enumerate(plan_said(plan)):
            inputs.view(f"plan_{number}", types.Notice(label=sentence))
        if not plan.remove:
            return
        choices = types.RadioGroup()
        choices.add_choice("tag", label=f"Tag them {removal_tag(key)!r}", description="You can undo it.")
        choices.add_choice("delete", label="Delete them from the dataset", description="Their files stay on disk.")
        inputs.enum("removal", ["tag", "delete"], default="tag", label="Samples to remove", view=choices)
        if ctx.params.get("removal") == "delete":
            inputs.bool(
                "sure", default=False, label=f"Delete {counted(len(plan.remove), 'sample')}; it cannot be undone"
            )
            if not ctx.params.get("sure"):
                refuse(inputs, "tick the box to delete samples, or tag them", "unsure")

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Apply."""
        removal: Removal = ctx.params.get("removal") or "tag"
        if removal == "delete" and not ctx.params.get("sure"):
            raise InputError("deleting samples cannot be undone; confirm it with the box, or tag them")
        applied = apply_findings(dataset, chosen_key(ctx, dataset), removal, ctx.params.get("by"))
        ctx.ops.notify(applied_said(applied), variant="success" if applied.findings else "warning")
        if in_app(ctx):
            ctx.ops.reload_dataset()
        return asdict(applied) | {"at": applied.at.isoformat()}


def plan_said(plan: FindingsPlan) -> list[str]:
    """What applying would do, a sentence for each part."""
    said = [f"{counted(len(plan.findings), 'decision')} will be applied."]
    if plan.remove:
        said.append(f"{counted(len(plan.remove), 'sample')} to remove.")
    if plan.move:
        said.append(f"{counted(len(plan.move), 'held-out sample')} to move to the training split, by their tags.")
    if plan.without_split:
        said.append(f"{counted(plan.without_split, 'sample')} cannot be moved: no tag names a split.")
    if plan.relabel:
        said.append(
            f"{counted(len(plan.relabel), 'label')} will change in the label field. What was there before is kept, and "
            "'Undo' puts it back."
        )
    if plan.contradicted:
        said.append(
            f"{counted(plan.contradicted, 'decision')} left out: another decision removes the sample that is to stay."
        )
    return said


def applied_said(applied: AppliedDecisions) -> str:
    """What was applied, in a sentence."""
    parts = [
        counted(count, "sample") + f" {what}"
        for count, what in (
            (applied.tagged, "tagged"),
            (applied.deleted, "deleted"),
            (applied.moved, "moved to train"),
            (applied.relabelled, "relabelled"),
        )
        if count
    ]
    if not applied.findings:
        return "No decision on a finding waits to be applied."
    return f"{counted(applied.findings, 'decision')} applied: {', '.join(parts) or 'nothing had to change'}."


def undone_finding_said(undone: UndoneFinding | None) -> str:
    """What was undone, in a sentence."""
    if undone is None:
        return "There is no decision on a finding to undo."
    if undone.action == "apply":
        text = f"Undone: {counted(undone.count, 'decision')} applied by {undone.by}; they wait again."
        return text + (f" {counted(undone.deleted, 'deleted sample')} cannot come back." if undone.deleted else "")
    return f"Undone: '{undone.action}' on {counted(undone.count, 'finding')} by {undone.by}."
