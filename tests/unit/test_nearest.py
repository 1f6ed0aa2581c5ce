"""The samples that are most like a sample, and an order in which neighbours are alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits

import audit
from audit.compute.matrix import StoredRows
from audit.explain.nearest import NearestSamples
from audit.explain.nearest_suspects import NearestSettings, nearest_of_suspects

IDS = [f"s{number}" for number in range(60)]


@pytest.fixture
def embeddings() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(60, 8))


def test_the_nearest_samples_are_those_of_the_largest_cosine(embeddings: np.ndarray) -> None:
    labels = ["cat" if number % 3 else "dog" for number in range(60)]
    found = NearestSamples(IDS, embeddings, labels)
    centred = embeddings - embeddings.mean(axis=0)
    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    for place in (0, 7, 59):
        expected = [other for other in np.argsort(-(units @ units[place])) if other != place]
        anyone, dogs, birds = found.nearest(IDS[place], (None, "dog", "bird"), 5)
        assert anyone == [IDS[other] for other in expected[:5]]
        assert dogs == [IDS[other] for other in expected if labels[other] == "dog"][:5]
        assert birds == []


def test_more_samples_than_there_are_is_all_of_them(embeddings: np.ndarray) -> None:
    found = NearestSamples(IDS[:3], embeddings[:3], ["a", "a", "b"])
    assert sorted(found.nearest("s0", (None,), 10)[0]) == ["s1", "s2"]
    assert "s0" in found
    assert "s9" not in found
    with pytest.raises(KeyError):
        found.nearest("s9", (None,), 1)


def test_equal_pictures_and_a_single_one_have_an_answer() -> None:
    equal = NearestSamples(IDS[:4], np.ones((4, 5)), ["a"] * 4)
    assert sorted(equal.nearest("s1", (None,), 9)[0]) == ["s0", "s2", "s3"]
    assert NearestSamples(["s0"], np.ones((1, 5)), ["a"]).nearest("s0", (None,), 9) == [[]]


def test_in_order_of_likeness_two_kinds_of_pictures_are_not_mixed() -> None:
    random = np.random.default_rng(1)
    kinds = np.array([number % 2 for number in range(60)])
    place = np.where(kinds[:, None] == 1, 5.0, -5.0) * np.ones((60, 8)) + random.normal(size=(60, 8))
    ordered = NearestSamples(IDS, place, ["a"] * 60).in_order_of_likeness(["unknown", *IDS])
    assert ordered[-1] == "unknown"
    of_kind = [kinds[IDS.index(sample)] for sample in ordered[:-1]]
    assert of_kind in (sorted(of_kind), sorted(of_kind, reverse=True))


def test_in_blocks_the_nearest_of_both_labels_are_the_same(
    embeddings: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(2)
    labels, suspects = random.integers(0, 4, 60), random.permutation(60)
    others = (labels + random.integers(1, 4, 60)) % 4
    found = NearestSamples(IDS, embeddings, [str(label) for label in labels])
    settings = NearestSettings(suspects=20, count=5)
    whole = nearest_of_suspects(torch.from_numpy(embeddings), labels, others, suspects, IDS, settings)
    assert whole["target"].drop_duplicates().tolist() == [IDS[place] for place in suspects[:20]]
    lists = whole.groupby(["target", "kind"])["neighbour"].agg(list)
    for place in suspects[:20]:
        wanted = (str(labels[place]), str(others[place]))
        assert [lists[IDS[place], "given"], lists[IDS[place], "other"]] == found.nearest(IDS[place], wanted, 5)
    monkeypatch.setattr("audit.compute.matrix.BLOCK_BYTES", 7 * 8 * (2 * 8 + 4 * 20))  # 7 rows
    stored = StoredRows([embeddings[:11], embeddings[11:]], torch.float64, torch.device("cpu"))
    in_blocks = nearest_of_suspects(stored, labels, others, suspects, IDS, settings)
    pd.testing.assert_frame_equal(in_blocks, whole, check_exact=False, rtol=1e-12)


def test_a_class_of_few_has_few_nearest_samples_and_nothing_suspect_none() -> None:
    x, labels, others = torch.eye(4), np.array([0, 0, 0, 1]), np.array([1, 1, 1, 0])
    found = nearest_of_suspects(x, labels, others, np.array([3, 0]), IDS[:4])
    assert found.groupby(["target", "kind"]).size().to_dict() == {
        ("s0", "given"): 2,
        ("s0", "other"): 1,
        ("s3", "other"): 3,
    }
    assert found["likeness"].between(-1, 1).all()
    assert not len(nearest_of_suspects(x, labels, others, np.array([], dtype=int), IDS[:4]))


def test_an_audit_compares_its_most_suspicious_samples() -> None:
    x, labels = load_digits(n_class=3, return_X_y=True)
    result = audit.audit_embeddings(x, labels)
    scores, nearest = result.scores, result.nearest
    assert nearest["target"].drop_duplicates().tolist() == list(
        scores.sort_values("suspicion", ascending=False, kind="stable").index[: nearest["target"].nunique()]
    )
    for kind, column in (("given", "label"), ("other", "other_label")):
        of_kind = nearest[nearest["kind"] == kind]
        of_neighbour = scores.loc[of_kind["neighbour"], "label"].to_numpy()
        assert (of_neighbour == scores.loc[of_kind["target"], column].to_numpy()).all()
    assert (nearest["target"] != nearest["neighbour"]).all()
    pd.testing.assert_frame_equal(audit.audit_embeddings(x, labels).nearest, nearest)
