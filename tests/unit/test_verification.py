"""A verification sample is drawn with known probabilities, and its decisions give estimates that hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import audit
from audit.errors import InputError
from audit.result import AuditResult
from audit.verification.curve import CurveSettings
from audit.verification.draw import draw_rows
from audit.verification.population import Decided, Population
from audit.verification.strata import split_into_strata


def made_result(suspicion: np.ndarray, threshold: float = 0.5, classes: int = 4) -> AuditResult:
    """A result with these suspicions; sample i is named s<i> and labelled i mod classes."""
    labels = np.array([f"class {place % classes}" for place in range(len(suspicion))], dtype=object)
    scores = pd.DataFrame(
        {
            "label": labels,
            "suspicion": suspicion,
            "flag": suspicion >= threshold,
            "suggested_label": np.roll(labels, -1),
        },
        index=pd.Index([f"s{place}" for place in range(len(suspicion))], name="id"),
    )
    nothing = pd.DataFrame()
    return AuditResult(scores, {}, curves=nothing, explanations=nothing, skipped=nothing, thumbnails=nothing)


def made_suspicions(samples: int = 2000, seed: int = 0) -> np.ndarray:
    """Most near 0, one in ten above a half."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(samples) < 0.1, rng.beta(4, 2, samples), rng.beta(0.3, 8, samples))


def decided(result: AuditResult, wrong: np.ndarray, size: int, seed: int = 0) -> pd.DataFrame:
    """Decisions on a drawn sample of which labels are wrong, bool (n,)."""
    drawn = audit.draw_verification(result, size, seed).table
    truth = pd.Series(wrong, index=result.scores.index)[drawn.index]
    return drawn.assign(decision=np.where(truth, "wrong", "right"))


def test_a_drawn_sample_has_the_stated_probabilities():
    suspicion = made_suspicions(300)
    flag = suspicion >= 0.5
    draws = np.zeros(300)
    for seed in range(200):
        draws[draw_rows(suspicion, flag, 40, seed)] += 1
    drawn = audit.draw_verification(made_result(suspicion), 40)
    stated = np.array(
        [drawn.strata[number].drawn / drawn.strata[number].samples for number in range(len(drawn.strata))]
    )
    expected = stated[split_into_strata(suspicion, flag)]

    assert np.abs(draws / 200 - expected).max() < 0.15
    np.testing.assert_allclose(drawn.table["probability"] * drawn.table["weight"], 1)
    # The weights of a stratum add up to its samples.
    sizes = [stratum.samples for stratum in drawn.strata]
    np.testing.assert_allclose(drawn.table.groupby("stratum")["weight"].sum(), sizes)
    assert sum(sizes) == 300


def test_weighted_decisions_are_unbiased():
    suspicion = made_suspicions()
    wrong = np.random.default_rng(1).random(2000) < suspicion
    result = made_result(suspicion)
    truth = pd.Series(wrong, index=result.scores.index)
    totals = []
    for seed in range(60):
        table = audit.draw_verification(result, 100, seed).table
        totals.append((truth[table.index] * table["weight"]).sum())

    error = np.std(totals) / np.sqrt(len(totals))
    assert abs(np.mean(totals) - wrong.sum()) < 3 * error


def test_half_of_every_part_from_the_start_is_flagged_and_some_of_it_is_not_suspected():
    suspicion = made_suspicions()
    flag = suspicion >= 0.5
    stratum = split_into_strata(suspicion, flag)
    rows = draw_rows(suspicion, flag, 120, seed=3)
    assert len(np.unique(rows)) == 120
    for stop in range(10, 121, 10):
        assert abs(flag[rows[:stop]].mean() - 0.5) <= 0.1
    assert (stratum[rows[:20]] == 0).any()


def test_a_larger_sample_begins_with_the_smaller_one():
    result = made_result(made_suspicions())
    long = audit.draw_verification(result, 97, seed=5).table
    for size in (1, 7, 30, 60):
        assert list(audit.draw_verification(result, size, seed=5).table.index) == list(long.index[:size])
    assert list(audit.draw_verification(result, 97, seed=6).table.index) != list(long.index)


def test_a_sample_of_more_than_all_draws_each_once():
    result = made_result(np.linspace(0, 0.9, 23))
    table = audit.draw_verification(result, 60).table
    assert sorted(table.index) == sorted(result.scores.index)
    np.testing.assert_allclose(table["probability"], 1)


