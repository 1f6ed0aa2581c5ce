"""From suspicion to flags: the threshold, and the precision and recall to expect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import nbinom

from audit.compute.matrix import BLOCK_BYTES, slices
from audit.summary.estimates import Estimates

PRECISION_BASIS = (
    "The precision of the flags is modelled: it is their mean suspicion, which comes from a noise model fitted to this "
    "dataset. It is not measured against known mistakes."
)
CONTROLS_BASIS = (
    "The number of mistakes and the recall are modelled by adding known mislabels to a copy of the labels and "
    "counting how many are found. The interval covers chance, and the doubt whether this dataset's mistakes are slips "
    "or look-alikes."
)
Z95 = 1.96  # standard errors on either side of a 95 % interval


@dataclass(frozen=True)
class Recall:
    """The share of the known mislabels of one kind that is found at a threshold, and how many were added."""

    share: float
    added: int


@dataclass(frozen=True)
class Mistakes:
    """How many labels are wrong: the estimate and a 95 % interval.

    Attributes:
        told: False if the embeddings say too little about the labels; then the interval is from none to all.
    """

    number: float
    low: float
    high: float
    told: bool = True


@dataclass(frozen=True)
class Flags:
    """The decision.

    Attributes:
        threshold: samples with at least this suspicion are flagged.
        rule: how the threshold was chosen, in a sentence.
        flag: bool (n,).
        estimates: expected number of mistakes, expected precision and recall of the flags.
    """

    threshold: float
    rule: str
    flag: np.ndarray
    estimates: Estimates


def expected_mistakes(suspicion: np.ndarray) -> Mistakes:
    """The number of mistakes by the suspicions (n,) alone, with its 95 % interval from chance."""
    number = float(suspicion.sum())
    spread = Z95 * float(np.sqrt((suspicion * (1 - suspicion)).sum()))
    return Mistakes(number, max(0.0, number - spread), min(float(len(suspicion)), number + spread))


def best_threshold(suspicion: np.ndarray, mistakes: float | None = None) -> float:
    """The threshold with the best expected F1.

    Suspicions s are probabilities, so the k most suspicious samples hold Σ_{i≤k} s_i mistakes in expectation. The
    threshold maximises the expected F1, 2 Σ_{i≤k} s_i / (k + mistakes). It lies halfway between the last flagged sample
    and the next one, so that it can be applied to other samples. If even the best F1 is below one half, as on a dataset
    with very few mistakes, the threshold is 0.5: then only samples that are more likely wrong than right are flagged,
    and there may be none.

    Args:
        suspicion: (n,) in [0, 1].
        mistakes: their number in the whole dataset; None for the sum of the suspicions.
    """
    ordered = np.sort(suspicion)[::-1]
    found = ordered.cumsum()
    total = found[-1] if mistakes is None else mistakes
    expected_f1 = 2 * found / (np.arange(1, len(ordered) + 1) + total)
    best = int(expected_f1.argmax())
    if expected_f1[best] < 0.5:
        return 0.5
    return float(ordered[best : best + 2].mean())


def count_mistakes(
    suspicion: np.ndarray,
    threshold: float,
    slip_share: float | None,
    slips: Recall,
    look_alikes: Recall,
    likeliest_share: float = 1.0,
) -> Mistakes:
    """The number of mistakes: those that are found, divided by the share of known mislabels that is found.

    Args:
        suspicion: (n,) in [0, 1].
        threshold: at which the shares were measured.
        slip_share: share of slips among the flagged mistakes, 0 to 1; None if the kinds cannot be told apart.
        slips, look_alikes: the share of known mislabels of each kind that is found.
        likeliest_share: a factor below 1 on the sum of the suspicions that is plausible, too.

    Returns:
        The number found divided by the recall, for each kind of mistake separately. Flagged samples with right labels
        resemble look-alikes. So the share of slips among the mistakes found is at least their share among the flagged,
        and at most that share divided by the expected precision. The estimate takes the middle. The interval covers
        this doubt, and chance in the suspicions, in both recalls and in the share of slips. Its upper end covers the
        doubt twice, because look-alikes with a common pattern pass for slips: the confusions that slips follow were
        estimated from the same mistakes. It also covers the interval of the suspicions alone, and how many may be
        there if so few are found (95 %): with a recall R, the number not found has a negative binomial distribution
        (found + 1, R).
    """
    model = expected_mistakes(suspicion)
    most = float(len(suspicion))
    flagged = suspicion[suspicion >= threshold]
    found = float(flagged.sum())
    highest = max(model.high, found + float(nbinom.ppf(0.95, found + 1, slips.share)))
    if not found:
        # The rule of three: where none is found, there may be up to three findable ones (95 %).
        return Mistakes(model.number, 0.0, min(most, max(highest, 3 / slips.share)))
    per_slip, per_look_alike = 1 / slips.share, 1 / look_alikes.share
    least = 1.0 if slip_share is None else slip_share
    share = (least + min(1.0, least * len(flagged) / found)) / 2
    each = share * per_slip + (1 - share) * per_look_alike
    number = min(most, found * each)
    doubt = found * abs(least - 1) * abs(per_look_alike - per_slip)
    chance = (flagged * (1 - flagged)).sum() * each**2
    for weight, recall in ((share, slips), (1 - share, look_alikes)):
        chance += (found * weight / recall.share**2) ** 2 * recall.share * (1 - recall.share) / max(recall.added, 1)
    chance += (found * (per_look_alike - per_slip)) ** 2 * share * (1 - share) / len(flagged)
    spread = Z95 * float(np.sqrt(chance))
    return Mistakes(
        number,
        max(0.0, min(model.low, number - doubt - spread) * min(1.0, likeliest_share)),
        min(most, max(highest, number + 2 * doubt + spread)),
    )


def choose_flags(
    suspicion: np.ndarray,
    threshold: float | None = None,
    target_precision: float | None = None,
    max_review: int | None = None,
    mistakes: Mistakes | None = None,
    proven: np.ndarray | None = None,
) -> Flags:
    """Flag the most suspicious samples: by a threshold, for a precision, within a budget, or for the best F1.

    Args:
        suspicion: (n,) in [0, 1].
        threshold: to use instead of a chosen one.
        target_precision: flag as many as possible while the expected precision (mean suspicion of the flagged) is at
            least this.
        max_review: flag at most this many; samples that tie across the limit are not flagged.
        mistakes: how many labels are wrong; None for the sum of the suspicions.
        proven: bool (n,), labels that identical samples contradict. A threshold chosen for the best F1 flags them, too.
            None where there are none.
    """
    basis = PRECISION_BASIS if mistakes is None else f"{PRECISION_BASIS} {CONTROLS_BASIS}"
    mistakes = mistakes or expected_mistakes(suspicion)
    rule = "The user set the threshold."
    if threshold is None:
        threshold, rule = _chosen_threshold(suspicion, target_precision, max_review, mistakes, proven)
    flag = suspicion >= threshold
    return Flags(threshold, rule, flag, _estimates(suspicion[flag], mistakes, basis))


def _chosen_threshold(
    suspicion: np.ndarray,
    target_precision: float | None,
    max_review: int | None,
    mistakes: Mistakes,
    proven: np.ndarray | None,
) -> tuple[float, str]:
    """The threshold and, in words, the rule that chose it; the arguments are those of `choose_flags`."""
    ordered = np.sort(suspicion)[::-1]
    if target_precision is not None:
        enough = ordered.cumsum() / np.arange(1, len(ordered) + 1) >= target_precision - 1e-12  # rounding
        rule = f"The threshold keeps the expected precision at {target_precision:g} or higher."
        return _after(ordered, int(enough.sum())), rule
    if max_review is not None:
        rule = f"The most suspicious samples are flagged, at most {max_review}."
        return _after(ordered, min(max_review, len(suspicion))), rule
    threshold = best_threshold(suspicion, mistakes.number)
    if proven is not None and proven.any() and suspicion[proven].min() < threshold:
        rule = "The threshold is low enough to flag every label that an identical sample contradicts."
        return float(suspicion[proven].min()), rule
    if not mistakes.told:
        return threshold, "The embeddings say too little about the labels, so no sample is flagged by its suspicion."
    if threshold == 0.5:
        return threshold, "Few labels look wrong, so only samples with a suspicion of 0.5 or higher are flagged."
    return threshold, "The threshold has the best expected F1."


def _estimates(flagged: np.ndarray, mistakes: Mistakes, basis: str) -> Estimates:
    """What is expected of the flags, from the suspicions of the flagged samples."""
    found, flags = float(flagged.sum()), len(flagged)
    of_flags = expected_mistakes(flagged)
    return Estimates(
        mistakes=mistakes.number,
        mistakes_low=mistakes.low,
        mistakes_high=mistakes.high,
        told=mistakes.told,
        precision=found / flags if flags else None,
        precision_low=of_flags.low / flags if flags else None,
        precision_high=of_flags.high / flags if flags else None,
        recall=min(1.0, found / mistakes.number) if mistakes.number else None,
        models=(),
        basis=basis,
    )


def suggest_labels(posterior: Any, labels: np.ndarray, flag: np.ndarray) -> np.ndarray:
    """The class (n,) that the audit suggests for each sample.

    It is the likeliest class. For a flagged sample it is the likeliest class other than the given one, since a reviewer
    wants to know what else the sample may be.

    Args:
        posterior: (n, C) probability of each class being the true one: an array, or rows in a file.
        labels: given class numbers (n,).
        flag: bool (n,).
    """
    return np.where(flag, likeliest_others(posterior, labels), likeliest_classes(posterior))


def likeliest_classes(probabilities: Any) -> np.ndarray:
    """The likeliest class (n,) by probabilities (n, C): an array, or rows in a file."""
    found = np.empty(len(probabilities), dtype=np.int64)
    for rows in slices(len(found), probabilities[:1].nbytes, BLOCK_BYTES):
        found[rows] = np.asarray(probabilities[rows]).argmax(1)
    return found


def likeliest_others(posterior: Any, labels: np.ndarray) -> np.ndarray:
    """The likeliest class (n,) other than the given one, which a flag suggests at any threshold.

    Args:
        posterior: (n, C) probability of each class being the true one: an array, or rows in a file.
        labels: given class numbers (n,).
    """
    found = np.empty(len(labels), dtype=np.int64)
    for rows in slices(len(labels), posterior[:1].nbytes, BLOCK_BYTES):
        candidates = np.array(posterior[rows])
        candidates[np.arange(len(candidates)), labels[rows]] = -1
        found[rows] = candidates.argmax(1)
    return found


def _after(ordered: np.ndarray, count: int) -> float:
    """The lowest threshold that flags at most `count` of suspicions in falling order; above 1 where that is none."""
    if count == len(ordered):
        return float(ordered[-1])
    above = ordered[:count][ordered[:count] > ordered[count]]
    return float(above[-1]) if len(above) else float(np.nextafter(ordered[0], np.inf))
