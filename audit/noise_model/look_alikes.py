"""Look-alike mistakes: wrong labels that are drawn from the classes that the picture may show, P(true | x).

The likelihood of the given labels cannot show them. Suppose that a label is drawn from P(true | x) with probability ε,
and otherwise from the true class's row of T. Then the labels have the same likelihood as with the single matrix T' = (1
− ε) T + ε I: Σ_k p_k ((1 − ε) T_kj + ε p_j) = Σ_k p_k T'_kj. The fit to the labels finds T', which leaves out the
mistakes among the labels drawn from P(true | x). So the suspicion is too low for labels by people, who make mistakes
where a picture could be either class.

The confusions of classes do show them. Mistakes that do not depend on the picture are uniform over the classes, or
change one class into one other (systematic mistakes, however similar the two classes look). People's mistakes also
depend on how often pictures of one class look like another. EM splits the expected confusions into these three
patterns. Look-alikes count only if the evidence for their pattern is very strong.

It remains unknown how many look-alikes T' misses, because their pictures could be either class. The model assumes that
it misses as many as it finds (the principle of indifference).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from audit.compute.by_blocks import map_blocks
from audit.compute.matrix import Rows, total
from audit.head.hessian import chunks
from audit.noise_model.given_labels import FLOOR, GivenLabels
from audit.noise_model.settings import LookAlikeSettings, NoiseSettings


@dataclass(frozen=True)
class LookAlikes:
    """How many labels are drawn from P(true | x).

    Attributes:
        rate: ε, 0 to 1.
        share: share of the expected confusions that are look-alikes, 0 to 1.
        evidence: log-likelihood (nats) that their pattern adds to the other two patterns.
    """

    rate: float
    share: float
    evidence: float

    @classmethod
    def none(cls) -> LookAlikes:
        """No label is drawn from P(true | x)."""
        return cls(0.0, 0.0, 0.0)

    @classmethod
    def of(
        cls,
        prior: Rows,
        posterior: Rows,
        transition: Tensor,
        labels: GivenLabels,
        settings: NoiseSettings = NoiseSettings(),
    ) -> LookAlikes:
        """Find look-alikes among the expected confusions.

        Args:
            prior: P(true | x) (n, C).
            posterior: P(true | x, label) (n, C).
            transition: T' (C, C), row = true class, column = given label.
            labels: of the n samples. Trusted labels are left out.
            settings: of the noise model.

        Returns:
            The look-alikes. There are none for two classes, because all patterns are the same then.
        """
        classes = prior.shape[1]
        # There are C² confusions. If there are very many, only those of some classes are used.
        some = torch.arange(0, classes, math.ceil(classes**2 / settings.look_alikes.entries), device=prior.device)
        sources = (prior, posterior, labels.numbers, labels.trusted)
        wrong, together, *numbers = total(_confusions, sources, some)
        mistakes, open_pictures = map(float, numbers)
        if classes == 2 or open_pictures <= FLOOR or mistakes <= FLOOR:
            return cls.none()
        off_diagonal = torch.ones_like(wrong, dtype=torch.bool).scatter_(1, some[:, None], False)
        wrong, together = (matrix[off_diagonal].view(len(some), classes - 1) for matrix in (wrong, together))
        favourite = torch.zeros_like(wrong).scatter_(1, wrong.argmax(1, keepdim=True), 1.0)
        look_alike = together / together.sum(1, keepdim=True).clamp_min(FLOOR)
        patterns = torch.stack([look_alike, favourite, torch.full_like(wrong, 1 / (classes - 1))]).flatten(1)
        counts = wrong.flatten()
        shares, likelihood = _shares(counts, patterns, settings.look_alikes)
        evidence = likelihood - _shares(counts, patterns[1:], settings.look_alikes)[1]
        rate = min(shares[0] * mistakes / open_pictures, float(transition.diagonal().min()))
        decisive = settings.decisive_for(len(labels))
        return cls(rate if evidence > decisive else 0.0, shares[0], evidence)

    def added(self, posterior: Rows, prior: Rows, transition: Tensor, labels: GivenLabels) -> Rows:
        """Posteriors (n, C) that include look-alikes.

        Args:
            posterior: P(true | x, label) (n, C) under T'.
            prior: P(true | x) (n, C).
            transition: T' (C, C).
            labels: of the n samples. The posterior of trusted labels does not change.
        """
        if not self.rate:
            return posterior
        sources = (posterior, prior, labels.numbers, labels.trusted)
        including: Rows
        (including,) = map_blocks(_including, sources, transition, self.rate, numbers=4 * prior.shape[1])
        return including


def _including(
    posterior: Tensor, prior: Tensor, numbers: Tensor, trusted: Tensor | None, transition: Tensor, rate: float
) -> tuple[Tensor]:
    """Posteriors (k, C) that include look-alikes, which are a share `rate` of the labels."""
    given = numbers[:, None]
    evidence = (prior * transition.T[numbers]).sum(1, keepdim=True).clamp_min(FLOOR)
    drawn = rate * prior.gather(1, given) / evidence  # the probability that the label was drawn
    if trusted is not None:
        drawn[trusted] = 0.0
    believed = posterior + drawn * prior
    return (believed.scatter_add_(1, given, -drawn).clamp_min_(0.0),)


def _confusions(
    prior: Rows, posterior: Rows, numbers: Tensor, trusted: Tensor | None, some: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Expected confusions under posteriors (n, C), for the labels of some classes (k,).

    Returns:
        How many labels of each class are wrong for each true one (k, C); how often pictures of one may be of the other
        (k, C); the expected number of mistakes; and how many pictures leave the class open, as an expected number.
    """
    classes = prior.shape[1]
    wrong, together = (
        torch.zeros(len(some), classes, dtype=torch.float64, device=prior.device) for _ in ("wrong", "together")
    )
    mistakes, open_pictures = (torch.zeros((), dtype=torch.float64, device=prior.device) for _ in ("wrong", "open"))
    for rows in chunks(len(prior), 6 * classes):
        p, believed, given = prior[rows].double(), posterior[rows].double(), numbers[rows]
        if trusted is not None:
            p, believed, given = (values[~trusted[rows]] for values in (p, believed, given))
        wrong.index_add_(1, given, believed[:, some].T)
        together += p[:, some].T @ p
        mistakes += len(given) - believed.gather(1, given[:, None]).sum()
        open_pictures += len(given) - p.square().sum()
    return wrong, together, mistakes, open_pictures


def _shares(counts: Tensor, patterns: Tensor, settings: LookAlikeSettings) -> tuple[list[float], float]:
    """The shares of patterns (k, m) in counts (m,) by maximum likelihood, and the log-likelihood (nats)."""
    shares = torch.full_like(patterns[:, :1], 1 / len(patterns))
    for _ in range(settings.steps):
        weighted = shares * patterns
        following = (weighted * (counts / weighted.sum(0).clamp_min(FLOOR))).sum(1, keepdim=True) / counts.sum()
        settled = float((following - shares).abs().max()) < settings.settled
        shares = following
        if settled:
            break
    likelihood = float((counts * (shares * patterns).sum(0).clamp_min(FLOOR).log()).sum())
    return shares[:, 0].tolist(), likelihood