def test_known_samples_are_not_drawn():
    result = made_result(made_suspicions(100))
    known = list(result.scores.index[:90])
    table = audit.draw_verification(result, 60, known=known).table
    assert sorted(table.index) == sorted(result.scores.index[90:])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_intervals_are_honest_where_all_decisions_are_alike(share):
    result = made_result(made_suspicions())
    wrong = np.full(2000, bool(share))
    found = audit.verify(result, decided(result, wrong, 60))
    if share:
        assert found.mistakes.high == 2000
        assert found.mistakes.low < 1990
    else:
        assert found.mistakes.low == 0
        assert found.mistakes.high > 10  # sixty right labels do not prove two thousand right
        assert found.recall is None or found.recall.low < 1
    assert found.precision.low <= share <= found.precision.high
    assert found.precision.high - found.precision.low > 0.005
    assert found.mistakes.anytime_low <= found.mistakes.low
    assert found.mistakes.anytime_high >= found.mistakes.high


def test_everything_decided_leaves_no_doubt():
    suspicion = made_suspicions(150)
    wrong = np.random.default_rng(2).random(150) < 0.2
    result = made_result(suspicion)
    found = audit.verify(result, decided(result, wrong, 150))
    assert found.mistakes.low == found.mistakes.high == wrong.sum()
    assert found.precision.value == pytest.approx(wrong[suspicion >= 0.5].mean())
    at_all = found.by_threshold[-1]
    assert at_all.samples == 150
    assert at_all.precision.value == pytest.approx(wrong.mean())
    assert at_all.recall.value == 1


@pytest.mark.parametrize("kind", ["as suspected", "hardly as suspected", "whatever is suspected", "nearly none"])
def test_intervals_cover_whatever_the_noise(kind):
    suspicion = made_suspicions()
    share = {
        "as suspected": suspicion,
        "hardly as suspected": suspicion * 0.1,
        "whatever is suspected": np.full(2000, 0.2),
        "nearly none": suspicion * 0.01,
    }[kind]
    wrong = np.random.default_rng(4).random(2000) < share
    flag = suspicion >= 0.5
    population = Population.of(suspicion, flag, settings=CurveSettings(draws=400))
    covered, precise = [], []
    for seed in range(40):
        rows = draw_rows(suspicion, flag, 60, seed)
        totals = population.totals(Decided(rows, wrong[rows], np.ones(60, dtype=bool)))
        for draws, truth, found in (
            (totals.sum(1), wrong.sum(), covered),
            (totals[:, population.flagged_bins].sum(1), wrong[flag].sum(), precise),
        ):
            low, high = np.quantile(draws, [0.035, 0.965])
            found.append(low <= truth <= high)
    assert np.mean(covered) >= 0.8  # of 40, where 36 are expected
    assert np.mean(precise) >= 0.8


def test_recalibrated_suspicion_rises_and_goes_to_what_was_decided():
    suspicion = made_suspicions()
    wrong = np.random.default_rng(5).random(2000) < suspicion * 0.05
    result = made_result(suspicion)
    found = audit.verify(result, decided(result, wrong, 60))
    recalibrated = found.recalibration(np.linspace(0, 1, 50))
    assert (np.diff(recalibrated) >= 0).all()
    assert (recalibrated >= 0).all()
    assert (recalibrated <= 1).all()
    flag = suspicion >= 0.5
    assert suspicion[flag].mean() > 0.6
    assert abs(found.recalibration(suspicion[flag]).mean() - wrong[flag].mean()) < 0.15


def test_a_review_that_ends_early_counts_only_what_is_decided():
    suspicion = made_suspicions()
    wrong = np.random.default_rng(6).random(2000) < suspicion
    result = made_result(suspicion)
    table = decided(result, wrong, 60)
    table["decision"] = table["decision"].where(table["order"] < 30)
    assert audit.verify(result, table) == audit.verify(result, decided(result, wrong, 30))


def test_ordinary_decisions_are_counted_and_say_nothing_of_others():
    suspicion = made_suspicions()
    wrong = np.random.default_rng(7).random(2000) < suspicion
    result = made_result(suspicion)
    flagged = list(result.scores.index[suspicion >= 0.5])
    drawn = decided(result, wrong, 60)
    others = [name for name in flagged if name not in drawn.index]
    truth = pd.Series(wrong, index=result.scores.index)
    reviewed = pd.DataFrame({"decision": np.where(truth[others], "wrong", "right")}, index=pd.Index(others, name="id"))
    found = audit.verify(result, pd.concat([drawn, reviewed]))

    assert found.reviewed == len(others)
    assert found.decided == 60
    assert found.precision.low == found.precision.high == pytest.approx(wrong[suspicion >= 0.5].mean())
    alone = audit.verify(result, drawn)
    assert found.mistakes.high - found.mistakes.low < alone.mistakes.high - alone.mistakes.low


