"""Pictures that fit no class.

**Rank.** A picture ranks high if it is far from the pictures with its label, its class is in doubt, its label is
suspicious, and the head depends on having seen it. Each of these is put on a robust scale, and they are added up
(`audit.findings.comparison`).

**Probability.** The share and the scores of such pictures come from pictures that are known to fit no class: those of
each class, compared with the other classes only, and mixtures of two pictures of different classes. A logistic
regression on the distances to the classes tells them from the pictures of the dataset, and the share of pictures that
fit no class is fitted by likelihood (Saerens, Latinne & Decaestecker, Neural Computation 14, 2002). The log-odds of a
picture are the mean of two: of its own by the regression, and of the one that has its place if all are put in the order
of the rank. Distances alone miss what the head knows; the rank alone takes wrong labels for pictures that fit no class.

Pictures that fit no class are among those of the dataset, too. So the distances are to the pictures of each class that
rank low, and the regression is fitted again with each picture weighted by the probability that it fits a class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from audit.compute.matrix import BLOCK_BYTES, slices
from audit.findings.comparison import Compared, can_be_compared, compared, log_odds
from audit.findings.contract import Audited, Finding
from audit.findings.kinds import FITS_NO_CLASS


@dataclass(frozen=True, kw_only=True)
class OffTopicSettings:
    """When a picture fits no class."""

    # Probability from which a picture is reported.
    likely: float = 0.5
    # Fits of the regression, each with weights from the one before. More are bolder, on clean data too.
    fits: int = 2


SETTINGS = OffTopicSettings()
COLUMN = "fits_no_class"
EITHER_COLUMN = "wrong_for_any_reason"


def find(audited: Audited) -> Iterator[Finding]:
    """Pictures that fit no class with a probability of at least `likely`; adds the score columns to the audit."""
    if not can_be_compared(audited):
        return
    assert audited.suspicion is not None
    n = len(audited.ids)
    numbers = np.searchsorted(audited.classes, audited.labels)
    alike = compared(audited)
    by_distance = log_odds(_probabilities(alike, numbers, audited.seed))
    by_rank = np.empty(n)
    by_rank[np.argsort(alike.ranks, kind="stable")] = np.sort(by_distance)
    probability = 1 / (1 + np.exp(-(by_distance + by_rank) / 2))
    audited.columns[COLUMN] = probability
    audited.columns[EITHER_COLUMN] = 1 - (1 - audited.suspicion) * (1 - probability)
    names, to_label = audited.classes.tolist(), alike.to_label
    for row in np.flatnonzero(probability >= SETTINGS.likely):
        yield Finding(
            kind=FITS_NO_CLASS,
            evidence=f"unlike the pictures labelled {names[numbers[row]]!r} (similarity {to_label[row]:.2f}, "
            f"usually {np.median(to_label[numbers == numbers[row]]):.2f}) and of every other class; "
            f"probability {probability[row]:.2f}",
            score=float(np.clip(probability[row], 0, 1)),
            samples=(int(row),),
        )


def _probabilities(alike: Compared, numbers: np.ndarray, seed: int) -> np.ndarray:
    """The probability of each sample (n,) that it fits no class, from its similarity to each class."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    known = _off_topic(alike, numbers, np.random.default_rng(seed))
    features = _features(alike.to_classes, numbers)
    scaler = StandardScaler().fit(features)
    features, known = scaler.transform(features), scaler.transform(known)
    both, is_known = np.concatenate([features, known]), np.repeat([0, 1], [len(features), len(known)])
    probability = np.zeros(len(features))
    for _ in range(SETTINGS.fits):
        fits_a_class = 1 - probability
        weights = np.concatenate([fits_a_class / fits_a_class.sum(), np.full(len(known), 1 / len(known))])
        model = LogisticRegression().fit(both, is_known, sample_weight=weights * len(both) / 2)
        probability = _with_share(np.exp(np.clip(model.decision_function(features), -50, 50)))
    return probability


def _with_share(odds: np.ndarray) -> np.ndarray:
    """The probabilities (n,) for odds of a half, with the share of the whole that makes these odds likeliest."""
    share = 0.1
    for _ in range(200):
        probability = share * odds / (share * odds + 1 - share)
        share = float(np.clip(probability.mean(), 1e-4, 0.9))
    return np.asarray(probability)


def _off_topic(alike: Compared, numbers: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Features (k, f) of samples that fit no class."""
    own, made = alike.to_classes, []
    n, classes = own.shape
    for number in range(classes):
        others = np.delete(own[numbers == number], number, 1)
        made.append(_features(others, random.integers(0, classes - 1, len(others)), with_lead=classes > 2))
    one, other = random.integers(0, n, (2, min(n, 1000)))
    one, other = one[numbers[one] != numbers[other]], other[numbers[one] != numbers[other]]
    mixed = alike.spaces.mixtures(alike.x, one, other, random)
    made.append(_features(alike.spaces.similarities(mixed, themselves=False), random.integers(0, classes, len(mixed))))
    return np.concatenate(made)


def _features(similarities: np.ndarray, numbers: np.ndarray, with_lead: bool | None = None) -> np.ndarray:
    """(n, f): distance to the given class and to the nearest, and the lead of the nearest one; logarithms.

    Of two classes there is no lead, as a class that is compared with the other one has none.
    """
    with_lead = similarities.shape[1] > 2 if with_lead is None else with_lead
    found = np.empty((len(similarities), 3 if with_lead else 2))
    for rows in slices(len(found), 2 * similarities[:1].nbytes, BLOCK_BYTES):
        block = similarities[rows]
        given = block[np.arange(len(block)), numbers[rows]]
        ordered = np.sort(block, axis=1).astype(np.float64)
        for column, near in enumerate((given.astype(np.float64), ordered[:, -1])):
            found[rows, column] = np.log(np.maximum(1 - near, 0) + 1e-6)
        if with_lead:
            found[rows, 2] = np.log(ordered[:, -1] - ordered[:, -2] + 1e-3)
    return found
