"""Mistakes that are found on made and on real features: over several seeds, in many classes, in small data."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.datasets
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

import audit
from audit.data.injection import inject_mislabels
from audit.flags.threshold import choose_flags
from audit.noise_model.controls import spike_in
from audit.noise_model.count import count_by_controls
from audit.noise_model.model import NoiseModel
from audit.noise_model.settings import NoiseSettings
from tests.noise_problems import CLASSES, N, diagnosed, fitted_to, pictures, suspicion_of, with_slips


def test_many_classes_of_few_samples_are_judged_by_what_each_class_shows() -> None:
    """Where classes have fewer samples than features, the features' moments over all samples say little of a class."""
    rng = np.random.default_rng(1)
    groups = rng.normal(size=(20, 128)).repeat(5, axis=0)
    true = rng.permutation(np.arange(1000) % 100)
    x = (groups + 0.6 * rng.normal(size=(100, 128)))[true] + 0.8 * rng.normal(size=(1000, 128))
    wrong = rng.random(1000) < 0.1
    given = np.where(wrong, (true + rng.integers(1, 100, 1000)) % 100, true)
    model, fitted, labels = fitted_to(x, given)
    diagnosis = fitted.diagnosis
    assert diagnosis.method == "blocks"
    suspicion = suspicion_of(diagnosis, labels)
    assert average_precision_score(wrong, suspicion) > 0.99
    count = count_by_controls(spike_in(model, fitted, labels, seed=2), diagnosis, labels, suspicion)
    assert count.mistakes.number == pytest.approx(wrong.sum(), rel=0.05)
    flags = choose_flags(suspicion, mistakes=count.mistakes)
    assert wrong[flags.flag].mean() > 0.97


def test_mistakes_in_classes_of_four_samples_are_found() -> None:
    """There, what a wrong label leaves behind in a single Newton step is as much as chance mistakes have."""
    rng = np.random.default_rng(0)
    true = rng.permutation(np.arange(1200) % 300)
    x = rng.normal(size=(300, 64))[true] + 0.6 * rng.normal(size=(1200, 64))
    wrong = rng.random(1200) < 0.1
    given = np.where(wrong, (true + rng.integers(1, 300, 1200)) % 300, true)
    diagnosis, labels = diagnosed(x, given)
    assert diagnosis.method == "blocks"
    suspicion = suspicion_of(diagnosis, labels)
    assert average_precision_score(wrong, suspicion) > 0.99
    assert suspicion.sum() == pytest.approx(wrong.sum(), rel=0.15)


def test_systematic_mistakes_are_looked_for_longer() -> None:
    classes, share = 10, 0.3
    found, rounds = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        true = rng.integers(classes, size=3000)
        x = rng.normal(size=(classes, 256))[true] + 5.5 * rng.normal(size=(len(true), 256))
        uniform = np.where(rng.random(len(true)) < 0.1, rng.integers(classes, size=len(true)), true)
        systematic = np.where((true % 2 == 0) & (rng.random(len(true)) < share), true + 1, true)
        diagnosis = diagnosed(x, systematic, seed)[0]
        found.append(1 - diagnosis.transition.diagonal()[::2].numpy())
        rounds.append((len(diagnosed(x, uniform, seed)[0].rounds), len(diagnosis.rounds)))
    assert np.mean(found) == pytest.approx(share, abs=0.02)  # after three rounds .27
    assert all(of_uniform < of_systematic <= NoiseSettings().rounds.most for of_uniform, of_systematic in rounds)


def test_labels_that_are_known_to_be_right_are_certain_and_help_with_the_others() -> None:
    gained = []
    for seed in range(6):
        x, true = pictures(seed)
        x += 1.5 * np.random.default_rng(seed).normal(size=x.shape)
        labels = with_slips(true, 0.4, seed)
        known = np.arange(N) < N // 5
        labels[known] = true[known]
        given, trusted = torch.from_numpy(labels), torch.from_numpy(known)
        model = NoiseModel(torch.from_numpy(x), CLASSES, seed, trusted)
        fitted = model.fit(given)
        aware = fitted.diagnosis
        assert (suspicion_of(aware, given)[known] == 0).all()
        wrong = (labels != true)[~known]
        # Right labels among the others do not pass for a sign that few are wrong.
        assert 1 - float(aware.transition.diagonal().mean()) == pytest.approx(wrong.mean(), abs=0.06)
        controls = spike_in(model, fitted, given, seed)
        assert set(controls.rows) == set(np.flatnonzero(~known))
        assert (controls.labels != labels[controls.rows]).sum() == controls.known.sum() > 0
        unaware = diagnosed(x, labels, seed)[0]
        gained.append(
            average_precision_score(wrong, suspicion_of(aware, given)[~known])
            - average_precision_score(wrong, suspicion_of(unaware, given)[~known])
        )
    assert np.mean(gained) > 0


@pytest.mark.parametrize(
    ("name", "kind", "fraction", "seed", "least"),
    [
        ("iris", "uniform", 0.05, 10, 0.85),
        ("iris", "uniform", 0.2, 20, 0.8),
        ("iris", "class-pair", 0.15, 22, 0.85),
        ("breast_cancer", "uniform", 0.05, 11, 0.9),
        ("wine", "uniform", 0.1, 11, 0.95),
    ],
)
def test_mistakes_in_small_data_are_ranked_before_the_rest(
    name: str, kind: str, fraction: float, seed: int, least: float
) -> None:
    data = getattr(sklearn.datasets, f"load_{name}")()
    true, x = data.target, (data.data - data.data.mean(0)) / data.data.std(0)
    labels = inject_mislabels(true, true.max() + 1, fraction, kind, seed, embeddings=x)
    diagnosis, given = diagnosed(x, labels, seed)
    assert average_precision_score(labels != true, suspicion_of(diagnosis, given)) > least


def test_influence_needs_no_clean_validation_labels_to_rank_as_with_them() -> None:
    data = load_digits()
    rows = np.isin(data.target, [3, 5, 8])  # easily confused
    arrays = data.data[rows], data.target[rows]

    def ranked(seed: int, trusted: bool) -> float:
        config = audit.AuditConfig(inject=0.1, seed=seed, validation_trusted=trusted)
        scores = audit.audit_embeddings(*arrays, config=config).scores
        scores = scores[scores["split"] != "validation"]  # to which nothing is done where they are trusted
        return float(average_precision_score(scores["injected"], -scores["influence"]))

    values = np.array([[ranked(seed, trusted) for trusted in (False, True)] for seed in range(4)])
    assert values[:, 0].mean() >= values[:, 1].mean()
