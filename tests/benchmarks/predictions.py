"""What given predictions are worth, beside cleanlab on the same ones: `python -m tests.benchmarks.predictions`.

INFLUENCE_AUDIT_DATA names the folder of the development data, of which cifar10n-dev has out-of-sample predictions: of a
ResNet-18 that was fine-tuned in five folds on each of three label sets. Embeddings are those of the bundled backbone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import average_precision_score

from integrations.benchmark import Case, labelled_samples
from integrations.benchmark.ours import Flagged, flagged
from integrations.sources import resolve_source
from tests.benchmarks.data import data_set
from tests.benchmarks.detection import bundled
from tests.benchmarks.influence import described, machine

TABLE = Path(__file__).with_suffix(".md")
PEERS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
LABELS = {"aggre_label": "aggre_label", "worse_label": "worse_label", "synthetic": "synthetic_label"}
"""The label sets, and the column or array that holds each one's labels."""
INTRODUCTION = """# What given predictions are worth

Made by `python -m tests.benchmarks.predictions`: average precision of the ranking by suspicion, on 10,000 pictures with
out-of-sample predictions of a ResNet-18 fine-tuned in five folds on the labels themselves. *cleanlab*: the best of
self-confidence, normalized margin and confidence-weighted entropy on the same predictions. *alone*: the audit by
predictions alone. *embeddings*: the audit by embeddings of the bundled backbone. *both*: by both. *wrong* is the real
number of wrong labels, *stated* the range that the audit states by predictions alone, and by both, and in brackets the
number that its noise model estimates."""


def label_sets() -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Name, given labels (n,), true labels (n,), and predictions (n, C)."""
    folder = data_set("cifar10n-dev")
    table = pd.read_parquet(folder / "train.parquet", columns=["label", "aggre_label", "worse_label"])
    with np.load(folder / "predictions_resnet18.npz") as found:
        for name, labels in LABELS.items():
            given = table[labels].to_numpy() if labels in table else found[labels].astype(np.int64)
            yield name, given, table["label"].to_numpy(), found[name].astype(np.float32)


def measured(name: str, case: Case) -> list[object]:
    """A row of the table, of a case with predictions."""
    wrong, p = case.given != case.true, case.predictions
    assert p is not None
    peers = [average_precision_score(wrong, 1 - get_label_quality_scores(case.given, p, method=way)) for way in PEERS]
    audits = (flagged(case, alone=True), flagged(replace(case, predictions=None)), flagged(case))
    ours = [f"{average_precision_score(wrong, audited.suspicion):.4f}" for audited in audits]
    alone, _, both = (_stated(audited) for audited in audits)
    return [name, int(wrong.sum()), f"{max(peers):.4f}", *ours, alone, both]


def _stated(audited: Flagged) -> str:
    estimates = audited.flags.estimates
    return f"{estimates.mistakes_low:.0f} to {estimates.mistakes_high:.0f} ({audited.counted.number:.0f})"


def main() -> None:
    """Measure, and write the table."""
    name, embed = bundled()
    x = embed(labelled_samples(resolve_source(str(data_set("cifar10n-dev") / "train.parquet"), label_column="label")))
    columns = ("labels", "wrong", "cleanlab", "alone", "embeddings", "both", "stated, alone", "stated, both")
    rows: list[Sequence[object]] = [columns, ["---"] * len(columns)]
    for labels, given, true, p in label_sets():
        rows.append(measured(labels, Case(labels, 0, x, given, true, p.shape[1], p / p.sum(1, keepdims=True))))
        print(rows[-1], flush=True)
    table = "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
    TABLE.write_text(f"{INTRODUCTION}\n\n{name}; {described(machine())}.\n\n{table}\n")


if __name__ == "__main__":
    main()
