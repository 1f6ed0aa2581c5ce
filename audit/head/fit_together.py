"""Several softmax heads on the same features, fitted together: each pass over the features serves all of them.

The heads differ in their labels, in the samples that are left out, and in their penalty. Each minimises

    mean_i CE(softmax(W z_i), y_i) + l2/2 ‖W‖²

over its own samples, by Newton's method from a start near the optimum. The steps are solved by K-FAC preconditioned
conjugate gradients, for all heads at once. A product of the features with the weights of ten heads takes little longer
than one with the weights of one head, which memory limits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from audit.compute.matrix import Rows, blocks, derive, hold, numbers_read, total
from audit.compute.threads import one_thread
from audit.errors import ConvergenceError
from audit.head.conjugate_gradients import conjugate_gradients
from audit.head.factors import KroneckerFactors, SecondMoment, kronecker_factors
from audit.head.hessian import HeadHessian
from audit.head.settings import TogetherSettings

LEFT_OUT = -1
"""The class number of a sample that a head does without."""


@dataclass(frozen=True)
class Problem:
    """One head to fit.

    Attributes:
        labels: (n,) class numbers, LEFT_OUT for samples that are not used.
        l2: λ > 0.
        start: W (C, D).
        tolerance: gradient norm to reach.
    """

    labels: Tensor
    l2: float
    start: Tensor
    tolerance: float


@dataclass(frozen=True)
class Fit:
    """W (C, D) in float32, the gradient norm there, and why the tolerance was not reached, or None."""

    weight: Tensor
    norm: float
    error: ConvergenceError | None


def fit_together(
    z: Rows, problems: Sequence[Problem], moment: SecondMoment, settings: TogetherSettings = TogetherSettings()
) -> list[Fit]:
    """Fit heads on features z (n, D) in float32, as many at once as memory allows."""
    classes = len(problems[0].start)
    at_once = max(1, settings.held_numbers // (len(z) * classes))
    found: list[Fit] = []
    for start in range(0, len(problems), at_once):
        found += _Newton(z, problems[start : start + at_once], moment, settings).fits()
    return found


def mean_losses(z: Rows, labels: Sequence[Tensor], weights: Sequence[Tensor]) -> list[float]:
    """The mean cross-entropy (nats) of each head W (C, D) on the samples of its own labels (n,) that are not LEFT_OUT.

    z (n, D) are in float32.
    """
    codes, weight = torch.stack(list(labels), 1), torch.stack([one.float() for one in weights])
    (losses,) = total(_losses, (z, codes), weight)
    return (losses / (codes != LEFT_OUT).sum(0).clamp_min(1).to(losses)).tolist()


class _Newton:
    """Newton's method on k heads.

    Args:
        z: features (n, D) in float32.
        problems: k of them.
        moment: the factorised second moment of z, or of nearly the same samples.
        settings: most steps, and how exactly each is solved.
    """

    def __init__(self, z: Rows, problems: Sequence[Problem], moment: SecondMoment, settings: TogetherSettings) -> None:
        vectors = None if moment.vectors is None else moment.vectors.float()
        self.z, self.moment, self.settings = z, SecondMoment(moment.values, vectors), settings
        self.codes = torch.stack([one.labels for one in problems], 1)
        kept = (self.codes != LEFT_OUT).sum(0).clamp_min(1)
        self.counts, self.l2, self.tolerance = (
            torch.tensor(values, dtype=torch.float64, device=z.device)
            for values in (kept.tolist(), [one.l2 for one in problems], [one.tolerance for one in problems])
        )
        weight = torch.stack([one.start for one in problems]).float()
        every = torch.arange(len(problems), device=z.device)
        self.point = self._at(weight, every)
        self.forcing = torch.full_like(self.tolerance, settings.residual)

    def fits(self) -> list[Fit]:
        """The heads where the tolerance is reached, or where no step helps any more."""
        moving = torch.ones_like(self.tolerance, dtype=torch.bool)
        for _ in range(self.settings.steps):
            moving &= self.point.norm > self.tolerance
            places = moving.nonzero()[:, 0]
            if not len(places):
                break
            before = self.point.norm[places]
            stuck = self._move(places, self._steps(places))
            gained = 0.9 * (self.point.norm[places] / before).square()
            self.forcing[places] = gained.clamp(1e-5, self.settings.residual)
            moving[stuck] = False
        return [
            Fit(weight, norm, None if norm <= tolerance else _not_reached(norm, tolerance))
            for weight, norm, tolerance in zip(
                self.point.weight, self.point.norm.tolist(), self.tolerance.tolist(), strict=True
            )
        ]

    def _steps(self, places: Tensor) -> Tensor:
        """Newton's steps (k, C, D) of the heads at these places."""
        point = self.point.of(places)
        curvature = _Curvature.of(self, places, point.weight)
        unit = (point.gradient / point.norm[:, None, None]).float()
        # No more exactly than the tolerance asks, nor than the last step has shown to pay (Eisenstat & Walker 1996).
        reach = torch.maximum(self.forcing[places], 0.3 * self.tolerance[places] / point.norm).float()
        found, _ = conjugate_gradients(curvature, unit, reach, self.settings.cg_steps, curvature.precondition)
        return found * point.norm[:, None, None].float()

    def _move(self, places: Tensor, steps: Tensor) -> Tensor:
        """Take the steps (k, C, D) of the heads at these places, shortened until the objectives fall.

        Returns the places of the heads whose objective falls with no step.
        """
        length = 1.0
        for _ in range(self.settings.halvings):
            point = self.point.of(places)
            tried = self._at(point.weight - length * steps, places)
            slope = (point.gradient * steps).flatten(1).sum(1)
            # Near the optimum, rounding hides whether the objective falls, though the gradient does.
            slack = 500 * torch.finfo(torch.float32).eps * point.value.abs()
            falls = (tried.value <= point.value - 1e-4 * length * slope + slack) & tried.value.isfinite()
            self.point.put(places[falls], tried.of(falls))
            places, steps = places[~falls], steps[~falls]
            if not len(places):
                break
            length /= 2
        return places

    def _at(self, weight: Tensor, places: Tensor) -> _Points:
        """The objectives of the heads at these places, at W (k, C, D): one pass over z."""
        losses, gradients = total(_losses_and_gradients, (self.z, self.codes[:, places]), weight)
        counts, l2, wide = self.counts[places], self.l2[places], weight.double()
        value = losses / counts + l2 / 2 * wide.square().flatten(1).sum(1)
        gradient = gradients / counts[:, None, None] + l2[:, None, None] * wide
        return _Points(weight, value, gradient, gradient.flatten(1).norm(dim=1))


