"""Whether what an audit claims is true: on labels with known mistakes, on clean ones, and on few samples.

Before any decision an audit states ranges: how many labels may be wrong, and which share of its flags may be right.
After some decisions on a verification sample it states intervals. Here both are compared with what is really wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from audit.progress import ProgressCallback, Step, silent
from audit.verification.anytime import estimate_of
from audit.verification.draw import draw_rows
from audit.verification.population import Decided, Population
from integrations.benchmark.cases import Case, noisy_cases
from integrations.benchmark.ours import flagged

CLEAN, INJECTED, PEOPLE, SMALL = "clean", "injected", "by people", "few samples"
SHARES = (0.01, 0.03, 0.1, 0.3)
KINDS = ("uniform", "class-pair")
SIZES = (20, 60, 200, 500)
SMALL_NOISE = (("uniform", 0.1), ("class-pair", 0.1))
DECISIONS = (60, 120)
SAMPLES_A_CLASS = 30  # of few samples, so that small sets have few classes


@dataclass(frozen=True)
class Interval:
    """What was stated of a number, and what it really is."""

    low: float
    high: float
    real: float

    @property
    def holds(self) -> bool:
        """Whether the real number lies within."""
        return self.low - 1e-9 <= self.real <= self.high + 1e-9


@dataclass(frozen=True)
class Reviewed:
    """What simulated reviews state after some decisions.

    Attributes:
        decisions: of each review.
        holds: share of the reviews whose 90 % interval of the number of mistakes holds the real number.
        precision_holds: the same for the precision of the flags; None where nothing is flagged.
        precision_error: mean distance of its estimate from the real one; None where nothing is flagged.
    """

    decisions: int
    holds: float
    precision_holds: float | None
    precision_error: float | None


@dataclass(frozen=True)
class Claims:
    """What an audit of one case claims.

    Attributes:
        case: its name.
        group: CLEAN, INJECTED, PEOPLE or SMALL.
        seed: of the case.
        samples: n.
        flagged: how many are flagged.
        f1: of the flags; 0 where nothing is wrong.
        mistakes: the stated range of the number of wrong labels.
        precision: the stated range of the share of flags that are right; None where nothing is flagged.
        noise_model_width: how wide the noise model's own interval of the number is.
        reviewed: after simulated reviews.
    """

    case: str
    group: str
    seed: int
    samples: int
    flagged: int
    f1: float
    mistakes: Interval
    precision: Interval | None
    noise_model_width: float
    reviewed: tuple[Reviewed, ...]


@dataclass(frozen=True)
class GroupedCase:
    """A case and the group that it is reported in."""

    group: str
    case: Case


def claim_cases(name: str, x: np.ndarray, labels: np.ndarray, seeds: Sequence[int]) -> Iterator[GroupedCase]:
    """The cases of labels that count as right: as they are, with injected mislabels, and few of them.

    Args:
        name: of the source.
        x: embeddings (n, d).
        labels: (n,) of any type that can be sorted.
        seeds: of noise, choice of samples, folds and splits.
    """
    classes, true = np.unique(labels, return_inverse=True)
    for seed in seeds:
        yield GroupedCase(CLEAN, Case(name, seed, x, true, true, len(classes)))
    noises = [(kind, share) for kind in KINDS for share in SHARES]
    for case in noisy_cases(name, x, labels, noises, seeds):
        yield GroupedCase(INJECTED, case)
    yield from small_cases(name, x, labels, seeds)


def small_cases(
    name: str, x: np.ndarray, labels: np.ndarray, seeds: Sequence[int], sizes: Sequence[int] = SIZES
) -> Iterator[GroupedCase]:
    """The cases of few samples, clean and with injected mislabels (`claim_cases` explains the others).

    Args:
        sizes: about how many samples.
    """
    true = np.unique(labels, return_inverse=True)[1]
    for seed in seeds:
        for size in sizes:
            rows = few_samples(true, size, seed)
            few, few_labels = x[rows], labels[rows]
            known, numbers = np.unique(few_labels, return_inverse=True)
            title = f"{name}, {len(rows)} samples"
            yield GroupedCase(SMALL, Case(title, seed, few, numbers, numbers, len(known)))
            for case in noisy_cases(title, few, few_labels, SMALL_NOISE, [seed]):
                yield GroupedCase(SMALL, case)


def few_samples(true: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Positions of about so many samples of class numbers (n,): equally many of some classes, drawn with the seed."""
    rng = np.random.default_rng([seed, size])
    every = np.unique(true)
    classes = rng.choice(every, min(len(every), max(2, size // SAMPLES_A_CLASS)), replace=False)
    each = max(3, size // len(classes))
    return rng.permutation(
        np.concatenate([rng.permutation(np.flatnonzero(true == number))[:each] for number in classes])
    )


def measure_claims(
    cases: Sequence[GroupedCase], reviews: int = 100, progress: ProgressCallback = silent
) -> list[Claims]:
    """Audit every case, and compare what is claimed with what is true.

    Args:
        cases: to audit.
        reviews: simulated reviews of a case; 0 for none.
        progress: told about cases.
    """
    found = []
    for number, grouped in enumerate(cases):
        progress(Step("claims", number, len(cases), "audits"))
        found.append(_claims(grouped, reviews))
    progress(Step("claims", len(cases), len(cases), "audits"))
    return found


def _claims(grouped: GroupedCase, reviews: int) -> Claims:
    case = grouped.case
    audited = flagged(case)
    flag, estimates, wrong = audited.flags.flag, audited.flags.estimates, case.given != case.true
    found, right = int(flag.sum()), int((flag & wrong).sum())
    precision = None
    if found and estimates.precision_low is not None and estimates.precision_high is not None:
        precision = Interval(estimates.precision_low, estimates.precision_high, right / found)
    return Claims(
        case=case.name,
        group=grouped.group,
        seed=case.seed,
        samples=len(flag),
        flagged=found,
        f1=2 * right / max(1, found + int(wrong.sum())),
        mistakes=Interval(estimates.mistakes_low, estimates.mistakes_high, float(wrong.sum())),
        precision=precision,
        noise_model_width=audited.counted.high - audited.counted.low,
        reviewed=tuple(_reviewed(audited.suspicion, flag, wrong, reviews)) if reviews else (),
    )


def _reviewed(suspicion: np.ndarray, flag: np.ndarray, wrong: np.ndarray, reviews: int) -> Iterator[Reviewed]:
    """What so many simulated reviews state after each number of decisions that there are samples for."""
    population, every = Population.of(suspicion.clip(0, 1), flag), np.ones(len(flag), dtype=bool)
    drawn = [draw_rows(population.suspicion, flag, max(DECISIONS), review) for review in range(reviews)]
    for decisions in DECISIONS:
        if decisions >= len(flag):
            continue
        holds, precision_holds, errors = [], [], []
        for rows in drawn:
            part = rows[:decisions]
            decided = Decided(part, wrong[part], np.ones(len(part), dtype=bool))
            totals = population.totals(decided, fit=population.fit(decided))
            number = estimate_of(population.number(decided, every, totals))
            holds.append(Interval(number.low, number.high, float(wrong.sum())).holds)
            if flag.any():
                right = estimate_of(population.number(decided, flag, totals * population.flagged_bins) / flag.sum())
                real = float(wrong[flag].mean())
                precision_holds.append(Interval(right.low, right.high, real).holds)
                errors.append(abs(right.value - real))
        yield Reviewed(
            decisions,
            float(np.mean(holds)),
            float(np.mean(precision_holds)) if precision_holds else None,
            float(np.mean(errors)) if errors else None,
        )
