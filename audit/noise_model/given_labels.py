"""The given labels, which of them are trusted, and the likelihood of a label under noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from audit.compute.matrix import Rows, blocks, derive, map_rows

FLOOR = 1e-12  # smallest probability or sum that is a divisor, or whose logarithm is computed


@dataclass(frozen=True)
class GivenLabels:
    """Class numbers (k,) of samples, and bool (k,) whether each is known to be right; None if there are none."""

    numbers: Tensor
    trusted: Tensor | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def of_samples(self, part: slice | Tensor) -> GivenLabels:
        """The labels of a part of the samples."""
        return GivenLabels(self.numbers[part], None if self.trusted is None else self.trusted[part])

    def likelihood(self, transition: Tensor) -> Tensor:
        """(C, k): the probability of each given label for each true class, under T (C, C)."""
        of_labels = transition.index_select(1, self.numbers)
        return self._certain(of_labels.T).T

    @property
    def untrusted(self) -> int:
        """How many of the labels are not known to be right."""
        return len(self) if self.trusted is None else int((~self.trusted).sum())

    def settle(self, beliefs: Rows) -> Rows:
        """Beliefs (k, C), changed in a copy to be certain of the trusted labels, if there are any."""
        if self.trusted is None:
            return beliefs
        return derive(_settled, beliefs, self.numbers, self.trusted, width=beliefs.shape[1])

    def beliefs_in(self, beliefs: Rows) -> Tensor:
        """The belief (k,) in each given label, of beliefs (k, C)."""
        (found,) = map_rows(_beliefs_in, (beliefs, self.numbers))
        return found

    def expected_mistakes(self, posterior: Rows) -> float:
        """The expected number of wrong labels under a posterior (k, C)."""
        return len(self) - float(self.beliefs_in(posterior).sum(dtype=torch.float64))

    def _certain(self, values: Tensor) -> Tensor:
        """For trusted labels, set values (k, C) to one for the given class and to zero for the others."""
        if self.trusted is not None:
            (rows,) = self.trusted.nonzero(as_tuple=True)
            values[rows] = 0.0
            values[rows, self.numbers[rows]] = 1.0
        return values


def _settled(beliefs: Tensor, numbers: Tensor, trusted: Tensor) -> Tensor:
    return GivenLabels(numbers, trusted)._certain(beliefs.clone())


def _beliefs_in(beliefs: Rows, numbers: Tensor) -> tuple[Tensor]:
    if isinstance(beliefs, Tensor):
        return (beliefs.gather(1, numbers[:, None])[:, 0],)
    return (torch.cat([_beliefs_in(beliefs[rows], numbers[rows])[0] for rows in blocks(beliefs, beliefs.shape[1])]),)


def posterior_and_evidence(prior: Tensor, transition: Tensor, labels: GivenLabels) -> tuple[Tensor, Tensor]:
    """The posterior (C, k) of a prior (C, k) under T (C, C), and the evidence P(given label | x) (k,)."""
    posterior = prior * labels.likelihood(transition)
    evidence = posterior.sum(0).clamp_min(FLOOR)
    return posterior / evidence, evidence
