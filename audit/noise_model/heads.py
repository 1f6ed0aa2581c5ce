"""The softmax heads of the noise model: their features and their fit.

All heads of one noise model share features and penalty.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from audit.compute.matrix import RemoteRows, Rows, derive, hold, to_memory
from audit.head.factors import KroneckerFactors, SecondMoment
from audit.head.fit import fit_softmax, logits, probabilities, residuals
from audit.head.hessian import HeadHessian
from audit.head.leave_one_out.choose_method import approximation, leave_one_out
from audit.head.leave_one_out.common import LeaveOneOut
from audit.head.settings import LeaveOneOutSettings
from audit.head.standardise import Standardiser
from audit.noise_model.settings import HeadSettings


@dataclass(frozen=True)
class Features:
    """Standardised embeddings, the input of heads and discriminants.

    Attributes:
        z: (n, D); not necessarily in memory.
        moment: the factorised second moment of z.
        more_than_samples: whether there are more features than samples. If so, the closed-form leave-one-out
            predictions still depend a little on the sample's own label.
    """

    z: Any
    moment: SecondMoment
    more_than_samples: bool

    @classmethod
    def of(cls, x: Rows, held_bytes: int) -> Features:
        """The features of embeddings x (n, d) in float32; in memory if they need at most held_bytes."""
        z: Any = Standardiser.fit(x)(x)
        n, width = z.shape
        held = 4 * n * width <= held_bytes
        z = _held(z) if held else z
        moment = SecondMoment.of(z)
        if held:  # rotated into the eigenvectors once: the penalty is the same in any orthogonal coordinates
            z, moment = _held(derive(moment.rotate, z, width=width)), SecondMoment(moment.values, None)
            if n < width:
                # n samples span at most n directions. The others are rounding errors, and would make the head too large
                # for exact leave-one-out. The approximation is far off if n < D.
                z, moment = _held(derive(partial(_last, count=n), z, width=n)), SecondMoment(moment.values[-n:], None)
        return cls(z, moment, n < width)


def _held(rows: Rows) -> Rows:
    """Rows in memory: of this process, or of the workers that have them."""
    return hold(rows) if isinstance(rows, RemoteRows) else to_memory(rows)


def _last(z: Tensor, count: int) -> Tensor:
    return z[:, -count:].contiguous()


@dataclass(frozen=True)
class HeadStart:
    """The start of a head's fit: W (C, D), and the `factors` of the last head's leave-one-out, if any."""

    weight: Tensor
    factors: KroneckerFactors | None = None


@dataclass(frozen=True)
class FittedHead:
    """A head's W (C, D), and its in-sample and leave-one-out predictions (n, C) of its training samples."""

    weight: Tensor
    probabilities: Rows
    left_out: LeaveOneOut


def fit_head(
    features: Features,
    targets: Rows,
    l2: float,
    start: HeadStart,
    settings: HeadSettings,
    predictions_only: bool = False,
) -> FittedHead:
    """Train a head on target distributions (n, C), and compute its leave-one-out predictions.

    Args:
        features: of n samples.
        targets: (n, C).
        l2: λ > 0.
        start: of the fit.
        settings: of the heads.
        predictions_only: compute nothing but the predictions, as in `leave_one_out`.
    """
    z, moment = features.z, features.moment
    weight, _ = fit_softmax(z, targets, l2, initial=start.weight, tolerance=settings.tolerance, moment=moment)
    predicted = hold(probabilities(z, weight))
    hessian = HeadHessian(z, predicted, l2, moment=moment)
    left_out = leave_one_out(
        hessian,
        z,
        logits(z, weight),
        residuals(predicted, targets),
        method=_method(hessian, settings),
        start=start.factors,
        predictions_only=predictions_only,
    )
    return FittedHead(weight, predicted, left_out)


def alike_on_workers(samples: int, features: int, classes: int, settings: HeadSettings) -> bool:
    """Whether heads of embeddings on workers are those of one process, which take leave-one-out from Kronecker factors.

    One process may take another method where there are few samples for each parameter.
    """
    width = features + 1
    size = float(classes * width)
    held = 4 * samples * width <= settings.held_bytes
    exact = classes <= settings.exact_classes and (samples + size) * size**2 <= settings.exact_flop
    by_blocks = held and classes > 2 and size > LeaveOneOutSettings.parameters_per_sample * samples
    return not exact and not by_blocks


def _method(hessian: HeadHessian, settings: HeadSettings) -> str:
    """The method of a head's leave-one-out predictions: exact if that is fast."""
    size = float(hessian.parameters)
    affordable = (len(hessian.z) + size) * size**2 <= settings.exact_flop
    few = hessian.classes <= settings.exact_classes
    exactly = few and affordable and isinstance(hessian.z, Tensor) and hessian.use_cholesky("auto")
    return "exact" if exactly else approximation(hessian)
