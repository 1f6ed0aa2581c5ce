"""Measurements: the head on held-out labels, and the flags against mislabels that were injected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    roc_auc_score,
)

from audit.flags.detectors import of_classes
from audit.flags.threshold import likeliest_classes
from audit.summary.detection import DetectionQuality, RankingQuality
from audit.summary.heads import HeadQuality
from audit.summary.influence import ClassInfluence
from audit.summary.noise_model import Confusion
from audit.summary.parts import ClassLabel


def head_quality(probabilities: Any, labels: np.ndarray) -> HeadQuality:
    """How well predictions fit labels.

    Args:
        probabilities: (n, C): an array, or rows in a file (`audit.compute.scratch`).
        labels: (n,) class numbers.
    """
    of_label = of_classes(probabilities, labels)
    return quality_of(likeliest_classes(probabilities), of_label, labels, probabilities.shape[1])


def quality_of(predicted: np.ndarray, of_label: np.ndarray, labels: np.ndarray, classes: int) -> HeadQuality:
    """How well predictions fit labels.

    Args:
        predicted: (n,) class numbers.
        of_label: (n,) predicted probabilities of the labels.
        labels: (n,) class numbers.
        classes: C.
    """
    pairs, counts = np.unique(labels.astype(np.int64) * classes + predicted, return_counts=True)
    return HeadQuality(
        samples=len(labels),
        accuracy=float(accuracy_score(labels, predicted)),
        f1=float(f1_score(labels, predicted, average="weighted", labels=np.arange(classes), zero_division=0)),
        loss=float(-np.log(of_label.clip(np.finfo(np.float64).eps)).mean()),
        confusion=tuple(
            (pair // classes, pair % classes, count)
            for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)
        ),
    )


def detection_quality(
    injected: np.ndarray, flag: np.ndarray, suspiciousness: dict[str, np.ndarray]
) -> DetectionQuality:
    """How well flags and scores find injected mislabels.

    Args:
        injected: bool (n,).
        flag: bool (n,).
        suspiciousness: scores (n,) by name, larger = more suspicious; 'suspicion' is the one that ranks.
    """
    both = int((injected & flag).sum())
    flagged, wrong = int(flag.sum()), int(injected.sum())
    precision = both / flagged if flagged else 0.0
    recall = both / wrong if wrong else 0.0
    order = np.argsort(-suspiciousness["suspicion"], kind="stable")
    ks = sorted({k for k in (10, 50, 100, 500, 1000) if k <= len(injected)} | {wrong})
    by_score = {
        name: RankingQuality(
            average_precision=min(1.0, float(average_precision_score(injected, score))),  # rounding may exceed it
            auroc=min(1.0, float(roc_auc_score(injected, score))),
        )
        for name, score in suspiciousness.items()
    }
    return DetectionQuality(
        injected=wrong,
        flagged=flagged,
        true_positive=both,
        false_positive=flagged - both,
        false_negative=wrong - both,
        true_negative=int((~injected & ~flag).sum()),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if both else 0.0,
        average_precision=by_score["suspicion"].average_precision,
        auroc=by_score["suspicion"].auroc,
        precision_at_k={str(k): float(injected[order[:k]].mean()) for k in ks},
        by_score=by_score,
    )


def influence_by_class(scores: pd.DataFrame, classes: Sequence[ClassLabel]) -> tuple[ClassInfluence, ...]:
    """Mean influence of clean and of corrupted samples, per audited label and (class None) over all.

    The original recipe's `avg_label_influence`. Without injection every sample counts as clean, and `corrupted` is
    None; so is a mean over no samples, and each mean if the influence is undefined (NaN).
    """
    corrupted = scores["injected"] if "injected" in scores else pd.Series(False, index=scores.index)

    influence = scores["influence"].to_numpy()
    wrong = corrupted.to_numpy(dtype=bool)

    def mean(places: np.ndarray) -> float | None:
        return float(influence[places].mean()) if len(places) and not np.isnan(influence[places[0]]) else None

    def row(label: ClassLabel | None, places: np.ndarray) -> ClassInfluence:
        clean, changed = places[~wrong[places]], places[wrong[places]]
        return ClassInfluence(
            class_=label,
            clean=mean(clean),
            clean_count=len(clean),
            corrupted=mean(changed),
            corrupted_count=len(changed),
        )

    places_of = scores.groupby("label", sort=False).indices
    nowhere = np.empty(0, dtype=int)
    rows = [row(label, np.asarray(places_of.get(label, nowhere))) for label in classes]
    return (*rows, row(None, np.arange(len(scores))))


def likeliest_confusions(
    transition: np.ndarray, classes: Sequence[ClassLabel], most: int = 20
) -> tuple[Confusion, ...]:
    """The largest off-diagonal entries of a transition matrix (C, C): true class, given label, estimated rate."""
    off = np.where(np.eye(len(classes), dtype=bool), -1.0, transition)
    places = np.argsort(-off, axis=None, kind="stable")[: min(most, off.size - len(off))]
    return tuple(
        Confusion(true=classes[row], given=classes[column], rate=float(off[row, column]))
        for row, column in zip(*np.unravel_index(places, off.shape), strict=True)
    )
