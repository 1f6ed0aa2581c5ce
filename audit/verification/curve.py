"""How the share of wrong labels rises with the suspicion, as far as decisions tell.

The curve is p(s) = e + (1 − e − f) sigmoid(a + b logit s), with a deviation of each stratum added to a. The prior is
wide. `a` and `b` recalibrate the suspicion. `e` is the share of wrong labels where nothing is suspected, and `f` the
share of right labels where a mistake seems certain. All of this lies on a grid, so the posterior is exact but for the
grid, and the number of mistakes among undecided samples is drawn from it.

The suspicions are control variates: they carry what they know, and decisions on random samples correct them. The idea
is that of prediction-powered inference (Angelopoulos et al., Science 382, 2023); a wide prior in place of a normal
approximation keeps intervals honest where a stratum has only right or only wrong labels. The two ends `e` and `f` are
the lapse rates of psychometric functions (Wichmann & Hill, Perception & Psychophysics 63, 2001).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class CurveSettings:
    """The grid and the prior of the curve.

    Attributes:
        shifts: values of a; `shift_scale` is the scale of its Student t prior with 4 degrees of freedom.
        slopes: values of b with `slope_weights`; at 0, mistakes have nothing to do with suspicions.
        unseen: values of e with `unseen_weights`: few labels are wrong where nothing is suspected.
        unfounded: values of f with `unfounded_weights`.
        deviation: standard deviation of a stratum's own shift, in logits.
        deviation_nodes: points of its Gauss-Hermite rule.
        least: suspicions are cut to [least, 1 − least].
        bins_in_stratum: groups of samples with about the same suspicion in each stratum.
        draws: of the posterior.
    """

    shifts: tuple[float, ...] = tuple(np.arange(-8.0, 6.1, 0.7).round(1).tolist())
    shift_scale: float = 2.5
    slopes: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.9, 1.4, 2.2, 3.2)
    slope_weights: tuple[float, ...] = (0.15, 0.15, 0.3, 0.6, 1.0, 0.9, 0.5, 0.25)
    unseen: tuple[float, ...] = (0.0, 0.001, 0.003, 0.01, 0.02, 0.04, 0.08)
    unseen_weights: tuple[float, ...] = (3.0, 2.0, 1.2, 0.6, 0.3, 0.15, 0.06)
    unfounded: tuple[float, ...] = (0.0, 0.02, 0.08)
    unfounded_weights: tuple[float, ...] = (1.0, 0.5, 0.25)
    deviation: float = 0.5
    deviation_nodes: int = 5
    least: float = 1e-6
    bins_in_stratum: int = 4
    draws: int = 1000


@dataclass(frozen=True)
class Bins:
    """Groups of samples of a stratum with about the same suspicion.

    Attributes:
        of_sample: (n,) the bin of each sample.
        stratum: (bins,) in which each lies, in rising order.
        logit: (bins,) mean logit of the suspicion.
        least: (bins,) least suspicion.
    """

    of_sample: np.ndarray
    stratum: np.ndarray
    logit: np.ndarray
    least: np.ndarray

    def count(self, rows: np.ndarray) -> np.ndarray:
        """How many of these rows, or of these samples where `rows` is bool (n,), lie in each bin."""
        return np.bincount(self.of_sample[rows], minlength=len(self.stratum))


def group_in_bins(suspicion: np.ndarray, stratum: np.ndarray, settings: CurveSettings = CurveSettings()) -> Bins:
    """Cut each stratum into bins of equal size by suspicion.

    Args:
        suspicion: (n,) in [0, 1].
        stratum: (n,) numbers from 0 without a gap.
        settings: of the curve.
    """
    of_sample = np.empty(len(suspicion), dtype=np.int64)
    strata: list[int] = []
    for number in range(int(stratum.max()) + 1):
        members = np.flatnonzero(stratum == number)
        ordered = members[np.argsort(suspicion[members], kind="stable")]
        for part in np.array_split(ordered, min(settings.bins_in_stratum, len(ordered))):
            of_sample[part] = len(strata)
            strata.append(number)
    logits = logit(suspicion, settings.least)
    sizes = np.bincount(of_sample)
    least = np.full(len(strata), np.inf)
    np.minimum.at(least, of_sample, suspicion)
    return Bins(of_sample, np.array(strata), np.bincount(of_sample, logits) / sizes, least)


def logit(suspicion: np.ndarray, least: float) -> np.ndarray:
    """Logit of suspicions, which are cut to [least, 1 − least] before."""
    cut = suspicion.clip(least, 1 - least)
    return np.log(cut) - np.log1p(-cut)


class Curves:
    """All curves of the grid, and how likely each makes decisions."""

    def __init__(self, bins: Bins, settings: CurveSettings = CurveSettings()) -> None:
        self.bins, self.settings = bins, settings
        grid = np.meshgrid(settings.shifts, settings.slopes, settings.unseen, settings.unfounded, indexing="ij")
        self.shift, self.slope, self.unseen, self.unfounded = (axis.ravel() for axis in grid)
        weights = np.meshgrid(
            (1 + (np.array(settings.shifts) / settings.shift_scale) ** 2 / 4) ** -2.5,
            settings.slope_weights,
            settings.unseen_weights,
            settings.unfounded_weights,
            indexing="ij",
        )
        self.log_prior = np.sum([np.log(axis.ravel()) for axis in weights], axis=0)
        nodes, node_weights = np.polynomial.hermite_e.hermegauss(settings.deviation_nodes)
        self.log_node = np.log(node_weights / node_weights.sum())
        # (curves, nodes, bins), in single precision: differences of log-likelihoods far below 1 do not matter.
        shifted = self.shift[:, None] + settings.deviation * nodes
        share = self.at(bins.logit, shifted).astype(np.float32).clip(1e-6, 1 - 1e-6)
        self.share = share
        starts = np.searchsorted(bins.stratum, np.arange(bins.stratum[-1] + 2))
        self.parts = [slice(low, high) for low, high in pairwise(starts)]
        """The bins of each stratum."""
        # Of each stratum log-likelihoods (curves * nodes, 2 * bins) of a wrong and of a right label.
        self.logs = [
            np.concatenate([np.log(share[..., part]), np.log1p(-share[..., part])], axis=-1).reshape(
                share[..., 0].size, -1
            )
            for part in self.parts
        ]

    def at(self, logits: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Share of wrong labels (*shape of shift, k) at these logits (k,), for shifts (curves, ...)."""

        def spread(values: np.ndarray) -> np.ndarray:
            return values.reshape(-1, *[1] * shift.ndim)

        exponent = shift[..., None] + spread(self.slope) * logits
        return spread(self.unseen) + spread(1 - self.unseen - self.unfounded) / (1 + np.exp(-exponent))

    def fit(self, wrong: np.ndarray, right: np.ndarray) -> Fit:
        """The posterior after decisions: numbers of wrong and of right labels (bins,)."""
        joint = np.empty((*self.share.shape[:2], len(self.parts)), dtype=np.float32)  # (curves, nodes, strata)
        for number, (part, logs) in enumerate(zip(self.parts, self.logs, strict=True)):
            counts = np.concatenate([wrong[part], right[part]]).astype(np.float32)
            joint[..., number] = (logs @ counts).reshape(joint.shape[:2]) + self.log_node
        top = joint.max(1, keepdims=True)
        node = np.exp(joint - top)
        total = node.sum(1, keepdims=True)
        log_weight = (top + np.log(total))[:, 0].sum(1, dtype=np.float64) + self.log_prior
        weight = np.exp(log_weight - log_weight.max())
        return Fit(self, weight / weight.sum(), node / total)


