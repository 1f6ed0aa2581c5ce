"""Ranges over models: how many labels may be wrong, how many flags may be right, and what accepting suggestions does.

Each model says how likely every label is to be wrong. Its own interval covers chance, and every sharpness at which it
explains the labels about as well. The range goes from the lowest to the highest end of the models that the labels do
not rule out (`audit.noise_model.simpler_models`), but not far beyond the noise model's interval. The controls speak for
that interval: how many known mislabels are found. So a range is at most twice as wide as it. On the development data,
ranges without this limit are up to ten times as wide, and hold the real number no more often.

Predictions that the user gave may be those of a model that learnt the labels' own systematic mistakes. It then agrees
with many of them, and all models count too few. So with given predictions the range goes up to the number of labels
whose predictions name another class, within the same limit.

Mislabels that lie together, as those of the most influential samples, leave the labels around them predictable: the
picture looks hard and its label right. Then a model in which the readings name the class of every picture, and labels
are drawn from the readings, explains the labels as well as one without mistakes. Where hardly any known mislabel is
found, nothing speaks against it. There the range goes up to the labels that the readings contradict, within twice the
width of the noise model's interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from audit.compute.scratch import readable
from audit.flags.detectors import of_classes
from audit.flags.threshold import Z95, Flags, Mistakes, likeliest_classes, likeliest_others
from audit.noise_model.count import Count
from audit.noise_model.diagnosis import Diagnosis
from audit.noise_model.given_labels import GivenLabels
from audit.noise_model.settings import ControlSettings
from audit.noise_model.simpler_models import NOISE_MODEL, Belief, SimplerModel, log_likelihood_of, simpler_models
from audit.summary.estimates import Acceptance, AcceptedAt, Estimates, ModelledNumbers

LIMIT = 0.5  # how far a range goes beyond the noise model's interval on either side, as a share of its width
SMALLEST = 1e-9  # of the probabilities, so that their odds are finite
THRESHOLDS = (0.99, 0.98, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4, 0.3, 0.2, 0.1)
"""The suspicions for which a report says what accepting suggestions comes to, beside the audit's threshold."""


@dataclass(frozen=True)
class Models:
    """All models of one audit's labels.

    Attributes:
        noise_model: what the noise model says.
        counted: its number of mistakes, which the controls correct.
        log_likelihood: of the given labels under it (nats).
        simpler: the two simpler models.
        contradicted: labels for which given predictions name another class, or the readings if the audit is nearly
            blind; 0 where neither counts.
        blind: whether hardly any known mislabel is found.
    """

    noise_model: Belief
    counted: Mistakes
    log_likelihood: float
    simpler: tuple[SimplerModel, ...]
    contradicted: int = 0
    blind: bool = False

    @classmethod
    def of(
        cls,
        diagnosis: Diagnosis,
        labels: GivenLabels,
        suspicion: np.ndarray,
        count: Count,
        seed: int,
        predictions: np.ndarray | None = None,
    ) -> Models:
        """All models of n labels.

        Args:
            diagnosis: of the labels, by the noise model.
            labels: of the n samples.
            suspicion: (n,) of the labels.
            count: the noise model's number of mistakes, and how many known ones it finds.
            seed: for drawing the samples that the simpler models are fitted to.
            predictions: (n, C) that the user gave.
        """
        posterior, given = readable(diagnosis.posterior), labels.numbers.cpu().numpy()
        others = likeliest_others(posterior, given)
        blind = count.most_found < ControlSettings().hardly_found
        doubtful = slice(None) if labels.trusted is None else ~labels.trusted.cpu().numpy()
        named = [] if predictions is None else [predictions.argmax(1)]
        named += [likeliest_classes(readable(diagnosis.prior))] if blind else []
        return cls(
            Belief(suspicion, of_classes(posterior, others)),
            count.mistakes,
            log_likelihood_of(diagnosis.prior, diagnosis.transition, labels),
            simpler_models(diagnosis.prior, labels, others, seed),
            max((int((classes != given)[doubtful].sum()) for classes in named), default=0),
            blind,
        )

    @property
    def limits(self) -> tuple[float, float]:
        """How far the range of the number of mistakes may go."""
        beyond = LIMIT * (self.counted.high - self.counted.low)
        low, high = max(0.0, self.counted.low - beyond), self.counted.high + beyond
        if self.blind:  # what the lower end cannot use of the width, because no number is below 0, the upper end may
            high = max(high, low + (1 + 2 * LIMIT) * (self.counted.high - self.counted.low))
        return low, min(len(self.noise_model.wrong), high)

    @cached_property
    def beliefs(self) -> list[Belief]:
        """All that count: the noise model's, and those of models that are not ruled out and are within the limits."""
        low, high = self.limits
        others = [belief for model in self.simpler if not model.ruled_out for belief in model.beliefs]
        return [self.noise_model, *(belief for belief in others if _overlaps(_chance(belief.wrong), low, high))]


def with_ranges(flags: Flags, models: Models, proven: int) -> Estimates:
    """The estimates of flags, with their ranges over the models.

    Args:
        flags: of the n samples.
        models: of the n labels.
        proven: labels that are certainly wrong, which no range goes below.
    """
    flag, others = flags.flag, models.beliefs[1:]
    numbers = [_noise_model(models, flag), *(_simpler(model, flag) for model in models.simpler)]
    estimates = replace(flags.estimates, models=tuple(numbers))
    if estimates.told:
        counted = models.counted
        least, most = _over([(counted.low, counted.high), *(_chance(belief.wrong) for belief in others)])
        low = max(proven, math.floor(max(least, models.limits[0])))
        high = max(low, math.ceil(min(max(most, models.contradicted), models.limits[1])))
        estimates = replace(estimates, mistakes_low=float(low), mistakes_high=float(high))
    if not flag.any():
        return estimates
    at_most = wrong_if(estimates.mistakes_high, models.noise_model.wrong)
    right_low, _ = _over([_chance(belief.wrong[flag]) for belief in models.beliefs])
    _, right_high = _over([_chance(wrong[flag]) for wrong in (at_most, *(belief.wrong for belief in models.beliefs))])
    count = int(flag.sum())
    return replace(estimates, precision_low=right_low / count, precision_high=right_high / count)


