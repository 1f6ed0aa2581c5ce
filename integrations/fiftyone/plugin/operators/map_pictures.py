"""The operator that makes the map of an audit's pictures and shows it."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from integrations.fiftyone.embedding_map import make_map
from integrations.fiftyone.lock import one_at_a_time
from integrations.fiftyone.map_run import EMBEDDINGS_PANEL

from .inputs import chosen_key, key_input
from .operator import AuditOperator
from .window import in_app


class MapPictures(AuditOperator):
    """Make the map of an audit's pictures, and show it beside the grid."""

    name_ = "map_pictures"
    label = "Map of pictures"
    description = "Show each picture as a point, alike ones together, in the panel 'Embeddings'"
    icon = "scatter_plot"
    risk = types.RiskLevel.LOW

    def __call__(
        self, sample_collection: SampleCollection, audit_key: str | None = None, delegate: bool = False
    ) -> Any:
        """Make the map from Python. Returns a dict with brain_key."""
        return self.call(sample_collection, {"audit_key": audit_key}, delegate)

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """The form: of which audit."""
        key_input(ctx, dataset, inputs)
        about = (
            "The map is made from the embeddings in the cache; where they are gone, the images are read again. Then "
            "choose the map in the panel 'Embeddings', and a field to color it by, for example the suspicion."
        )
        inputs.view("about", types.Notice(label=about))

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any]:
        """Make the map, and open FiftyOne's panel."""
        key = chosen_key(ctx, dataset)
        with one_at_a_time:
            brain_key = make_map(dataset, key)
        ctx.ops.notify(f"The map of audit {key!r} is the brain run {brain_key!r}.", variant="success")
        if in_app(ctx):
            ctx.ops.reload_dataset()
            ctx.ops.open_panel(EMBEDDINGS_PANEL, layout="vertical")
        return {"brain_key": brain_key}
