"""The consensus of several annotators, beside others: `python -m tests.benchmarks.annotators`.

Majority vote and cleanlab's CROWDLAB get the same labels, and CROWDLAB the same predictions. INFLUENCE_AUDIT_DATA names
the folder of the development data, of which cifar10n-dev has three labels by people for each picture, and out-of-sample
predictions of a ResNet-18. Made-up annotators label scikit-learn's digits; each has confusions of its own.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from cleanlab.multiannotator import get_label_quality_multiannotator
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import audit
from audit.annotators.labels import AnnotatorLabels
from integrations.benchmark import labelled_samples
from integrations.sources import resolve_source
from tests.annotators import made_up_annotators
from tests.benchmarks.data import data_set
from tests.benchmarks.detection import bundled
from tests.benchmarks.influence import described, machine

TABLE = Path(__file__).with_suffix(".md")
SEEDS = (0, 1, 2)
PEOPLE = ["random_label1", "random_label2", "random_label3"]
INTRODUCTION = """# The consensus of several annotators

Made by `python -m tests.benchmarks.annotators`.

- *right*: share of the samples whose consensus is the true label.
- *average precision*: of the ranking of wrong consensus labels by their probability. A better consensus leaves fewer
  and harder ones, so compare it only where *right* is alike.
- *squared error*: of that probability (Brier score). *wrong, expected*: by the probabilities.
- *quality off by*: mean distance of the estimated share of right labels of an annotator from the real one.
- *predictions* are the same for CROWDLAB and the audit: on CIFAR-10N of a ResNet-18 that was fine-tuned out of sample
  on the aggregated or the worse labels; on digits of a logistic regression on the majority's labels, cross-validated.
- *embeddings* are those of the bundled backbone; of digits the pixels.

Made-up annotators are means over seeds 0, 1, 2."""

warnings.filterwarnings("ignore", module="sklearn")


@dataclass(frozen=True)
class Annotated:
    """Samples with labels by several annotators: their labels (n, A), true labels (n,), predictions, embeddings."""

    name: str
    labels: pd.DataFrame
    true: np.ndarray
    predictions: np.ndarray
    x: np.ndarray


@dataclass(frozen=True)
class Said:
    """What a method says: the consensus (n,), its probability (n,), and the quality (A,) of the annotators."""

    consensus: np.ndarray
    probability: np.ndarray
    quality: np.ndarray


def majority(case: Annotated) -> Said:
    """The most frequent label; its probability is its share."""
    consensus = AnnotatorLabels.read(case.labels).majority().astype(int)
    same = case.labels.eq(consensus, axis=0).where(case.labels.notna())
    return Said(consensus, same.mean(axis=1).to_numpy(), same.mean().to_numpy())


def crowdlab(case: Annotated) -> Said:
    """cleanlab's."""
    found = get_label_quality_multiannotator(case.labels, case.predictions, verbose=False)
    quality = found["annotator_stats"]["annotator_quality"].loc[list(case.labels)]
    table = found["label_quality"]
    return Said(
        *(table[name].to_numpy() for name in ("consensus_label", "consensus_quality_score")), quality.to_numpy()
    )


def ours(with_predictions: bool, with_embeddings: bool) -> Callable[[Annotated], Said]:
    """The audit's, by what is given."""

    def say(case: Annotated) -> Said:
        found = audit.consensus_labels(
            case.labels,
            embeddings=case.x if with_embeddings else None,
            predictions=pd.DataFrame(case.predictions) if with_predictions else None,
        )
        labels, quality = found.labels, found.annotators["annotator_quality"].loc[list(case.labels)]
        consensus = labels["consensus_label"].to_numpy().astype(int)
        return Said(consensus, labels["consensus_probability"].to_numpy(), quality.to_numpy())

    return say


METHODS: dict[str, Callable[[Annotated], Said]] = {
    "majority vote": majority,
    "CROWDLAB, predictions": crowdlab,
    "ours, labels alone": ours(False, False),
    "ours, predictions": ours(True, False),
    "ours, embeddings": ours(False, True),
    "ours, both": ours(True, True),
}


