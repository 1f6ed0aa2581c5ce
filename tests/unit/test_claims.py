"""The benchmark of claims: its cases, what it compares, and its table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from integrations.benchmark.cases import Case
from integrations.benchmark.claims import (
    CLEAN,
    INJECTED,
    SMALL,
    Claims,
    GroupedCase,
    Interval,
    claim_cases,
    few_samples,
    measure_claims,
)
from integrations.benchmark.claims_table import claims_markdown, groups_table, save_claims
from integrations.cli.outputs import is_benchmark

ORIGIN = {"date": "2026-01-02", "machine": "a machine", "backbone": "pixels", "versions": {"torch": "2"}}


def claim(name: str, group: str, mistakes: Interval, precision: Interval | None) -> Claims:
    return Claims(name, group, 0, 100, 0 if precision is None else 10, 0.5, mistakes, precision, 5.0, ())


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    x, labels = load_digits(return_X_y=True)
    return x[:400].astype(np.float32), labels[:400]


def test_cases_are_clean_injected_and_few(digits: tuple[np.ndarray, np.ndarray]) -> None:
    cases = list(claim_cases("digits", *digits, seeds=[0, 1]))
    assert {each.group for each in cases} == {CLEAN, INJECTED, SMALL}
    clean = [each.case for each in cases if each.group == CLEAN]
    assert [case.seed for case in clean] == [0, 1]
    assert all((case.given == case.true).all() for case in clean)
    shares = {round(float((each.case.given != each.case.true).mean()), 2) for each in cases if each.group == INJECTED}
    assert shares == {0.01, 0.03, 0.1, 0.3}
    assert {each.case.classes for each in cases if "20 samples" in each.case.name} == {2}


def test_few_samples_are_drawn_from_few_classes_equally() -> None:
    true = np.repeat(np.arange(10), 100)
    rows = few_samples(true, 60, seed=3)
    assert sorted(np.bincount(true[rows])[np.unique(true[rows])]) == [30, 30]
    assert len(set(rows.tolist())) == 60
    assert few_samples(true, 60, seed=3).tolist() == rows.tolist()
    assert few_samples(true, 60, seed=4).tolist() != rows.tolist()


def test_what_is_claimed_is_compared_with_what_is_true(digits: tuple[np.ndarray, np.ndarray]) -> None:
    x, true = digits
    given = true.copy()
    given[:40] = (true[:40] + 1) % 10
    (found,) = measure_claims([GroupedCase(INJECTED, Case("forty", 0, x, given, true, 10))], reviews=5)
    assert found.mistakes.real == 40
    assert found.mistakes.low <= 40 <= found.mistakes.high
    assert found.precision is not None
    assert found.precision.real == pytest.approx(1.0, abs=0.2)
    assert [each.decisions for each in found.reviewed] == [60, 120]
    assert all(each.holds >= 0.8 for each in found.reviewed)
    assert found.f1 > 0.8


def test_no_more_decisions_than_samples(digits: tuple[np.ndarray, np.ndarray]) -> None:
    x, true = digits
    rows = few_samples(true, 60, seed=0)
    classes, numbers = np.unique(true[rows], return_inverse=True)
    (found,) = measure_claims([GroupedCase(SMALL, Case("few", 0, x[rows], numbers, numbers, len(classes)))], reviews=2)
    assert found.reviewed == ()
    assert found.mistakes.holds


def test_the_table_begins_with_what_does_not_hold(tmp_path: Path) -> None:
    held = claim("held", CLEAN, Interval(0, 10, 0), None)
    missed = claim("missed", INJECTED, Interval(20, 30, 50), Interval(0.5, 1.0, 0.75))
    lines = claims_markdown([held, missed]).splitlines()
    places = [
        next(number for number, line in enumerate(lines) if line.startswith(f"| {name}")) for name in ("missed", "held")
    ]
    assert places[0] < places[1]
    assert "20 to 30 **no**" in lines[places[0]]
    rows = list(groups_table([held, missed]))
    assert rows[2].startswith("| clean | 1 | 1.00 | 0.100 |")
    assert rows[3].startswith("| injected | 1 | 0.00 |")
    path = save_claims([held, missed], ORIGIN, tmp_path)
    assert path.read_text().startswith("2026-01-02, a machine, pixels; torch 2.")
    kept = json.loads((tmp_path / "claims.json").read_text())
    assert kept["claims"][1]["mistakes"] == {"low": 20, "high": 30, "real": 50}
    assert is_benchmark(tmp_path)
