"""The comparison of all samples with each other, made once for all checks, and only as far as they need it.

Two checks look at similarities of embeddings: that for pictures that fit no class needs the similarity of each sample
to each class, and that for copies needs the nearest neighbours of each sample. One pass over all pairs gives both.
Where only one of the checks was chosen, only its part is computed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from audit.compute.matrix import BLOCK_BYTES, Rows, slices
from audit.findings.contract import Audited
from audit.findings.kinds import FITS_NO_CLASS, NEAR_DUPLICATE_LABELS, NEAR_DUPLICATES, NEAR_LEAK
from audit.findings.neighbours import NeighbourList, Neighbours, leading, nearest
from audit.noise_model.votes import largest


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """With how many others a sample is compared, and what makes it unlike every class."""

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
    # Robust standard deviations that one reading may say.
    limit: float = 6.0


SETTINGS = ComparisonSettings()
BLOCK = 512  # samples that are compared with all others at once
OF_COPIES = frozenset({NEAR_DUPLICATES, NEAR_DUPLICATE_LABELS, NEAR_LEAK})  # kinds that need nearest neighbours


@dataclass(frozen=True)
class Weights:
    """What each reading counts for the rank. Chosen on three datasets with known off-topic pictures."""

    far_from_label: float = 0.5
    in_doubt: float = 1.0
    suspicious: float = 1.0
    self_influence: float = 0.5
    improbable: float = 0.5


WEIGHTS = Weights()


def neighbours(audited: Audited) -> Neighbours:
    """The nearest neighbours of each sample, from the comparison with the classes where that is made anyway."""
    if FITS_NO_CLASS in audited.asked and can_be_compared(audited) and len(audited.ids) <= SETTINGS.most_compared:
        found = compared(audited).neighbours
        if found is not None:
            return found
    return audited.once("neighbours", lambda audited: nearest(audited.x, len(audited.classes)))


def in_leading_directions(audited: Audited) -> Rows:
    """The embeddings in their leading directions, once for all checks."""
    return audited.once("leading", lambda audited: leading(audited.x, len(audited.classes)))


def can_be_compared(audited: Audited) -> bool:
    """Whether enough is known of the samples, and of enough of them, to compare them with the classes."""
    known = audited.x is not None and audited.prior is not None and audited.suspicion is not None
    return known and len(audited.ids) >= SETTINGS.fewest


def compared(audited: Audited) -> Compared:
    """Each sample compared with each class, once for all checks; `can_be_compared` says whether that is possible."""
    return audited.once("compared", _compared)


@dataclass(frozen=True)
class Compared:
    """All samples, compared with the samples of each class.

    Attributes:
        x: embeddings (n, k) in the directions in which they are compared.
        spaces: the samples of each class that rank low, with which others are compared.
        to_label: (n,) similarity to the samples with the same label.
        ranks: (n,) how unlike every class each sample is.
        to_classes: float32 (n, C), similarity to each class of `spaces`.
        neighbours: of each sample; None if no check needs them, or each was compared with some of the samples only.
    """

    x: Rows
    spaces: Classes
    to_label: np.ndarray
    ranks: np.ndarray
    to_classes: np.ndarray
    neighbours: Neighbours | None


def _compared(audited: Audited) -> Compared:
    numbers = np.searchsorted(audited.classes, audited.labels)
    x = in_leading_directions(audited)
    spaces = Classes.of(x, numbers, len(audited.classes), audited.seed)
    to_label = spaces.within(x, numbers)
    ranks = _ranks(audited, to_label)
    spaces = spaces.without(_odd(ranks, numbers))
    neighbours = None
    if OF_COPIES & audited.asked and len(spaces.rows) == len(x):
        neighbours = NeighbourList(audited.x, x)
    to_classes = spaces.similarities(x, neighbours=neighbours)
    return Compared(x, spaces, to_label, ranks, to_classes, neighbours.found if neighbours else None)


def _ranks(audited: Audited, to_label: np.ndarray) -> np.ndarray:
    """How unlike every class each sample is, (n,); `to_label` is its similarity to its own label's samples (n,)."""
    readings = [
        (WEIGHTS.far_from_label, np.log(np.maximum(1 - to_label, 1e-6))),
        (WEIGHTS.in_doubt, np.log(_entropy(audited.prior) + 1e-6)),
        (WEIGHTS.suspicious, log_odds(np.asarray(audited.suspicion))),
    ]
    if audited.self_influence is not None:
        readings.append((WEIGHTS.self_influence, np.log(np.maximum(audited.self_influence, 0) + 1e-9)))
    if audited.loo_probability is not None:
        readings.append((WEIGHTS.improbable, log_odds(1 - audited.loo_probability)))
    total = np.zeros(len(to_label))
    for weight, reading in readings:
        middle = np.median(reading)
        scale = 1.4826 * np.median(np.abs(reading - middle)) + 1e-9
        total += weight * np.clip((reading - middle) / scale, -SETTINGS.limit, SETTINGS.limit)
    return total


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """Of each row (n,), in nats."""
    found = np.empty(len(probabilities))
    for rows in slices(len(found), 8 * probabilities.shape[1], BLOCK_BYTES):
        block = np.clip(probabilities[rows].astype(np.float64), 1e-12, 1)
        found[rows] = -(block * np.log(block)).sum(1)
    return found


