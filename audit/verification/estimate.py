"""What the decisions on a verification sample say of all samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from audit.errors import InputError
from audit.verification.anytime import Draws, Estimate, estimate_of
from audit.verification.as_drawn import suspicions_and_flags
from audit.verification.curve import Fit
from audit.verification.decisions import Decisions, read_decisions
from audit.verification.population import Decided, Population
from audit.verification.recalibrate import Recalibration, recalibration_of

if TYPE_CHECKING:
    from audit.result import AuditResult

ENOUGH_OF_A_CLASS = 10  # decisions, to say anything of it


@dataclass(frozen=True)
class AtThreshold:
    """What flagging every sample with at least this suspicion comes to; recall is None where nothing is wrong."""

    threshold: float
    samples: int
    precision: Estimate
    recall: Estimate | None


@dataclass(frozen=True)
class OfClass:
    """How many labels of a class are wrong, by its given label, and how many of its drawn samples were decided."""

    label: str
    samples: int
    decided: int
    mistakes: Estimate


@dataclass(frozen=True)
class Verification:
    """Estimates from the decisions on a verification sample, all with 90 % intervals.

    Attributes:
        mistakes: number of wrong labels among all audited samples.
        precision: share of the flags that are wrong labels, 0 to 1; None where nothing is flagged.
        recall: share of the wrong labels that are flagged, 0 to 1; None where nothing may be wrong.
        suggestions_right: share of the flags whose suggested label is right, 0 to 1; None where nothing is flagged or
            no decision tells. A flag whose label is decided wrong tells only with its true label.
        by_threshold: from the highest threshold down.
        by_class: of classes with ten decisions or more.
        recalibration: from suspicion to recalibrated suspicion.
        decided: drawn samples that are decided as wrong or right.
        found: wrong labels among them.
        reviewed: samples that were decided but not drawn; their labels are counted as known.
        unsure: drawn samples that the reviewer cannot decide; the estimates leave them out.
        mistakes_if_unsure: number of wrong labels if all labels of unsure samples are right, and if all are wrong; None
            where no sample is unsure.
    """

    mistakes: Estimate
    precision: Estimate | None
    recall: Estimate | None
    suggestions_right: Estimate | None
    by_threshold: tuple[AtThreshold, ...]
    by_class: tuple[OfClass, ...]
    recalibration: Recalibration
    decided: int
    found: int
    reviewed: int
    unsure: int
    mistakes_if_unsure: tuple[Estimate, Estimate] | None


def verify(result: AuditResult, decisions: pd.DataFrame) -> Verification:
    """Estimate the number of wrong labels, and how far to trust the flags, from decisions on drawn samples.

    Decisions on samples that were drawn speak for their strata. Decisions of ordinary review are known labels: they
    are counted, and say nothing of other samples. `audit.verification.curve` has the method and its source.

    Args:
        result: of the audit.
        decisions: the table of `draw_verification` with a column `decision` ('wrong', 'right', 'unsure', or empty
            where there is none yet), and optionally `true_label`. Rows of ordinary review have an empty `order`.

    Returns:
        The estimates.

    Raises:
        InputError: if the table cannot be read (`audit.verification.decisions.read_decisions`), or no drawn sample is
            decided as wrong or right.
    """
    return verify_scores(result.scores, decisions)


def verify_scores(scores: pd.DataFrame, decisions: pd.DataFrame) -> Verification:
    """Estimate the same from a table of scores.

    Args:
        scores: by id, columns label, suggested_label, suspicion and flag. Where decisions recalibrated them, what the
            model said is used instead (columns model_suspicion, model_flag): the sample was drawn with that.
        decisions: as in `verify`.

    Raises:
        InputError: as `verify`.
    """
    return ReviewedScores.of(scores, decisions).verification()


@dataclass(frozen=True)
class OfFlags:
    """How good some flags are, with 90 % intervals; None as in `Verification`.

    Attributes:
        flags: how many there are.
        precision: share of them that are wrong labels, 0 to 1.
        recall: share of the wrong labels that are flagged, 0 to 1.
        suggestions_right: share of the flags whose suggested label is right, 0 to 1.
    """

    flags: int
    precision: Estimate | None
    recall: Estimate | None
    suggestions_right: Estimate | None


@dataclass(frozen=True)
class ReviewedScores:
    """Scores with the decisions on them, and the posterior after these.

    Attributes:
        labels: (n,) given labels, as text.
        population: of all samples.
        read: the decisions.
        fit: after the decisions on drawn samples.
    """

    labels: np.ndarray
    population: Population
    read: Decisions
    fit: Fit

    @classmethod
    def of(cls, scores: pd.DataFrame, decisions: pd.DataFrame) -> ReviewedScores:
        """Read the decisions (`verify_scores`) and fit the posterior.

        Raises:
            InputError: as `verify`.
        """
        read = read_decisions(scores, decisions)
        if not read.clear.drawn.any():
            raise InputError(
                "no drawn sample is decided as wrong or right; decide samples of draw_verification, and keep its "
                "column 'order'"
            )
        population = Population.of(*suspicions_and_flags(scores))
        return cls(scores["label"].astype(str).to_numpy(), population, read, population.fit(read.clear))

    def verification(self) -> Verification:
        """What the decisions say of all samples."""
        population, read = self.population, self.read
        totals = population.totals(read.clear, fit=self.fit)
        found = totals.sum(1)
        flag = population.flag
        return Verification(
            mistakes=estimate_of(population.number(read.clear, np.ones(len(flag), dtype=bool), totals)),
            precision=_share(population, read.clear, flag, totals) if flag.any() else None,
            recall=_recall(read.clear, flag, totals[:, population.flagged_bins].sum(1), found),
            suggestions_right=_suggestions_right(population, read, flag),
            by_threshold=_by_threshold(population, read.clear, totals),
            by_class=_by_class(population, read.clear, self.labels),
            recalibration=recalibration_of(self.fit),
            decided=int(read.clear.drawn.sum()),
            found=int((read.clear.wrong & read.clear.drawn).sum()),
            reviewed=int((~read.clear.drawn).sum()),
            unsure=len(read.unsure),
            mistakes_if_unsure=_if_unsure(population, read) if len(read.unsure) else None,
        )

    def share_wrong(self) -> np.ndarray:
        """Share (n,) of labels that are expected to be wrong around each sample; 1 or 0 where it is decided."""
        bins, clear = self.population.bins, self.read.clear
        wrong = self.population.totals(clear, fit=self.fit).mean(0) - bins.count(clear.rows[clear.wrong])
        undecided = np.bincount(bins.of_sample) - bins.count(clear.rows)
        share = np.divide(wrong, undecided, out=np.zeros(len(wrong)), where=undecided > 0)[bins.of_sample]
        share[clear.rows] = clear.wrong
        return share

    def of_flags(self, flag: np.ndarray) -> OfFlags:
        """How good other flags than those of the drawn sample are, bool (n,)."""
        chosen, others = self.population.divided(self.read.clear, flag, self.fit)
        return OfFlags(
            flags=int(flag.sum()),
            precision=_share(self.population, self.read.clear, flag, chosen) if flag.any() else None,
            recall=_recall(self.read.clear, flag, chosen.sum(1), chosen.sum(1) + others.sum(1)),
            suggestions_right=_suggestions_right(self.population, self.read, flag),
        )


def _recall(decided: Decided, flag: np.ndarray, flagged: np.ndarray, found: np.ndarray) -> Estimate | None:
    """Of the draws with a mistake; None where most have none.

    Where no decision shows a wrong label without a flag, all of them may be flagged, and where none shows one with a
    flag, none may be.

    Args:
        decided: by a reviewer.
        flag: bool (n,).
        flagged, found: draws (k,) of the number of wrong labels with a flag, and of all.
    """
    some = found > 0
    if some.mean() <= 0.5:
        return None
    values = flagged[some] / found[some]
    wrong = flag[decided.rows[decided.wrong]]
    return estimate_of(
        Draws(values, values, values, none=np.inf if wrong.any() else 0.0, every=-np.inf if (~wrong).any() else 1.0)
    )


def _share(population: Population, decided: Decided, chosen: np.ndarray, totals: np.ndarray) -> Estimate:
    """Which share of chosen samples, bool (n,), is wrong, from draws (draws, bins) of wrong labels."""
    bins = population.bins.count(chosen) > 0
    return estimate_of(population.number(decided, chosen, np.where(bins, totals, 0)) / int(chosen.sum()))


def _suggestions_right(population: Population, read: Decisions, flag: np.ndarray) -> Estimate | None:
    """Of flags, bool (n,); None where there are none or no decision tells.

    A label that is decided as wrong without its true label leaves open whether the suggestion is right. The intervals
    cover both, and the value takes the share that is right where true labels are known.
    """
    told = read.suggestion.among(flag)
    open_rows = read.untold[flag[read.untold]]
    known_wrong = np.isin(told.rows, read.clear.rows[read.clear.wrong])
    if not len(told.rows) or (len(open_rows) and not known_wrong.any()):
        return None
    bounds = []
    for right in (False, True) if len(open_rows) else (False,):
        answered = told.and_drawn(open_rows, right)
        bounds.append(_share(population, answered, flag, population.totals(answered, flag)))
    share = float(told.wrong[known_wrong].mean()) if known_wrong.any() else 0.0
    low, high = bounds[0], bounds[-1]
    return Estimate(
        low.value + share * (high.value - low.value), low.low, high.high, low.anytime_low, high.anytime_high
    )


def _by_threshold(population: Population, decided: Decided, totals: np.ndarray) -> tuple[AtThreshold, ...]:
    """At the least suspicion of each bin, with all bins that lie above it."""
    bins = population.bins
    order = np.argsort(-bins.least, kind="stable")
    samples = np.bincount(bins.of_sample)[order].cumsum()
    wrong, found = totals[:, order].cumsum(1), totals.sum(1)
    rows = []
    for place, number in enumerate(order):
        following = order[place + 1] if place + 1 < len(order) else None
        if following is not None and bins.least[following] == bins.least[number]:
            continue  # of equal suspicions, all are above the threshold
        chosen = population.suspicion >= bins.least[number]
        rows.append(
            AtThreshold(
                float(bins.least[number]),
                int(samples[place]),
                _share(population, decided, chosen, totals),
                _recall(decided, chosen, wrong[:, place], found),
            )
        )
    return tuple(rows)


def _by_class(population: Population, clear: Decided, labels: np.ndarray) -> tuple[OfClass, ...]:
    names, counts = np.unique(labels[clear.rows[clear.drawn]], return_counts=True)
    return tuple(
        OfClass(
            str(name),
            int((labels == name).sum()),
            int(count),
            estimate_of(population.number(clear, labels == name, population.totals(clear, labels == name))),
        )
        for name, count in zip(names, counts, strict=True)
        if count >= ENOUGH_OF_A_CLASS
    )


def _if_unsure(population: Population, read: Decisions) -> tuple[Estimate, Estimate]:
    """The number of mistakes if all unsure samples are right, and if all are wrong."""
    everything = np.ones(len(population.flag), dtype=bool)

    def answered(wrong: bool) -> Estimate:
        decided = read.clear.and_drawn(read.unsure, wrong)
        return estimate_of(population.number(decided, everything, population.totals(decided)))

    return answered(False), answered(True)
