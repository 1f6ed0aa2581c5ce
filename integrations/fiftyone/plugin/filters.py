"""The panel's filters as a view of the grid: made from threshold, class and status, and read back from it."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
from fiftyone import ViewField as F
from fiftyone.core.collections import SampleCollection

from integrations.fiftyone.fields import UNREVIEWED

from .check import is_blind


def wanted_samples(
    dataset: fo.Dataset, key: str, label_field: str, threshold: float, class_label: str | None, only_unreviewed: bool
) -> fo.ViewExpression:
    """Which samples threshold, class and status leave."""
    wanted = F(f"{key}_suspicion") >= threshold
    if class_label is not None:
        given = F(f"{label_field}.label")
        if dataset.has_field(f"{key}_injected_label"):
            given = F(f"{key}_injected_label.label").if_else(F(f"{key}_injected_label.label"), given)
        wanted &= given == class_label
    if only_unreviewed:
        wanted &= F(f"{key}_status") == UNREVIEWED
    return wanted


def filters_of(
    view: fo.DatasetView, dataset: fo.Dataset, key: str, label_field: str
) -> tuple[float, str | None, bool] | None:
    """Threshold, class and whether only unreviewed samples are shown, of a view that the panel made; else None."""
    first = _first_match(view)
    expression = first.filter.get("$expr") if first is not None and isinstance(first.filter, dict) else None
    operands = [value for condition in _conditions(expression) for value in condition.values()]
    values = [operand[1] for operand in operands if isinstance(operand, list) and len(operand) == 2]
    if not values or not isinstance(values[0], int | float):
        return None
    only_unreviewed = len(values) > 1 and values[-1] == UNREVIEWED
    others = values[1 : len(values) - only_unreviewed]
    filters = (float(values[0]), others[0] if others else None, only_unreviewed)
    return filters if wanted_samples(dataset, key, label_field, *filters).to_mongo() == expression else None


def _first_match(view: fo.DatasetView) -> fo.Match | None:
    return next((stage for stage in view._stages if isinstance(stage, fo.Match)), None)


def queue_of(view: fo.DatasetView, dataset: fo.Dataset, key: str, label_field: str) -> SampleCollection:
    """Among what the next sample is looked for: what the reviewer's own view and sidebar leave of the dataset.

    The panel's own filter is left out: where the grid has it from before the last change, the state knows better.
    """
    if view._is_generated or is_blind(view, key):  # patches, frames: not the samples that were audited
        return dataset
    own = [] if filters_of(view, dataset, key, label_field) is None else [_first_match(view)]
    own += [stage for stage in view._stages if isinstance(stage, fo.SortBy)][:1] if own else []
    queue: SampleCollection = dataset
    for stage in view._stages:
        if stage not in own:
            queue = queue.add_stage(stage)
    return queue


def _conditions(expression: Any) -> list[dict[str, Any]]:
    """The parts of a filter that all have to hold."""
    if not isinstance(expression, dict):
        return []
    parts = expression.get("$and")
    return [expression] if parts is None else [condition for part in parts for condition in _conditions(part)]
