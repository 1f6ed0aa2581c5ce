"""The operator that injects mislabels into a copy of the labels."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from audit.config import INJECTION_STRATEGIES
from integrations.fiftyone.injection import inject_into_field

from .inputs import check_samples, chosen_key, key_input, label_field_input, target_collection_input
from .operator import AuditOperator
from .sentences import counted
from .settings import audit_config_of, backbone_inputs, strategy_input
from .window import in_app, show_changed_fields


class InjectMislabels(AuditOperator):
    """Copy labels into a new field and make some of them wrong."""

    name_ = "inject_mislabels"
    label = "Inject mislabels"
    description = "Copy the labels into a field of their own and change some there, to try an audit or a review on"
    icon = "casino"

    def __call__(
        self,
        sample_collection: SampleCollection,
        label_field: str = "ground_truth",
        into: str | None = None,
        share: float = 0.1,
        strategy: str = "uniform",
        audit_key: str | None = None,
        delegate: bool = False,
        **settings: Any,
    ) -> Any:
        """Inject from Python.

        Args:
            sample_collection: a dataset or view.
            label_field: the field with the labels.
            into: the new field; by default `<label_field>_corrupted`.
            share: share of the labels to change, above 0 and at most 0.5.
            strategy: which labels to change, and to which classes; see `audit.data.injection.inject_mislabels`.
            audit_key: for 'most-influential', the audit that provides the influence; by default the newest.
            delegate: queue the work for `fiftyone delegated launch`.
            **settings: seed, and for 'class-pair' backbone, weights and image_size, of `audit.AuditConfig`.

        Returns:
            A dict with field and changed, the number of labels that differ.

        Raises:
            InputError: if the labels, the field or a setting cannot be used.
        """
        view_target = "CURRENT_VIEW" if not isinstance(sample_collection, fo.Dataset) else "DATASET"
        params = {"label_field": label_field, "into": into, "share": share, "strategy": strategy, **settings}
        return self.call(sample_collection, {**params, "audit_key": audit_key, "view_target": view_target}, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """The form: which labels to change, how many, to which classes, and in which field."""
        target = target_collection_input(ctx, dataset, inputs)
        field = label_field_input(ctx, dataset, inputs)
        if field is not None:
            check_samples(target, field, inputs)
        inputs.str(
            "into",
            default=f"{field}_corrupted",
            label="New field",
            description="It gets a copy of the labels, some of them wrong; the label field is not touched.",
        )
        inputs.float("share", default=0.1, label="Share to change", description="Above 0, at most 0.5.", min=0, max=0.5)
        strategy_input(inputs, "strategy")
        strategy = ctx.params.get("strategy")
        if strategy == "most-influential":
            key_input(ctx, dataset, inputs)
        elif strategy == "class-pair":
            backbone_inputs(inputs)
        inputs.int("seed", default=0, min=0, label="Seed", description="The same seed changes the same labels.")

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Inject."""
        params = ctx.params
        field = params.get("label_field") or "ground_truth"
        into = params.get("into") or f"{field}_corrupted"
        share = params.get("share")
        strategy = params.get("strategy") or INJECTION_STRATEGIES[0]
        config = audit_config_of({**params, "inject": 0.1 if share is None else share, "inject_strategy": strategy})
        key = chosen_key(ctx, dataset) if strategy == "most-influential" else None
        changed = inject_into_field(ctx.target_view(), field, into, config, key)
        ctx.ops.notify(f"{counted(changed, 'label')} changed in the new field {into!r}.", variant="success")
        if in_app(ctx):
            show_changed_fields(ctx, dataset)
        return {"field": into, "changed": changed}
