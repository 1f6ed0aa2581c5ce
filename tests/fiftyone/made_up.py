"""An audit that no model computed, for what only writes, shows and reviews it."""

from __future__ import annotations

import fiftyone as fo
import numpy as np
import pandas as pd

from audit.config import AuditConfig
from audit.result import AuditResult
from tests.forking import run_script
from tests.made_summary import made_counts, made_summary


def delete_elsewhere(dataset: fo.Dataset) -> None:
    """Delete the dataset in another process."""
    done = run_script(f"import fiftyone as fo; fo.delete_dataset({dataset.name!r})")
    assert done.returncode == 0, done.stderr


def made_up_result(dataset: fo.SampleCollection, inject: bool = True, seed: int = 0) -> AuditResult:
    """A result of the right form, indexed by the sample ids, with random scores."""
    random = np.random.default_rng(seed)
    ids, filepaths, labels = dataset.values(["id", "filepath", "ground_truth.label"])
    n = len(ids)
    suspicion = random.uniform(0, 1, n)
    scores = pd.DataFrame(
        {
            "filepath": filepaths,
            "split": random.choice(["train", "validation", "test"], n, p=[0.8, 0.1, 0.1]),
            "label": labels,
            "influence": random.normal(0, 1, n),
            "self_influence": random.uniform(0, 1, n),
            "loo_probability": 1 - suspicion,
            "suspicion": suspicion,
            "flag": suspicion >= 0.8,
            "suggested_label": random.choice(sorted(set(labels)), n),
            "suggested_probability": random.uniform(0.5, 1, n),
        },
        index=pd.Index(ids, name="id"),
    )
    if inject:
        scores["injected"] = random.uniform(0, 1, n) < 0.3
        scores["original_label"] = scores["label"]
        scores.loc[scores["injected"], "label"] = "2"
    empty = pd.DataFrame()
    summary = made_summary(
        counts=made_counts(samples=n, flagged=int(scores["flag"].sum())),
        classes=tuple(sorted(scores["label"].dropna().unique())),
        threshold=0.8,
        config=AuditConfig(inject=0.3 if inject else 0.0),
    )
    return AuditResult(scores, summary, empty, empty, empty, empty)
