"""Known mislabels in copies of the labels: how they are made, and the number of mistakes that follows from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import audit
from audit.flags.threshold import Recall, best_threshold, choose_flags, count_mistakes, expected_mistakes
from audit.head.fit import one_hot
from audit.noise_model.controls import ADDED, KINDS, LOOK_ALIKE, NONE, SLIP, Controls, spike_in
from audit.noise_model.count import count_by_controls, slip_share
from audit.noise_model.diagnosis import Diagnosis
from audit.noise_model.given_labels import GivenLabels
from audit.noise_model.mixture import fit_mixture
from audit.noise_model.model import NoiseModel
from audit.noise_model.neighbour_settings import NeighbourSettings
from audit.noise_model.readings import Readings
from audit.noise_model.settings import NoiseSettings, RoundSettings
from audit.noise_model.transition import estimate_transition
from audit.noise_model.votes import NeighbourVotes, largest, principal
from tests.noise_problems import CLASSES, N, diagnosed, fitted_to, pictures, suspicion_of, with_slips

SETTINGS = NoiseSettings()
NEIGHBOURS = SETTINGS.neighbours.count


@pytest.fixture(scope="module")
def slips() -> tuple[Diagnosis, torch.Tensor, Controls]:
    x, true = pictures(0)
    model, fitted, labels = fitted_to(x, with_slips(true, 0.1, 1))
    return fitted.diagnosis, labels, spike_in(model, fitted, labels, seed=2)


def test_known_mislabels_differ_from_the_label_and_all_else_stays(
    slips: tuple[Diagnosis, torch.Tensor, Controls],
) -> None:
    _, labels, controls = slips
    assert controls.rows.tolist() == list(range(N)) * (controls.copy.max() + 1)
    changed = controls.labels != labels.numpy()[controls.rows]
    assert (changed == controls.known).all()
    assert set(controls.kind) == {NONE, *ADDED}
    for copy in range(controls.copy.max() + 1):
        in_copy = controls.kind[controls.copy == copy]
        counts = [(in_copy == kind).sum() for kind in ADDED]
        assert max(counts) - min(counts) <= 1
        assert sum(counts) == pytest.approx(0.05 * N, rel=0.05)


def test_known_mislabels_are_put_on_labels_that_are_right(slips: tuple[Diagnosis, torch.Tensor, Controls]) -> None:
    diagnosis, labels, controls = slips
    suspicion = suspicion_of(diagnosis, labels)
    chosen = controls.rows[controls.known]
    assert (suspicion > 0.5).mean() > 0.08
    assert (suspicion[chosen] > 0.5).mean() < 0.05
    sizes = np.bincount(labels.numpy()[chosen], minlength=CLASSES) / len(chosen)
    np.testing.assert_allclose(sizes, np.bincount(labels.numpy()) / N, atol=0.03)


def test_the_same_seed_gives_the_same_controls() -> None:
    x, true = pictures(3)
    model, fitted, labels = fitted_to(x[:400], with_slips(true, 0.1, 1)[:400])
    once, again, other = (spike_in(model, fitted, labels, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(once.labels, again.labels)
    np.testing.assert_array_equal(once.suspicion, again.suspicion)
    assert (once.labels != other.labels).any()


def test_a_model_keeps_nothing_of_the_labels_that_it_was_fitted_to() -> None:
    x, true = pictures(3)
    labels, other = (torch.from_numpy(with_slips(true, 0.1, seed)[:400]) for seed in (1, 2))
    model = NoiseModel(torch.from_numpy(x[:400]), CLASSES)
    fitted = model.fit(labels)
    before, _ = model.rediagnose(fitted, other)
    model.fit(other)
    after, _ = model.rediagnose(fitted, other)
    assert torch.equal(before, after)
    assert torch.equal(model.diagnose(labels).posterior, fitted.diagnosis.posterior)


def test_settings_set_the_model() -> None:
    x, true = pictures(3)
    labels = torch.from_numpy(with_slips(true, 0.1, 1)[:400])
    settings = NoiseSettings(neighbours=NeighbourSettings(count=5), rounds=RoundSettings(usual=2, most=2))
    model = NoiseModel(torch.from_numpy(x[:400]), CLASSES, settings=settings)
    fitted = model.fit(labels)
    assert model.votes.places.shape == (400, 5)
    assert len(fitted.diagnosis.rounds) == 2
    assert fitted.diagnosis.rounds[0]["first_head_weight"] == 0  # in the first round, there is one head
    assert len(model.rediagnose(fitted, labels)[1].mixtures) == 2


def test_look_alikes_are_harder_to_find_than_slips(slips: tuple[Diagnosis, torch.Tensor, Controls]) -> None:
    diagnosis, labels, controls = slips
    threshold = best_threshold(suspicion_of(diagnosis, labels))
    assert controls.recall(SLIP, threshold).share > 0.7
    assert controls.recall(LOOK_ALIKE, threshold).share < controls.recall(SLIP, threshold).share - 0.1


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_the_number_of_slips_is_in_the_interval(fraction: float) -> None:
    x, true = pictures(7)
    model, fitted, labels = fitted_to(x, with_slips(true, fraction, 8))
    diagnosis = fitted.diagnosis
    controls = spike_in(model, fitted, labels, seed=9)
    count = count_by_controls(controls, diagnosis, labels, suspicion_of(diagnosis, labels))
    assert count.slip_share is not None
    assert count.slip_share > 0.7
    assert count.mistakes.low <= fraction * N <= count.mistakes.high
    assert count.mistakes.number == pytest.approx(fraction * N, rel=0.25)


@pytest.mark.parametrize("informative", [True, False])
def test_a_further_reading_counts_only_where_it_adds_something(informative: bool) -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(CLASSES, size=N)
    labels = GivenLabels(torch.from_numpy(with_slips(true, 0.2, 1)))
    signal = 2.0 * one_hot(torch.from_numpy(true), CLASSES, torch.float32)
    head, further = (
        (part + torch.from_numpy(rng.normal(size=(N, CLASSES))).float()).softmax(1)
        for part in (signal, signal if informative else torch.zeros_like(signal))
    )
    votes = torch.full((N, CLASSES), 1 / CLASSES)
    floor = SETTINGS.mixture.prediction_floor
    two, _ = fit_mixture(Readings.of(floor, head=head, neighbours=votes), labels)
    three, _ = fit_mixture(Readings.of(floor, head=head, neighbours=votes, discriminant=further), labels)
    if informative:
        assert three.exponents.discriminant == pytest.approx(three.exponents.head, rel=0.3)
        assert three.log_likelihood > two.log_likelihood + 20
    else:
        assert three.exponents.discriminant == 0
        assert three.log_likelihood == two.log_likelihood


def test_copies_without_known_mislabels_are_judged_as_the_labels_are() -> None:
    x, true = pictures(0)
    model, fitted, labels = fitted_to(x, with_slips(true, 0.1, 1))
    posterior, _ = model.rediagnose(fitted, labels)
    again = (1 - posterior.double().gather(1, labels[:, None])[:, 0]).numpy()
    once = suspicion_of(fitted.diagnosis, labels)
    assert again.sum() == pytest.approx(once.sum(), rel=0.05)
    assert ((again >= 0.5) == (once >= 0.5)).mean() > 0.99


def test_mistakes_that_the_picture_suggests_are_told_from_slips(
    slips: tuple[Diagnosis, torch.Tensor, Controls],
) -> None:
    """Labels are drawn as the model has them: right, or another class at random, or another that the picture allows."""
    diagnosis = slips[0]
    flatter = diagnosis.prior.sqrt() / diagnosis.prior.sqrt().sum(1, keepdim=True)
    rng = np.random.default_rng(12)

    def share_of_slips(look_alikes: float) -> float:
        labels = []
        for prior in flatter.double().numpy():
            label = true = rng.choice(CLASSES, p=prior / prior.sum())
            if rng.random() < 0.2:
                others = prior if rng.random() < look_alikes else diagnosis.transition[true].double().numpy()
                weights = np.where(np.arange(CLASSES) == true, 0, others)
                label = rng.choice(CLASSES, p=weights / weights.sum())
            labels.append(label)
        given = torch.tensor(labels)
        posterior = flatter * diagnosis.transition[:, given].T
        drawn = replace(diagnosis, prior=flatter, posterior=posterior / posterior.sum(1, keepdim=True))
        share = slip_share(drawn, given, best_threshold(suspicion_of(drawn, given)))
        assert share is not None
        return share

    all_slips, half, none = (share_of_slips(look_alikes) for look_alikes in (0.0, 0.5, 1.0))
    assert none + 0.2 < half < all_slips - 0.2


def test_two_classes_leave_no_choice_of_a_wrong_label() -> None:
    x, true = pictures(14)
    keep = true < 2
    labels = np.where(np.random.default_rng(15).random(keep.sum()) < 0.1, 1 - true[keep], true[keep])
    model, fitted, given = fitted_to(x[keep], labels)
    diagnosis = fitted.diagnosis
    assert slip_share(diagnosis, given, 0.5) is None
    controls = spike_in(model, fitted, given, seed=16)
    count = count_by_controls(controls, diagnosis, given, suspicion_of(diagnosis, given))
    wrong = (labels != true[keep]).sum()
    assert count.mistakes.low <= wrong <= count.mistakes.high


def test_count_is_found_by_recall_of_each_kind() -> None:
    suspicion = np.array([1.0] * 60 + [0.0] * 940)
    slips, look_alikes = Recall(0.75, 10_000), Recall(0.25, 10_000)
    all_slips = count_mistakes(suspicion, 0.5, 1.0, slips, look_alikes)
    assert all_slips.number == pytest.approx(80)
    half = count_mistakes(suspicion, 0.5, 0.5, slips, look_alikes)
    assert half.number == pytest.approx(30 / 0.75 + 30 / 0.25)
    assert half.low <= 60  # what the suspicions alone say
    assert half.high >= half.number + 2 * (half.number - 80)  # the doubt about the kind
    assert count_mistakes(suspicion, 0.5, None, slips, look_alikes).number == pytest.approx(80)
    few = count_mistakes(suspicion, 0.5, 1.0, Recall(0.75, 20), Recall(0.25, 20))
    assert few.high - few.number > 2 * (all_slips.high - all_slips.number)
    assert all_slips.high == 89  # of 89, a recall of .75 leaves 60 found or fewer in 5 % of cases
    assert count_mistakes(np.array([1.0] + [0.0] * 999), 0.5, 1.0, Recall(0.05, 100), look_alikes).high > 80
    hardly_found = count_mistakes(suspicion, 0.5, 0.5, slips, Recall(0.02, 10_000))
    assert hardly_found.number == hardly_found.high == 1000  # as many as there are samples, and no more


def test_none_found_is_not_none_there() -> None:
    none = count_mistakes(np.zeros(1000), 0.5, None, Recall(0.9, 100), Recall(0.6, 100))
    assert none.number == 0
    assert none.low == 0
    assert none.high == pytest.approx(3 / 0.9)


def test_flags_are_chosen_for_the_number_of_mistakes_that_is_expected() -> None:
    suspicion = np.linspace(0, 1, 1001) ** 3
    by_suspicion = choose_flags(suspicion)
    more = count_mistakes(suspicion, 0.5, 0.5, Recall(0.6, 100), Recall(0.3, 100))
    assert more.number > expected_mistakes(suspicion).number
    counted = choose_flags(suspicion, mistakes=more)
    assert counted.threshold < by_suspicion.threshold
    assert counted.estimates.mistakes == more.number
    assert counted.estimates.recall == pytest.approx(suspicion[counted.flag].sum() / more.number)


def test_estimates_say_when_they_rest_on_little() -> None:
    x, true = pictures(21)
    small = np.r_[np.flatnonzero(true != 4)[:100], np.flatnonzero(true == 4)[:8]]
    result = audit.audit_embeddings(x[small], true[small])
    said = " ".join(result.summary.estimates.cautions)
    assert "classes have fewer than 20 samples" in said
    assert "known mislabels of a kind" in said
    assert not audit.audit_embeddings(x, true).summary.estimates.cautions


def test_nothing_to_tell_classes_apart_is_said() -> None:
    rng = np.random.default_rng(22)
    result = audit.audit_embeddings(rng.normal(size=(600, 4)), rng.integers(3, size=600))
    assert any("Too little to tell" in caution for caution in result.summary.estimates.cautions)


def test_the_result_keeps_the_controls(tmp_path: object) -> None:
    x, true = pictures(23)
    result = audit.audit_embeddings(x, with_slips(true, 0.1, 24))
    loaded = audit.AuditResult.load(result.save(f"{tmp_path}/result"))
    table, summary = loaded.controls, loaded.summary.controls
    assert not set(table.index) & set(loaded.flagged.index)
    assert summary.detection.injected == int(table["spiked"].sum()) <= summary.added
    flagged = table["suspicion"] >= loaded.summary.threshold
    assert summary.detection.true_positive == int((flagged & table["spiked"]).sum())
    assert summary.detection.precision == pytest.approx(summary.detection.true_positive / flagged.sum())
    assert (table.loc[table["spiked"], "label"] != table.loc[table["spiked"], "original_label"]).all()
    assert summary.kinds.keys() == set(KINDS[1:])


def test_a_model_without_mistakes_still_ranks() -> None:
    labels = torch.from_numpy(pictures(0)[1])
    posterior = one_hot(labels, CLASSES, torch.float64)
    transition = estimate_transition(posterior, GivenLabels(labels))
    # Half a mistake in all, alike for all classes and wrong labels.
    assert transition.diagonal().numpy() == pytest.approx(1 - 0.5 / N, abs=1e-5)
    assert transition.sum(1).numpy() == pytest.approx(1)


def test_few_samples_of_many_features_and_classes_are_not_left_out_exactly() -> None:
    # The exact way takes (C · D)³, whatever n is: seconds for these, where the rest takes a tenth of one.
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 10
    x = rng.normal(size=(10, 400))[labels] / 10 + rng.normal(size=(150, 400))
    assert diagnosed(x, labels)[0].method != "exact"
    assert diagnosed(x[:, :12], labels)[0].method == "exact"


def test_neighbours_in_principal_directions_are_those_in_all_that_vary() -> None:
    draw = torch.Generator().manual_seed(3)
    varying = torch.randn(4000, 100, generator=draw) @ torch.randn(100, 300, generator=draw)
    given = one_hot(torch.randint(0, 5, (4000,), generator=draw), 5, torch.float32)
    model = NoiseModel(varying, 5)
    reduced = principal(varying, 5)
    assert reduced.shape == (4000, 128)
    assert principal(varying[:200], 5).shape == (200, 300)  # too few for it to pay off
    apart = (model.votes(given) - NeighbourVotes(varying, 5)(given)).abs()
    # But where two are as near as the last one that votes, which rounding then chooses.
    assert (apart > 1e-3).float().mean() < 1e-3
    assert apart.max() < 2 / NEIGHBOURS


@pytest.mark.parametrize("columns", [5, 20, 319, 336, 1000, 1003])
def test_the_largest_of_each_row_are_found_by_blocks(columns: int) -> None:
    values = torch.rand(50, columns, generator=torch.Generator().manual_seed(columns))
    count = min(20, columns)
    found, places = largest(values, count)
    assert torch.equal(found, values.topk(count, dim=1).values)
    assert torch.equal(values.gather(1, places), found)


def test_neighbours_vote_by_their_similarity_and_one_more_believes_in_all_classes() -> None:
    draw = torch.Generator().manual_seed(4)
    x, beliefs = torch.randn(60, 8, generator=draw), torch.rand(60, 3, generator=draw)
    beliefs /= beliefs.sum(1, keepdim=True)
    votes = NeighbourVotes(x, 3)(beliefs)
    directions = torch.nn.functional.normalize(x, dim=1)
    similarity = (directions @ directions.T).fill_diagonal_(-torch.inf)
    for row in range(60):
        nearest, places = similarity[row].topk(NEIGHBOURS)
        nearest = nearest.clamp_min(1e-6)  # who points the other way hardly counts, rather than against
        shares = nearest / nearest.sum()
        mean = (shares[:, None] * beliefs[places]).sum(0)
        torch.testing.assert_close(votes[row], (NEIGHBOURS * mean + 1 / 3) / (NEIGHBOURS + 1))
    part = torch.tensor([7, 3, 59])
    assert torch.equal(NeighbourVotes(x, 3)(beliefs, part), votes[part])
