"""Measurements: the head on held-out labels, and the flags against mislabels that were injected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    roc_auc_score,
)


def head_quality(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """How well predictions fit labels.

    Args:
        probabilities: (n, C).
        labels: (n,) class numbers.

    Returns:
        samples, accuracy, f1 (weighted by class size), loss (mean cross-entropy, nats), confusion ([label, predicted,
        samples] of each pair that occurs: of many classes, hardly any pair does).
    """
    classes = np.arange(probabilities.shape[1])
    predicted = probabilities.argmax(1)
    of_label = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    pairs, counts = np.unique(np.column_stack([labels, predicted]), axis=0, return_counts=True)
    return {
        "samples": len(labels),
        "accuracy": float(accuracy_score(labels, predicted)),
        "f1": float(f1_score(labels, predicted, average="weighted", labels=classes, zero_division=0)),
        "loss": float(-np.log(of_label.clip(np.finfo(np.float64).eps)).mean()),
        "confusion": [[*pair, count] for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)],
    }


def detection_quality(injected: np.ndarray, flag: np.ndarray, suspiciousness: dict[str, np.ndarray]) -> dict[str, Any]:
    """How well flags and scores find injected mislabels.

    Args:
        injected: bool (n,).
        flag: bool (n,).
        suspiciousness: scores (n,) by name, larger = more suspicious; 'suspicion' is the one that ranks.

    Returns:
        the 2 × 2 counts, precision, recall, f1 of the flags; average_precision, auroc and precision_at_k of the
        suspicion; and average_precision and auroc by score.
    """
    both = int((injected & flag).sum())
    flagged, wrong = int(flag.sum()), int(injected.sum())
    precision = both / flagged if flagged else 0.0
    recall = both / wrong if wrong else 0.0
    order = np.argsort(-suspiciousness["suspicion"], kind="stable")
    ks = sorted({k for k in (10, 50, 100, 500, 1000) if k <= len(injected)} | {wrong})
    by_score = {
        name: {
            "average_precision": float(average_precision_score(injected, score)),
            "auroc": float(roc_auc_score(injected, score)),
        }
        for name, score in suspiciousness.items()
    }
    return {
        "injected": wrong,
        "flagged": flagged,
        "true_positive": both,
        "false_positive": flagged - both,
        "false_negative": wrong - both,
        "true_negative": int((~injected & ~flag).sum()),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if both else 0.0,
        **by_score["suspicion"],
        "precision_at_k": {str(k): float(injected[order[:k]].mean()) for k in ks},
        "by_score": by_score,
    }


def influence_by_class(scores: pd.DataFrame, classes: list[Any]) -> list[dict[str, Any]]:
    """Mean influence of clean and of corrupted samples, per audited label and (class None) over all.

    The original recipe's `avg_label_influence`. Without injection every sample counts as clean, and `corrupted` is
    None; so is a mean over no samples.
    """
    corrupted = scores["injected"] if "injected" in scores else pd.Series(False, index=scores.index)

    influence = scores["influence"].to_numpy()
    wrong = corrupted.to_numpy(dtype=bool)

    def row(label: Any, places: np.ndarray) -> dict[str, Any]:
        means: dict[str, Any] = {}
        for name, part in (("clean", places[~wrong[places]]), ("corrupted", places[wrong[places]])):
            means[name] = float(influence[part].mean()) if len(part) else None
            means[f"{name}_count"] = len(part)
        return {"class": label, **means}

    places_of = scores.groupby("label", sort=False).indices
    nowhere = np.empty(0, dtype=int)
    rows = [row(label, np.asarray(places_of.get(label, nowhere))) for label in classes]
    return [*rows, row(None, np.arange(len(scores)))]


def likeliest_confusions(transition: np.ndarray, classes: list[Any], most: int = 20) -> list[dict[str, Any]]:
    """The largest off-diagonal entries of a transition matrix (C, C): true class, given label, estimated rate."""
    off = np.where(np.eye(len(classes), dtype=bool), -1.0, transition)
    places = np.argsort(-off, axis=None, kind="stable")[: min(most, off.size - len(off))]
    return [
        {"true": classes[row], "given": classes[column], "rate": float(off[row, column])}
        for row, column in zip(*np.unravel_index(places, off.shape), strict=True)
    ]
