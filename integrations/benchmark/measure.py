"""How well and how fast each method does on each case."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from audit.extras import problem_of, require
from audit.flags.measures import detection_quality
from audit.progress import ProgressCallback, Step, silent
from integrations.benchmark.cases import Case, Verdict
from integrations.benchmark.folds import cross_validated_head, cross_validation
from integrations.benchmark.ours import audited, averaged_influence, self_influence
from integrations.benchmark.peers import BY_PYDVL, ON_EMBEDDINGS, ON_PREDICTIONS

OURS = "influence-audit"
INFLUENCE_NAME = "averaged influence, {} validation labels"
ALONE = "influence-audit, predictions alone"
NO_PEERS = (OURS, ALONE, INFLUENCE_NAME.format("true"), INFLUENCE_NAME.format("believed"))
"""Ours, and what needs the true labels."""


@dataclass(frozen=True)
class Measurement:
    """How one method did on one case; `None` where a method does not say.

    `suggestion_right` is the share of right suggestions for the mistakes that the method itself flagged,
    `suggestion_right_for_ours` for those that the audit flagged, the same samples for all methods.
    `seconds_trained_folds` is what a method on out-of-sample predictions takes with folds that are trained as far as
    the audit's head, `seconds_own_l2_folds` with folds that `train_head` trains and chooses the L2 of.
    """

    case: str
    seed: int
    samples: int
    wrong: int
    method: str
    average_precision: float
    auroc: float
    precision_at_wrong: float
    flagged: int | None
    precision: float | None
    recall: float | None
    f1: float | None
    estimated_precision: float | None
    estimated_wrong: float | None
    estimated_low: float | None
    estimated_high: float | None
    suggestion_right: float | None
    suggestion_right_for_ours: float | None
    seconds: float
    seconds_trained_folds: float | None = None
    seconds_own_l2_folds: float | None = None


def run_cases(cases: Sequence[Case], progress: ProgressCallback = silent) -> list[Measurement]:
    """Measure every method on every case.

    Raises:
        InputError: if a peer is not installed.
    """
    require("benchmark", "the comparison with cleanlab")
    if BY_PYDVL and (problem := problem_of("pydvl")):
        progress(Step("benchmark", note=f"without {' and '.join(BY_PYDVL)}, which need the extra 'pydvl' ({problem})"))
    measurements = []
    for number, case in enumerate(cases):
        progress(Step("benchmark", number, len(cases), "cases"))
        flagged = np.zeros(len(case.given), dtype=bool)
        for method, verdict, seconds in _verdicts(case):
            if method == OURS and verdict.flags is not None:
                flagged = verdict.flags
            measurements.append(_measure(case, method, verdict, flagged, *seconds))
    progress(Step("benchmark", len(cases), len(cases), "cases"))
    return measurements


def _verdicts(case: Case) -> Iterator[tuple[str, Verdict, tuple[float, ...]]]:
    """Method, verdict, seconds; of methods on folds also the seconds with trained folds, and with each one's own L2."""

    def timed(method: str, judge: Callable[[], Verdict]) -> tuple[str, Verdict, tuple[float, ...]]:
        verdict, seconds = _timed(judge)
        return method, verdict, (seconds,)

    yield timed(OURS, lambda: audited(case))
    if case.predictions is not None:
        yield from _on_given(case, case.predictions)
        return
    folds, seconds = _timed(lambda: cross_validation(case))
    _, trained = _timed(lambda: cross_validation(case, trained=True))
    _, own = _timed(lambda: cross_validated_head(case))
    for name, judge in ON_PREDICTIONS.items():
        verdict, more = _timed(lambda judge=judge: judge(case, folds))  # type: ignore[misc]
        yield name, verdict, (seconds + more, trained + more, own + more)
    yield from _on_embeddings(case)
    yield timed("self-influence", lambda: self_influence(case))
    for labels in ("given", "true", "believed"):
        yield timed(INFLUENCE_NAME.format(labels), partial(_influence_verdict, case, labels))


def _on_given(case: Case, predictions: np.ndarray) -> Iterator[tuple[str, Verdict, tuple[float, ...]]]:
    """As `_verdicts`, of the methods that rest on predictions, by those that were given."""
    verdict, seconds = _timed(lambda: audited(case, alone=True))
    yield ALONE, verdict, (seconds,)
    for name, judge in ON_PREDICTIONS.items():
        verdict, seconds = _timed(lambda judge=judge: judge(case, predictions))  # type: ignore[misc]
        yield name, verdict, (seconds,)
    yield from _on_embeddings(case)


def _on_embeddings(case: Case) -> Iterator[tuple[str, Verdict, tuple[float, ...]]]:
    """As `_verdicts`, of the peers that judge embeddings; those of pyDVL only where it is installed."""
    for name, judge in (ON_EMBEDDINGS | ({} if problem_of("pydvl") else BY_PYDVL)).items():
        verdict, seconds = _timed(partial(judge, case))
        yield name, verdict, (seconds,)


def _influence_verdict(case: Case, labels: str) -> Verdict:
    return Verdict(-averaged_influence(case, labels))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    done = work()
    return done, time.perf_counter() - began


def _measure(
    case: Case,
    method: str,
    verdict: Verdict,
    flagged_by_us: np.ndarray,
    seconds: float,
    seconds_trained_folds: float | None = None,
    seconds_own_l2_folds: float | None = None,
) -> Measurement:
    wrong = case.given != case.true
    flags = verdict.flags
    quality = detection_quality(
        wrong, np.zeros(len(wrong), dtype=bool) if flags is None else flags, {"suspicion": verdict.scores}
    )
    found = wrong if flags is None else wrong & flags

    def right(among: np.ndarray) -> float | None:
        suggested = verdict.suggested
        return None if suggested is None or not among.any() else float((suggested == case.true)[among].mean())

    return Measurement(
        case=case.name,
        seed=case.seed,
        samples=len(wrong),
        wrong=int(wrong.sum()),
        method=method,
        average_precision=quality.average_precision,
        auroc=quality.auroc,
        precision_at_wrong=quality.precision_at_k[str(int(wrong.sum()))],
        flagged=None if flags is None else int(flags.sum()),
        precision=None if flags is None else quality.precision,
        recall=None if flags is None else quality.recall,
        f1=None if flags is None else quality.f1,
        estimated_precision=verdict.estimated_precision,
        estimated_wrong=None if verdict.estimated_wrong is None else verdict.estimated_wrong.number,
        estimated_low=None if verdict.estimated_wrong is None else verdict.estimated_wrong.low,
        estimated_high=None if verdict.estimated_wrong is None else verdict.estimated_wrong.high,
        suggestion_right=right(found),
        suggestion_right_for_ours=right(wrong & flagged_by_us),
        seconds=seconds,
        seconds_trained_folds=seconds_trained_folds,
        seconds_own_l2_folds=seconds_own_l2_folds,
    )
