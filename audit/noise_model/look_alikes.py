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
        prior: Tensor,
        posterior: Tensor,
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
        wrong, together, mistakes, open_pictures = _confusions(prior, posterior, labels, some)
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

    def add_in_place(self, posterior: Tensor, prior: Tensor, transition: Tensor, labels: GivenLabels) -> Tensor:
        """Update posteriors (k, C) under T' to include look-alikes.

        They are changed in place, in chunks, because there may be no memory for another (n, C).

        Args:
            posterior: P(true | x, label) (k, C).
            prior: P(true | x) (k, C).
            transition: T' (C, C).
            labels: of the k samples. The posterior of trusted labels does not change.

        Returns:
            The same posteriors.
        """
        if not self.rate:
            return posterior
        for rows in chunks(len(prior), 4 * prior.shape[1], 4):
            p, given = prior[rows], labels.numbers[rows, None]
            evidence = (p * transition.T[labels.numbers[rows]]).sum(1, keepdim=True).clamp_min(FLOOR)
            drawn = self.rate * p.gather(1, given) / evidence  # the probability that the label was drawn
            if labels.trusted is not None:
                drawn[labels.trusted[rows]] = 0.0
            believed = posterior[rows] + drawn * p
            posterior[rows] = believed.scatter_add_(1, given, -drawn).clamp_min_(0.0)
        return posterior


def _confusions(
    prior: Tensor, posterior: Tensor, labels: GivenLabels, some: Tensor
) -> tuple[Tensor, Tensor, float, float]:
    """Expected confusions under posteriors (n, C), for the labels of some classes (k,).

    Returns:
        How many labels of each class are wrong for each true one (k, C); how often pictures of one may be of the other
        (k, C); the expected number of mistakes; and how many pictures leave the class open, as an expected number.
    """
    classes = prior.shape[1]
    wrong, together = (
        torch.zeros(len(some), classes, dtype=torch.float64, device=prior.device) for _ in ("wrong", "together")
    )
    mistakes = open_pictures = 0.0
    for rows in chunks(len(prior), 6 * classes):
        p, believed, given = prior[rows].double(), posterior[rows].double(), labels.numbers[rows]
        if labels.trusted is not None:
            p, believed, given = (values[~labels.trusted[rows]] for values in (p, believed, given))
        wrong.index_add_(1, given, believed[:, some].T)
        together += p[:, some].T @ p
        mistakes += len(given) - float(believed.gather(1, given[:, None]).sum())
        open_pictures += len(given) - float(p.square().sum())
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
