"""Summaries for what is said of the wrong labels: each kind of knowledge, and each lack of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from audit.summary.counts import CopiesFound
from audit.summary.detection import ControlKind, ControlsMeasured
from audit.summary.estimates import Acceptance, AcceptedAt, Estimates, ModelledNumbers
from audit.summary.influence import ClassInfluence
from audit.summary.summary import Summary
from audit.summary.verified import Verified, VerifiedNumber, VerifiedThreshold
from tests.made_summary import made_counts, made_summary

MODELS = ("uniform slips", "class confusions", "noise model")


def audited(
    samples: int, mistakes: tuple[float, float, float], precision: tuple[float, float, float] | None, **changes: Any
) -> Summary:
    """An audit of ten classes whose models say so many mistakes, and such a precision of its 50 flags.

    Args:
        samples: in the dataset.
        mistakes, precision: the value, and the ends of the range; None for no flags.
        changes: other fields of the summary.
    """
    value, low, high = mistakes
    said, worst, best = precision or (None, None, None)
    estimates = Estimates(
        mistakes=value,
        mistakes_low=low,
        mistakes_high=high,
        told=True,
        precision=said,
        precision_low=worst,
        precision_high=best,
        recall=None if said is None or not value else min(1.0, 50 * said / value),
        models=tuple(modelled(name, part, precision) for name, part in zip(MODELS, (low, high, value), strict=True)),
        basis="Three models of the labels.",
    )
    fields: dict[str, Any] = {
        "counts": made_counts(samples=samples, classes=10, flagged=0 if precision is None else 50),
        "classes": tuple(range(10)),
        "estimates": estimates,
        "controls": controls(),
        "influence_by_class": classes_of(*[samples // 10] * 10),
    }
    return made_summary(**{**fields, **changes})


def modelled(model: str, mistakes: float, precision: tuple[float, float, float] | None) -> ModelledNumbers:
    """What one model says, with an interval of a tenth."""
    said, worst, best = precision or (None, None, None)
    return ModelledNumbers(
        model=model,
        mistakes=mistakes,
        mistakes_low=mistakes * 0.95,
        mistakes_high=mistakes * 1.05,
        precision=said,
        precision_low=worst,
        precision_high=best,
        log_likelihood=-100.0,
        ruled_out=False,
    )


def controls(added: int = 100, auroc: float | None = 0.95) -> ControlsMeasured:
    """Known mislabels, so many of each kind, which are ranked so well."""
    kind = ControlKind(added=added, found=added // 2, recall_counted_with=0.5)
    return ControlsMeasured(
        copies=1,
        added=2 * added,
        counted_at=0.5,
        slip_auroc=auroc,
        slip_share=None,
        kinds={"slip": kind, "look-alike": kind},
        detection=None,
    )


def classes_of(*sizes: int) -> tuple[ClassInfluence, ...]:
    """The mean influence in classes of these sizes."""
    return tuple(
        ClassInfluence(class_=number, clean=0.0, clean_count=size, corrupted=None, corrupted_count=0)
        for number, size in enumerate(sizes)
    )


def untold(summary: Summary) -> Summary:
    """The same where the embeddings say nothing of the labels."""
    return replace(summary, estimates=replace(summary.estimates, told=False))


def with_copies(summary: Summary, proven: int) -> Summary:
    """The same with identical samples that carry different labels."""
    return replace(summary, copies=CopiesFound(contents=9, samples=20, proven_mistakes=proven, leaked=0))


def number(value: float, low: float, high: float) -> VerifiedNumber:
    """A verified number; its interval for early stopping is a little wider."""
    return VerifiedNumber(value=value, low=low, high=high, anytime_low=low * 0.9, anytime_high=high)


def verified(
    summary: Summary, mistakes: tuple[float, float, float], precision: tuple[float, float, float] | None, **more: Any
) -> Summary:
    """The same after sixty decisions on drawn samples, of which 14 found a wrong label."""
    said = None if precision is None else number(*precision)
    fields: dict[str, Any] = {
        "decided": 60,
        "found": 14,
        "unsure": 3,
        "reviewed": 0,
        "mistakes": number(*mistakes),
        "precision": said,
        "recall": said,
        "suggestions_right": said,
        "by_threshold": ()
        if said is None
        else (
            VerifiedThreshold(threshold=0.9, samples=20, precision=number(0.8, 0.7, 0.9), recall=said),
            VerifiedThreshold(threshold=0.5, samples=50, precision=said, recall=said),
        ),
        "by_class": (),
    }
    return replace(summary, verified=Verified(**{**fields, **more}))


def accepting(
    mended: tuple[float, float] = (1, 38), broken: tuple[float, float] = (12, 49), pays_from: float | None = None
) -> Acceptance:
    """What accepting the suggestions of 50 samples comes to, and of the 20 most suspicious of these."""
    return Acceptance(
        by_threshold=(
            AcceptedAt(threshold=0.9, samples=20, mended_low=14, mended_high=19, broken_low=1, broken_high=6),
            AcceptedAt(
                threshold=0.5,
                samples=50,
                mended_low=mended[0],
                mended_high=mended[1],
                broken_low=broken[0],
                broken_high=broken[1],
            ),
        ),
        pays_from=pays_from,
    )
