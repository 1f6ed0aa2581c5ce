"""Each peer of the benchmark against an example that is worked out here, and against labels with known mistakes."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score

from integrations.benchmark.cases import Case
from integrations.benchmark.peers import BY_PYDVL, ON_EMBEDDINGS
from integrations.benchmark.peers.data_values import knn_values, oob_values
from integrations.benchmark.peers.margins import area_under_margin, margins
from integrations.benchmark.peers.reconstruction import errors_by_class, ratios
from integrations.benchmark.peers.self_clean import distance_ratios
from integrations.benchmark.peers.simifeat import hoc, rank, soft_labels, vote


def on_circle(*degrees: float) -> torch.Tensor:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_a_distance_ratio_compares_the_nearest_of_the_same_label_with_the_nearest_other() -> None:
    found = distance_ratios(on_circle(0, 60, 90, 270), torch.tensor([0, 0, 1, 1]))
    within, between = 1 - np.cos(np.deg2rad(60)), 1 - np.cos(np.deg2rad(90))  # of the first: to 60°, and to 90° or 270°
    assert found[0] == pytest.approx(within**2 / (within**2 + between**2))
    within, between = 1 - np.cos(np.deg2rad(180)), 1 - np.cos(np.deg2rad(30))  # of the third: to 270°, and to 60°
    assert found[2] == pytest.approx(within**2 / (within**2 + between**2))


def test_copies_with_other_labels_and_classes_of_one_are_suspicious() -> None:
    found = distance_ratios(on_circle(0, 0, 45, 90), torch.tensor([0, 1, 0, 2]))
    assert found[1] == found[3] == 1.0  # nothing has their label
    assert found[0] == 1.0  # its copy has another one


def test_a_soft_label_is_the_weighted_vote_of_the_sample_and_its_neighbours() -> None:
    soft, nearest = soft_labels(on_circle(0, 10, 30, 180), torch.tensor([0, 1, 1, 0]), 2, neighbours=3)
    near, far = np.cos(np.deg2rad(10)), np.cos(np.deg2rad(30))
    itself = 2 * near - far
    assert soft[0].tolist() == pytest.approx([itself / (itself + near + far), (near + far) / (itself + near + far)])
    assert nearest[0].tolist() == [1, 2]


def test_hoc_finds_the_transitions_of_samples_whose_neighbours_are_of_their_class() -> None:
    rng = np.random.default_rng(0)
    transition = np.array([[0.8, 0.2, 0.0], [0.0, 0.7, 0.3], [0.1, 0.0, 0.9]])
    shares = np.array([0.5, 0.3, 0.2])
    true = rng.choice(3, 12_000, p=shares)
    given = (transition.cumsum(1)[true] < rng.random(len(true))[:, None]).sum(1)
    of_class = [np.flatnonzero(true == number) for number in range(3)]
    nearest = np.stack([rng.choice(of_class[number], 2, replace=False) for number in true])
    found, found_shares = hoc(torch.from_numpy(given), torch.from_numpy(nearest), 3)
    np.testing.assert_allclose(found, transition, atol=0.04)
    np.testing.assert_allclose(found_shares, shares, atol=0.04)


def test_a_reconstruction_error_ratio_divides_by_the_best_other_class() -> None:
    errors = np.array([[1.0, 2.0, 4.0], [3.0, 1.5, 1.0]])
    assert ratios(errors, np.array([0, 1])).tolist() == [0.5, 1.5]


def test_an_autoencoder_reconstructs_its_own_class_better() -> None:
    rng = np.random.default_rng(0)
    given = torch.arange(120) % 2
    planes = rng.normal(size=(2, 3, 12))
    x = torch.from_numpy(np.stack([rng.normal(size=3) @ planes[number] for number in given]))
    errors = errors_by_class(x, given, 2)
    assert (errors.argmin(1) == given).float().mean() > 0.9


def test_a_margin_is_the_logit_above_the_largest_other_one() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    assert margins(logits, torch.tensor([0, 2])).tolist() == [1.0, -2.0]


def test_the_area_under_the_margin_of_a_contradicted_label_is_the_lowest() -> None:
    rng = np.random.default_rng(0)
    given = torch.arange(60) % 2
    x = torch.from_numpy(rng.normal(size=(60, 4)) + 6 * np.eye(2, 4)[given])
    given[7] = 1 - given[7]
    assert area_under_margin(x, given, 2).argmin() == 7


def test_knn_values_are_the_shapley_values_of_all_subsets() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 2)), np.array([0, 1, 0, 1, 1, 0])
    tested_on, wanted = rng.normal(size=(3, 2)), np.array([0, 1, 1])

    def worth(subset: tuple[int, ...]) -> float:
        """The share of the 2 nearest that have the right label, over the tested samples (Jia et al., equation 5)."""
        right = 0.0
        for place, label in zip(tested_on, wanted, strict=True):
            nearest = sorted(subset, key=lambda row: float(np.linalg.norm(x[row] - place)))[:2]
            right += sum(y[row] == label for row in nearest) / 2
        return right / len(wanted)

    expected = []
    for row in range(6):
        others = [other for other in range(6) if other != row]
        gains = [
            (worth((*subset, row)) - worth(subset)) / comb(5, size)
            for size in range(6)
            for subset in combinations(others, size)
        ]
        expected.append(sum(gains) / 6)
    np.testing.assert_allclose(knn_values((x, y), (tested_on, wanted), neighbours=2), expected, atol=1e-12)


def test_out_of_bag_values_are_what_the_forests_other_trees_say() -> None:
    digits = load_digits()
    x, y = digits.data[:300], digits.target[:300]
    forest = RandomForestClassifier(60, random_state=3, oob_score=True).fit(x, y)
    np.testing.assert_allclose(oob_values(x, y, 3, trees=60), forest.oob_decision_function_[np.arange(300), y])


@pytest.fixture(scope="module")
def case() -> Case:
    """Digits of four classes, of which every tenth has a wrong label."""
    found = load_digits(n_class=4)
    x, true = found.data[:240].astype(np.float32), found.target[:240]
    wrong = np.arange(len(true)) % 10 == 0
    return Case("digits", 0, x, np.where(wrong, (true + 1) % 4, true), true, 4)


@pytest.mark.parametrize("name", [*ON_EMBEDDINGS, *BY_PYDVL])
def test_every_peer_ranks_wrong_labels_first_and_says_so_again(case: Case, name: str) -> None:
    judge = (ON_EMBEDDINGS | BY_PYDVL)[name]
    scores = judge(case).scores
    assert average_precision_score(case.given != case.true, scores) > 0.75
    np.testing.assert_array_equal(judge(case).scores, scores)


def test_simifeat_flags_about_as_many_labels_as_are_wrong(case: Case) -> None:
    wrong = case.given != case.true
    for judge in (vote, rank):
        flags = judge(case).flags
        assert flags is not None
        assert flags.sum() == pytest.approx(wrong.sum(), abs=12)
        assert (flags & wrong).sum() > 0.7 * wrong.sum()
