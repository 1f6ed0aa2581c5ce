"""The brain run that holds the map of an audit's pictures: found, deleted and renamed with the audit."""

from __future__ import annotations

from datetime import datetime

import fiftyone as fo

EMBEDDINGS_PANEL = "Embeddings"  # FiftyOne's


def map_key(audit_key: str) -> str:
    """The key of the brain run that holds the map of an audit."""
    return f"{audit_key}_map"


def has_map(dataset: fo.Dataset, audit_key: str) -> bool:
    """Whether there is a map that was made after the audit was written."""
    key = map_key(audit_key)
    if key not in dataset.list_brain_runs():
        return False
    made: datetime = dataset.get_brain_info(key).timestamp
    return made >= dataset.get_run_info(audit_key).timestamp


def is_map(dataset: fo.Dataset, key: str) -> bool:
    """Whether there is a brain run of this key that holds points that were given to it, as a map's are."""
    return key in dataset.list_brain_runs() and dataset.get_brain_info(key).config.method == "manual"


def delete_map(dataset: fo.Dataset, audit_key: str) -> None:
    """Delete the map of an audit, where there is one."""
    key = map_key(audit_key)
    if is_map(dataset, key):
        dataset.delete_brain_run(key)


def rename_map(dataset: fo.Dataset, audit_key: str, new_key: str) -> None:
    """Let the map of an audit follow a new key, where there is one."""
    key = map_key(audit_key)
    if is_map(dataset, key):
        dataset.rename_brain_run(key, map_key(new_key))
