"""Explanations beside exact pairwise influence: `python -m tests.benchmarks.explanations`.

An audit explains suspects by candidates (`audit.explain.influential`). Here the influence of every training sample on
each of these suspects is computed to a relative residual of 1e-7, and both are compared.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import audit  # before torch: it tells OpenMP not to spin  # isort: skip
import torch

from audit.explain.audited import audited_head
from audit.head.fit import one_hot
from audit.head.hessian import HeadHessian
from audit.head.stable import StableSolver
from audit.influence.pairwise import influence_on_targets
from audit.influence.ranking import helpful_and_harmful
from integrations.benchmark import labelled_samples
from integrations.sources import resolve_source
from tests.benchmarks.data import data_set
from tests.benchmarks.detection import bundled
from tests.benchmarks.influence import described, machine
from tests.benchmarks.whole_audit import correlated

HERE = Path(__file__).parent
STORED, TABLE = HERE / "explanations.json", HERE / "explanations.md"
EXACTLY = 1e-7
INJECTED = 0.1

INTRODUCTION = """# Explanations beside exact influence

Made by `python -m tests.benchmarks.explanations`, with the bundled backbone and seed 0. An audit explains its 100 most
suspicious samples by the three training samples that help and the three that harm each of them most. The pairwise
influence of all training samples is computed to a relative residual of 1e-7.

- *found*: share of the three strongest by exact influence that the audit names;
- *their influence*: that of the samples named, as a share of that of the three strongest; mean, and least of any;
- *value*: how far the stated influence is from the exact one, as a share of the suspect's largest; mean;
- *seconds*: of the stage of the audit, the nearest pictures included; and of exact influence.
"""

Data = tuple[np.ndarray, np.ndarray, float]
"""Embeddings (n, d), labels (n,), and the share of mislabels to inject."""


def of_source(name: str, injected: float, **options: str) -> Data:
    """Embeddings of a source, by the bundled backbone."""
    samples = labelled_samples(resolve_source(name if name == "digits" else str(data_set(name)), **options))
    return bundled()[1](samples), np.array(samples.labels), injected


def synthetic(n: int, features: int, classes: int) -> Data:
    """Correlated embeddings in overlapping classes, one label in ten drawn anew."""
    return (*correlated(n, features, classes), 0.0)


CASES: dict[str, Callable[[], Data]] = {
    "digits, 10 % injected": lambda: of_source("digits", INJECTED),
    "roman-numeral, labels by people": lambda: of_source("roman-numeral", 0.0),
    "CIFAR-10N, one annotator": lambda: of_source("cifar10n-dev", 0.0, label_column="random_label1"),
    "Tiny-ImageNet, 20 classes, 10 % injected": lambda: of_source("tiny-imagenet-20", INJECTED),
    "10,000 × 512, 10 classes": lambda: synthetic(10_000, 512, 10),
    "10,000 × 512, 100 classes": lambda: synthetic(10_000, 512, 100),
}


def measured(data: Data) -> dict[str, Any]:
    """The explanations of an audit beside exact influence."""
    x, labels, injected = data
    result = audit.audit_embeddings(x, labels, config=audit.AuditConfig(findings="none", inject=injected))
    suspects = result.explanations[result.explanations["reason"] != "validation"]
    names = pd.unique(suspects["target"])
    began = time.perf_counter()
    exact = exact_influence(result, x, names)
    seconds = time.perf_counter() - began
    found, kept, apart = [], [], []
    for name, of_suspect in suspects.groupby("target", sort=False):
        influence = exact.loc[name]
        largest = float(influence.abs().max())
        strongest = dict(
            zip(("helpful", "harmful"), helpful_and_harmful(torch.tensor(influence.to_numpy()), 3), strict=True)
        )
        for kind, mine in of_suspect.groupby("kind", sort=False):
            best = influence.iloc[strongest[str(kind)].numpy()]
            named = influence[mine["neighbour"]]
            found.append(len(named.index.intersection(best.index)) / len(best))
            kept.append(float(named.sum() / best.sum()))
            apart.extend(np.abs(mine["influence"].to_numpy() - named.to_numpy()) / largest)
    return {
        "classes": len(result.summary.classes),
        "suspects": len(names),
        "found": float(np.mean(found)),
        "kept": float(np.mean(kept)),
        "kept_least": float(np.min(kept)),
        "apart": float(np.mean(apart)),
        "seconds": {"audit": result.summary.timings["explanation"], "exact": seconds},
    }


def exact_influence(result: audit.AuditResult, x: np.ndarray, names: np.ndarray) -> pd.DataFrame:
    """The influence of all training samples (columns) on the loss of samples by their audited labels (rows)."""
    head, scores = audited_head(result), result.scores
    embeddings = torch.from_numpy(x[scores.index.astype(int)]).double()
    z, p = head.features(embeddings), head.probabilities(embeddings)
    numbers = pd.Index(result.summary.classes).get_indexer(scores["label"])
    residuals = p - one_hot(torch.from_numpy(numbers), p.shape[1], p.dtype)
    train = np.flatnonzero(scores["split"] == "train")
    rows = scores.index.get_indexer(names)
    solver = StableSolver(HeadHessian(z[train], p[train], head.l2))
    matrix = influence_on_targets(solver, z[rows], residuals[rows], z[train], residuals[train], EXACTLY)
    table = pd.DataFrame(matrix.numpy(), index=names, columns=scores.index[train])
    for name in table.index.intersection(table.columns):
        table.loc[name, name] = 0.0  # a training sample does not explain itself
    return table


def table(results: dict[str, Any]) -> str:
    """Markdown of all cases."""
    lines = [INTRODUCTION, "| data | found | their influence, mean | least | value | seconds, audit | exact |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, row in results["cases"].items():
        seconds = row["seconds"]
        lines.append(
            f"| {name} | {row['found']:.3f} | {row['kept']:.4f} | {row['kept_least']:.2f} | {row['apart']:.3f} "
            f"| {seconds['audit']:.1f} | {seconds['exact']:.1f} |"
        )
    return "\n".join([*lines, "", described(results["machine"]), ""])


def main() -> None:
    """Measure all cases, and write explanations.json and explanations.md."""
    results: dict[str, Any] = {"cases": {}, "machine": machine()}
    for name, data in CASES.items():
        results["cases"][name] = measured(data())
        print(name, json.dumps(results["cases"][name]), flush=True)
    STORED.write_text(json.dumps(results, indent=1) + "\n")
    TABLE.write_text(table(results))


if __name__ == "__main__":
    main()
