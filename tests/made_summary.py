"""A whole summary of a small audit, for what looks at some parts of one."""

from __future__ import annotations

from typing import Any

from audit.config import AuditConfig
from audit.summary.counts import CopiesFound, Counts
from audit.summary.detection import ControlsMeasured
from audit.summary.estimates import Estimates
from audit.summary.heads import HeadQuality, Heads, HeadSummary
from audit.summary.influence import InfluenceSummary, LeaveOneOutSummary
from audit.summary.noise_model import LookAlikesSummary, NoiseModelSummary
from audit.summary.summary import Summary
from audit.summary.surroundings import Machine


def made_counts(**changes: int) -> Counts:
    """Ten samples of two classes, none of them flagged."""
    counts = {"samples": 10, "train": 8, "validation": 1, "test": 1, "classes": 2, "flagged": 0}
    return Counts(**{**counts, "without_label": 0, "unreadable": 0, "rare_class": 0, "injected": 0, **changes})


def made_summary(**changes: Any) -> Summary:
    """An audit of ten samples of the classes 0 and 1, with other fields where they are given."""
    quality = HeadQuality(samples=1, accuracy=1.0, f1=1.0, loss=0.1, confusion=((0, 0, 1),))
    head = HeadSummary(
        trainer="newton",
        l2=0.01,
        l2_path=(),
        gradient_norm=0.0,
        converged=True,
        steps=3,
        train=quality,
        validation=quality,
        test=quality,
    )
    fields: dict[str, Any] = {
        "created": "2026-01-02T03:04:05+00:00",
        "counts": made_counts(),
        "copies": CopiesFound(contents=0, samples=0, proven_mistakes=0, leaked=0),
        "findings": (),
        "classes": (0, 1),
        "threshold": 0.5,
        "threshold_rule": "The threshold was given by the user.",
        "estimates": Estimates(
            mistakes=1.0,
            mistakes_low=0.0,
            mistakes_high=2.0,
            told=True,
            precision=None,
            precision_low=None,
            precision_high=None,
            recall=0.0,
            models=(),
            basis="A guess.",
        ),
        "controls": ControlsMeasured(copies=1, added=0, counted_at=0.5, slip_share=None, kinds={}, detection=None),
        "detection": None,
        "correction": None,
        "influence_by_class": (),
        "heads": Heads(given=head, corrupted=None),
        "influence": InfluenceSummary(
            engine="exact",
            scope="head",
            method="cholesky",
            residual=1e-12,
            parameters=4,
            damping=0.0,
            validation_samples=1,
            validation_labels="believed",
        ),
        "leave_one_out": LeaveOneOutSummary(method="exact"),
        "noise_model": NoiseModelSummary(
            l2=0.01,
            rounds=(),
            trusted_weight=0.0,
            look_alikes=LookAlikesSummary(rate=0.0, share=0.0, evidence=0.0),
            confusions=(),
        ),
        "backbone": None,
        "embedding": None,
        "config": AuditConfig(),
        "versions": {"influence-audit": "0.1.0"},
        "machine": Machine(system="Linux", cpu_threads=2, gpu=None),
        "notes": (),
        "failed_stages": (),
        "timings": {},
    }
    return Summary(**{**fields, **changes})
