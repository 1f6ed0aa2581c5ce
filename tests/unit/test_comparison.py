"""The comparison of samples that checks share: the same neighbours whoever asks, and nothing that nobody asked for."""

from __future__ import annotations

from dataclasses import replace
from time import sleep

import numpy as np
import pytest
import torch

import audit
from audit.config import AuditConfig
from audit.findings import Check, Finding, Kind, comparison, register, unregister
from audit.findings.comparison import OF_COPIES, compared, neighbours
from audit.findings.contract import Audited
from audit.findings.kinds import FITS_NO_CLASS, NEAR_DUPLICATES
from audit.findings.neighbours import Neighbours, nearest
from audit.findings.off_topic import COLUMN
from audit.findings.off_topic import find as find_off_topic
from audit.result import AuditResult

BOTH = OF_COPIES | {FITS_NO_CLASS}


def judged_samples(asked: frozenset[str]) -> Audited:
    """Embeddings of four classes, of which a few are copies, as an audit knows them."""
    random = np.random.default_rng(0)
    numbers = np.arange(1300) % 4
    x = 2 * np.eye(16)[numbers] + random.normal(size=(1300, 16))
    x[:20] = x[40:60] + 1e-4
    prior = random.dirichlet(np.ones(4), size=1300)
    return Audited(
        ids=[str(row) for row in range(1300)],
        labels=numbers,
        classes=np.arange(4),
        split=np.full(1300, "train", dtype=object),
        keys=np.stack([np.arange(1300, dtype=np.uint64)] * 2, 1).view(np.uint8),
        every_label=np.arange(4),
        x=torch.from_numpy(x),
        prior=prior,
        suspicion=1 - prior[np.arange(1300), numbers],
        asked=asked,
    )


def equal(one: Neighbours, other: Neighbours) -> bool:
    return np.array_equal(one.places, other.places) and np.array_equal(one.distances, other.distances)


def test_neighbours_are_the_same_whoever_asks() -> None:
    together, alone, other = (judged_samples(frozenset(asked)) for asked in (BOTH, {NEAR_DUPLICATES}, set()))
    expected = nearest(together.x)
    assert all(equal(neighbours(audited), expected) for audited in (together, alone, other))
    assert compared(together).neighbours is not None
    assert neighbours(together) is compared(together).neighbours
    assert set(alone.made) == set(other.made) == {"neighbours"}
    assert neighbours(alone) is neighbours(alone)


def test_pictures_that_fit_no_class_need_no_neighbours() -> None:
    together, alone = judged_samples(BOTH), judged_samples(frozenset({FITS_NO_CLASS}))
    assert [vars(found) for found in find_off_topic(alone)] == [vars(found) for found in find_off_topic(together)]
    np.testing.assert_array_equal(alone.columns[COLUMN], together.columns[COLUMN])
    assert compared(alone).neighbours is None
    assert equal(neighbours(replace(alone, asked=BOTH)), nearest(alone.x))


def test_of_many_samples_each_is_compared_with_some_and_neighbours_are_searched_among_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparison, "SETTINGS", replace(comparison.SETTINGS, most_compared=1000))
    audited = judged_samples(BOTH)
    assert equal(neighbours(audited), nearest(audited.x))
    assert set(audited.made) == {"neighbours"}


def test_neighbours_in_leading_directions_are_those_in_all_directions() -> None:
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.random((2500, 256)) * 0.97 ** np.arange(256))
    x[:50] = x[100:150] + 1e-3
    found = nearest(x, 4)
    unit = torch.nn.functional.normalize(x, dim=1)
    similarity = unit @ unit.T - 2 * torch.eye(2500)
    exact, places = (1 - similarity).topk(10, dim=1, largest=False)
    assert np.array_equal(found.places[:50, 0], np.arange(100, 150))
    assert (found.places[:, :, None] == places.numpy()[:, None]).any(2).mean() > 0.97
    np.testing.assert_allclose(found.distances[:50, 0], exact[:50, 0], atol=1e-6)
    assert np.all(found.distances[:, -1] < 1.02 * exact[:, -1].numpy())


def audited_with(findings: str) -> AuditResult:
    random = np.random.default_rng(0)
    numbers = np.arange(60) % 2
    x = 4 * np.eye(4)[numbers] + random.normal(size=(60, 4))
    x[:6] = x[30:36] + 1e-5
    return audit.audit_embeddings(x, numbers, config=AuditConfig(findings=findings))


def test_a_check_finds_the_same_alone_and_with_all_others() -> None:
    everything, alone = (audited_with(chosen).findings for chosen in ("all", NEAR_DUPLICATES))
    columns = ["kind", "detail", "score", "id"]
    copies = [findings[findings["kind"] == NEAR_DUPLICATES][columns] for findings in (everything, alone)]
    assert len(copies[0]) >= 12
    assert copies[0].to_numpy().tolist() == copies[1].to_numpy().tolist()


def test_the_time_of_findings_is_counted_once() -> None:
    slow = Kind(name="slow-kind", title="Slow", meaning="Slow.", advice="Wait.")
    failing = Kind(name="failing-kind", title="Failing", meaning="Fails.", advice="Wait.")

    def wait(audited: Audited) -> list[Finding]:
        sleep(1.0)
        return []

    def fail(audited: Audited) -> list[Finding]:
        raise ZeroDivisionError("no such thing")

    register(Check(name="slow", kinds=(slow,), find=wait))
    register(Check(name="failing", kinds=(failing,), find=fail))
    try:
        summary = audited_with("slow,failing").summary
    finally:
        unregister("slow")
        unregister("failing")
    assert 1.0 <= summary.timings["findings"] < 1.9
    assert [(failed.stage, "findings about failing" in failed.reason) for failed in summary.failed_stages] == [
        ("findings", True)
    ]
