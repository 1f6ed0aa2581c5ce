"""Data-quality auditing of labelled image datasets with influence functions.

It knows arrays, images and labels, and nothing of FiftyOne, reports or files of other tools.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Threads that spin while they wait make an audit ten times slower on a machine that has other work (OpenMP reads this
# when torch is first imported).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from audit.config import AuditConfig
from audit.errors import ConvergenceError, InputError

if TYPE_CHECKING:
    from audit.annotators.consensus import Consensus, consensus_labels
    from audit.data.samples import Samples
    from audit.explain.matrix import influence_matrix
    from audit.label_issues import find_label_issues
    from audit.pipeline import audit_embeddings, audit_images
    from audit.result import AuditResult
    from audit.verification.apply import apply_verification, reset_verification
    from audit.verification.draw import draw_verification
    from audit.verification.estimate import verify

__version__ = "0.1.0"

__all__ = [
    "AuditConfig",
    "AuditResult",
    "Consensus",
    "ConvergenceError",
    "InputError",
    "Samples",
    "apply_verification",
    "audit_embeddings",
    "audit_images",
    "consensus_labels",
    "draw_verification",
    "find_label_issues",
    "influence_matrix",
    "reset_verification",
    "verify",
]

_HOMES = {
    "AuditResult": "audit.result",
    "Consensus": "audit.annotators.consensus",
    "Samples": "audit.data.samples",
    "apply_verification": "audit.verification.apply",
    "audit_embeddings": "audit.pipeline",
    "audit_images": "audit.pipeline",
    "consensus_labels": "audit.annotators.consensus",
    "draw_verification": "audit.verification.draw",
    "find_label_issues": "audit.label_issues",
    "influence_matrix": "audit.explain.matrix",
    "reset_verification": "audit.verification.apply",
    "verify": "audit.verification.estimate",
}


def __getattr__(name: str) -> Any:
    """Import torch and pandas only when they are needed: `import audit` stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'audit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