@dataclass(frozen=True)
class Fit:
    """The posterior.

    Attributes:
        curves: of the grid.
        weight: (curves,) probability of each.
        node: (curves, nodes, strata) probability of each stratum's deviation under each curve.
    """

    curves: Curves
    weight: np.ndarray
    node: np.ndarray

    def draw_wrong(self, undecided: np.ndarray, seed: int = 0) -> np.ndarray:
        """Numbers of wrong labels (..., draws, bins) among so many undecided samples (..., bins).

        The same draws of the posterior count for all of several parts of the samples.
        """
        rng = np.random.default_rng(seed)
        draws, bins = self.curves.settings.draws, self.curves.bins
        chosen = rng.choice(len(self.weight), draws, p=self.weight)
        reached = self.node[chosen].cumsum(1)
        node = (rng.random((draws, 1, reached.shape[2])) > reached).sum(1).clip(max=reached.shape[1] - 1)
        share = self.curves.share[chosen[:, None], node[:, bins.stratum], np.arange(len(bins.stratum))]
        return rng.binomial(undecided[..., None, :], share)

    def mean_share(self, logits: np.ndarray) -> np.ndarray:
        """Expected share of wrong labels (k,) at these logits (k,), which rises with them."""
        likely = self.weight > 1e-4 * self.weight.max()
        values = self.curves.at(logits, self.curves.shift)[likely]
        return self.weight[likely] @ values / self.weight[likely].sum()
