"""Audits by predictions that the user gives: alone, beside embeddings, in-sample; and predictions that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from cleanlab.rank import get_label_quality_scores
from sklearn.metrics import average_precision_score

import audit
from audit.data.predictions import Predictions
from audit.noise_model.readings import Exponents, Readings
from audit.result import AuditResult
from reports.html import render_report
from tests.predicted import CLASSES, N, learnt_by_heart, made_predictions, softmax


@pytest.fixture(scope="module")
def alone() -> AuditResult:
    logits, labels, _ = made_predictions()
    return audit.audit_embeddings(None, labels, predictions=softmax(logits))


def precision_of(result: AuditResult, wrong: np.ndarray) -> float:
    return float(average_precision_score(wrong, result.scores["suspicion"]))


def test_predictions_alone_find_the_wrong_labels_and_count_them(alone: AuditResult) -> None:
    _, labels, true = made_predictions()
    wrong = labels != true
    assert precision_of(alone, wrong) > 0.97
    estimates = alone.summary.estimates
    assert estimates.mistakes_low <= wrong.sum() <= estimates.mistakes_high
    assert estimates.mistakes == pytest.approx(wrong.sum(), rel=0.2)
    flagged = alone.scores["flag"].to_numpy()
    assert (true[flagged] == alone.scores["suggested_label"].to_numpy()[flagged]).mean() > 0.85
    assert alone.summary.controls.kinds["slip"].found > 0.8 * alone.summary.controls.kinds["slip"].added


def test_without_embeddings_influence_is_empty_and_everything_says_so(alone: AuditResult, tmp_path: Path) -> None:
    alone.save(tmp_path / "result")
    loaded = AuditResult.load(tmp_path / "result")
    summary = loaded.summary
    assert summary.heads is None
    assert summary.influence is None
    assert loaded.heads == {}
    assert summary.predictions is not None
    assert summary.predictions.alone
    assert loaded.scores[["influence", "self_influence"]].isna().all(axis=None)
    assert all(row.clean is None for row in summary.influence_by_class)
    page = render_report(loaded)
    assert "Influence is undefined" in page
    assert "NaN" not in page.split('id="page-data">')[1].split("</script>")[0]
    assert (loaded.scores["loo_probability"].to_numpy() <= 1).all()
    assert "nan" not in (tmp_path / "result" / "scores.csv").read_text().lower()
    with pytest.raises(audit.InputError, match="no influence"):
        audit.influence_matrix(loaded, np.zeros((N, 2)))


@pytest.mark.parametrize("form", ["logits", "tensor", "list", "half", "table", "npy", "parquet"])
def test_any_usual_form_says_the_same(form: str, tmp_path: Path) -> None:
    logits, _, _ = made_predictions()
    expected = softmax(logits)
    names = [str(number) for number in range(CLASSES)]
    given = {
        "logits": logits,
        "tensor": torch.from_numpy(expected),
        "list": expected.tolist(),
        "half": expected.astype(np.float16),
        "table": pd.DataFrame(expected, columns=names)[names[::-1]],
        "npy": tmp_path / "p.npy",
        "parquet": str(tmp_path / "p.parquet"),
    }[form]
    np.save(tmp_path / "p.npy", expected)
    pd.DataFrame(expected, columns=names)[names[::-1]].to_parquet(tmp_path / "p.parquet")
    classes = np.arange(CLASSES)
    found = Predictions.read(given).of_classes(classes, classes)
    np.testing.assert_allclose(found, expected, atol=2e-3 if form == "half" else 1e-6)


def _changed(values: np.ndarray, row: int, value: float) -> np.ndarray:
    changed = values.astype(float)
    changed[row, 0] = value
    return changed


P = softmax(made_predictions()[0])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (100 * P, "neither probabilities nor clearly logits"),
        (np.round(10 * P), "neither probabilities nor clearly logits"),
        (0.5 + P / 2, "do not sum to 1"),
        (2 * P - 1 / CLASSES, "neither probabilities nor clearly logits"),
        (_changed(P, 7, np.nan), "first is row 7"),
        (_changed(P, 7, np.inf), "first is row 7"),
        (P[:, 0], "have shape"),
        (P[:, :1], "have shape"),
        (P[:-1], f"{N - 1} rows, and there are {N} samples"),
        (softmax(P[:, :-1]), "have 4 columns, and the labels 5 classes"),
        (np.full_like(P, np.nan), "none of the"),
        (pd.DataFrame(P, columns=list("abcde")), "no column for class"),
        (P.astype(str).astype(object) + "x", "cannot be read as numbers"),
        (pd.DataFrame(P).assign(split="train"), "column 'split' is of type"),
        ("predictions.txt", "no .npy, .parquet or .csv file"),
        ("missing.npy", "cannot be read"),
    ],
    ids=lambda value: value[:20].strip() if isinstance(value, str) else "",
)
def test_unclear_predictions_are_refused_in_one_line(given: object, reason: str) -> None:
    labels = made_predictions()[1]
    with pytest.raises(audit.InputError, match=reason) as refused:
        audit.audit_embeddings(None, labels, predictions=given)
    assert "\n" not in str(refused.value)


def test_a_mismatch_of_class_names_names_both() -> None:
    labels = np.array(["cat", "dog", "owl"])[made_predictions()[1] % 3]
    given = pd.DataFrame(softmax(np.random.default_rng(0).normal(size=(N, 3))), columns=["cat", "dog", "fox"])
    with pytest.raises(audit.InputError, match=r"'owl'.*'cat', 'dog', 'fox'"):
        audit.audit_embeddings(None, labels, predictions=given)


def test_class_numbers_and_further_columns_are_understood() -> None:
    classes = np.array([0, 3])
    found = Predictions.read([[0.2, 0.1, 0.1, 0.6], [1.0, 0, 0, 0]]).of_classes(classes, classes)
    np.testing.assert_allclose(found, [[0.25, 0.75], [1, 0]])
    named = pd.DataFrame([[0.5, 0.1, 0.4]], columns=["b", "c", "a"])
    names = np.array(["a", "b"])
    np.testing.assert_allclose(Predictions.read(named).of_classes(names, names), [[4 / 9, 5 / 9]], rtol=1e-6)


def test_samples_without_a_prediction_are_left_out_and_counted() -> None:
    logits, labels, _ = made_predictions()
    given = softmax(logits)
    given[[3, 10]] = np.nan
    result = audit.audit_embeddings(None, labels, predictions=given)
    assert result.summary.counts.without_input == 2
    assert result.skipped["id"].tolist() == ["3", "10"]
    assert set(result.skipped["reason"]) == {"no prediction was given"}
    assert len(result.scores) == N - 2
    with pytest.raises(audit.InputError, match="no prediction was given"):
        audit.audit_embeddings(None, labels, predictions=given, config=audit.AuditConfig(strict=True))


def test_predictions_and_embeddings_together_find_more_than_either() -> None:
    logits, labels, true = made_predictions(sharpness=1.5)
    rng = np.random.default_rng(1)
    x = 1.5 * np.eye(CLASSES)[true] @ rng.normal(size=(CLASSES, 8)) + 2.0 * rng.normal(size=(N, 8))
    wrong = labels != true
    both = audit.audit_embeddings(x, labels, predictions=logits)
    either = (audit.audit_embeddings(x, labels), audit.audit_embeddings(None, labels, predictions=logits))
    assert precision_of(both, wrong) > max(precision_of(one, wrong) for one in either)
    assert both.summary.noise_model.rounds[-1].predictions_weight > 0
    assert both.summary.predictions is not None
    assert not both.summary.predictions.alone
    assert both.scores["influence"].notna().all()


def test_in_sample_predictions_are_replaced_by_those_for_the_neighbours() -> None:
    logits, labels, true = made_predictions()
    rng = np.random.default_rng(1)
    x = 3 * np.eye(CLASSES)[true] @ rng.normal(size=(CLASSES, 8)) + rng.normal(size=(N, 8))
    given = learnt_by_heart(logits, labels)
    config = audit.AuditConfig(predictions_in_sample=True)
    told, untold = (audit.audit_embeddings(x, labels, predictions=given, config=chosen) for chosen in (config, None))
    assert precision_of(told, labels != true) > 0.9
    assert precision_of(untold, labels != true) < precision_of(told, labels != true)
    assert told.summary.predictions is not None
    assert told.summary.predictions.in_sample


def test_settings_that_need_a_head_are_refused_without_one() -> None:
    logits, labels, _ = made_predictions()
    for setting, reason in (
        ({"inject": 0.1, "inject_strategy": "most-influential"}, "most-influential needs influence"),
        ({"trainer": "adam", "damping": 1e-3}, "trainer 'adam' needs embeddings"),
        ({"heat_maps": 3}, "heat maps need images"),
    ):
        with pytest.raises(audit.InputError, match=reason):
            audit.audit_embeddings(None, labels, predictions=logits, config=audit.AuditConfig(**setting))
    in_sample = audit.AuditConfig(predictions_in_sample=True)
    with pytest.raises(audit.InputError, match="in-sample predictions alone"):
        audit.audit_embeddings(None, labels, predictions=logits, config=in_sample)
    with pytest.raises(audit.InputError, match="none were given"):
        audit.audit_embeddings(logits, labels, config=in_sample)
    with pytest.raises(audit.InputError, match="needs predictions"):
        audit.audit_embeddings(None, labels)


@pytest.mark.parametrize("strategy", ["uniform", "class-pair"])
def test_injected_mislabels_are_measured_without_embeddings(strategy: str) -> None:
    logits, _, true = made_predictions()
    config = audit.AuditConfig(inject=0.1, inject_strategy=strategy, validation_trusted=True)
    result = audit.audit_embeddings(None, true, predictions=logits, config=config)
    assert result.summary.detection is not None
    assert result.summary.detection.average_precision > 0.9
    assert set(result.summary.detection.by_score) == {"suspicion", "loo_probability", "loss"}
    trusted = result.scores["split"] == "validation"
    assert not result.scores.loc[trusted, "flag"].any()


def test_predictions_that_say_nothing_leave_the_labels_as_they_are() -> None:
    _, labels, _ = made_predictions()
    noise = np.random.default_rng(3).normal(size=(N, CLASSES))
    result = audit.audit_embeddings(None, labels, predictions=noise)
    assert not result.summary.estimates.told
    assert result.summary.estimates.cautions[0].startswith("Too little to tell: the predictions predict")
    assert result.scores["suspicion"].max() < 0.5


def test_a_mixture_of_one_reading_is_that_reading() -> None:
    p = torch.from_numpy(softmax(made_predictions()[0]))
    readings = Readings.of(0.0, predictions=p, head=None)
    assert readings.names == ("predictions",)
    torch.testing.assert_close(readings.mixed(Exponents.alone("predictions")), p.T.contiguous())


def test_find_label_issues_returns_what_cleanlab_does(alone: AuditResult) -> None:
    logits, labels, _ = made_predictions()
    p = softmax(logits)
    mask = audit.find_label_issues(labels, p)
    assert mask.dtype == bool
    assert mask.shape == (N,)
    assert (mask == alone.scores["flag"].to_numpy()).all()
    worst_first = audit.find_label_issues(labels, p, return_indices_ranked_by="suspicion")
    assert worst_first.tolist() == alone.flagged.index.astype(int).tolist()
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        ranked = audit.find_label_issues(labels, p, return_indices_ranked_by=method)
        assert sorted(ranked.tolist()) == np.flatnonzero(mask).tolist()
        quality = get_label_quality_scores(labels, p, method=method)[ranked]
        assert (np.diff(quality) >= -1e-6).all()
    with pytest.raises(audit.InputError, match="takes None or one of"):
        audit.find_label_issues(labels, p, return_indices_ranked_by="entropy")


def test_find_label_issues_flags_no_sample_that_cannot_be_audited() -> None:
    logits, labels, _ = made_predictions()
    named = [None if row == 5 else f"class {label}" for row, label in enumerate(labels)]
    p = softmax(logits)
    p[6] = np.nan
    mask = audit.find_label_issues(named, p)
    assert mask.shape == (N,)
    assert not mask[[5, 6]].any()
    assert mask.any()


@pytest.mark.parametrize("kind", ["{}", "{:02d}", "{}.0"])
def test_classes_that_are_numbers_in_text_have_their_columns_in_the_order_of_numbers(kind: str) -> None:
    """As text, 10 comes before 2."""
    true = np.arange(240) % 12
    labels = np.array([kind.format(number) for number in true])
    found = Predictions.read(0.89 * np.eye(12)[true] + 0.11 / 12).of_classes(np.unique(labels), np.unique(labels))
    assert (np.unique(labels)[found.argmax(1)] == labels).all()
    few = true < 11
    found = Predictions.read(np.eye(12)[true[few]]).of_classes(np.unique(labels[few]), np.unique(labels[few]))
    assert (np.unique(labels[few])[found.argmax(1)] == labels[few]).all()


def test_columns_in_another_order_are_refused_unless_they_are_named() -> None:
    logits, labels, _ = made_predictions()
    names = np.array(["eins", "zwei", "drei", "vier", "fuenf"])
    as_trained = softmax(logits)  # its columns are in the order of `names`, which is not the sorted one
    with pytest.raises(audit.InputError, match=r"agree with \d+% of the labels, and with \d\d% if their columns"):
        audit.audit_embeddings(None, names[labels], predictions=as_trained)
    named = audit.audit_embeddings(None, names[labels], predictions=pd.DataFrame(as_trained, columns=names))
    sorted_ones = audit.audit_embeddings(None, names[labels], predictions=as_trained[:, names.argsort()])
    assert named.scores["suspicion"].equals(sorted_ones.scores["suspicion"])
    reversed_ones = pd.DataFrame(as_trained)[[4, 3, 2, 1, 0]]
    found = audit.audit_embeddings(None, labels, predictions=reversed_ones)
    assert found.scores["suspicion"].equals(
        audit.audit_embeddings(None, labels, predictions=as_trained).scores["suspicion"]
    )