def wrong_if(mistakes: float, wrong: np.ndarray) -> np.ndarray:
    """How likely each label (n,) is to be wrong if there are so many mistakes: all odds times the one factor for it.

    Args:
        mistakes: 0 to n.
        wrong: (n,) probabilities, as a model has them.
    """
    odds = logit(wrong.astype(np.float64).clip(SMALLEST, 1 - SMALLEST))
    farthest = 2 * np.abs(odds).max() + 1

    def beyond(factor: float) -> float:
        return float(expit(odds + factor).sum()) - mistakes

    if beyond(-farthest) >= 0:
        return np.zeros(len(odds))
    if beyond(farthest) <= 0:
        return np.ones(len(odds))
    return expit(odds + brentq(beyond, -farthest, farthest, xtol=1e-6))


def acceptance_of(suspicion: np.ndarray, threshold: float, models: Models) -> Acceptance:
    """What accepting every suggestion from a suspicion upwards mends and breaks, under every model.

    It pays from the lowest threshold down to which, under every model, more labels are mended than broken: among all
    accepted ones (beyond chance), and among those that each step adds.

    Args:
        suspicion: (n,) of the labels.
        threshold: of the audit.
        models: of the n labels.
    """
    rows, pays_from, paid, former = [], None, True, np.zeros(len(suspicion), dtype=bool)
    for lowest in sorted({*THRESHOLDS, min(1.0, threshold)}, reverse=True):
        accepted = suspicion >= lowest
        if not accepted.any():
            continue
        mended, broken = (
            _over([_chance(values(belief)[accepted]) for belief in models.beliefs]) for values in (_mended, _broken)
        )
        rows.append(
            AcceptedAt(
                threshold=lowest,
                samples=int(accepted.sum()),
                mended_low=mended[0],
                mended_high=mended[1],
                broken_low=broken[0],
                broken_high=broken[1],
            )
        )
        added, former = accepted & ~former, accepted
        if added.any():
            paid = paid and all(_pays(belief, accepted, added) for belief in models.beliefs)
            pays_from = lowest if paid else pays_from
    return Acceptance(by_threshold=tuple(rows), pays_from=pays_from)


def _mended(belief: Belief) -> np.ndarray:
    return belief.other


def _broken(belief: Belief) -> np.ndarray:
    return 1 - belief.wrong


def _pays(belief: Belief, accepted: np.ndarray, added: np.ndarray) -> bool:
    """Whether more labels are mended than broken among the accepted, beyond chance, and among those added last."""
    net = belief.other.astype(np.float64) - (1 - belief.wrong)
    spread = (belief.other + 1 - belief.wrong - net**2)[accepted].sum()
    return bool(net[accepted].sum() > Z95 * math.sqrt(max(0.0, spread)) and net[added].sum() >= 0)


def _noise_model(models: Models, flag: np.ndarray) -> ModelledNumbers:
    return _numbers(
        NOISE_MODEL, [models.noise_model], flag, models.log_likelihood, ruled_out=False, counted=models.counted
    )


def _simpler(model: SimplerModel, flag: np.ndarray) -> ModelledNumbers:
    return _numbers(model.name, model.beliefs, flag, model.log_likelihood, model.ruled_out)


def _numbers(
    name: str,
    beliefs: Sequence[Belief],
    flag: np.ndarray,
    log_likelihood: float,
    ruled_out: bool,
    counted: Mistakes | None = None,
) -> ModelledNumbers:
    """A model's numbers and their intervals over its beliefs, of which the first is the likeliest."""
    flags = int(flag.sum())
    low, high = _over([_chance(belief.wrong) for belief in beliefs])
    right_low, right_high = _over([_chance(belief.wrong[flag]) for belief in beliefs])
    return ModelledNumbers(
        model=name,
        mistakes=float(beliefs[0].wrong.sum(dtype=np.float64)) if counted is None else counted.number,
        mistakes_low=low if counted is None else counted.low,
        mistakes_high=high if counted is None else counted.high,
        precision=float(beliefs[0].wrong[flag].mean()) if flags else None,
        precision_low=right_low / flags if flags else None,
        precision_high=right_high / flags if flags else None,
        log_likelihood=log_likelihood,
        ruled_out=ruled_out,
    )


def _chance(probabilities: np.ndarray) -> tuple[float, float]:
    """A 95 % interval of a number of independent events with these probabilities (k,): whole numbers, 0 to k."""
    number = float(probabilities.sum(dtype=np.float64))
    spread = Z95 * math.sqrt(float((probabilities * (1 - probabilities)).sum(dtype=np.float64)))
    return float(max(0, math.floor(number - spread))), float(min(len(probabilities), math.ceil(number + spread)))


def _overlaps(interval: tuple[float, float], low: float, high: float) -> bool:
    return interval[0] <= high and interval[1] >= low


def _over(intervals: list[tuple[float, float]]) -> tuple[float, float]:
    """The lowest and the highest end."""
    return min(low for low, _ in intervals), max(high for _, high in intervals)