@dataclass(frozen=True)
class _Points:
    """Objectives at W (k, C, D): values (k,), gradients (k, C, D) in float64, and their norms (k,)."""

    weight: Tensor
    value: Tensor
    gradient: Tensor
    norm: Tensor

    def of(self, places: Tensor) -> _Points:
        """Those of some heads."""
        return _Points(*(part[places] for part in self._parts))

    def put(self, places: Tensor, points: _Points) -> None:
        """Replace those of some heads."""
        for mine, other in zip(self._parts, points._parts, strict=True):
            mine[places] = other

    @property
    def _parts(self) -> tuple[Tensor, ...]:
        return self.weight, self.value, self.gradient, self.norm


@dataclass(frozen=True)
class _Curvature:
    """The Hessians of k heads at their parameters, side by side.

    Attributes:
        z, p, codes: features (n, D), probabilities (n, k · C) and labels (n, k).
        counts, l2: how many samples each head has, and its penalty (k, 1, 1).
        factors: K-FAC of each.
    """

    z: Rows
    p: Rows
    codes: Tensor
    counts: Tensor
    l2: Tensor
    factors: list[KroneckerFactors]

    @classmethod
    def of(cls, heads: _Newton, places: Tensor, weight: Tensor) -> _Curvature:
        """Those of the heads at these places, at W (k, C, D)."""
        k, classes, _ = weight.shape
        codes = heads.codes[:, places]
        p = hold(derive(partial(_probabilities, weight=weight), heads.z, width=k * classes))
        apart = classes > HeadHessian.settings.coupled_classes
        (curved,) = total(_class_variances if apart else _class_curvatures, (p, codes))
        counts, l2 = (values[places, None, None].float() for values in (heads.counts, heads.l2))
        factors = [
            kronecker_factors(of_head, int(count), heads.moment, ridge, torch.float32)
            for of_head, count, ridge in zip(
                curved, heads.counts[places].tolist(), heads.l2[places].tolist(), strict=True
            )
        ]
        return cls(heads.z, p, codes, counts, l2, factors)

    def product(self, v: Tensor) -> Tensor:
        """H v for each head, v (k, C, D)."""
        (curved,) = total(_curved, (self.z, self.p, self.codes), v)
        return self.l2 * v + curved.to(v) / self.counts

    def precondition(self, v: Tensor) -> Tensor:
        """An approximate H⁻¹ v for each head, v (k, C, D)."""
        return torch.cat([factors.solve(of_head[None]) for factors, of_head in zip(self.factors, v, strict=True)])


def _probabilities(z: Tensor, weight: Tensor) -> Tensor:
    """softmax(W z) of k heads W (k, C, D): (n, k · C)."""
    return _by_class(z, weight, torch.softmax).flatten(0, 1).T


