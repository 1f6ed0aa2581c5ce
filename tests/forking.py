"""Processes that are forked from one which has imported PyTorch and the like already, so that they start at once.

FiftyOne is not among the imports: it connects to its database while it is imported.
"""

from __future__ import annotations

import multiprocessing
from functools import cache
from multiprocessing.context import ForkServerContext

IMPORTED = [
    "audit.pipeline",
    "reports.html",
    "pyarrow.parquet",
    "sklearn.datasets",
    "sklearn.linear_model",
    "plotly.graph_objects",
]


@cache
def forked_processes() -> ForkServerContext:
    """What makes such processes; the one that they are forked from starts with the first, and ends with the session."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context
