"""A head trained again on corrected labels, starting from the head at hand; it is used for its predictions only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from torch import Tensor

from audit.compute.matrix import Rows
from audit.errors import ConvergenceError
from audit.head.factors import SecondMoment
from audit.head.fit import Head, cross_entropy, fit_softmax, targets_of
from audit.head.settings import PathSettings


@dataclass(frozen=True, kw_only=True)
class RetrainSettings:
    """How a head's L2 penalty is found anew, and how exactly it is fitted."""

    # Factor between one penalty and the next that is tried, from that of the head at hand: the step of the whole path.
    step: float = math.sqrt(10)
    # Most penalties that are tried.
    tries: int = 6
    # How exactly each is fitted, and what counts as a gain.
    path: PathSettings = field(default_factory=PathSettings)


def retrained_head(
    before: Head,
    x: Rows,
    labels: Tensor,
    x_validation: Rows,
    labels_validation: Tensor,
    l2: float | None = None,
    moment: SecondMoment | None = None,
    settings: RetrainSettings = RetrainSettings(),
) -> Head:
    """A head for other labels of nearly the same samples, within a few steps of the head at hand.

    It keeps the standardised features of the head before. Unless L2 is given, the search goes from the penalty before
    to weaker ones, or else to stronger ones, for as long as the held-out loss falls by more than chance. Each fit
    starts from the last and ends where its loss is near its minimum, which predictions do not tell apart.

    Args:
        before: a head trained with 'newton'.
        x, labels: (n, d) embeddings and (n,) class numbers to train on.
        x_validation, labels_validation: (m, d) and (m,), for the choice of L2.
        l2: λ; None to choose it.
        moment: the factorised second moment of the features that `before` was trained on, for preconditioning.
        settings: how L2 is chosen.

    Raises:
        ConvergenceError: if the gradient norm is not reached with the given penalty, or with the one before.
    """
    z, z_validation = before.features(x), before.features(x_validation)
    classes = len(before.weight)
    targets, held_out = targets_of(labels, classes, z), targets_of(labels_validation, classes, z_validation)
    moment = moment or SecondMoment.of(z)

    def fitted(penalty: float, start: Tensor) -> Head:
        exact = math.sqrt(2 * penalty * settings.path.excess_loss)
        tolerance = max(settings.path.gradient_norm, exact)
        weight, norm = fit_softmax(z, targets, penalty, initial=start, tolerance=tolerance, moment=moment)
        return Head(weight, before.standardiser, penalty, "newton", norm)

    head = fitted(l2 or before.l2, before.weight)
    if l2 is not None:
        return head
    loss = cross_entropy(z_validation, head.weight, held_out)
    path = [(head.l2, loss)]
    for factor in (1 / settings.step, settings.step):
        while len(path) < settings.tries:
            try:
                tried = fitted(head.l2 * factor, head.weight)
            except ConvergenceError:
                break  # with less of a penalty it would be harder still
            path.append((tried.l2, cross_entropy(z_validation, tried.weight, held_out)))
            # A stronger penalty is as good where its loss is the least but for chance; a weaker one has to gain more.
            chance = settings.path.chance_gain / len(z_validation)
            if path[-1][1] > (min(found for _, found in path) + chance if factor > 1 else loss - chance):
                break
            head, loss = tried, path[-1][1]
        if head.l2 < path[0][0]:
            break  # weaker was better, and stronger is not
    return replace(head, l2_path=path)