def log_odds(probability: np.ndarray) -> np.ndarray:
    """The logarithms of the odds for probabilities, 0 to 1."""
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def _odd(ranks: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """bool (n,): the samples of each class that rank highest, with which no other is compared."""
    odd = np.zeros(len(ranks), dtype=bool)
    for number in np.unique(numbers):
        of_class = numbers == number
        odd[of_class] = ranks[of_class] > np.quantile(ranks[of_class], SETTINGS.compared_with)
    return odd


def _without_themselves(similar: Tensor, columns: np.ndarray) -> Tensor:
    """Similarities (k, m) with none of a sample to itself, which is in one of the columns (k,), or in none (-1)."""
    among = np.flatnonzero(columns >= 0)
    similar[among, columns[among]] = -torch.inf
    return similar


def _mean_of_largest(similar: Tensor, count: int, wide: int = 2000) -> np.ndarray:
    """The mean (k,) of the largest similarities of each row (k, m)."""
    is_wide = similar.shape[1] > wide  # so that finding blocks with large values first takes less time
    near = largest(similar, count)[0] if is_wide else similar.topk(count, dim=1, sorted=False).values
    mean: np.ndarray = near.mean(1).cpu().numpy()
    return mean


@dataclass(frozen=True)
class Classes:
    """The samples of each class, with which others are compared.

    Attributes:
        rows: (m,) positions of the samples, those of a class together.
        unit: float32 (m, d), their embeddings at length 1.
        members: for each class, those among the rows with which others are compared.
        mean: (d,) of the embeddings.
        directions: (d, d) principal directions, as columns.
    """

    rows: np.ndarray
    unit: Tensor
    members: list[slice]
    mean: Tensor
    directions: Tensor

    @classmethod
    def of(cls, x: Rows, numbers: np.ndarray, classes: int, seed: int) -> Classes:
        """At most `most_compared` samples (n, d) with class numbers (n,)."""
        rows = np.arange(len(numbers))
        most = min(SETTINGS.most_compared, max(SETTINGS.fewest_compared, int(SETTINGS.most_comparisons / len(rows))))
        if len(rows) > most:
            rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
        rows = rows[np.argsort(numbers[rows], kind="stable")]
        values = x[torch.from_numpy(rows)].float()
        mean = values.mean(0)
        centred = (values - mean).double()  # in single precision, equal eigenvalues may not converge
        directions = torch.linalg.eigh(centred.T @ centred)[1].float()
        starts = np.searchsorted(numbers[rows], np.arange(classes + 1)).tolist()
        members = [slice(start, stop) for start, stop in itertools.pairwise(starts)]
        return cls(rows, torch.nn.functional.normalize(values, dim=1), members, mean, directions)

    def without(self, odd: np.ndarray) -> Classes:
        """The same without the samples for which bool (n,) says so, but for classes of which few would be left."""
        last = odd[self.rows]
        kept = [members.stop - members.start - int(last[members].sum()) for members in self.members]
        members = [
            slice(members.start, members.start + count) if count > SETTINGS.nearest else members
            for count, members in zip(kept, self.members, strict=True)
        ]
        lengths = [members.stop - members.start for members in self.members]
        order = np.lexsort([last, np.repeat(np.arange(len(lengths)), lengths)])  # the odd ones last in their class
        unit = self.unit[torch.from_numpy(order).to(self.unit.device)]
        return replace(self, rows=self.rows[order], unit=unit, members=members)

    def within(self, x: Rows, numbers: np.ndarray) -> np.ndarray:
        """The mean similarity (n,) of samples with class numbers (n,) to the nearest with the same one."""
        found, places = np.zeros(len(numbers)), self._places(len(numbers))
        for number, members in enumerate(self.members):
            count, own_unit = self._count(members), self.unit[members]
            rows = np.flatnonzero(numbers == number) if count else np.empty(0, dtype=int)
            for start in range(0, len(rows), BLOCK):
                some = rows[start : start + BLOCK]
                unit = torch.nn.functional.normalize(x[torch.from_numpy(some)].float(), dim=1)
                columns = np.where(places[some] >= 0, places[some] - members.start, -1)
                found[some] = _mean_of_largest(_without_themselves(unit @ own_unit.T, columns), count)
        return found

    def similarities(self, x: Rows, themselves: bool = True, neighbours: NeighbourList | None = None) -> np.ndarray:
        """The mean similarity, float32 (n, C), of samples to the nearest of each class.

        Args:
            x: embeddings (n, d) of the samples.
            themselves: whether these are the samples that the classes were taken from.
            neighbours: takes note of the nearest neighbours of each sample, too, if the classes have all samples.
        """
        n = len(x)
        found = np.zeros((n, len(self.members)), dtype=np.float32)
        places = self._places(n if themselves else 0)
        order = torch.from_numpy(self.rows).to(self.unit.device)
        for start in range(0, n, BLOCK):
            part = slice(start, min(start + BLOCK, n))
            similar = torch.nn.functional.normalize(x[part].float(), dim=1) @ self.unit.T
            if themselves:
                similar = _without_themselves(similar, places[part])
            for number, members in enumerate(self.members):
                if of_class := self._count(members):
                    found[part, number] = _mean_of_largest(similar[:, members], of_class)
            if neighbours is not None:
                neighbours.note(part, similar, order)
        return found

    def _places(self, n: int) -> np.ndarray:
        """The place (n,) of each sample among those that others are compared with, -1 if it is none of them."""
        places = np.full(n, -1)
        if n:
            places[self.rows] = np.arange(len(self.rows))
        return places

    @staticmethod
    def _count(members: slice) -> int:
        """With how many samples of a class each sample is compared."""
        return max(0, min(SETTINGS.nearest, members.stop - members.start - 1))

    def mixtures(self, x: Rows, one: np.ndarray, other: np.ndarray, random: np.random.Generator) -> Tensor:
        """Embeddings (k, d) that have each principal component from one of two samples."""
        first, second = ((x[torch.from_numpy(rows)].float() - self.mean) @ self.directions for rows in (one, other))
        chosen = torch.from_numpy(random.random(first.shape) < 0.5).to(first.device)
        return torch.where(chosen, first, second) @ self.directions.T + self.mean
