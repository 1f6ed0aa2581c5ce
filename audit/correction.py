"""What correcting the dataset does to the head: it is trained again without the flagged samples, and again with their
labels replaced by the suggested ones, and both are measured on held-out labels.

Nothing here is estimated. The flags are applied to the training samples and to the validation samples that choose the
L2 penalty, as they would be in a corrected dataset; the labels that the heads are measured on are never replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from audit.errors import ConvergenceError
from audit.evaluation import head_quality
from audit.head import Head

MEASURED_ON = {
    "original": "the labels before injection of all test samples",
    "given": "the given labels of all test samples; mistakes among them count against every head",
    "unflagged": "the given labels of the test samples that were not flagged; these tend to agree with the head",
}
"""On which labels of the test split the heads can be measured. The audit saw those without injection."""


def measure_correction(
    labels: np.ndarray,
    suggested: np.ndarray,
    flag: np.ndarray,
    split: np.ndarray,
    before: Head,
    train: Callable[[np.ndarray, np.ndarray], Head],
    predict: Callable[[Head, np.ndarray], np.ndarray],
    original: np.ndarray | None = None,
) -> dict[str, Any] | None:
    """Train the head again on the corrected labels and measure it before and after.

    Args:
        labels: (n,) class numbers that were audited.
        suggested: (n,) class numbers that the audit suggests.
        flag: bool (n,).
        split: (n,) 'train', 'validation' or 'test'.
        before: the head that was trained on `labels`.
        train: makes a head of all labels (n,) and the rows, of train and validation, that it may use.
        predict: probabilities (m, C) by a head, of the rows (m,).
        original: (n,) class numbers before mislabels were injected; None where none were.

    Returns:
        None where no sample of the train or validation split is flagged. Otherwise
        flagged: how many samples are flagged, by split;
        measured_on: name, meaning and number of samples of each set of test labels;
        heads: 'before', 'removed' (without the flagged) and 'corrected' (with the suggested labels), each with
        train_samples, l2 and quality (as `head_quality`, by name of the set); for a head that could not be trained,
        its error instead.
    """
    usable = split != "test"
    if not (flag & usable).any():
        return None
    test = np.flatnonzero(~usable)
    sets = {"given": (test, labels), "unflagged": (test[~flag[test]], labels)}
    if original is not None:
        sets = {"original": (test, original)}
    sets = {name: rows for name, rows in sets.items() if len(rows[0])}

    def describe(head: Head, rows: np.ndarray) -> dict[str, Any]:
        return {
            "train_samples": int((split[rows] == "train").sum()),
            "l2": head.l2,
            "quality": {name: head_quality(predict(head, on), truth[on]) for name, (on, truth) in sets.items()},
        }

    rows = np.flatnonzero(usable)
    heads = {"before": describe(before, rows)}
    for name, corrected, kept in (
        ("removed", labels, rows[~flag[rows]]),
        ("corrected", np.where(flag, suggested, labels), rows),
    ):
        if {"train", "validation"} - set(split[kept]):
            heads[name] = {"error": "nothing is left to train on or to choose the L2 penalty with"}
            continue
        try:
            heads[name] = describe(train(corrected, kept), kept)
        except ConvergenceError as error:
            heads[name] = {"error": str(error)}
    return {
        "flagged": {part: int((flag & (split == part)).sum()) for part in ("train", "validation", "test")},
        "measured_on": [
            {"name": name, "meaning": MEASURED_ON[name], "samples": len(on)} for name, (on, _) in sets.items()
        ],
        "heads": heads,
    }
