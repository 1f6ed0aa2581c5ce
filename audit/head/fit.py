"""The softmax head on frozen embeddings: trained to convergence with L2, or by the original recipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.compute.matrix import Derived, Rows, blocks, brought, derive, hold, total
from audit.compute.threads import log_softmax, one_thread, softmax
from audit.errors import ConvergenceError, InputError
from audit.head.factors import SecondMoment
from audit.head.hessian import HeadHessian, conjugate_gradients
from audit.head.objective import Objective, Point, approach
from audit.head.standardise import Standardiser

GRADIENT_TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-6}
# How far from the optimum the audited head may end, ‖W − W*‖ ≤ gradient norm / λ: influence follows W, and is alike
# to 1e-6 in whichever order (of workers, blocks, threads) the sums over samples are added up. A head whose predictions
# alone are looked at ends where its gradient is small.
WEIGHT_TOLERANCE = 1e-6
# Gradient norm down to which L-BFGS goes before Newton's steps: below it, small penalties cost it hundreds of passes
# over the data, and where it ends follows the order of the sums.
APPROACH = 1e-3
FIRST_FORCING = 0.1  # relative residual of the first Newton step's linear system
MAX_INNER_STEPS = 500
PATH_TOLERANCE = 1e-4  # enough to rank penalties by validation loss
PATH_LOSS = 1e-5  # nats above the optimum at which a fit on the path may end: its gradient norm² / 2λ
L2_PATH = tuple(10 ** (k / 2) for k in range(0, -15, -1))  # 1 down to 1e-7
RISES_BEFORE_STOP = 2
# What fitting one number, as λ is, gains in log-likelihood by chance on average (nats, Wilks 1938): smaller differences
# between held-out losses, summed over their samples, do not tell penalties apart. Six samples that are all predicted
# right would ask for no penalty at all.
CHANCE_GAIN = 0.5
PATH_SAMPLES = 50_000  # the path is walked on at most so many samples, evenly spaced


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
    """One-hot (n, C), in the precision of another matrix; made when they are asked for where that is not in memory."""
    make = partial(one_hot, classes=classes, dtype=like.dtype)
    return make(labels) if isinstance(like, Tensor) else Derived(make, [labels], classes, like.dtype)


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
    for rows in blocks(z, brought(z) + 3 * len(weight)):
        out += cross_entropies(z[rows], weight, targets[rows]).sum(dtype=torch.float64)
    return (out,)


def train_head(
    x: Rows,
    labels: Tensor,
    x_validation: Rows,
    labels_validation: Tensor,
    classes: int,
    l2: float | None = None,
    weight_tolerance: float = WEIGHT_TOLERANCE,
) -> Head:
    """Train a head to convergence, its L2 chosen by validation loss unless given.

    Args:
        x, labels: (n, d) embeddings and (n,) class numbers to train on.
        x_validation, labels_validation: (m, d) and (m,), for the choice of L2 and the curve.
        classes: C.
        l2: λ; None to choose it from 1 to 1e-7 (`strongest_as_good`).
        weight_tolerance: how far from the optimum it may end, in double precision.
    """
    standardiser = Standardiser.fit(x)
    z, z_validation = standardiser(x), standardiser(x_validation)
    targets, targets_validation = targets_of(labels, classes, z), targets_of(labels_validation, classes, z_validation)
    moment = SecondMoment.of(z)
    path: list[tuple[float, float]] = []
    initial = None
    if l2 is None:
        part, targets_part = _part(z), _part(targets)
        z_held, targets_held = _part(z_validation), _part(targets_validation)
        _, path = choose_l2(
            part,
            targets_part,
            lambda weight: cross_entropy(z_held, weight, targets_held),
            moment=moment,
            samples=len(z),
        )
        l2 = strongest_as_good(path, len(z_held))
        if len(part) < len(z):  # its optimum is near that of all
            initial, _ = fit_softmax(part, targets_part, l2 * len(z) / len(part), moment=moment)
    curve: list[tuple[float, float]] = []

    def watch(weight: Tensor, loss: float) -> None:
        curve.append((loss, cross_entropy(z_validation, weight, targets_validation)))

    goal = weight_tolerance * l2 if z.dtype == torch.float64 else None  # single precision does not go that far
    weight, gradient_norm = fit_softmax(z, targets, l2, initial=initial, moment=moment, watch=watch, goal=goal)
    return Head(weight, standardiser, l2, "newton", gradient_norm, curve, path)


def strongest_as_good(path: list[tuple[float, float]], samples: int) -> float:
    """The strongest penalty whose held-out loss is no larger than the smallest but for chance.

    Args:
        path: penalties, with the mean loss (nats) of each.
        samples: how many were held out.
    """
    allowed = min(loss for _, loss in path) + CHANCE_GAIN / samples
    return max(l2 for l2, loss in path if loss <= allowed)


def _part(rows: Rows) -> Rows:
    """All rows, or evenly spaced ones where there are more than PATH_SAMPLES."""
    return rows if len(rows) <= PATH_SAMPLES else rows[:: math.ceil(len(rows) / PATH_SAMPLES)]


def choose_l2(
    z: Rows,
    targets: Rows,
    held_out_loss: Callable[[Tensor], float],
    moment: SecondMoment | None = None,
    samples: int | None = None,
) -> tuple[float, list[tuple[float, float]]]:
    """Walk the penalties from strong to weak, each fit starting from the last, and take the best.

    Args:
        z: features (n, D).
        targets: (n, C).
        held_out_loss: of a weight (C, D), the loss on data that it was not fitted to.
        moment: the factorised second moment of z, where it is known already.
        samples: how many samples λ is for, where z is a part of them: λ n, the penalty beside the sum of the losses, is
            what carries over. None for z's own n.

    Returns:
        The λ of the smallest held-out loss, and all that were tried with theirs; the walk ends once the loss has
        risen RISES_BEFORE_STOP times in a row, or a fit does not converge.
    """
    path: list[tuple[float, float]] = []
    moment = moment or SecondMoment.of(z)
    share = len(z) / (samples or len(z))
    weight = None
    best, rises = math.inf, 0
    for l2 in L2_PATH:
        tolerance = max(PATH_TOLERANCE, math.sqrt(2 * l2 * PATH_LOSS))
        try:
            weight, _ = fit_softmax(z, targets, l2, initial=weight, tolerance=tolerance, moment=moment)
        except ConvergenceError:
            if not path:
                raise
            break  # with less of a penalty it would be harder still
        loss = held_out_loss(weight)
        path.append((l2 * share, loss))
        rises = 0 if loss < best else rises + 1
        best = min(best, loss)
        if rises == RISES_BEFORE_STOP:
            break
    return min(path, key=lambda pair: pair[1])[0], path


def fit_softmax(
    z: Rows,
    targets: Rows,
    l2: float,
    weights: Rows | None = None,
    initial: Tensor | None = None,
    tolerance: float | None = None,
    max_steps: int = 100,
    moment: SecondMoment | None = None,
    watch: Callable[[Tensor, float], None] | None = None,
    goal: float | None = None,
) -> tuple[Tensor, float]:
    """Minimise mean_i w_i CE(softmax(W z_i), t_i) + l2/2 ‖W‖²: by L-BFGS to near the optimum, on by Newton.

    Far from the optimum the curvature changes faster than it pays to solve with it. Each of Newton's steps is solved by
    K-FAC preconditioned conjugate gradients in single precision, so nothing of size (C·D)² is made, and only as far as
    it pays (Eisenstat & Walker, SIAM J. Sci. Comput. 17, 1996); objective and gradient, which decide where it ends, are
    summed in double precision.

    Args:
        z: features (n, D), float32 or float64; not necessarily in memory.
        targets: distributions (n, C), one-hot or soft, likewise.
        l2: λ > 0, on all of W (the bias too, which makes the minimum unique).
        weights: w (n,) ≥ 0; None for ones.
        initial: start (C, D); None for zeros.
        tolerance: gradient norm to reach; None for GRADIENT_TOLERANCE of z's precision.
        max_steps: most Newton steps.
        moment: the factorised second moment of z, where it is known already.
        watch: is shown W and the mean loss there (nats), before the first step and after each.
        goal: gradient norm below the tolerance to go on to, as far as rounding lets it; None for the tolerance.

    Returns:
        W (C, D) and the gradient norm there.

    Raises:
        InputError: if l2 is not above 0, where separable data have no optimum.
        ConvergenceError: if the gradient norm is not reached.
    """
    if not l2 > 0:
        raise InputError(f"l2 is {l2}; separable data have no optimum without, give more than 0")
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

    here = objective.at(weight)
    seen(here)
    nearly = max(tolerance, APPROACH)
    if here.norm > nearly:
        start = replace(here, weight=weight.float())
        here = approach(start, single, hessian_at(weight).kfac, nearly, seen)
        if z.dtype != here.weight.dtype:
            here = objective.at(here.weight.to(z.dtype))
    return _by_newton(objective, here, hessian_at, (goal, tolerance), max_steps, seen)


def _by_newton(
    objective: Objective,
    here: Point,
    hessian_at: Callable[[Tensor], HeadHessian],
    norms: tuple[float, float],
    max_steps: int,
    seen: Callable[[Point], None],
) -> tuple[Tensor, float]:
    """W and the gradient norm there, by Newton's steps from a point near the optimum.

    Args:
        objective: to minimise.
        here: where to start.
        hessian_at: the Hessian at W, in single precision.
        norms: gradient norms to go on to as far as rounding lets it, and to reach.
        max_steps: most of them.
        seen: is shown each point.
    """
    goal, tolerance = norms
    forcing = FIRST_FORCING
    for _ in range(max_steps):
        if here.norm <= goal:
            return here.weight, here.norm
        unit = (here.gradient / here.norm).float()
        # No further than the last step needs, and no further than single precision goes.
        accuracy = max(forcing, 0.3 * goal / here.norm, 1e-5)
        step = conjugate_gradients(hessian_at(here.weight), unit[None], accuracy, MAX_INNER_STEPS)[0][0]
        there = objective.along(here, step.double() * here.norm)
        if here.norm <= tolerance and (there is None or there.norm > here.norm / 2):
            return here.weight, here.norm
        if there is None:
            raise ConvergenceError(
                f"training the head stalled at gradient norm {here.norm:.1e} (asked: {tolerance:.0e}); use a larger L2"
            )
        forcing = min(FIRST_FORCING, 0.9 * (there.norm / here.norm) ** 2)
        here = there
        seen(here)
    raise ConvergenceError(
        f"training the head did not reach gradient norm {tolerance:.0e} in {max_steps} steps; use a larger L2"
    )
