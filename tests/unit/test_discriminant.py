"""Discriminants: what is predicted of a sample is what it would be had the sample not been there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score

from audit.compute.matrix import DerivedRows
from audit.data.injection import inject_mislabels
from audit.head.factors import SecondMoment
from audit.head.fit import one_hot
from audit.head.standardise import Standardiser
from audit.noise_model.discriminant import Discriminant, LeastSquares
from audit.noise_model.model import NoiseModel
from audit.noise_model.settings import NoiseSettings

CLASSES, N = 4, 120
RIDGES = NoiseSettings().discriminant.ridges


def features(n: int, width: int, apart: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardised features (n, width + 1) around a centre for each class, in double precision, and classes (n,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=n)
    x = torch.from_numpy(apart * rng.normal(size=(CLASSES, width))[labels] + rng.normal(size=(n, width)))
    return Standardiser.fit(x)(x), torch.from_numpy(labels)


def beliefs(labels: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """Distributions (n, C) that believe in some labels more than in others."""
    doubt = torch.rand(len(labels), CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mixed = one_hot(labels, CLASSES, torch.float64) + doubt * doubt
    return mixed / mixed.sum(1, keepdim=True)


@pytest.mark.parametrize("rotated", [True, False])
@pytest.mark.parametrize("soft", [True, False])
def test_least_squares_predict_as_if_each_sample_had_been_left_out(rotated: bool, soft: bool) -> None:
    z, labels = features(N, 20, 0.5)
    moment = SecondMoment.of(z)
    if rotated:
        z, moment = moment.rotate(z), SecondMoment(moment.values, None)
    targets = beliefs(labels) if soft else one_hot(labels, CLASSES, torch.float64)
    fitted = LeastSquares(z, moment, one_hot(labels, CLASSES, torch.float64), torch.arange(N))
    predicted = fitted(targets)
    assert predicted.sum(1).numpy() == pytest.approx(1)
    penalty = N * fitted.ridge * float(moment.values.mean())
    for sample in (0, 17, 99):
        others = np.arange(N) != sample
        model = Ridge(penalty, fit_intercept=False).fit(z[others].numpy(), targets[others].numpy() - 1 / CLASSES)
        expected = model.predict(z[sample : sample + 1].numpy())[0] + 1 / CLASSES
        assert predicted[sample].numpy() == pytest.approx(expected, abs=1e-9)


def test_the_penalty_is_the_one_with_the_smallest_error_out_of_sample() -> None:
    z, labels = features(N, 60, 0.3)
    moment = SecondMoment.of(z)
    given = one_hot(labels, CLASSES, torch.float64)
    chosen = LeastSquares(z, moment, given, torch.arange(N)).ridge

    def error(ridge: float) -> float:
        hat = z @ torch.linalg.solve(z.T @ z + N * ridge * moment.values.mean() * torch.eye(61).double(), z.T)
        wanted = given - 1 / CLASSES
        return float((((hat @ wanted - wanted) / (1 - hat.diagonal())[:, None]) ** 2).mean())

    assert chosen == min(RIDGES, key=error)
    assert RIDGES[0] < chosen < RIDGES[-1]


def test_discriminants_are_those_without_the_sample() -> None:
    draw = torch.Generator().manual_seed(2)
    labels = torch.randint(0, CLASSES, (N,), generator=draw)
    targets = one_hot(labels, CLASSES, torch.float64)
    predicted = 0.3 * targets + 20 * torch.rand(N, CLASSES, generator=draw, dtype=torch.float64)
    probabilities = Discriminant.of(predicted, targets)(predicted, targets)
    kept = predicted[:, :-1].numpy()
    for sample in range(0, N, 13):
        others = np.arange(N) != sample
        model = LinearDiscriminantAnalysis(solver="lsqr").fit(kept[others], labels[others].numpy())
        # 1 / n beside variances of 33 is what they differ by.
        assert probabilities[sample].numpy() == pytest.approx(model.predict_proba(kept[[sample]])[0], rel=2e-3)


def test_some_samples_in_any_order_and_targets_made_when_asked_for_are_alike() -> None:
    z, labels = features(N, 20, 0.5)
    z = z.float()
    moment = SecondMoment.of(z)
    given = one_hot(labels, CLASSES, z.dtype)
    lazily = DerivedRows(lambda numbers: one_hot(numbers, CLASSES, z.dtype), [labels], CLASSES, z.dtype)
    some = torch.tensor([5, 3, 80])
    read = DerivedRows(lambda rows: rows, [z], z.shape[1], z.dtype)
    at_once, when_asked = (
        LeastSquares(rows, moment, targets, torch.arange(N)) for rows, targets in ((z, given), (read, lazily))
    )
    assert at_once.ridge == when_asked.ridge
    predicted, predicted_when_asked = at_once(given), when_asked(lazily)
    whole = Discriminant.of(predicted, given)(predicted, given)
    found = Discriminant.of(predicted_when_asked, lazily)(predicted_when_asked[some], lazily[some])
    torch.testing.assert_close(found, whole[some], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("missing", [False, True])
def test_embeddings_that_say_nothing_are_no_evidence(missing: bool) -> None:
    labels = torch.arange(400) % 3
    z = Standardiser.fit(torch.ones(400, 5))(torch.ones(400, 5))
    classes = 4 if missing else 3  # a class that nobody has
    given = one_hot(labels, classes, z.dtype)
    predicted = LeastSquares(z, SecondMoment.of(z), given, torch.arange(400))(given)
    probabilities = Discriminant.of(predicted, given)(predicted, given)
    assert probabilities[:, :3].numpy() == pytest.approx(1 / 3, abs=0.01)
    x = torch.ones(400, 5)
    assert all(entry["discriminant_weight"] == 0 for entry in NoiseModel(x, classes).diagnose(labels).rounds)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_classes_of_few_samples_are_told_apart_by_their_means(seed: int) -> None:
    """Where classes have some dozen samples, means say what boundaries do not."""
    rng = np.random.default_rng(seed)
    true = np.repeat(np.arange(6), [600, 300, 150, 75, 37, 18])
    mixing = rng.normal(size=(64, 64)) * rng.exponential(size=64)
    x = (0.35 * rng.normal(size=(6, 64))[true] + rng.normal(size=(len(true), 64))) @ mixing
    labels = torch.from_numpy(inject_mislabels(true, 6, 0.1, "uniform", 4))
    model = NoiseModel(torch.from_numpy(x), 6)
    diagnosis = model.diagnose(labels)
    assert all(entry["discriminant_weight"] > 0.5 for entry in diagnosis.rounds)
    given = one_hot(labels, 6, torch.float32)
    fitted = LeastSquares(model.features.z, model.features.moment, given, torch.arange(len(labels)))
    predicted = fitted(given)
    by_means = Discriminant.of(predicted, given)(predicted, given)
    means, boundaries = (
        balanced_accuracy_score(true, beliefs.argmax(1)) for beliefs in (by_means, diagnosis.loo_probabilities)
    )
    assert means > boundaries + 0.01
