"""The head's objective at a point and along a line, and L-BFGS down to where Newton's steps pay."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from audit.compute.matrix import Rows, blocks, numbers_read, total
from audit.compute.threads import log_softmax, one_thread
from audit.errors import ConvergenceError
from audit.head.conjugate_gradients import ApproximateInverse, conjugate_gradients
from audit.head.hessian import HeadHessian
from audit.head.settings import FitSettings


@dataclass(frozen=True)
class Point:
    """The objective at W (C, D): mean loss, value (with the penalty), gradient in double precision, and its norm."""

    weight: Tensor
    loss: float
    value: float
    gradient: Tensor
    norm: float


@dataclass(frozen=True)
class Objective:
    """mean_i w_i CE(softmax(W z_i), t_i) + l2/2 ‖W‖²."""

    z: Rows
    targets: Rows
    l2: float
    weights: Rows | None

    def single(self) -> Objective:
        """The same in single precision."""
        weights = None if self.weights is None else self.weights.float()
        return Objective(self.z.float(), self.targets.float(), self.l2, weights)

    def at(self, weight: Tensor) -> Point:
        """The objective at W (C, D): one pass over z."""
        loss, gradient = total(_losses_and_gradient, (self.z, self.targets, self.weights), weight)
        wide = weight.double()
        gradient = gradient / len(self.z) + self.l2 * wide
        loss = float(loss) / len(self.z)
        value = loss + self.l2 / 2 * float((wide**2).sum())
        return Point(weight, loss, value, gradient, float(gradient.norm()))

    def along(self, point: Point, step: Tensor, sufficient: float = 1e-4, shortest: float = 1e-10) -> Point | None:
        """The point W − step, or one nearer to W, where the objective has fallen enough; None if there is none.

        Args:
            point: the objective at W.
            step: downhill, (C, D).
            sufficient: share of the slope by which the objective has to fall (Armijo 1966).
            shortest: share of the step below which the search gives up.
        """
        slope = _dot(point.gradient, step)
        # Near the optimum the objective cannot be seen to fall any more, though the gradient still does; farther off it
        # has to fall, or steps that overshoot for a few outlying samples would take turns for ever.
        unseen = 500 * torch.finfo(self.z.dtype).eps * abs(point.value)
        slack = unseen if slope <= unseen else 0.0
        length = 1.0
        while length >= shortest:
            tried = self.at((point.weight - length * step).to(point.weight))
            if tried.value <= point.value - sufficient * length * slope + slack:
                return tried
            length *= _lowest(tried.value - point.value, -length * slope, -length * _dot(tried.gradient, step))
        return None


def _lowest(rise: float, first: float, last: float) -> float:
    """Where a cubic that starts with slope `first` < 0, and is higher by `rise` at 1 with slope `last`, is lowest.

    Between 0.1 and 0.5 (Nocedal & Wright 2006, section 3.5).
    """
    bend = first + last - 3 * rise
    root = math.sqrt(max(bend**2 - first * last, 0.0))
    width = last - first + 2 * root
    return min(max(1 - (last + root - bend) / width, 0.1), 0.5) if width > 0 else 0.5


def approach(
    point: Point,
    objective: Objective,
    inverse: ApproximateInverse,
    tolerance: float,
    seen: Callable[[Point], None],
    settings: FitSettings = FitSettings(),
) -> Point:
    """Go by L-BFGS (Nocedal, Mathematics of Computation 35, 1980) until the gradient norm is within the tolerance.

    A step costs one pass over the data, where Newton's costs one for each of its conjugate gradients. An approximate
    inverse of the Hessian preconditions it, which optimisers of torch and SciPy have no place for. Where rounding or
    the limit on steps ends it early, it returns the point that it has reached.
    """
    pairs: list[tuple[Tensor, Tensor, float]] = []
    for _ in range(settings.lbfgs_steps):
        following = objective.along(point, _quasi_newton(point.gradient.to(point.weight), pairs, inverse))
        if following is None:
            break
        moved, turned = following.weight - point.weight, (following.gradient - point.gradient).to(point.weight)
        point = following
        seen(point)
        if point.norm <= tolerance:
            break
        product = _dot(moved, turned)
        if product > 0:
            pairs = [*pairs, (moved, turned, product)][-settings.lbfgs_memory :]
    return point


def by_newton(
    objective: Objective,
    point: Point,
    hessian_at: Callable[[Tensor], HeadHessian],
    norms: tuple[float, float],
    settings: FitSettings,
    seen: Callable[[Point], None],
    inverse: ApproximateInverse | None,
) -> tuple[Tensor, float]:
    """W and the gradient norm there, by Newton's steps from a point near the optimum.

    Args:
        objective: to minimise.
        point: where to start.
        hessian_at: the Hessian at W, in single precision.
        norms: gradient norm to try to reach as far as rounding permits, and the one that must be reached.
        settings: most steps, and how exactly each is solved.
        seen: is shown each point.
        inverse: an approximate inverse of the Hessian; None for K-FAC at each point.
    """
    goal, tolerance = norms
    precondition = None if inverse is None else inverse.solve
    forcing = settings.first_residual
    for _ in range(settings.newton_steps):
        if point.norm <= goal:
            return point.weight, point.norm
        unit = (point.gradient / point.norm).float()
        # No further than the last step needs, and no further than single precision goes.
        accuracy = max(forcing, 0.3 * goal / point.norm, 1e-5)
        hessian = hessian_at(point.weight)
        step = conjugate_gradients(hessian, unit[None], accuracy, settings.cg_steps, precondition)[0][0]
        following = objective.along(point, step.double() * point.norm)
        if point.norm <= tolerance and (following is None or following.norm > point.norm / 2):
            return point.weight, point.norm
        if following is None:
            raise ConvergenceError(
                f"training the head stalled at gradient norm {point.norm:.1e} (asked: {tolerance:.0e}); use a larger L2"
            )
        forcing = min(settings.first_residual, 0.9 * (following.norm / point.norm) ** 2)
        point = following
        seen(point)
    raise ConvergenceError(
        f"training the head did not reach gradient norm {tolerance:.0e} in {settings.newton_steps} steps; "
        "use a larger L2"
    )


def _quasi_newton(gradient: Tensor, pairs: list[tuple[Tensor, Tensor, float]], inverse: ApproximateInverse) -> Tensor:
    """The two-loop recursion: H⁻¹ g, with an H that turns g as it turned along the steps that were made.

    Args:
        gradient: g (C, D).
        pairs: of the last steps, how W moved (C, D), how g turned (C, D), and the inner product of both.
        inverse: H before any step, of which it gives H⁻¹.
    """
    step, shares = gradient.clone(), []
    for moved, turned, product in reversed(pairs):
        shares.append(_dot(moved, step) / product)
        step -= shares[-1] * turned
    step = inverse.solve(step[None])[0]
    if pairs:
        _, turned, product = pairs[-1]
        step *= product / _dot(turned, inverse.solve(turned[None])[0])
    for (moved, turned, product), share in zip(pairs, reversed(shares), strict=True):
        step += (share - _dot(turned, step) / product) * moved
    return step


def _dot(u: Tensor, v: Tensor) -> float:
    return float((u * v).sum())


def _losses_and_gradient(z: Rows, targets: Rows, weights: Rows | None, weight: Tensor) -> tuple[Tensor, Tensor]:
    loss = torch.zeros((), dtype=torch.float64, device=z.device)
    gradient = torch.zeros(weight.shape, dtype=torch.float64, device=z.device)
    for rows in blocks(z, 4 * len(weight) + numbers_read(z)):
        z_rows = z[rows]
        log_p = log_softmax(z_rows @ weight.T)
        with one_thread(log_p.numel()):
            t = targets[rows] if weights is None else targets[rows] * weights[rows][:, None]
            loss -= (t * log_p).sum(dtype=torch.float64)
            off = log_p.exp_().mul_(t.sum(1, keepdim=True)).sub_(t)
        gradient += off.T @ z_rows
    return loss, gradient
