"""The samples that are most like a sample, and an order in which neighbours are alike."""

from __future__ import annotations

import numpy as np
import pytest

from audit.explain.nearest import NearestSamples

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
