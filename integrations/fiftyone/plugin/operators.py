"""The operators of the plugin, in the order in which the palette lists them; each is a form around the library."""

from __future__ import annotations

from .audit_operators import AuditLabels, ExplainSample, InjectMislabels, MakeReport
from .review_operators import (
    AcceptSuggestion,
    ApplyCorrections,
    Confirm,
    Dismiss,
    ExportCorrections,
    Relabel,
    UndoLastDecision,
)
from .run_operators import DeleteAudit, LoadAudit, RenameAudit

OPERATORS = (
    AuditLabels,
    InjectMislabels,
    ExplainSample,
    Confirm,
    Dismiss,
    AcceptSuggestion,
    Relabel,
    UndoLastDecision,
    ApplyCorrections,
    ExportCorrections,
    MakeReport,
    LoadAudit,
    RenameAudit,
    DeleteAudit,
)
