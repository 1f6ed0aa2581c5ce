"""Choose the heads' L2 penalty by the loss on held-out labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from audit.compute.matrix import fetch_rows
from audit.head.fit import choose_l2, cross_entropies, one_hot
from audit.head.settings import PathSettings
from audit.noise_model.heads import Features
from audit.noise_model.settings import HeadSettings
from audit.noise_model.too_little import evidence_over_frequencies


@dataclass(frozen=True)
class Penalty:
    """The L2 penalty of the heads, and the evidence found while choosing it.

    Attributes:
        l2: λ.
        weight: W (C, D) of a head with this penalty, to start later fits from.
        evidence: by how much heads predict held-out labels better than class frequencies do (nats).
    """

    l2: float
    weight: Tensor
    evidence: float

    @classmethod
    def choose(cls, features: Features, labels: Tensor, classes: int, order: Tensor, settings: HeadSettings) -> Penalty:
        """The strongest λ with nearly the smallest held-out loss.

        "Nearly" means within some standard errors on average, or within `chance_gain` in total. Held-out labels are as
        noisy as the others, and a head that fits systematic mistakes also predicts them. So the penalty with the
        smallest loss is too weak (after Breiman et al. 1984, section 3.4.3).

        Args:
            features: of n samples.
            labels: (n,) class numbers.
            classes: C.
            order: (n,) positions of the samples in random order.
            settings: of the heads.
        """
        share = max(1, round(settings.held_out * len(order)))
        folds = min(len(order) // share, math.ceil(settings.fewest_held_out / share))
        walks = [
            _walk(features, labels, classes, order, slice(fold * share, (fold + 1) * share)) for fold in range(folds)
        ]
        steps = min(len(walk.losses) for walk in walks)
        losses = [torch.cat([walk.losses[step] for walk in walks]) for step in range(steps)]
        smallest = min(losses, key=lambda loss: float(loss.mean()))
        chosen = next(step for step, loss in enumerate(losses) if _nearly(loss, smallest, settings.standard_errors))
        evidence = evidence_over_frequencies(labels[order[: folds * share]], classes, -float(smallest.mean()))
        return cls(walks[0].penalties[chosen], walks[0].weights[chosen], evidence)


def _nearly(loss: Tensor, smallest: Tensor, standard_errors: float) -> bool:
    """Whether losses (k,) are nearly as small as the smallest ones (k,)."""
    excess = loss - smallest
    allowed = max(standard_errors * float(excess.std()) / len(excess) ** 0.5, PathSettings.chance_gain / len(excess))
    return float(excess.mean()) <= allowed


@dataclass(frozen=True)
class _Walk:
    """Penalties from strong to weak, and for each one the losses of the held-out samples (k,) and W (C, D)."""

    penalties: list[float]
    losses: list[Tensor]
    weights: list[Tensor]


def _walk(features: Features, labels: Tensor, classes: int, order: Tensor, held_out: slice) -> _Walk:
    """Train heads with falling penalties on all samples but the held-out part of `order`."""
    z = features.z
    most = PathSettings.samples
    held = order[held_out][:most]
    kept = torch.cat([order[held_out.stop :], order[: held_out.start]])[:most]
    z_kept, z_held = (fetch_rows(z, part) for part in (kept, held))
    targets_kept, targets_held = (one_hot(labels[part], classes, z.dtype) for part in (kept, held))
    losses: list[Tensor] = []
    weights: list[Tensor] = []

    def held_out_loss(weight: Tensor) -> float:
        weights.append(weight)
        losses.append(cross_entropies(z_held, weight, targets_held))
        return float(losses[-1].mean())

    samples = len(order) - (held_out.stop - held_out.start)
    _, path = choose_l2(z_kept, targets_kept, held_out_loss, moment=features.moment, samples=samples)
    return _Walk([l2 for l2, _ in path], losses, weights)
