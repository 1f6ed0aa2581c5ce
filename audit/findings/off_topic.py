"""Pictures that fit no class.

**Rank.** A picture ranks high if it is far from the pictures with its label, its class is in doubt, its label is
suspicious, and the head depends on having seen it. Each of these is put on a robust scale; `WEIGHTS` adds them up.

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
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from audit.findings.contract import Audited, Finding
from audit.findings.kinds import FITS_NO_CLASS
from audit.findings.neighbours import SETTINGS as NEIGHBOURS
from audit.findings.neighbours import Neighbours, nearest
from audit.noise_model.votes import largest


@dataclass(frozen=True, kw_only=True)
class OffTopicSettings:
    """When a picture fits no class, and with how many others it is compared."""

    # Probability from which a picture is reported.
    likely: float = 0.5
    # Pictures of a class that tell how far the class is.
    nearest: int = 5
    # Pictures with which each is compared.
    most_compared: int = 20_000
    # Pictures with which each is compared at least.
    fewest_compared: int = 1000
    # In all, so that a million pictures take half a minute.
    most_comparisons: float = 4e8
    # Pictures from which anything is estimated.
    fewest: int = 30
    # Share of each class that the distances are to: those that rank lowest.
    compared_with: float = 0.75
    # Fits of the regression, each with weights from the one before. More are bolder, on clean data too.
    fits: int = 2
    # Robust standard deviations that one reading may say.
    limit: float = 6.0


SETTINGS = OffTopicSettings()
BLOCK = 512  # samples that are compared with all others at once
COLUMN = "fits_no_class"
EITHER_COLUMN = "wrong_for_any_reason"


@dataclass(frozen=True)
class Weights:
    """What each reading counts for the rank. Chosen on three datasets with known off-topic pictures."""

    far_from_label: float = 0.5
    in_doubt: float = 1.0
    suspicious: float = 1.0
    self_influence: float = 0.5
    improbable: float = 0.5


WEIGHTS = Weights()


def find(audited: Audited) -> Iterator[Finding]:
    """Pictures that fit no class with a probability of at least `likely`; adds the score columns to the audit."""
    if not _can_be_compared(audited):
        return
    assert audited.suspicion is not None
    n = len(audited.ids)
    numbers = np.searchsorted(audited.classes, audited.labels)
    compared = audited.once("compared", _compared)
    by_distance = _log_odds(_probabilities(compared.spaces, compared.to_classes, numbers, audited))
    by_rank = np.empty(n)
    by_rank[np.argsort(compared.ranks, kind="stable")] = np.sort(by_distance)
    probability = 1 / (1 + np.exp(-(by_distance + by_rank) / 2))
    audited.columns[COLUMN] = probability
    audited.columns[EITHER_COLUMN] = 1 - (1 - audited.suspicion) * (1 - probability)
    names, to_label = audited.classes.tolist(), compared.to_label
    for row in np.flatnonzero(probability >= SETTINGS.likely):
        yield Finding(
            kind=FITS_NO_CLASS,
            evidence=f"unlike the pictures labelled {names[numbers[row]]!r} (similarity {to_label[row]:.2f}, "
            f"usually {np.median(to_label[numbers == numbers[row]]):.2f}) and of every other class; "
            f"probability {probability[row]:.2f}",
            score=float(np.clip(probability[row], 0, 1)),
            samples=(int(row),),
        )


def neighbours(audited: Audited) -> Neighbours:
    """The nearest neighbours of each sample: from the comparison of all samples that this check makes, if it does."""
    compared = audited.once("compared", _compared) if _can_be_compared(audited) else None
    if compared is None or compared.neighbours is None:
        return nearest(audited.x)
    return compared.neighbours


def _can_be_compared(audited: Audited) -> bool:
    known = audited.x is not None and audited.prior is not None and audited.suspicion is not None
    return known and len(audited.ids) >= SETTINGS.fewest


@dataclass(frozen=True)
class _Compared:
    """All samples, compared with each other.

    Attributes:
        spaces: the samples of each class that rank low, with which others are compared.
        to_label: (n,) similarity to the samples with the same label.
        ranks: (n,) how unlike every class each sample is.
        to_classes: (n, C) similarity to each class of `spaces`.
        neighbours: of each sample; None if each was compared with some of the samples only.
    """

    spaces: _Classes
    to_label: np.ndarray
    ranks: np.ndarray
    to_classes: np.ndarray
    neighbours: Neighbours | None


def _compared(audited: Audited) -> _Compared:
    numbers = np.searchsorted(audited.classes, audited.labels)
    spaces = _Classes.of(audited.x, numbers, len(audited.classes), audited.seed)
    to_label = spaces.within(audited.x, numbers)
    ranks = _ranks(audited, to_label)
    spaces = spaces.without(_odd(ranks, numbers))
    return _Compared(spaces, to_label, ranks, *spaces.similarities(audited.x))


def _ranks(audited: Audited, to_label: np.ndarray) -> np.ndarray:
    """How unlike every class each sample is, (n,); `to_label` is its similarity to its own label's samples (n,)."""
    prior = np.clip(np.asarray(audited.prior, dtype=np.float64), 1e-12, 1)
    readings = [
        (WEIGHTS.far_from_label, np.log(np.maximum(1 - to_label, 1e-6))),
        (WEIGHTS.in_doubt, np.log(-(prior * np.log(prior)).sum(1) + 1e-6)),
        (WEIGHTS.suspicious, _log_odds(np.asarray(audited.suspicion))),
    ]
    if audited.self_influence is not None:
        readings.append((WEIGHTS.self_influence, np.log(np.maximum(audited.self_influence, 0) + 1e-9)))
    if audited.loo_probability is not None:
        readings.append((WEIGHTS.improbable, _log_odds(1 - audited.loo_probability)))
    total = np.zeros(len(prior))
    for weight, reading in readings:
        middle = np.median(reading)
        scale = 1.4826 * np.median(np.abs(reading - middle)) + 1e-9
        total += weight * np.clip((reading - middle) / scale, -SETTINGS.limit, SETTINGS.limit)
    return total