def people() -> Iterator[Annotated]:
    """CIFAR-10N's three labels a picture, all of them and with 40 % missing, by two sets of predictions."""
    folder = data_set("cifar10n-dev")
    table = pd.read_parquet(folder / "train.parquet", columns=["label", *PEOPLE])
    labels, true = table[PEOPLE].astype(float), table["label"].to_numpy()
    x = bundled()[1](labelled_samples(resolve_source(str(folder / "train.parquet"), label_column="label")))
    gone = np.random.default_rng(0).random(labels.shape) < 0.4
    some = labels.mask(gone)
    kept = some.notna().any(axis=1).to_numpy()
    with np.load(folder / "predictions_resnet18.npz") as found:
        for trained_on in ("aggre_label", "worse_label"):
            p = found[trained_on].astype(float)
            p /= p.sum(1, keepdims=True)
            name = f"CIFAR-10N, predictions trained on {trained_on}"
            yield Annotated(name, labels, true, p, x)
            yield Annotated(f"{name}, 40 % missing", some[kept].reset_index(drop=True), true[kept], p[kept], x[kept])


def made_up(seed: int) -> Iterator[Annotated]:
    """Digits by made-up annotators."""
    found = load_digits()
    x, true = found.data.astype(np.float32), found.target
    crowd = dict(zip(map(str, range(50)), np.random.default_rng(seed).uniform(0.1, 0.6, 50), strict=True))
    cases = {
        "3 annotators, 20 to 40 % wrong": made_up_annotators(true, {"a": 0.2, "b": 0.3, "c": 0.4}, 0.0, seed),
        "5 annotators, 30 to 50 % wrong, half missing": made_up_annotators(
            true, {"a": 0.3, "b": 0.35, "c": 0.4, "d": 0.45, "e": 0.5}, 0.5, seed
        ),
        "10 annotators, 10 to 60 % wrong, 70 % missing": made_up_annotators(
            true, dict(zip("abcdefghij", np.linspace(0.1, 0.6, 10), strict=True)), 0.7, seed
        ),
        "50 annotators, 10 to 60 % wrong, 95 % missing": made_up_annotators(true, crowd, 0.95, seed),
    }
    three = made_up_annotators(true, {"a": 0.2, "b": 0.3, "c": 0.35}, 0.3, seed)
    cases["3 annotators and a lazy one, 30 % missing"] = three.assign(lazy=0.0)
    against = np.where(np.random.default_rng(seed).random(len(true)) < 0.8, (true + 1) % 10, true)
    cases["3 annotators and an adversary, 30 % missing"] = three.assign(adversary=against.astype(float))
    for name, labels in cases.items():
        given = AnnotatorLabels.read(labels).majority().astype(int)
        head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
        predicted = cross_val_predict(head, x, given, cv=5, method="predict_proba")
        yield Annotated(f"digits, {name}", labels, true, predicted, x)


def measured(case: Annotated, method: str) -> list[float]:
    """right, average precision, squared error, expected and real number of wrong ones, quality, seconds."""
    began = time.perf_counter()
    said = METHODS[method](case)
    seconds = time.perf_counter() - began
    wrong = said.consensus != case.true
    real = case.labels.eq(case.true, axis=0).where(case.labels.notna()).mean().to_numpy()
    return [
        1 - wrong.mean(),
        average_precision_score(wrong, 1 - said.probability) if wrong.any() else np.nan,
        np.square(said.probability - ~wrong).mean(),
        (1 - said.probability).sum(),
        wrong.sum(),
        np.abs(said.quality - real).mean(),
        seconds,
    ]


def main() -> None:
    """Measure, and write the table."""
    found: dict[str, dict[str, list[list[float]]]] = {}
    for case in [*people(), *(case for seed in SEEDS for case in made_up(seed))]:
        for method in METHODS:
            found.setdefault(case.name, {}).setdefault(method, []).append(measured(case, method))
        print(case.name, {method: round(rows[-1][0], 4) for method, rows in found[case.name].items()}, flush=True)
    titles = (
        "",
        "right",
        "average precision",
        "squared error",
        "wrong, expected",
        "wrong",
        "quality off by",
        "seconds",
    )
    lines = [INTRODUCTION, "", f"{bundled()[0]}; {described(machine())}."]
    for name, by_method in found.items():
        lines += ["", f"**{name}**", "", f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
        for method, rows in by_method.items():
            right, precision, error, expected, wrong, quality, seconds = np.nanmean(rows, axis=0)
            lines.append(
                f"| {method} | {right:.4f} | {precision:.3f} | {error:.4f} | {expected:.0f} | {wrong:.0f} "
                f"| {quality:.4f} | {seconds:.1f} |"
            )
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