def _by_class(z: Tensor, weight: Tensor, softmax: Callable[[Tensor, int], Tensor]) -> Tensor:
    """(k, C, n): softmax of W z of k heads. Sums over classes are fastest where the samples are side by side."""
    k, classes, features = weight.shape
    logits = weight.reshape(-1, features) @ z.T
    with one_thread(logits.numel()):
        return softmax(logits.view(k, classes, -1), 1)


def _losses(z: Rows, codes: Tensor, weight: Tensor) -> tuple[Tensor]:
    """Σ cross-entropy (k,) of k heads W (k, C, D) with labels (n, k), in double precision."""
    out = torch.zeros(len(weight), dtype=torch.float64, device=z.device)
    for rows in blocks(z, _floats(z, weight)):
        out += _of_labels(_by_class(z[rows], weight, torch.log_softmax), codes[rows])
    return (out,)


def _of_labels(log_p: Tensor, codes: Tensor) -> Tensor:
    """−Σ log p (k,) of the labels (r, k), for logarithms of probabilities (k, C, r)."""
    codes = codes.T
    of_label = log_p.gather(1, codes.clamp_min(0)[:, None])[:, 0]
    return -torch.where(codes != LEFT_OUT, of_label, 0.0).sum(1, dtype=torch.float64)


def _losses_and_gradients(z: Rows, codes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Σ cross-entropy (k,) and its gradient (k, C, D) of k heads W with labels (n, k), in double precision."""
    losses = torch.zeros(len(weight), dtype=torch.float64, device=z.device)
    gradients = torch.zeros(weight.shape, dtype=torch.float64, device=z.device)
    for rows in blocks(z, _floats(z, weight)):
        z_rows, own = z[rows], codes[rows]
        log_p = _by_class(z_rows, weight, torch.log_softmax)
        with one_thread(log_p.numel()):
            losses += _of_labels(log_p, own)
            off = log_p.exp_()
            off.scatter_add_(
                1, own.T.clamp_min(0)[:, None], off.new_full((1, 1, 1), -1.0).expand(len(off), 1, len(own))
            )
            off *= (own.T != LEFT_OUT)[:, None]
        gradients += (off.flatten(0, 1) @ z_rows).view_as(weight)
    return losses, gradients


def _curved(z: Rows, p: Rows, codes: Tensor, v: Tensor) -> tuple[Tensor]:
    """Σ (diag p_i − p_i p_iᵀ) V z_i z_iᵀ of each head, for V (k, C, D) and the samples that it is trained on."""
    k, classes, features = v.shape
    flat = v.reshape(k * classes, features)
    out = torch.zeros_like(flat)
    for rows in blocks(z, _floats(z, v)):
        z_rows = z[rows]
        own = p[rows].T.reshape(k, classes, -1)
        u = (flat @ z_rows.T).view_as(own)
        with one_thread(u.numel()):
            weighted = own * u
            weighted -= own * weighted.sum(1, keepdim=True)
            weighted *= (codes[rows].T != LEFT_OUT)[:, None]
        out.addmm_(weighted.flatten(0, 1), z_rows)
    return (out.view_as(v),)


def _class_curvatures(p: Rows, codes: Tensor) -> tuple[Tensor]:
    """Σ (diag p_i − p_i p_iᵀ) (k, C, C) of k heads with labels (n, k), in double precision."""
    k = codes.shape[1]
    classes = p.shape[1] // k
    out = torch.zeros(k, classes, classes, dtype=torch.float64, device=p.device)
    for rows in blocks(p, 3 * p.shape[1]):
        own = p[rows].T.reshape(k, classes, -1) * (codes[rows].T != LEFT_OUT)[:, None]
        out += torch.diag_embed(own.sum(2, dtype=torch.float64)) - own @ own.transpose(1, 2)
    return (out,)


def _class_variances(p: Rows, codes: Tensor) -> tuple[Tensor]:
    """Σ p_i (1 − p_i) (k, C) of k heads with labels (n, k), in double precision."""
    k = codes.shape[1]
    classes = p.shape[1] // k
    out = torch.zeros(k, classes, dtype=torch.float64, device=p.device)
    for rows in blocks(p, 3 * p.shape[1]):
        own = p[rows].T.reshape(k, classes, -1) * (codes[rows].T != LEFT_OUT)[:, None]
        out += (own * (1 - own)).sum(2, dtype=torch.float64)
    return (out,)


def _floats(z: Rows, weight: Tensor) -> int:
    """Numbers that a row of a block holds: its features, which are read twice while they are in the cache, and more."""
    k, classes, features = weight.shape
    return max(features, numbers_read(z)) + 4 * k * classes


def _not_reached(norm: float, tolerance: float) -> ConvergenceError:
    return ConvergenceError(
        f"training the head ended at gradient norm {norm:.1e} (asked: {tolerance:.0e}); use a larger L2"
    )