def test_suggestions_are_right_where_they_are_the_true_label():
    suspicion = made_suspicions()
    result = made_result(suspicion)
    wrong = suspicion >= 0.5
    table = decided(result, wrong, 80)
    scores = result.scores.loc[table.index]
    table["true_label"] = np.where(wrong[result.scores.index.get_indexer(table.index)], scores["suggested_label"], None)
    found = audit.verify(result, table)
    assert found.suggestions_right.high > 0.97
    assert found.suggestions_right.low > 0.8

    without = audit.verify(result, table.drop(columns="true_label"))
    assert without.suggestions_right is None


def test_unsure_samples_are_left_out_and_their_worst_is_stated():
    suspicion = made_suspicions()
    wrong = np.random.default_rng(8).random(2000) < suspicion
    result = made_result(suspicion)
    table = decided(result, wrong, 60)
    table.iloc[[3, 20], table.columns.get_loc("decision")] = ["unsure", " Cannot say"]
    found = audit.verify(result, table)
    assert found.unsure == 2
    assert found.decided == 58
    if_right, if_wrong = found.mistakes_if_unsure
    assert if_right.value < if_wrong.value
    assert audit.verify(result, decided(result, wrong, 60)).mistakes_if_unsure is None


def test_classes_with_enough_decisions_are_estimated():
    suspicion = made_suspicions()
    wrong = np.random.default_rng(9).random(2000) < suspicion
    result = made_result(suspicion)
    found = audit.verify(result, decided(result, wrong, 200))
    assert [one.label for one in found.by_class] == [f"class {place}" for place in range(4)]
    for place, one in enumerate(found.by_class):
        assert one.samples == 500
        assert one.decided >= 10
        assert one.mistakes.anytime_low <= wrong[place::4].sum() <= one.mistakes.anytime_high
    assert audit.verify(result, decided(result, wrong, 20)).by_class == ()


def test_an_early_look_does_not_take_the_prior_for_a_finding():
    """Where no unflagged label was found wrong, the anytime interval does not exclude that all of them are right."""
    suspicion = made_suspicions()
    wrong = suspicion >= 0.5
    result = made_result(suspicion)
    for size in range(10, 61, 10):
        found = audit.verify(result, decided(result, wrong, size))
        assert found.mistakes.anytime_low <= wrong.sum() <= found.mistakes.anytime_high


def test_nothing_flagged_has_no_precision():
    result = made_result(np.linspace(0, 0.3, 400))
    found = audit.verify(result, decided(result, np.zeros(400, dtype=bool), 40))
    assert found.precision is None
    assert found.suggestions_right is None
    assert found.mistakes.low == 0


def test_ids_may_stand_in_a_column_and_be_numbers():
    result = made_result(made_suspicions(200))
    result.scores.index = pd.Index([str(place) for place in range(200)], name="id")
    table = decided(result, np.zeros(200, dtype=bool), 40)
    as_read = table.reset_index().astype({"id": int})
    assert audit.verify(result, as_read) == audit.verify(result, table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.rename(index={table.index[2]: "elsewhere"}), "'elsewhere'"),
        (lambda table: table.assign(decision="maybe"), "'maybe'; it takes one of wrong, right, unsure"),
        (lambda table: table.drop(columns="decision"), "no column 'decision'"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "more than one decision"),
        (lambda table: table.drop(columns="order"), "no drawn sample is decided"),
        (lambda table: table.assign(decision="unsure"), "no drawn sample is decided"),
        (lambda table: table.iloc[:0], "no drawn sample is decided"),
        (lambda table: table.assign(true_label="class 9", decision="right"), "change one of them"),
    ],
)
def test_decisions_that_cannot_be_are_refused_in_a_line(change, message):
    result = made_result(made_suspicions(200))
    table = decided(result, np.zeros(200, dtype=bool), 20)
    with pytest.raises(InputError, match=message) as error:
        audit.verify(result, change(table))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments", [{"size": 0}, {"seed": -1}, {"known": ["nowhere"]}, {"known": [f"s{place}" for place in range(50)]}]
)
def test_draws_that_cannot_be_are_refused_in_a_line(arguments):
    with pytest.raises(InputError) as error:
        audit.draw_verification(made_result(made_suspicions(50)), **arguments)
    assert "\n" not in str(error.value)
