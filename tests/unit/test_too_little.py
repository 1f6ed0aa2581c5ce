"""Embeddings that say nothing about the labels: no flag, and the summary says why."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import audit
from audit.noise_model.too_little import evidence_over_frequencies, labels_as_given, slips_alone
from reports.verdict import headline

Arrays = tuple[np.ndarray, np.ndarray]


def digits() -> Arrays:
    data = load_digits(n_class=3)
    return data.data[:150] / 16, data.target[:150]


def equal(value: float) -> Arrays:
    x, labels = digits()
    return np.full_like(x, value), labels


def noise(samples: int, features: int, classes: int, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples, features)), rng.integers(classes, size=samples)


def imbalanced() -> Arrays:
    rng = np.random.default_rng(1)
    return rng.normal(size=(200, 8)), rng.choice(3, size=200, p=[0.88, 0.08, 0.04])


def permuted() -> Arrays:
    x, labels = digits()
    return x, np.random.default_rng(1).permutation(labels)


@pytest.mark.parametrize(
    "arrays",
    [
        equal(0.0),
        equal(0.3),
        (np.repeat(digits()[0][:1], 150, 0), digits()[1]),
        noise(150, 8, 3, 0),
        noise(100, 256, 2, 3),  # fewer samples than features, which any labels can be fitted to
        noise(90, 256, 5, 1),
        imbalanced(),
        permuted(),
        (np.repeat(np.eye(2), 3, 0), np.repeat([0, 1], 3)),  # two classes of three samples
    ],
    ids=["zero", "equal", "one row", "noise", "few of noise", "few of 5 classes", "imbalanced", "permuted", "tiny"],
)
def test_where_embeddings_say_nothing_no_label_is_flagged(arrays: Arrays) -> None:
    result = audit.audit_embeddings(*arrays)
    assert not result.scores["flag"].any()
    assert result.scores["suspicion"].nunique() == 1  # none of them is ranked before another
    numbers = result.scores.select_dtypes("number")
    assert np.isfinite(numbers).all(axis=None)
    estimates = result.summary.estimates
    assert (estimates.mistakes_low, estimates.mistakes_high) == (0, len(result.scores))
    assert any("Too little to tell" in caution for caution in estimates.cautions)
    assert "too little" in result.summary.threshold_rule
    samples = len(result.scores)
    check = f"Check {min(40, samples)} pictures to know."
    assert headline(result.summary) == f"Too little to tell which of {samples} labels are wrong. {check}"


def test_the_most_suspicious_of_equally_suspicious_samples_are_none() -> None:
    result = audit.audit_embeddings(*equal(0.3), config=audit.AuditConfig(max_review=10))
    assert not result.scores["flag"].any()


def test_many_wrong_labels_are_not_too_little() -> None:
    x, labels = digits()
    rng = np.random.default_rng(0)
    wrong = rng.choice(150, 50, replace=False)
    given = labels.copy()
    given[wrong] = (labels[wrong] + rng.integers(1, 3, 50)) % 3
    result = audit.audit_embeddings(x, given)
    assert not any("Too little" in caution for caution in result.summary.estimates.cautions)
    assert result.scores["flag"].to_numpy()[wrong].mean() > 0.8


def test_few_samples_of_many_features_can_be_enough() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    x = rng.normal(size=(40, 100)) + 4 * np.outer(2 * labels - 1, np.eye(100)[0]) + 2 * labels[:, None]
    given = labels.copy()
    given[[3, 30]] = 1 - labels[[3, 30]]
    result = audit.audit_embeddings(x, given)
    assert set(result.flagged.index) == {"3", "30"}


def test_evidence_is_what_a_model_adds_to_class_frequencies() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    by_frequency = 3 * np.log(0.75) + np.log(0.25)
    assert evidence_over_frequencies(labels, 3, by_frequency / 4) == pytest.approx(0)
    assert evidence_over_frequencies(labels, 3, 0.0) == pytest.approx(-by_frequency)


def test_labels_as_given_are_equally_likely_to_be_wrong_and_trusted_ones_are_not() -> None:
    labels = torch.tensor([0, 0, 1, 2])
    posterior = labels_as_given(labels, 3, 0.1, torch.tensor([False, False, False, True]))
    torch.testing.assert_close(posterior.sum(1), torch.ones(4))
    torch.testing.assert_close(posterior[torch.arange(4), labels], torch.tensor([0.9, 0.9, 0.9, 1.0]))
    torch.testing.assert_close(posterior[0], torch.tensor([0.9, 0.05, 0.05]))
    torch.testing.assert_close(slips_alone(3, 0.1, posterior).sum(1), torch.ones(3))
