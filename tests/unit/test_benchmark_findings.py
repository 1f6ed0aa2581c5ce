"""The benchmark of stated off-topic probabilities: how it counts, and that the documents repeat its figures."""

from __future__ import annotations

import json

import numpy as np
from sklearn.datasets import load_digits

from tests import ROOT
from tests.benchmarks.off_topic import as_table, clean, described, in_all, mixed


def test_named_pictures_are_counted_and_samples_without_a_score_are_not() -> None:
    probability, off = np.array([0.9, 0.5, 0.49, np.nan, 0.0]), np.array([1, 0, 1, 1, 0], dtype=bool)
    found = described(probability, off, np.array([1, 1, 0, 1, 0], dtype=bool))
    assert found == {
        "pictures": 4,
        "fit no class": 2,
        "named": 2,
        "right": 1,
        "stated": 1.4,
        "sum": 1.89,
        "named and wrong for any reason": 2,
    }
    assert in_all({"some": found, "none": found | {"fit no class": 0}})["named where there are any"] == 2


def test_pictures_of_other_classes_get_labels_of_the_set() -> None:
    pictures = list(load_digits().images[:20])
    own = clean("eight", pictures[:8], np.arange(8))
    both = mixed("with others", own, pictures[8:], np.random.default_rng(0))
    assert both.off.tolist() == [False] * 8 + [True] * 12
    assert set(both.labels) <= set(range(8))


def test_the_documents_repeat_what_the_benchmark_gives() -> None:
    measured = json.loads((ROOT / "tests/benchmarks/findings.json").read_text(encoding="utf-8"))
    results = measured["off-topic-probabilities"]["results"]
    text = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert as_table(results) in text
    every = results["all"]
    assert every == in_all({name: row for name, row in results.items() if name != "all"})
    assert f"{100 * every['right'] / every['named']:.0f} % are right" in text
    assert f"{every['named where there are none']} of {every['pictures where there are none']:,} pictures" in text
