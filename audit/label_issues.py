"""Which labels are wrong, by predictions alone, in the form that cleanlab's function of the same name has."""

from __future__ import annotations

from typing import Any

import numpy as np

from audit.config import AuditConfig
from audit.data.predictions import Predictions
from audit.errors import InputError
from audit.pipeline import audit_embeddings
from audit.result import AuditResult

RANKINGS = ("suspicion", "self_confidence", "normalized_margin", "confidence_weighted_entropy")

LEAST = 1e-6  # probability that is a divisor, or whose logarithm is computed, at least: as in cleanlab


def find_label_issues(
    labels: Any,
    pred_probs: Any,
    *,
    return_indices_ranked_by: str | None = None,
    features: Any = None,
    config: AuditConfig | None = None,
) -> np.ndarray:
    """Find wrong labels by predictions of a model that was not trained on the sample, as `cleanlab.filter` does.

    Args:
        labels: (n,) integers, booleans or strings.
        pred_probs: (n, C) class probabilities or logits; see `audit_embeddings`.
        return_indices_ranked_by: None for a mask; else how to rank the flagged samples: by 'suspicion' (the estimated
            probability that the label is wrong), or as cleanlab does by 'self_confidence' (the predicted probability
            of the label), 'normalized_margin' (that, minus the largest probability of another class) or
            'confidence_weighted_entropy' (the entropy of the prediction, divided by the probability of the label).
        features: (n, d) embeddings to use beside the predictions; None for predictions alone.
        config: the settings, such as `AuditConfig(target_precision=0.9)`.

    Returns:
        bool (n,), true where the label is flagged; or the positions of the flagged samples, worst first. Samples that
        cannot be audited (without a label or prediction, or of a class of fewer than 3) are not flagged.

    Raises:
        InputError: if the labels or predictions cannot be audited, or there is no such ranking.
    """
    if return_indices_ranked_by not in (None, *RANKINGS):
        raise InputError(
            f"return_indices_ranked_by is {return_indices_ranked_by!r}; it takes None or one of {', '.join(RANKINGS)}"
        )
    predictions = Predictions.read(pred_probs, "pred_probs")
    result = audit_embeddings(features, labels, config=config, predictions=predictions)
    rows = result.scores.index.astype(int).to_numpy()
    flag = result.scores["flag"].to_numpy()
    if return_indices_ranked_by is None:
        mask = np.zeros(len(predictions), dtype=bool)
        mask[rows] = flag
        return mask
    badness = _badness(result, predictions, rows, return_indices_ranked_by)
    worst_first = np.argsort(-badness[flag], kind="stable")
    ranked: np.ndarray = rows[flag][worst_first]
    return ranked


def _badness(result: AuditResult, predictions: Predictions, rows: np.ndarray, ranked_by: str) -> np.ndarray:
    """(k,) of the audited samples, larger = worse."""
    if ranked_by == "suspicion":
        return result.scores["suspicion"].to_numpy()
    classes = np.array(result.summary.classes)
    probabilities = predictions.select(rows).of_classes(classes, classes).astype(np.float64)
    places = (np.arange(len(rows)), result.class_positions(result.scores["label"]))
    of_label = probabilities[places]
    if ranked_by == "self_confidence":
        return -of_label
    if ranked_by == "confidence_weighted_entropy":
        entropy = -(probabilities * np.log(probabilities.clip(LEAST))).sum(1)
        return entropy / of_label.clip(LEAST)
    probabilities[places] = -np.inf
    largest: np.ndarray = probabilities.max(1) - of_label
    return largest
