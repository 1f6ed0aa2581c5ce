"""The operator that explains a sample by the training samples that support or contradict its label."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from audit.errors import InputError
from integrations.fiftyone.explanations import add_heat_map, explain_sample, result_folder

from .inputs import chosen_key, key_input
from .operator import AuditOperator
from .window import in_app, show_changed_fields

SHOWN_NEIGHBOURS = {
    "all": "Training samples that speak for and against its label",
    "class": "The same, among the training samples of its label",
    "harmed": "Validation samples that it harms",
}


class ExplainSample(AuditOperator):
    """Show which training samples support a sample's label and which contradict it."""

    name_ = "explain_sample"
    label = "Explain sample"
    description = "The training samples that help and harm the prediction of a sample's label most"
    icon = "psychology"
    risk = types.RiskLevel.LOW

    def __call__(
        self,
        sample_collection: SampleCollection,
        sample_id: str,
        audit_key: str | None = None,
        heat_map: bool = False,
        delegate: bool = False,
    ) -> Any:
        """Explain from Python. Returns a dict with label, suggested, probability, and the samples of an
        `Explanation`."""
        params = {"sample_id": sample_id, "audit_key": audit_key, "heat_map": heat_map}
        return self.call(sample_collection, params, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """The form: which audit. The sample is the one that is open or selected in the App."""
        key = key_input(ctx, dataset, inputs)
        result_folder(dataset, key)
        _sample_to_explain(ctx)
        choices = types.RadioGroup()
        for value, label in SHOWN_NEIGHBOURS.items():
            choices.add_choice(value, label=label)
        inputs.enum("neighbours", choices.values(), default="all", label="Show in the grid", view=choices)
        inputs.bool(
            "heat_map",
            default=False,
            label="Heat map",
            description="Where in the image its influence comes from, in a field that the App draws over it.",
        )
        inputs.view(
            "wait",
            types.Notice(label="The first explanation of an audit reads its training images; the next ones are quick."),
        )

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Explain the sample, and show it with these training samples in the grid."""
        key = chosen_key(ctx, dataset)
        explanation = explain_sample(dataset, key, _sample_to_explain(ctx))
        if ctx.params.get("heat_map"):
            add_heat_map(dataset, key, explanation.sample)
        neighbours = {
            "class": [*explanation.helpful_in_class, *explanation.harmful_in_class],
            "harmed": explanation.harmed,
        }.get(ctx.params.get("neighbours"), [*explanation.helpful, *explanation.harmful])
        if in_app(ctx):
            if ctx.params.get("heat_map"):
                show_changed_fields(ctx, dataset)
            shown = dict.fromkeys([explanation.sample, *(near.id for near in neighbours)])
            ctx.ops.set_view(view=dataset.select(list(shown), ordered=True))
        return asdict(explanation) | {"neighbours": ctx.params.get("neighbours") or "all"}

    def resolve_output(self, ctx: Any) -> types.Property:
        """The explanation in words."""
        outputs = types.Object()
        found = ctx.results or {}
        if "label" in found:
            probability = found.get("probability")
            sure = "" if probability is None else f" ({probability:.0%} sure)"
            if found["neighbours"] == "harmed":
                grid = (
                    f"{len(found['harmed'])} validation samples that are predicted worse for its being trained on, the "
                    "one that suffers most first"
                )
            else:
                suffix = "_in_class" if found["neighbours"] == "class" else ""
                kind = f"training samples of {found['label']!r}" if suffix else "training samples"
                grid = (
                    f"{len(found['helpful' + suffix])} {kind} that speak for the given label, then "
                    f"{len(found['harmful' + suffix])} that speak against it, the strongest of each first"
                )
            outputs.md(
                f"**Given label:** {found['label']}\n\n**The audit would label it:** {found['suggested']}{sure}\n\n"
                f"The grid shows the sample, then {grid}.",
                name="explanation",
            )
        return types.Property(outputs, view=types.View(label="Explanation"))


def _sample_to_explain(ctx: Any) -> str:
    sample = ctx.params.get("sample_id") or ctx.current_sample or (ctx.selected[-1] if ctx.selected else None)
    if sample is None:
        raise InputError("no sample is open or selected; open or select one")
    return sample
