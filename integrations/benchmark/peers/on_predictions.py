"""Peers that judge out-of-sample predictions: cleanlab and FiftyOne Brain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from integrations.benchmark.cases import Case, Verdict


def _cleanlab(method: str, filter_by: str) -> Callable[[Case, np.ndarray], Verdict]:
    def judge(case: Case, folds: np.ndarray) -> Verdict:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores

        quality = get_label_quality_scores(case.given, folds, method=method)
        flags = find_label_issues(case.given, folds, filter_by=filter_by, n_jobs=1)
        return Verdict(1 - quality, flags, suggested=folds.argmax(1))

    return judge


def _mistakenness(case: Case, folds: np.ndarray) -> Verdict:
    """FiftyOne Brain's own, on a dataset of its own that is deleted afterwards."""
    import fiftyone as fo
    import fiftyone.brain as fob

    names = [str(number) for number in range(case.classes)]
    dataset = fo.Dataset()
    try:
        dataset.add_samples(
            [
                fo.Sample(
                    filepath=f"sample-{row}.png",
                    given=fo.Classification(label=names[case.given[row]]),
                    predicted=fo.Classification(
                        label=names[int(p.argmax())], confidence=float(p.max()), logits=np.log(p.clip(1e-12))
                    ),
                )
                for row, p in enumerate(folds)
            ],
            progress=False,
        )
        fob.compute_mistakenness(dataset, "predicted", label_field="given", use_logits=True, progress=False)
        return Verdict(np.array(dataset.values("mistakenness")), suggested=folds.argmax(1))
    finally:
        dataset.delete()


ON_PREDICTIONS: dict[str, Callable[[Case, np.ndarray], Verdict]] = {
    "cleanlab self_confidence": _cleanlab("self_confidence", "prune_by_noise_rate"),
    "cleanlab normalized_margin": _cleanlab("normalized_margin", "both"),
    "cleanlab confidence_weighted_entropy": _cleanlab("confidence_weighted_entropy", "confident_learning"),
    "FiftyOne mistakenness": _mistakenness,
}
"""By name: what judges a case by its out-of-sample predictions (n, C)."""
