"""Which embeddings fit no class: those of other classes do not, and those with a wrong label fit another one."""

from __future__ import annotations

import numpy as np
import pytest

import audit

CLASSES, OF_EACH, STRANGE, WRONG, FEATURES = 5, 80, 24, 30, 24


@pytest.fixture(scope="module")
def mixed() -> tuple[audit.AuditResult, np.ndarray, np.ndarray]:
    """An audit of six classes; which of its samples are of two other classes, and which others have a wrong label."""
    random = np.random.default_rng(4)
    means = 3.5 * random.normal(size=(CLASSES + 2, FEATURES)) / np.sqrt(2)
    true = np.repeat(np.arange(CLASSES), OF_EACH)
    strange = random.integers(CLASSES, CLASSES + 2, STRANGE)
    labels = np.concatenate([true, random.integers(0, CLASSES, STRANGE)])
    wrong = random.choice(len(true), WRONG, replace=False)
    labels[wrong] = (labels[wrong] + random.integers(1, CLASSES, WRONG)) % CLASSES
    kinds = np.concatenate([true, strange])
    x = means[kinds] + random.normal(size=(len(kinds), FEATURES))
    result = audit.audit_embeddings(
        x, [f"class {label}" for label in labels], config=audit.AuditConfig(findings="off-topic")
    )
    return result, kinds >= CLASSES, (kinds < CLASSES) & (labels != kinds)


def test_pictures_of_other_classes_are_named_and_wrong_labels_are_not(
    mixed: tuple[audit.AuditResult, np.ndarray, np.ndarray],
) -> None:
    result, strange, wrong = mixed
    probability = result.scores["fits_no_class"].to_numpy()
    named = probability >= 0.5
    assert named[strange].mean() > 0.5
    assert named[wrong].mean() < 0.05
    assert strange[named].mean() > 0.95


def test_the_stated_probability_is_about_the_share_that_is_right(
    mixed: tuple[audit.AuditResult, np.ndarray, np.ndarray],
) -> None:
    result, strange, _ = mixed
    probability = result.scores["fits_no_class"].to_numpy()
    named = probability >= 0.5
    assert abs(probability[named].mean() - strange[named].mean()) < 0.25
