"""Labels that are known to be right, against mistakes that lie together and against mistakes at random."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import audit
from audit.noise_model.given_labels import GivenLabels
from audit.noise_model.model import Fitted, NoiseModel
from audit.noise_model.settings import NoiseSettings
from audit.noise_model.trusted import TrustedHead, _fit_exponents
from tests.noise_problems import N, pictures, suspicion_of, with_slips

WIDTH = 24
COUNT = 900


def lying_together(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings of two classes, their labels, which of these are trusted, and which are wrong.

    One part of class 0 lies apart, and all its labels that are not trusted are wrong: its neighbours agree with them.
    """
    rng = np.random.default_rng(seed)
    true = np.arange(COUNT) % 2
    x = rng.normal(size=(COUNT, WIDTH))
    x[:, 0] += 4.0 * true
    apart = (true == 0) & (np.arange(COUNT) % 10 == 0)
    x[apart, 1] += 2.5
    x[apart, 0] += 0.5
    trusted = rng.random(COUNT) < 0.2
    wrong = apart & ~trusted
    return x, np.where(wrong, 1, true), trusted, wrong


def fitted(x: np.ndarray, labels: np.ndarray, trusted: np.ndarray) -> Fitted:
    model = NoiseModel(torch.from_numpy(x), int(labels.max()) + 1, trusted=torch.from_numpy(trusted))
    return model.fit(torch.from_numpy(labels))


@pytest.mark.parametrize("seed", range(3))
def test_mistakes_that_lie_together_show_by_trusted_labels(seed: int) -> None:
    x, labels, trusted, wrong = lying_together(seed)
    found = fitted(x, labels, trusted)
    assert found.trusted_head is not None
    assert found.diagnosis.trusted_weight == found.trusted_head.exponents[1] > 0
    suspicion = suspicion_of(found.diagnosis, torch.from_numpy(labels))
    flag = suspicion > 0.5
    assert wrong[flag].mean() > 0.8
    assert flag[wrong].mean() > 0.8
    assert suspicion.sum() == pytest.approx(wrong.sum(), rel=0.25)
    assert (suspicion[trusted] == 0).all()
    # Without anything known to be right, the same labels look right: the pictures agree with them.
    alone = NoiseModel(torch.from_numpy(x), 2).diagnose(torch.from_numpy(labels))
    assert suspicion_of(alone, torch.from_numpy(labels))[wrong].mean() < 0.5


def test_a_copy_of_the_labels_is_read_with_the_same_trusted_head() -> None:
    x, labels, trusted, wrong = lying_together(0)
    model = NoiseModel(torch.from_numpy(x), 2, trusted=torch.from_numpy(trusted))
    given = torch.from_numpy(labels)
    found = model.fit(given)
    posterior, _ = model.rediagnose(found, given)
    again = (1 - posterior.double().gather(1, given[:, None])[:, 0]).numpy()
    assert again == pytest.approx(suspicion_of(found.diagnosis, given), abs=0.2)
    assert again[wrong].mean() > 0.7


@pytest.mark.parametrize("seed", range(3))
def test_mistakes_at_random_leave_the_trusted_head_nothing_to_add(seed: int) -> None:
    x, true = pictures(seed)
    labels = with_slips(true, 0.1, seed)
    trusted = np.random.default_rng(seed).random(N) < 0.2
    labels[trusted] = true[trusted]
    found = fitted(x, labels, trusted)
    assert found.trusted_head is None
    assert found.diagnosis.trusted_weight == 0


def test_trusted_labels_that_lack_a_class_are_no_head() -> None:
    x, labels, trusted, _ = lying_together(0)
    trusted &= labels == 1
    assert fitted(x, labels, trusted).trusted_head is None


def test_predictions_of_trusted_samples_have_not_seen_them() -> None:
    rng = np.random.default_rng(0)
    x, _, trusted, _ = lying_together(0)
    model = NoiseModel(torch.from_numpy(x), 2, trusted=torch.from_numpy(trusted))
    # Labels at random: whoever has not seen them predicts half of them.
    given = GivenLabels(torch.from_numpy(rng.integers(2, size=COUNT)), model.trusted)
    useless = torch.full((COUNT, 2), 0.5)
    assert TrustedHead.of(model.features, useless, given, model.order, model.settings) is None


def test_exponents_are_the_likeliest() -> None:
    generator = torch.Generator().manual_seed(0)
    log_odds = 2 * torch.randn(4000, generator=generator, dtype=torch.float64)
    logs = torch.stack([torch.zeros(4000), log_odds], 1).log_softmax(1)
    # Half as sharp as the labels are.
    numbers = (torch.rand(4000, generator=generator) < (2 * log_odds).sigmoid()).long()
    noise = torch.randn(4000, 2, generator=generator, dtype=torch.float64).log_softmax(1)
    (sharp, none), reached = _fit_exponents(torch.stack([logs, noise]), numbers, NoiseSettings())
    assert sharp == pytest.approx(2, abs=0.2)
    assert none == pytest.approx(0, abs=0.1)
    assert reached >= _fit_exponents(logs[None], numbers, NoiseSettings())[1] - 1e-3


def test_mislabels_on_the_most_helpful_samples_show_by_trusted_validation_labels() -> None:
    """The original recipe. Without the head of the trusted labels, none of them is flagged."""
    digits = load_digits()
    rows = np.isin(digits.target, [3, 5])
    config = audit.AuditConfig(
        inject=0.1, inject_strategy="most-influential", inject_into="train", validation_trusted=True
    )
    detection = audit.audit_embeddings(digits.data[rows], digits.target[rows], config=config).summary.detection
    assert detection.precision >= 0.7
    assert detection.recall >= 0.7
