"""The head before and after correction: really trained again, as an independent trainer does it too."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score, log_loss

import audit
from audit.explain.influential import ExplanationSettings
from audit.flags.correction import Correction
from audit.head.fit import head_from_arrays, one_hot, train_head
from audit.head.hessian import HeadHessian
from audit.head.stable import StableSolver
from audit.influence.averaged import influence_on_validation
from audit.summary.correction import UntrainedHead
from reports.correction import correction_sentence
from tests.digits_result import pairs_of

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    data = load_digits()
    rows = np.isin(data.target, [3, 5, 8, 9])
    return data.data[rows], data.target[rows]


@pytest.fixture(scope="module")
def injected(arrays: Arrays) -> audit.AuditResult:
    return audit.audit_embeddings(*arrays, config=audit.AuditConfig(inject=0.15))


def retrained(
    x: np.ndarray, labels: np.ndarray, before: np.ndarray, train: np.ndarray, test: np.ndarray, l2: float
) -> np.ndarray:
    """Test probabilities of scikit-learn's own softmax regression on pixels with a constant, standardised as before."""
    mean, scale = x[before].mean(0), x[before].std(0)
    z = np.c_[(x - mean) / np.where(scale > 0, scale, 1), np.ones(len(x))]
    model = LogisticRegression(C=1 / (l2 * len(train)), fit_intercept=False, tol=1e-9, max_iter=5000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(z[train], labels[train])
    probabilities: np.ndarray = model.predict_proba(z[test])
    return probabilities


@pytest.mark.parametrize("threshold", [None, 0.2, 0.8])
@pytest.mark.parametrize("arm", ["before", "removed", "corrected"])
def test_each_head_is_the_one_that_scikit_learn_trains_on_the_same_rows(
    arrays: Arrays, injected: audit.AuditResult, arm: str, threshold: float | None
) -> None:
    x, original = arrays
    scores, correction = injected.scores, injected.summary.correction
    flag = scores["flag"].to_numpy()
    measured = correction
    if threshold is not None:
        (measured,) = [one for one in correction.elsewhere if one.threshold == threshold]
        flag = scores["suspicion"].to_numpy() >= threshold
    split = scores["split"].to_numpy()
    labels = scores["label"].to_numpy()
    if arm == "corrected":
        labels = np.where(flag, scores["other_label"], labels).astype(int)
    kept = ~flag if arm == "removed" else np.ones(len(flag), dtype=bool)
    train, validation = np.flatnonzero((split == "train") & kept), np.flatnonzero((split == "validation") & kept)
    test = np.flatnonzero(split == "test")

    recorded = measured.heads.by_name[arm]
    assert recorded.train_samples == len(train)
    before = np.flatnonzero(split == "train")
    if threshold is None:  # the penalty is as good as the one that a search from the start finds
        numbers = np.searchsorted([3, 5, 8, 9], labels)
        again = train_head(*(torch.from_numpy(part) for part in (x[train], numbers[train], x[validation])),
                           torch.from_numpy(numbers[validation]), 4)  # fmt: skip
        found, best = (
            log_loss(labels[validation], retrained(x, labels, before, train, validation, l2))
            for l2 in (recorded.l2, again.l2)
        )
        assert found <= best + 1 / len(validation)
    else:
        assert recorded.l2 == correction.heads.by_name[arm].l2

    probabilities = retrained(x, labels, before, train, test, recorded.l2)
    quality = recorded.quality["original"]
    predicted = np.array([3, 5, 8, 9])[probabilities.argmax(1)]
    if threshold is None:
        assert quality.confusion == pairs_of(confusion_matrix(original[test], predicted))
    assert quality.accuracy == pytest.approx((original[test] == predicted).mean())
    assert quality.f1 == pytest.approx(f1_score(original[test], predicted, average="weighted"))
    assert quality.loss == pytest.approx(log_loss(original[test], probabilities), rel=1e-3)


def test_other_thresholds_are_measured_once_for_each_set_of_flags(injected: audit.AuditResult) -> None:
    suspicion, flag = injected.scores["suspicion"].to_numpy(), injected.scores["flag"].to_numpy()
    elsewhere = injected.summary.correction.elsewhere
    flagged = [tuple(suspicion >= one.threshold) for one in elsewhere]
    assert len({*flagged, tuple(flag)}) == len(elsewhere) + 1
    assert {one.threshold for one in elsewhere} <= set(Correction.other_thresholds)
    for one in elsewhere:
        assert sum(vars(one.flagged).values()) == int((suspicion >= one.threshold).sum())


def test_the_effects_are_the_differences_of_the_heads_with_their_intervals(injected: audit.AuditResult) -> None:
    correction = injected.summary.correction
    for measured in (correction, *correction.elsewhere):
        heads = measured.heads.by_name
        assert {(effect.head, effect.on) for effect in measured.effects} == {
            (arm, on.name) for arm in ("removed", "corrected") for on in measured.measured_on
        }
        for effect in measured.effects:
            before, after = (heads[arm].quality[effect.on].f1 for arm in ("before", effect.head))
            assert effect.change == pytest.approx(after - before)
            assert effect.low <= effect.change <= effect.high
    sentence = correction_sentence(correction)
    assert sentence is not None
    assert re.search(r"without the flagged samples \(change: [+−]?0\.\d{3} to [+−]?0\.\d{3}\), and to", sentence)
    same = replace(correction.effects[0], head="removed", low=-0.01, change=0.0, high=0.01)
    assert correction_sentence(replace(correction, effects=(same,))).endswith(
        "chance in the test samples may explain both changes."
    )
    assert "95%" not in correction_sentence(replace(correction, effects=()))


def test_it_is_not_the_first_order_estimate(arrays: Arrays, injected: audit.AuditResult) -> None:
    x, original = torch.from_numpy(arrays[0]), np.searchsorted([3, 5, 8, 9], arrays[1])
    correction = injected.summary.correction.heads
    before, removed = (correction.by_name[arm].quality["original"].loss for arm in ("before", "removed"))
    assert removed < before
    head = head_from_arrays(injected.heads["corrupted"], injected.summary.heads.corrupted.l2)
    labels = np.searchsorted([3, 5, 8, 9], injected.scores["label"])
    split, flag = injected.scores["split"].to_numpy(), injected.scores["flag"].to_numpy()
    train, test = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
    z, p = head.features(x), head.probabilities(x)
    residuals = p - one_hot(torch.from_numpy(labels), 4, p.dtype)
    truth = one_hot(torch.from_numpy(original), 4, p.dtype)
    solver = StableSolver(HeadHessian(z[train], p[train], head.l2))
    influence, _ = influence_on_validation(solver, z, residuals, torch.from_numpy(test), p[test] - truth[test])
    estimate = before + float(influence[(split == "train") & flag].sum()) / len(train)
    assert estimate < before  # it points the right way
    assert estimate != pytest.approx(removed, rel=0.05)


def test_without_injection_it_says_on_which_given_labels_it_is_measured(arrays: Arrays) -> None:
    x, labels = arrays
    wrong = np.random.default_rng(0).random(len(labels)) < 0.1
    noisy = np.where(wrong, np.where(labels == 3, 8, 3), labels)
    result = audit.audit_embeddings(x, noisy)
    correction = result.summary.correction
    assert correction is not None
    scores = result.scores[result.scores["split"] == "test"]
    assert [on.name for on in correction.measured_on] == ["given", "unflagged"]
    assert [on.samples for on in correction.measured_on] == [len(scores), int((~scores["flag"]).sum())]
    assert correction.flagged.test == int(scores["flag"].sum()) > 0
    for head in correction.heads.by_name.values():
        for on in correction.measured_on:
            assert sum(count for _, _, count in head.quality[on.name].confusion) == on.samples
    before = correction.heads.before.quality["given"]
    assert before == result.summary.heads.given.test


def test_where_nothing_is_flagged_there_is_nothing_to_correct(arrays: Arrays) -> None:
    result = audit.audit_embeddings(*arrays, config=audit.AuditConfig(threshold=1.0))
    assert not result.scores["flag"].any()
    assert result.summary.correction is None


def test_a_correction_that_leaves_nothing_says_so(arrays: Arrays) -> None:
    result = audit.audit_embeddings(*arrays, config=audit.AuditConfig(threshold=0.0))
    heads = result.summary.correction.heads
    assert heads.removed == UntrainedHead(error="no samples are left to train on, or to choose the L2 penalty with")
    assert heads.corrected.train_samples == result.summary.counts.train


def test_every_explained_sample_has_neighbours_of_both_kinds_and_none_explains_itself(
    injected: audit.AuditResult,
) -> None:
    known, scores = injected.explanations, injected.scores
    assert (known["target"] != known["neighbour"]).all()
    assert (scores.loc[known["neighbour"], "split"] == "train").all()
    suspects = known[known["reason"] != "validation"]
    by_suspicion = scores.sort_values("suspicion", ascending=False, kind="stable")
    assert list(pd.unique(suspects["target"])) == list(by_suspicion.index[: ExplanationSettings.suspects])
    assert ((suspects["reason"] == "flagged").to_numpy() == scores.loc[suspects["target"], "flag"].to_numpy()).all()
    assert (suspects["label"].to_numpy() == scores.loc[suspects["target"], "label"].to_numpy()).all()
    validation = known[known["reason"] == "validation"].drop_duplicates("target")
    assert (scores.loc[validation["target"], "split"] == "validation").all()
    right = (validation["predicted"] == validation["label"]).tolist()
    assert right == sorted(right)  # wrong predictions come first
    for _, group in known.groupby(["reason", "target", "kind"]):
        strength = group.sort_values("rank")["influence"].abs().to_numpy()
        assert (np.diff(strength) <= 0).all()