def _log_odds(probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def _odd(ranks: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """bool (n,): the samples of each class that rank highest, with which no other is compared."""
    odd = np.zeros(len(ranks), dtype=bool)
    for number in np.unique(numbers):
        of_class = numbers == number
        odd[of_class] = ranks[of_class] > np.quantile(ranks[of_class], SETTINGS.compared_with)
    return odd


def _probabilities(spaces: _Classes, own: np.ndarray, numbers: np.ndarray, audited: Audited) -> np.ndarray:
    """The probability of each sample (n,) that it fits no class, from its similarity to each class (n, C)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    known = _off_topic(spaces, own, numbers, audited, np.random.default_rng(audited.seed))
    features = _features(own, numbers)
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


def _off_topic(
    spaces: _Classes, own: np.ndarray, numbers: np.ndarray, audited: Audited, random: np.random.Generator
) -> np.ndarray:
    """Features (k, f) of samples that fit no class."""
    n, classes = own.shape
    made = []
    for number in range(classes):
        others = np.delete(own[numbers == number], number, 1)
        made.append(_features(others, random.integers(0, classes - 1, len(others)), with_lead=classes > 2))
    one, other = random.integers(0, n, (2, min(n, 1000)))
    one, other = one[numbers[one] != numbers[other]], other[numbers[one] != numbers[other]]
    mixed = spaces.mixtures(audited.x, one, other, random)
    made.append(_features(spaces.similarities(mixed, themselves=False)[0], random.integers(0, classes, len(mixed))))
    return np.concatenate(made)


def _features(similarities: np.ndarray, numbers: np.ndarray, with_lead: bool | None = None) -> np.ndarray:
    """(n, f): distance to the given class and to the nearest, and the lead of the nearest one; logarithms.

    Of two classes there is no lead, as a class that is compared with the other one has none.
    """
    ordered = -np.sort(-similarities, axis=1)
    given = similarities[np.arange(len(similarities)), numbers]
    columns = [np.log(np.maximum(1 - near, 0) + 1e-6) for near in (given, ordered[:, 0])]
    if similarities.shape[1] > 2 if with_lead is None else with_lead:
        columns.append(np.log(ordered[:, 0] - ordered[:, 1] + 1e-3))
    return np.stack(columns, 1)


def _without_themselves(similar: Tensor, columns: np.ndarray) -> Tensor:
    """Similarities (k, m) with none of a sample to itself, which is in one of the columns (k,), or in none (-1)."""
    among = np.flatnonzero(columns >= 0)
    similar[among, columns[among]] = -torch.inf
    return similar


@dataclass(frozen=True)
class _Classes:
    """The samples of each class, with which others are compared.

    Attributes:
        rows: (m,) positions of the samples.
        unit: float32 (m, d), their embeddings at length 1.
        members: for each class, positions among those.
        mean: (d,) of the embeddings.
        directions: (d, d) principal directions, as columns.
    """

    rows: np.ndarray
    unit: Tensor
    members: list[Tensor]
    mean: Tensor
    directions: Tensor

    @classmethod
    def of(cls, x: Tensor, numbers: np.ndarray, classes: int, seed: int) -> _Classes:
        """At most `most_compared` samples (n, d) with class numbers (n,)."""
        rows = np.arange(len(numbers))
        most = min(SETTINGS.most_compared, max(SETTINGS.fewest_compared, int(SETTINGS.most_comparisons / len(rows))))
        if len(rows) > most:
            rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
        values = x[torch.from_numpy(rows)].float()
        mean = values.mean(0)
        centred = (values - mean).double()  # in single precision, equal eigenvalues may not converge
        directions = torch.linalg.eigh(centred.T @ centred)[1].float()
        members = [
            torch.from_numpy(np.flatnonzero(numbers[rows] == number)).to(values.device) for number in range(classes)
        ]
        return cls(rows, torch.nn.functional.normalize(values, dim=1), members, mean, directions)

    def without(self, odd: np.ndarray) -> _Classes:
        """The same without the samples for which bool (n,) says so, but for classes of which few would be left."""
        kept = [members[torch.from_numpy(~odd[self.rows[members.cpu().numpy()]])] for members in self.members]
        members = [
            some if len(some) > SETTINGS.nearest else all_ for some, all_ in zip(kept, self.members, strict=True)
        ]
        return replace(self, members=members)

    def within(self, x: Tensor, numbers: np.ndarray) -> np.ndarray:
        """The mean similarity (n,) of samples with class numbers (n,) to the nearest with the same one."""
        found, places = np.zeros(len(numbers)), self._places(len(numbers))
        for number, members in enumerate(self.members):
            count, own_unit = self._count(members), self.unit[members]
            column = np.full(len(self.rows) + 1, -1)  # of a sample among the members, by its place; the last is none
            column[members.cpu().numpy()] = np.arange(len(members))
            rows = np.flatnonzero(numbers == number) if count else np.empty(0, dtype=int)
            for start in range(0, len(rows), BLOCK):
                some = rows[start : start + BLOCK]
                unit = torch.nn.functional.normalize(x[torch.from_numpy(some)].float(), dim=1)
                similar = _without_themselves(unit @ own_unit.T, column[places[some]])
                found[some] = similar.topk(count, dim=1).values.mean(1).cpu().numpy()
        return found

    def similarities(self, x: Tensor, themselves: bool = True) -> tuple[np.ndarray, Neighbours | None]:
        """The mean similarity (n, C) of samples to the nearest of each class; `themselves` if x holds these.

        If they are compared with each other, their nearest neighbours come with it.
        """
        n = len(x)
        found, places = np.zeros((n, len(self.members))), self._places(n if themselves else 0)
        everyone = themselves and len(self.rows) == n
        count = min(NEIGHBOURS.nearest, n - 1) if everyone else 0
        rows_of, distances = np.empty((n, count), dtype=np.int64), np.empty((n, count), dtype=np.float32)
        for start in range(0, n, BLOCK):
            part = slice(start, min(start + BLOCK, n))
            similar = torch.nn.functional.normalize(x[part].float(), dim=1) @ self.unit.T
            if themselves:
                similar = _without_themselves(similar, places[part])
            for number, members in enumerate(self.members):
                if of_class := self._count(members):
                    near = largest(similar[:, members], of_class)[0]
                    found[part, number] = near.mean(1).cpu().numpy()
            if count:
                near, which = largest(similar, count)
                rows_of[part], distances[part] = which.cpu().numpy(), (1 - near).clamp_min(0).cpu().numpy()
        return found, Neighbours(rows_of, distances) if everyone else None

    def _places(self, n: int) -> np.ndarray:
        """The place (n,) of each sample among those that others are compared with, -1 if it is none of them."""
        places = np.full(n, -1)
        if n:
            places[self.rows] = np.arange(len(self.rows))
        return places

    @staticmethod
    def _count(members: Tensor) -> int:
        """With how many samples of a class each sample is compared."""
        return max(0, min(SETTINGS.nearest, len(members) - 1))

    def mixtures(self, x: Tensor, one: np.ndarray, other: np.ndarray, random: np.random.Generator) -> Tensor:
        """Embeddings (k, d) that have each principal component from one of two samples."""
        first, second = ((x[torch.from_numpy(rows)].float() - self.mean) @ self.directions for rows in (one, other))
        chosen = torch.from_numpy(random.random(first.shape) < 0.5).to(first.device)
        return torch.where(chosen, first, second) @ self.directions.T + self.mean
