"""The operators of the plugin, in the order of the App's operator list. Each one is a form that calls the library."""

from __future__ import annotations

from .audit import AuditLabels, StopAudit
from .explain import ExplainSample
from .files import ExportCorrections, MakeReport
from .findings import ApplyFindings
from .import_decisions import ImportDecisions
from .inject import InjectMislabels
from .map_pictures import MapPictures
from .review import (
    AcceptSuggestion,
    ApplyCorrections,
    Confirm,
    Dismiss,
    Relabel,
    UndoLastDecision,
    Unsure,
)
from .review_samples import ReviewSamples
from .runs import DeleteAudit, LoadAudit, RenameAudit

OPERATORS = (
    AuditLabels,
    InjectMislabels,
    ExplainSample,
    Confirm,
    Dismiss,
    AcceptSuggestion,
    Relabel,
    Unsure,
    UndoLastDecision,
    ApplyCorrections,
    ExportCorrections,
    MakeReport,
    LoadAudit,
    RenameAudit,
    DeleteAudit,
    ReviewSamples,
    StopAudit,
    ApplyFindings,
    ImportDecisions,
    MapPictures,
)
