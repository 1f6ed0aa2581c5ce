"""Readings, and their mixture P(true | x), which does not use T.

A reading predicts the true class of a sample without having seen the sample's own label. There are five:

- the given predictions: those of a model of the user's own, if there are any;
- the head: the softmax head's leave-one-out prediction, in closed form;
- the neighbours: the vote of the nearest ones;
- the discriminant: the linear discriminant of the classes;
- the first head: the prediction of the head that was trained on the given labels, in the rounds after the first one.

Their mixture is P(true = k | x) ∝ s_k² / (s_k + c) with s ∝ Π reading ^ exponent. It is close to s if s is well above
the floor c, and falls with the square of s below c. The floor is needed because heads and votes give each class some
probability, even impossible ones (a head is penalised, and one vote is for all classes). Summed over many classes and
samples, this would look like mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from audit.noise_model.given_labels import FLOOR


@dataclass(frozen=True)
class Exponents:
    """The exponent of each reading in the mixture, ≥ 0; a reading with exponent 0 has no part in it."""

    predictions: float = 0.0
    head: float = 0.0
    neighbours: float = 0.0
    discriminant: float = 0.0
    first_head: float = 0.0

    @classmethod
    def alone(cls, name: str) -> Exponents:
        """The exponents of a mixture that is one reading as it is."""
        return replace(cls(), **{name: 1.0})

    def scaled(self, factor: float) -> Exponents:
        """All exponents, times a factor."""
        return Exponents(*(factor * exponent for exponent in astuple(self)))

    def of(self, names: Sequence[str]) -> np.ndarray:
        """The exponents of the named readings, as an array."""
        return np.array([getattr(self, name) for name in names])

    def changed(self, names: Sequence[str], values: np.ndarray) -> Exponents:
        """A copy with other values for the named readings."""
        return replace(self, **dict(zip(names, values.tolist(), strict=True)))


READINGS = tuple(field.name for field in fields(Exponents))
"""The names of all readings, in the order in which the mixture is fitted to them."""


@dataclass(frozen=True)
class Readings:
    """The logarithms of the readings of k samples, by name, and the floor c of their mixture.

    Attributes:
        logs: (C, k) of each reading. The class is the first dimension, over which torch sums fastest.
        floor: c, a probability.
    """

    logs: dict[str, Tensor]
    floor: float

    @classmethod
    def of(cls, floor: float, **probabilities: Tensor | None) -> Readings:
        """The readings with these probabilities (k, C), named as in `Exponents`; None for one that does not exist."""
        in_order = ((name, probabilities.get(name)) for name in READINGS)
        logs = {name: of.T.contiguous().clamp_min(FLOOR).log_() for name, of in in_order if of is not None}
        return cls(logs, floor)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the readings, in the order in which the mixture is fitted to them."""
        return tuple(self.logs)

    @property
    def numbers(self) -> int:
        """C · k."""
        return next(iter(self.logs.values())).numel()

    def only(self, names: Sequence[str]) -> Readings:
        """The named readings alone."""
        return Readings({name: self.logs[name] for name in names}, self.floor)

    def of_samples(self, part: slice) -> Readings:
        """The readings of a part of the samples."""
        return Readings({name: reading[:, part] for name, reading in self.logs.items()}, self.floor)

    def mixed(self, exponents: Exponents) -> Tensor:
        """P(true | x) (C, k)."""
        s, tail = self._product(exponents)
        kept = s * (1 - tail)
        return kept / kept.sum(0)

    def slopes(self, exponents: Exponents) -> Tensor:
        """Derivatives (readings, C, k) of log s² / (s + c) by the exponent of each reading."""
        s, tail = self._product(exponents)
        return torch.stack([(1 + tail) * (reading - (s * reading).sum(0)) for reading in self.logs.values()])

    def _product(self, exponents: Exponents) -> tuple[Tensor, Tensor]:
        """s (C, k), and c / (s + c), the share of it that the floor removes."""
        (first, reading), *others = self.logs.items()
        weighted = getattr(exponents, first) * reading
        for name, reading in others:
            weighted = weighted.add_(reading, alpha=getattr(exponents, name))
        s = weighted.softmax(0)
        return s, self.floor / (s + self.floor)
