"""The panel's filters as a view of the grid: made from threshold, class and status, and read back from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import fiftyone as fo
from fiftyone.core.collections import SampleCollection

from integrations.fiftyone.fields import INJECTED, INJECTED_LABEL, STATUS, SUGGESTED, SUSPICION, UNREVIEWED

from .check import is_blind

NOT_INJECTED = {"$ne": True}


class Filters(NamedTuple):
    """What the panel shows in the grid.

    Attributes:
        threshold: the lowest suspicion.
        class_label: the audited label; None for any.
        only_unreviewed: whether decided samples are left out.
        hide_injected: whether samples whose label the audit changed on purpose are left out.
        suggested: the suggested label; None for any.
    """

    threshold: float
    class_label: str | None = None
    only_unreviewed: bool = False
    hide_injected: bool = False
    suggested: str | None = None


def wanted_samples(dataset: fo.Dataset, key: str, label_field: str, filters: Filters) -> dict[str, Any]:
    """Which samples the filters leave: a filter that can be read in the App's view bar."""
    wanted: dict[str, Any] = {SUSPICION.name(key): {"$gte": filters.threshold}}
    if filters.only_unreviewed:
        wanted[STATUS.name(key)] = UNREVIEWED
    if filters.hide_injected:
        wanted[INJECTED.name(key)] = NOT_INJECTED
    if filters.suggested is not None:
        wanted[f"{SUGGESTED.name(key)}.label"] = filters.suggested
    if filters.class_label is not None:
        given, injected = f"{label_field}.label", INJECTED_LABEL.name(key)
        if dataset.has_field(injected):
            wanted["$or"] = [{f"{injected}.label": filters.class_label}, {injected: None, given: filters.class_label}]
        else:
            wanted[given] = filters.class_label
    return wanted


def filters_of(view: fo.DatasetView, dataset: fo.Dataset, key: str, label_field: str) -> Filters | None:
    """The filters of a view that the panel made; None of any other view."""
    first = _first_match(view)
    found = first.filter if first is not None and isinstance(first.filter, dict) else {}
    threshold = found.get(SUSPICION.name(key))
    if not isinstance(threshold, dict) or not isinstance(threshold.get("$gte"), int | float):
        return None
    injected = (found.get("$or") or [{}])[0]
    label = found.get(f"{label_field}.label", injected.get(f"{INJECTED_LABEL.name(key)}.label"))
    hidden = (STATUS.name(key) in found, INJECTED.name(key) in found)
    filters = Filters(float(threshold["$gte"]), label, *hidden, found.get(f"{SUGGESTED.name(key)}.label"))
    return filters if wanted_samples(dataset, key, label_field, filters) == found else None


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
