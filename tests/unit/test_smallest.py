"""The smallest datasets: a result with finite scores, or one line; never a traceback."""

from __future__ import annotations

import numpy as np
import pytest

import audit


def around_classes(labels: np.ndarray, features: int) -> np.ndarray:
    """Embeddings (n, features) near a place of each class."""
    rng = np.random.default_rng(0)
    places = 3 * np.eye(max(features, labels.max() + 1))[:, :features]
    return places[labels] + 0.3 * rng.normal(size=(len(labels), features))


@pytest.mark.parametrize("features", [1, 2, 50])
@pytest.mark.parametrize(
    "labels",
    [np.repeat([0, 1], 3), np.repeat([0, 1], [3, 300]), np.repeat(np.arange(10), 3), np.repeat([0, 1, 2], 10)],
    ids=["two of three", "three and many", "many of three", "three of ten"],
)
def test_few_samples_of_a_class_give_finite_scores(labels: np.ndarray, features: int) -> None:
    result = audit.audit_embeddings(around_classes(labels, features), labels)
    assert len(result.scores) == len(labels)
    assert np.isfinite(result.scores.select_dtypes("number")).all(axis=None)
    assert result.scores["flag"].mean() < 0.5
    assert result.summary.estimates.cautions


@pytest.mark.parametrize("held_out", [[0, 0], [0, 1], [0, 0, 1, 1]])
def test_validation_without_a_class_is_enough(held_out: list[int]) -> None:
    labels = np.repeat([0, 1, 2], 8)
    x = around_classes(np.r_[labels, held_out], 6)
    result = audit.audit_embeddings(x[:24], labels, validation=(x[24:], held_out))
    assert np.isfinite(result.scores.select_dtypes("number")).all(axis=None)
    assert not result.scores["flag"].any()


@pytest.mark.parametrize(
    "settings",
    [{"inject": 0.2}, {"validation_trusted": True}, {"trainer": "adam", "damping": 1e-3}, {"max_review": 3}],
)
def test_few_samples_are_audited_with_any_setting(settings: dict[str, object]) -> None:
    labels = np.repeat([0, 1], 4)
    result = audit.audit_embeddings(around_classes(labels, 3), labels, config=audit.AuditConfig(**settings))  # type: ignore[arg-type]
    assert np.isfinite(result.scores.select_dtypes("number")).all(axis=None)


@pytest.mark.parametrize("labels", [np.arange(20), np.zeros(20, dtype=int), np.array([0] * 18 + [1] * 2), np.array([])])
def test_labels_of_fewer_than_two_classes_of_three_are_refused_in_one_line(labels: np.ndarray) -> None:
    x = np.random.default_rng(0).normal(size=(len(labels), 3))
    with pytest.raises(audit.InputError, match="fewer than two classes") as error:
        audit.audit_embeddings(x, labels)
    assert "\n" not in str(error.value)
