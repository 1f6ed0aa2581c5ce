"""The map of an audit's pictures for FiftyOne's own panel 'Embeddings': each is a point, and alike ones lie together.

The panel links the map with the grid both ways: a lasso shows its samples, and a view of the grid leaves its points.
"""

from __future__ import annotations

import fiftyone as fo
import numpy as np

from audit.errors import InputError
from audit.progress import ProgressCallback, silent
from integrations.fiftyone.explanations import explainer_of
from integrations.fiftyone.map_run import is_map, map_key
from integrations.fiftyone.runs import audit_config


def make_map(dataset: fo.Dataset, audit_key: str, progress: ProgressCallback = silent) -> str:
    """Make the map of an audit: its embeddings along the two directions in which they differ most.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        progress: called while embeddings are computed that the cache lacks.

    Returns:
        The key of the brain run.

    Raises:
        InputError: if there is no such audit, its result or its images no longer exist, it was made without images, or
            another brain run has that key.
    """
    import fiftyone.brain as fob

    key = map_key(audit_key)
    if key in dataset.list_brain_runs():
        if not is_map(dataset, key):
            raise InputError(f"dataset {dataset.name!r} has a brain run {key!r} of another kind; rename or delete it")
        dataset.delete_brain_run(key)
    elif key in dataset.list_runs() or dataset.has_field(key):
        raise InputError(f"dataset {dataset.name!r} has a run or field {key!r}; rename it, the map needs that name")
    audit_config(dataset, audit_key)
    ids, embeddings = explainer_of(dataset, audit_key, progress).embedded
    points = dict(zip(ids, principal_plane(embeddings), strict=True))
    there = set(dataset.values("id"))
    points = {sample: point for sample, point in points.items() if sample in there}
    if not points:
        raise InputError(f"no picture of audit {audit_key!r} is in dataset {dataset.name!r} any more; run it again")
    fob.compute_visualization(dataset.select(list(points)), points=points, brain_key=key, progress=False)
    return key


def principal_plane(embeddings: np.ndarray) -> np.ndarray:
    """Rows (n, d) along the two directions in which they differ most: (n, 2), each of mean 0; zeros where d is less.

    The sign of each direction is such that its largest entry is positive, so that the map is the same each time.
    """
    x = np.asarray(embeddings, dtype=np.float32)
    plane = np.zeros((len(x), 2))
    if not len(x):
        return plane
    mean = x.mean(axis=0, dtype=np.float64)
    covariance = (x.T @ x).astype(np.float64) / len(x) - np.outer(mean, mean)
    directions = np.linalg.eigh(covariance)[1][:, ::-1][:, :2]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.where(directions[largest, range(directions.shape[1])] < 0, -1.0, 1.0)
    plane[:, : directions.shape[1]] = (x - mean.astype(np.float32)) @ directions
    return plane
