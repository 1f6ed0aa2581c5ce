"""The softmax head on frozen embeddings: trained to convergence with L2, or by the original recipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.compute.matrix import DerivedRows, Rows, blocks, derive, hold, numbers_read, total
from audit.compute.scratch import fits_memory
from audit.compute.threads import log_softmax, one_thread, softmax
from audit.errors import ConvergenceError, InputError
from audit.head.conjugate_gradients import ApproximateInverse
from audit.head.factors import SecondMoment
from audit.head.hessian import HeadHessian
from audit.head.objective import Objective, Point, approach, by_newton
from audit.head.settings import FitSettings, PathSettings
from audit.head.standardise import Standardiser

GRADIENT_TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-6}  # gradient norm that rounding still permits
# Largest distance of the audited head from the optimum, ‖W − W*‖ ≤ gradient norm / λ. Influence depends on W; with this
# tolerance it is the same to 1e-6 in whichever order workers, blocks and threads add up the sums over samples. A head
# that is used for predictions only ends where its gradient is small.
WEIGHT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Head:
    """A trained softmax head.

    Attributes:
        weight: (C, d + 1), the last column is the bias; on standardised features.
        standardiser: what turns embeddings into features.
        l2: λ of its objective; 0 for the original recipe.
        trainer: 'newton' or 'adam'.
        gradient_norm: Euclidean norm of the objective's gradient where training ended.
        curve: training loss and validation loss (mean cross-entropy, nats) after every step or epoch.
        l2_path: the penalties that were tried, with their validation loss.
    """

    weight: Tensor
    standardiser: Standardiser
    l2: float
    trainer: str
    gradient_norm: float
    curve: list[tuple[float, float]] = field(default_factory=list)
    l2_path: list[tuple[float, float]] = field(default_factory=list)

    def features(self, x: Rows) -> Any:
        """z (n, d + 1) of embeddings x (n, d)."""
        return self.standardiser(x)

    def probabilities(self, x: Rows) -> Any:
        """(n, C) of embeddings x (n, d)."""
        return probabilities(self.features(x), self.weight)

    def arrays(self) -> dict[str, np.ndarray]:
        """What `AuditResult.heads` keeps: weight (C, d), bias (C,), mean (d,), scale (d,)."""
        parts = {
            "weight": self.weight[:, :-1],
            "bias": self.weight[:, -1],
            "mean": self.standardiser.mean,
            "scale": self.standardiser.scale,
        }
        return {name: part.cpu().numpy().copy() for name, part in parts.items()}


def head_from_arrays(
    arrays: dict[str, np.ndarray], l2: float, trainer: str = "newton", device: torch.device | None = None
) -> Head:
    """The head that `Head.arrays` was taken of (its curve and gradient norm are in the result's tables)."""
    on = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    weight = torch.cat([on["weight"], on["bias"][:, None]], 1)
    return Head(weight, Standardiser(on["mean"], on["scale"]), l2, trainer, math.nan)


def one_hot(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """(n, C) of labels (n,)."""
    out = torch.zeros(len(labels), classes, dtype=dtype, device=labels.device)
    return out.scatter_(1, labels[:, None], 1)


def targets_of(labels: Tensor, classes: int, like: Rows) -> Rows:
    """One-hot (n, C), in the precision of another matrix; made when read if either is too large for memory."""
    make = partial(one_hot, classes=classes, dtype=like.dtype)
    now = isinstance(like, Tensor) and fits_memory((len(labels), classes), like.dtype, labels.device)
    return make(labels) if now else DerivedRows(make, [labels], classes, like.dtype)


def logits(z: Rows, weight: Tensor) -> Any:
    """W z (n, C) of features z (n, D)."""
    return derive(partial(_logits, weight=weight), z, width=len(weight))


def probabilities(z: Rows, weight: Tensor) -> Any:
    """softmax(W z) (n, C) of features z (n, D)."""
    return derive(partial(_probabilities, weight=weight), z, width=len(weight))


def residuals(p: Rows, targets: Rows) -> Any:
    """p − t (n, C)."""
    return derive(torch.sub, p, targets, width=p.shape[1])


def _logits(z: Tensor, weight: Tensor) -> Tensor:
    return z @ weight.T.to(z)


def _probabilities(z: Tensor, weight: Tensor) -> Tensor:
    return softmax(_logits(z, weight))


def cross_entropy(z: Rows, weight: Tensor, targets: Rows) -> float:
    """Mean cross-entropy (nats) of features z (n, D) against target distributions (n, C)."""
    (loss,) = total(_losses, (z, targets), weight)
    return float(loss) / len(z)


def cross_entropies(z: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy (n,) in nats of features z (n, D) against target distributions (n, C)."""
    log_p = log_softmax(_logits(z, weight))
    with one_thread(log_p.numel()):
        return -(targets * log_p).sum(1)


def _losses(z: Rows, targets: Rows, weight: Tensor) -> tuple[Tensor]:
    out = torch.zeros((), dtype=torch.float64, device=z.device)
    for rows in blocks(z, numbers_read(z) + 3 * len(weight)):
        out += cross_entropies(z[rows], weight, targets[rows]).sum(dtype=torch.float64)
    return (out,)


@dataclass(frozen=True)
class TrainingFeatures:
    """The features (n, D) of the samples that heads are trained on, and what turns embeddings into such features."""

    standardiser: Standardiser
    z: Any

    @classmethod
    def of(cls, x: Rows, standardiser: Standardiser | None = None) -> TrainingFeatures:
        """The features of embeddings x (n, d), standardised by their own mean and scale unless it is said how."""
        standardiser = standardiser or Standardiser.fit(x)
        return cls(standardiser, standardiser(x))

    @cached_property
    def moment(self) -> SecondMoment:
        """The factorised second moment of z, computed once for the head, its Hessian and the heads after correction."""
        return SecondMoment.of(self.z)


def train_head(
    x: Rows,
    labels: Tensor,
    x_validation: Rows,
    labels_validation: Tensor,
    classes: int,
    l2: float | None = None,
    weight_tolerance: float = WEIGHT_TOLERANCE,
    path_settings: PathSettings = PathSettings(),
    features: TrainingFeatures | None = None,
) -> Head:
    """Train a head to convergence, its L2 chosen by validation loss unless given.

    Args:
        x, labels: (n, d) embeddings and (n,) class numbers to train on.
        x_validation, labels_validation: (m, d) and (m,), for the choice of L2 and the curve.
        classes: C.
        l2: λ; None to choose it from 1 to 1e-7 (`strongest_as_good`).
        weight_tolerance: how far from the optimum it may end, in double precision.
        path_settings: how L2 is chosen.
        features: of x; None to compute them.
    """
    features = features or TrainingFeatures.of(x)
    z, moment, z_validation = features.z, features.moment, features.standardiser(x_validation)
    targets, targets_validation = targets_of(labels, classes, z), targets_of(labels_validation, classes, z_validation)
    path: list[tuple[float, float]] = []
    initial, inverse = None, None
    if l2 is None:
        most = path_settings.samples
        part, targets_part = _evenly_spaced(z, most), _evenly_spaced(targets, most)
        z_held, targets_held = _evenly_spaced(z_validation, most), _evenly_spaced(targets_validation, most)
        fitted: dict[float, Tensor] = {}
        _, path = choose_l2(
            part,
            targets_part,
            lambda weight: cross_entropy(z_held, weight, targets_held),
            moment=moment,
            samples=len(z),
            settings=path_settings,
            fitted=fitted,
        )
        l2 = strongest_as_good(path, len(z_held), path_settings.chance_gain)
        if len(part) < len(z):  # its optimum is near that of all
            initial = fitted[l2]
            inverse = HeadHessian(part, probabilities(part, initial), l2, moment=moment).by_class
    curve: list[tuple[float, float]] = []

    def watch(weight: Tensor, loss: float) -> None:
        curve.append((loss, cross_entropy(z_validation, weight, targets_validation)))

    goal = weight_tolerance * l2 if z.dtype == torch.float64 else None  # single precision does not go that far
    weight, gradient_norm = fit_softmax(
        z, targets, l2, initial=initial, moment=moment, watch=watch, goal=goal, inverse=inverse
    )
    return Head(weight, features.standardiser, l2, "newton", gradient_norm, curve, path)


def strongest_as_good(
    path: list[tuple[float, float]], samples: int, chance_gain: float = PathSettings.chance_gain
) -> float:
    """The strongest penalty whose held-out loss is no larger than the smallest but for chance.

    Args:
        path: penalties, with the mean loss (nats) of each.
        samples: how many were held out.
        chance_gain: see `PathSettings`.
    """
    allowed = min(loss for _, loss in path) + chance_gain / samples
    return max(l2 for l2, loss in path if loss <= allowed)


def _evenly_spaced(rows: Rows, most: int) -> Rows:
    """All rows, or `most` evenly spaced ones of more."""
    return rows if len(rows) <= most else rows[:: math.ceil(len(rows) / most)]


def choose_l2(
    z: Rows,
    targets: Rows,
    held_out_loss: Callable[[Tensor], float],
    moment: SecondMoment | None = None,
    samples: int | None = None,
    settings: PathSettings = PathSettings(),
    fitted: dict[float, Tensor] | None = None,
) -> tuple[float, list[tuple[float, float]]]:
    """Fit a head for each penalty, from strong to weak, each starting from the last one, and choose the best.

    Args:
        z: features (n, D).
        targets: (n, C).
        held_out_loss: of a weight (C, D), the loss on data that it was not fitted to.
        moment: the factorised second moment of z, where it is known already.
        samples: how many samples λ is chosen for, if z is a part of them; λ n carries over, since it is the penalty
            beside the sum of the losses. None for the number of rows of z.
        settings: which penalties are tried, and how exactly.
        fitted: gets the weight (C, D) for each λ that was tried, if it is given.

    Returns:
        The λ with the smallest held-out loss, and all that were tried with their losses. The search ends once the loss
        has risen `settings.rises` times in a row, or a fit does not converge.
    """
    path: list[tuple[float, float]] = []
    moment = moment or SecondMoment.of(z)
    share = len(z) / (samples or len(z))
    weight = None
    best, rises = math.inf, 0
    for l2 in settings.penalties:
        try:
            weight, _ = fit_softmax(z, targets, l2, initial=weight, tolerance=settings.tolerance(l2), moment=moment)
        except ConvergenceError:
            if not path:
                raise
            break  # with less of a penalty it would be harder still
        loss = held_out_loss(weight)
        path.append((l2 * share, loss))
        if fitted is not None:
            fitted[l2 * share] = weight
        rises = 0 if loss < best else rises + 1
        best = min(best, loss)
        if rises == settings.rises:
            break
    return min(path, key=lambda pair: pair[1])[0], path


def fit_softmax(
    z: Rows,
    targets: Rows,
    l2: float,
    weights: Rows | None = None,
    initial: Tensor | None = None,
    tolerance: float | None = None,
    moment: SecondMoment | None = None,
    watch: Callable[[Tensor, float], None] | None = None,
    goal: float | None = None,
    settings: FitSettings = FitSettings(),
    inverse: ApproximateInverse | None = None,
) -> tuple[Tensor, float]:
    """Minimise mean_i w_i CE(softmax(W z_i), t_i) + l2/2 ‖W‖²: by L-BFGS, and near the optimum by Newton's method.

    Far from the optimum the curvature changes too fast for Newton's steps to pay. Each Newton step is solved by K-FAC
    preconditioned conjugate gradients in float32, so nothing of size (C·D)² is computed, and only as accurately as it
    pays (Eisenstat & Walker, SIAM J. Sci. Comput. 17, 1996). The objective and its gradient, which decide where
    training ends, are summed in float64.

    Args:
        z: features (n, D), float32 or float64; not necessarily in memory.
        targets: distributions (n, C), one-hot or soft, likewise.
        l2: λ > 0, on all of W (the bias too, which makes the minimum unique).
        weights: w (n,) ≥ 0; None for ones.
        initial: start (C, D); None for zeros.
        tolerance: gradient norm to reach; None for GRADIENT_TOLERANCE of z's precision.
        moment: the factorised second moment of z, where it is known already.
        watch: is shown W and the mean loss there (nats), before the first step and after each.
        goal: smaller gradient norm to try to reach, as far as rounding permits; None for the tolerance.
        settings: how the optimum is approached.
        inverse: an approximate inverse of the Hessian near the optimum; None for K-FAC.

    Returns:
        W (C, D) and the gradient norm there.

    Raises:
        InputError: if l2 is not above 0, where separable data have no optimum.
        ConvergenceError: if the gradient norm is not reached.
    """
    if not l2 > 0:
        raise InputError(f"l2 is {l2}; give more than 0, since separable data have no optimum without a penalty")
    tolerance = tolerance or GRADIENT_TOLERANCE[z.dtype]
    goal = min(tolerance, goal or tolerance)
    weight = torch.zeros(targets.shape[1], z.shape[1], dtype=z.dtype, device=z.device) if initial is None else initial
    moment = moment or SecondMoment.of(z)
    objective = Objective(z, targets, l2, weights)
    single = objective.single()

    def hessian_at(weight: Tensor) -> HeadHessian:
        p = hold(probabilities(single.z, weight))
        return HeadHessian(single.z, p, l2, weights=single.weights, moment=moment)

    def seen(point: Point) -> None:
        if watch:
            watch(point.weight.to(z.dtype), point.loss)

    nearly = max(tolerance, settings.newton_from)
    point = _near_optimum(objective, weight, lambda: inverse or hessian_at(weight).kfac, nearly, settings, seen)
    return by_newton(objective, point, hessian_at, (goal, tolerance), settings, seen, inverse)


def _near_optimum(
    objective: Objective,
    weight: Tensor,
    inverse: Callable[[], ApproximateInverse],
    nearly: float,
    settings: FitSettings,
    seen: Callable[[Point], None],
) -> Point:
    """A point with at most this gradient norm: W itself, or where L-BFGS goes from it."""
    point = objective.at(weight)
    seen(point)
    if point.norm > nearly:
        start = replace(point, weight=weight.float())
        point = approach(start, objective.single(), inverse(), nearly, seen, settings)
        if weight.dtype != point.weight.dtype:
            point = objective.at(point.weight.to(weight.dtype))
    return point
