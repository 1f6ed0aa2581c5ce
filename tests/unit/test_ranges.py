"""Ranges over models: what they hold, and when accepting suggestions pays."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import audit
from audit.config import AuditConfig
from audit.flags.threshold import Mistakes, choose_flags
from audit.noise_model.given_labels import GivenLabels
from audit.noise_model.ranges import Models, acceptance_of, with_ranges, wrong_if
from audit.noise_model.settings import NoiseSettings
from audit.noise_model.simpler_models import (
    CLASS_CONFUSIONS,
    NOISE_MODEL,
    UNIFORM_SLIPS,
    Belief,
    SimplerModel,
    log_likelihood_of,
    simpler_models,
)
from audit.result import AuditResult


def made(wrong: list[float], other: list[float], *simpler: SimplerModel, counted: Mistakes | None = None) -> Models:
    belief = Belief(np.array(wrong), np.array(other))
    number = float(belief.wrong.sum())
    return Models(belief, counted or Mistakes(number, 0.0, 2 * number), -1.0, simpler)


def model(*wrong: float, ruled_out: bool = False, other: float = 0.0) -> SimplerModel:
    return SimplerModel(UNIFORM_SLIPS, (Belief(np.array(wrong), np.full(len(wrong), other)),), -2.0, ruled_out)


@pytest.fixture(scope="module")
def few_classes() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """P(true | x) of 3000 pictures of four classes, true classes drawn from it, and labels of which 300 are slips."""
    rng = np.random.default_rng(0)
    clear = rng.dirichlet(np.full(4, 0.08), 3000)
    true = (clear.cumsum(1) < rng.random((3000, 1))).sum(1).clip(max=3)
    labels = true.copy()
    wrong = rng.permutation(3000)[:300]
    labels[wrong] = (true[wrong] + rng.integers(1, 4, 300)) % 4
    return torch.from_numpy(clear), true, labels


def test_both_models_find_uniform_slips(few_classes: tuple[torch.Tensor, np.ndarray, np.ndarray]) -> None:
    prior, true, labels = few_classes
    for found in simpler_models(prior, GivenLabels(torch.from_numpy(labels)), (labels + 1) % 4):
        assert not found.ruled_out
        totals = [belief.wrong.sum() for belief in found.beliefs]
        assert min(totals) - 30 < (labels != true).sum() < max(totals) + 30
        assert totals[0] == pytest.approx(300, abs=60)


def test_one_common_confusion_rules_uniform_slips_out(
    few_classes: tuple[torch.Tensor, np.ndarray, np.ndarray],
) -> None:
    prior, true, _ = few_classes
    labels = true.copy()
    labels[np.flatnonzero(true == 0)[:350]] = 1
    uniform, confusions = simpler_models(prior, GivenLabels(torch.from_numpy(labels)), (labels + 1) % 4)
    assert (uniform.name, confusions.name) == (UNIFORM_SLIPS, CLASS_CONFUSIONS)
    assert uniform.ruled_out
    assert not confusions.ruled_out
    assert confusions.log_likelihood > uniform.log_likelihood + 30
    assert confusions.beliefs[0].wrong.sum() == pytest.approx(350, abs=100)


@pytest.mark.parametrize(("samples", "ruled_out"), [(150, False), (1500, True)])
def test_few_labels_do_not_show_which_classes_are_confused(
    few_classes: tuple[torch.Tensor, np.ndarray, np.ndarray], samples: int, ruled_out: bool
) -> None:
    prior, true, _ = few_classes
    labels = true[:samples].copy()
    labels[::10] = (labels[::10] + 1) % 4  # each class is taken for one other
    uniform, confusions = simpler_models(prior[:samples], GivenLabels(torch.from_numpy(labels)), (labels + 1) % 4)
    tolerance = NoiseSettings().simpler.tolerance(samples)
    assert confusions.log_likelihood > uniform.log_likelihood + tolerance
    assert (uniform.ruled_out, confusions.ruled_out) == (ruled_out, False)


def test_trusted_labels_are_certainly_right(few_classes: tuple[torch.Tensor, np.ndarray, np.ndarray]) -> None:
    prior, true, labels = few_classes
    trusted = torch.from_numpy(labels == true) & (torch.arange(3000) < 1000)
    for found in simpler_models(prior, GivenLabels(torch.from_numpy(labels), trusted), (labels + 1) % 4):
        for belief in found.beliefs:
            assert np.all(belief.wrong[trusted.numpy()] == 0)
            assert np.all(belief.other[trusted.numpy()] == 0)


def test_models_that_are_fitted_to_some_samples_speak_of_all(
    few_classes: tuple[torch.Tensor, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit.noise_model.settings import SimplerSettings

    prior, _, labels = few_classes
    given = GivenLabels(torch.from_numpy(labels))
    some = NoiseSettings(simpler=SimplerSettings(samples=1500))
    for whole, part in zip(
        simpler_models(prior, given, (labels + 1) % 4),
        simpler_models(prior, given, (labels + 1) % 4, settings=some),
        strict=True,
    ):
        assert len(part.beliefs[0].wrong) == 3000
        assert part.beliefs[0].wrong.sum() == pytest.approx(whole.beliefs[0].wrong.sum(), rel=0.25)
        assert part.log_likelihood == pytest.approx(whole.log_likelihood, rel=0.1)


def test_the_log_likelihood_is_that_of_the_labels() -> None:
    prior = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    transition = torch.tensor([[0.9, 0.1], [0.3, 0.7]])
    expected = np.log(0.9 * 0.9 + 0.1 * 0.3) + np.log(0.2 * 0.1 + 0.8 * 0.7)
    assert log_likelihood_of(prior, transition, GivenLabels(torch.tensor([0, 1]))) == pytest.approx(expected)


def test_a_range_goes_over_the_models_that_are_not_ruled_out() -> None:
    suspicion = np.r_[np.full(100, 0.99), np.zeros(900)]
    flags = choose_flags(suspicion, mistakes=Mistakes(99.0, 70.0, 150.0))
    other = np.r_[np.full(100, 0.5), np.zeros(900)]
    doubtful = SimplerModel(CLASS_CONFUSIONS, (Belief(other, other),), -3.0, ruled_out=False)
    far = SimplerModel(UNIFORM_SLIPS, (Belief(np.ones(1000), other),), -9.0, ruled_out=True)
    models = Models(Belief(suspicion, suspicion), Mistakes(99.0, 70.0, 150.0), -1.0, (far, doubtful))
    estimates = with_ranges(flags, models, proven=0)
    assert [each.model for each in estimates.models] == [NOISE_MODEL, UNIFORM_SLIPS, CLASS_CONFUSIONS]
    assert [each.ruled_out for each in estimates.models] == [False, True, False]
    assert (estimates.mistakes_low, estimates.mistakes_high) == (40.0, 150.0)  # 50 − 1.96 √25, and the noise model's
    assert (estimates.precision_low, estimates.precision_high) == (0.4, 1.0)
    assert estimates.precision == pytest.approx(0.99)


def test_a_range_is_at_most_twice_as_wide_as_the_noise_models_interval() -> None:
    suspicion = np.r_[np.full(100, 0.99), np.zeros(900)]
    counted = Mistakes(99.0, 90.0, 120.0)
    flags = choose_flags(suspicion, mistakes=counted)
    far, near = (np.r_[np.full(100, share), np.zeros(900)] for share in (0.05, 0.75))
    beliefs = Belief(near, near), Belief(far, far)  # 66 to 84 mistakes, and 0 to 10
    models = Models(
        Belief(suspicion, suspicion), counted, -1.0, (SimplerModel(CLASS_CONFUSIONS, beliefs, -2.0, ruled_out=False),)
    )
    estimates = with_ranges(flags, models, proven=0)
    assert (estimates.mistakes_low, estimates.mistakes_high) == (75.0, 120.0)
    assert (estimates.precision_low, estimates.precision_high) == (0.66, 1.0)


@pytest.mark.parametrize(("contradicted", "high"), [(110, 120.0), (130, 130.0), (500, 135.0)])
def test_with_given_predictions_it_goes_up_to_the_labels_that_these_contradict(contradicted: int, high: float) -> None:
    suspicion = np.r_[np.full(100, 0.99), np.zeros(900)]
    counted = Mistakes(99.0, 90.0, 120.0)
    models = Models(Belief(suspicion, suspicion), counted, -1.0, (), contradicted)
    assert with_ranges(choose_flags(suspicion, mistakes=counted), models, proven=0).mistakes_high == high


@pytest.mark.parametrize(("contradicted", "high"), [(30, 40.0), (60, 60.0), (500, 80.0)])
def test_where_hardly_any_known_mislabel_is_found_it_goes_up_to_the_labels_that_the_readings_contradict(
    contradicted: int, high: float
) -> None:
    suspicion, counted = np.full(1000, 0.001), Mistakes(1.0, 0.0, 40.0)
    models = Models(Belief(suspicion, suspicion), counted, -1.0, (), contradicted, blind=True)
    estimates = with_ranges(choose_flags(suspicion, mistakes=counted), models, proven=0)
    assert (estimates.mistakes_low, estimates.mistakes_high) == (0.0, high)  # at most twice as wide as before


def test_mislabels_that_lie_together_may_be_as_many_as_the_readings_contradict() -> None:
    digits = load_digits()
    rows = np.isin(digits.target, [1, 8])
    recipe = AuditConfig(inject=0.1, inject_strategy="most-influential", inject_into="train")
    summary = audit.audit_embeddings(digits.data[rows].astype(np.float32), digits.target[rows], config=recipe).summary
    assert summary.detection is not None
    assert summary.estimates.mistakes_high >= summary.detection.injected
    assert summary.estimates.mistakes_high > max(model.mistakes_high for model in summary.estimates.models)
    assert any("few flags do not mean few mistakes" in caution for caution in summary.estimates.cautions)


def test_if_more_mistakes_are_possible_more_flags_may_be_right() -> None:
    suspicion = np.r_[np.full(400, 0.6), np.full(600, 0.2)]  # 360 mistakes in expectation
    for high in (360.0, 450.0, 600.0):
        flags = choose_flags(suspicion, threshold=0.5, mistakes=Mistakes(360.0, 300.0, high))
        models = Models(Belief(suspicion, suspicion), Mistakes(360.0, 300.0, high), -1.0, ())
        estimates = with_ranges(flags, models, proven=0)
        wrong = wrong_if(high, suspicion)
        assert wrong.sum() == pytest.approx(high)
        assert (wrong / (1 - wrong))[[0, -1]] / [1.5, 0.25] == pytest.approx(
            np.full(2, wrong[-1] / (1 - wrong[-1]) * 4)
        )
        right, spread = wrong[:400].sum(), 1.96 * np.sqrt((wrong * (1 - wrong))[:400].sum())
        assert estimates.precision_high == math.ceil(right + spread) / 400
        assert estimates.precision_low == math.floor(240 - 1.96 * np.sqrt(400 * 0.24)) / 400


def test_no_mistake_or_nothing_but_mistakes_leaves_no_doubt() -> None:
    suspicion = np.array([0.0, 0.5, 1.0])
    assert wrong_if(0.0, suspicion).tolist() == [0.0, 0.0, 0.0]
    assert wrong_if(3.0, suspicion).tolist() == [1.0, 1.0, 1.0]
    assert wrong_if(2.0, suspicion).sum() == pytest.approx(2.0)


def test_no_range_goes_below_what_is_proven() -> None:
    suspicion = np.full(10, 0.01)
    flags = choose_flags(suspicion)
    estimates = with_ranges(flags, made([0.01] * 10, [0.01] * 10, model(*[1.0] * 10)), proven=3)
    assert (estimates.mistakes_low, estimates.mistakes_high) == (3.0, 3.0)
    assert estimates.precision_low is None


def test_where_nothing_is_told_the_range_stays_everything() -> None:
    flags = choose_flags(np.full(10, 0.01), mistakes=Mistakes(1.0, 0.0, 10.0, told=False))
    estimates = with_ranges(flags, made([0.01] * 10, [0.01] * 10), proven=0)
    assert (estimates.told, estimates.mistakes_low, estimates.mistakes_high) == (False, 0.0, 10.0)


def test_accepting_pays_down_to_where_every_model_says_so() -> None:
    suspicion = np.r_[np.full(50, 0.97), np.full(50, 0.72), np.full(100, 0.12)]
    sure = np.r_[np.full(50, 0.97), np.full(50, 0.72), np.full(100, 0.12)]
    acceptance = acceptance_of(suspicion, 0.5, made(sure.tolist(), sure.tolist()))
    assert acceptance.pays_from == 0.7
    # Another model takes the middle fifty for right labels.
    doubt = np.r_[np.full(50, 0.9), np.full(150, 0.05)]
    other = SimplerModel(UNIFORM_SLIPS, (Belief(doubt, doubt),), -2.0, ruled_out=False)
    assert acceptance_of(suspicion, 0.5, made(sure.tolist(), sure.tolist(), other)).pays_from == 0.95
    assert acceptance_of(suspicion, 0.5, made(sure.tolist(), sure.tolist(), replace(other, ruled_out=True))) == (
        acceptance
    )
    rows = {row.threshold: row for row in acceptance.by_threshold}
    assert 0.99 not in rows  # nothing is as suspicious
    assert (rows[0.95].samples, rows[0.5].samples) == (50, 100)
    assert rows[0.95].mended_low >= 44
    assert rows[0.95].broken_high <= 5


def test_a_right_guess_about_the_label_is_no_right_suggestion() -> None:
    suspicion = np.full(50, 0.97)
    acceptance = acceptance_of(suspicion, 0.5, made([0.97] * 50, [0.0] * 50))
    assert acceptance.pays_from is None
    assert acceptance.by_threshold[-1].mended_high == 0


def digits_audit(share: float, seed: int = 0) -> tuple[AuditResult, np.ndarray]:
    """An audit of digits of which a share of the labels is wrong at random, and which ones these are."""
    x, true = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    labels = true.copy()
    wrong = rng.permutation(len(true))[: round(share * len(true))]
    labels[wrong] = (true[wrong] + rng.integers(1, 10, len(wrong))) % 10
    return audit.audit_embeddings(x.astype(np.float32), labels, config=AuditConfig(seed=seed)), labels != true


def test_the_ranges_of_an_audit_hold_what_is_really_wrong() -> None:
    result, wrong = digits_audit(0.1)
    estimates, flag = result.summary.estimates, result.scores["flag"].to_numpy()
    assert estimates.mistakes_low <= wrong.sum() <= estimates.mistakes_high
    assert estimates.precision_low is not None
    assert estimates.precision_high is not None
    assert 0.5 < estimates.precision_low <= wrong[flag].mean() <= estimates.precision_high
    assert result.summary.acceptance is not None
    assert result.summary.acceptance.pays_from is not None
    assert result.summary.acceptance.pays_from < 0.9
    assert len(estimates.models) == 3


def test_clean_labels_may_all_be_right() -> None:
    result, _ = digits_audit(0.0)
    estimates = result.summary.estimates
    assert estimates.mistakes_low == 0
    assert estimates.mistakes_high < 0.06 * len(result.scores)
    assert result.summary.acceptance is not None
    assert result.summary.acceptance.pays_from is None
