"""Exact copies count as one sample for whoever reads their labels; copies that disagree prove a mistake."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

import audit
from audit.data.exact_copies import Copies
from audit.noise_model.diagnosis_of_copies import contradicted, describe_copies
from audit.summary.counts import CopiesFound
from reports.verdict import copies_sentences

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def digits() -> Arrays:
    """Embeddings, labels of which a tenth is wrong, and which ones: digits 0 to 3."""
    data = load_digits(n_class=4)
    wrong = np.random.default_rng(0).permutation(300)[:30]
    labels = data.target[:300].copy()
    labels[wrong] = (labels[wrong] + 1) % 4
    return (data.data[:300] / 16).astype(np.float32), labels, np.isin(np.arange(300), wrong)


@pytest.fixture(scope="module")
def once(digits: Arrays) -> audit.AuditResult:
    return audit.audit_embeddings(*digits[:2])


def test_samples_that_are_there_twice_are_judged_as_if_they_were_there_once(
    digits: Arrays, once: audit.AuditResult
) -> None:
    x, labels, wrong = digits
    twice = audit.audit_embeddings(np.r_[x, x], np.r_[labels, labels])
    for half in (twice.scores[:300], twice.scores[300:]):
        np.testing.assert_allclose(half["suspicion"], once.scores["suspicion"], atol=1e-5)
        np.testing.assert_allclose(half["loo_probability"], once.scores["loo_probability"], atol=1e-5)
        assert half["flag"].to_numpy()[wrong].mean() > 0.9
    assert twice.summary.estimates.mistakes == pytest.approx(2 * once.summary.estimates.mistakes, rel=0.05)
    copies = twice.summary.copies
    assert (copies.contents, copies.samples, copies.proven_mistakes) == (300, 600, 0)
    held_out = twice.scores["split"].to_numpy() != "train"
    partner = np.r_[np.arange(300, 600), np.arange(300)]
    assert copies.leaked == (held_out & ~held_out[partner]).sum()
    counted, leak = copies_sentences(twice.summary)
    assert "600 samples are exact copies of each other, of 300 different contents" in counted
    assert leak.startswith(f"Leak: {copies.leaked} samples of the validation and test splits")
    assert copies_sentences(once.summary) == []


def test_a_picture_under_two_labels_is_a_proven_mistake_and_the_wrong_one_is_flagged(digits: Arrays) -> None:
    x, labels, wrong = digits
    right = np.flatnonzero(~wrong)[:5]
    other = (labels[right] + 2) % 4
    result = audit.audit_embeddings(np.r_[x, x[right]], np.r_[labels, other])
    copies = result.summary.copies
    assert (copies.contents, copies.samples, copies.proven_mistakes) == (5, 10, 5)
    assert result.scores["flag"].to_numpy()[300:].all()
    assert not result.scores["flag"].to_numpy()[right].any()
    assert result.summary.estimates.mistakes_low >= 5
    assert "At least 5 labels are certainly wrong" in " ".join(copies_sentences(result.summary))
    found = result.findings[result.findings["kind"] == "duplicate-labels"]
    assert found["finding"].nunique() == 5
    assert found["detail"].str.startswith("2 identical rows are labelled ").all()
    assert "image" not in " ".join(kind.meaning for kind in result.summary.findings)


def test_where_nothing_tells_which_label_is_right_both_are_flagged() -> None:
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    labels = np.arange(60) % 2
    result = audit.audit_embeddings(np.r_[x, x[:4]], np.r_[labels, 1 - labels[:4]])
    flagged = result.scores["flag"].to_numpy()
    assert (flagged[:4] | flagged[60:]).all()  # of each pair one label at least
    chosen = audit.audit_embeddings(
        np.r_[x, x[:4]], np.r_[labels, 1 - labels[:4]], config=audit.AuditConfig(max_review=1)
    )
    assert len(chosen.flagged) <= 1  # what the user asks for comes first


def test_identical_rows_that_mostly_disagree_are_no_copies() -> None:
    """Two binary features tell four kinds of samples apart, and say nothing of which of them are the same."""
    random = np.random.default_rng(0)
    x = random.integers(0, 2, (200, 2)).astype(np.float32)
    labels = np.where(random.random(200) < 0.8, x[:, 0], 1 - x[:, 0]).astype(int)
    summary = audit.audit_embeddings(x, labels).summary
    assert summary.copies == CopiesFound(contents=0, samples=0, proven_mistakes=0, leaked=0)


def test_injected_mislabels_are_not_given_away_by_their_copies(digits: Arrays) -> None:
    x, labels, _ = digits
    result = audit.audit_embeddings(np.r_[x, x], np.r_[labels, labels], config=audit.AuditConfig(inject=0.1))
    injected = result.scores["injected"].to_numpy()
    assert (injected[:300] == injected[300:]).all()
    assert injected.sum() == 60
    assert result.summary.copies.proven_mistakes == 0


def test_a_trusted_label_settles_what_its_copies_are(digits: Arrays) -> None:
    x, labels, wrong = digits
    right = np.flatnonzero(~wrong)[:20]
    config = audit.AuditConfig(validation_trusted=True)
    result = audit.audit_embeddings(
        np.r_[x[~wrong][20:], x[right]],
        np.r_[labels[~wrong][20:], (labels[right] + 1) % 4],
        validation=(x[right], labels[right]),
        config=config,
    )
    scores = result.scores
    assert (scores["suspicion"][-20:] == 0).all()
    assert (scores["suspicion"][-40:-20] > 0.99).all()
    assert (scores["other_label"].to_numpy()[-40:-20] == labels[right]).all()


def test_which_samples_are_copies_and_what_they_prove() -> None:
    keys = np.array([[1], [2], [1], [3], [2], [1]], dtype=np.uint8).repeat(16, 1)
    copies = Copies.of(keys)
    assert copies
    assert copies.content.tolist() == [0, 1, 0, 2, 1, 0]
    assert copies.first.tolist() == [0, 1, 3]
    labels = np.array([4, 7, 5, 7, 7, 5])
    assert [group.tolist() for group in copies.groups()] == [[0, 2, 5], [1, 4]]
    assert [group.tolist() for group in copies.conflicting(labels)] == [[0, 2, 5]]
    assert copies.proven_mistakes(labels) == 1
    assert copies.representatives(labels, None).tolist() == [2, 1, 3]  # two of three say 5
    assert copies.representatives(labels, np.arange(6) == 0).tolist() == [0, 1, 3]  # but 4 is known to be right
    suspicion = np.array([0.9, 0.0, 0.2, 0.0, 0.0, 0.2])
    assert contradicted(copies, labels, suspicion).tolist() == [True, False, False, False, False, False]
    assert contradicted(copies, labels, np.full(6, 0.5)).tolist() == [True, False, True, False, False, True]
    split = np.array(["train", "test", "validation", "train", "test", "train"])
    assert describe_copies(copies, labels, split) == CopiesFound(contents=2, samples=5, proven_mistakes=1, leaked=1)
    assert not Copies.none(6)
    assert Copies.none(6).groups() == []


def test_a_million_copies_are_counted_in_seconds() -> None:
    keys = np.random.default_rng(0).integers(0, 256, (200_000, 16), dtype=np.uint8)
    copies = Copies.of(np.r_[keys, keys])
    labels = np.random.default_rng(1).integers(0, 100, 400_000)
    assert len(copies.first) == 200_000
    assert copies.proven_mistakes(labels) == (labels[:200_000] != labels[200_000:]).sum()
