"""The softmax head on frozen embeddings: trained to convergence with L2, or by the original recipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from audit.errors import ConvergenceError, InputError
from audit.influence.hessian import HeadHessian, SecondMoment, chunks, conjugate_gradients

GRADIENT_TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-6}
FIRST_FORCING = 0.1  # relative residual of the first Newton step's linear system
MAX_INNER_STEPS = 500
PATH_TOLERANCE = 1e-4  # enough to rank penalties by validation loss
PATH_LOSS = 1e-5  # nats above the optimum at which a fit on the path may end: its gradient norm² / 2λ
L2_PATH = tuple(10 ** (k / 2) for k in range(0, -15, -1))  # 1 down to 1e-7
RISES_BEFORE_STOP = 2


@dataclass(frozen=True)
class Standardiser:
    """Centres and scales embeddings and appends a constant, so that one L2 penalty suits all features.

    Attributes:
        mean: (d,).
        scale: (d,), 1 where a feature is constant.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, x: Tensor) -> Standardiser:
        """Mean and standard deviation of x (n, d)."""
        scale = x.std(dim=0, correction=0)
        # A feature that varies by rounding alone would be blown up to noise.
        constant = scale <= 1e-6 * x.abs().amax(dim=0).clamp_min(torch.finfo(x.dtype).tiny)
        return cls(x.mean(dim=0), torch.where(constant, torch.ones_like(scale), scale))

    def __call__(self, x: Tensor) -> Tensor:
        """z (n, d + 1)."""
        return functional.pad((x - self.mean) / self.scale, (0, 1), value=1.0)


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

    def features(self, x: Tensor) -> Tensor:
        """z (n, d + 1) of embeddings x (n, d)."""
        return self.standardiser(x)

    def probabilities(self, x: Tensor) -> Tensor:
        """(n, C) of embeddings x (n, d)."""
        return (self.features(x) @ self.weight.T).softmax(1)

    def arrays(self) -> dict[str, np.ndarray]:
        """What `AuditResult.heads` keeps: weight (C, d), bias (C,), mean (d,), scale (d,)."""
        parts = {
            "weight": self.weight[:, :-1],
            "bias": self.weight[:, -1],
            "mean": self.standardiser.mean,
            "scale": self.standardiser.scale,
        }
        return {name: part.cpu().numpy().copy() for name, part in parts.items()}


def head_from_arrays(arrays: dict[str, np.ndarray], l2: float, trainer: str = "newton") -> Head:
    """The head that `Head.arrays` was taken of (its curve and gradient norm are in the result's tables)."""
    weight = torch.from_numpy(np.concatenate([arrays["weight"], arrays["bias"][:, None]], axis=1))
    standardiser = Standardiser(torch.from_numpy(arrays["mean"]), torch.from_numpy(arrays["scale"]))
    return Head(weight, standardiser, l2, trainer, math.nan)


def one_hot(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """(n, C) of labels (n,)."""
    return functional.one_hot(labels, classes).to(dtype)


def cross_entropy(z: Tensor, weight: Tensor, targets: Tensor) -> float:
    """Mean cross-entropy (nats) of features z (n, D) against target distributions (n, C)."""
    return float(-(targets * (z @ weight.T).log_softmax(1)).sum(1).mean())


def train_head(
    x: Tensor,
    labels: Tensor,
    x_validation: Tensor,
    labels_validation: Tensor,
    classes: int,
    l2: float | None = None,
) -> Head:
    """Train a head to convergence, its L2 chosen by validation loss unless given.

    Args:
        x, labels: (n, d) embeddings and (n,) class numbers to train on.
        x_validation, labels_validation: (m, d) and (m,), for the choice of L2 and the curve.
        classes: C.
        l2: λ; None to choose it from 1 to 1e-7.
    """
    standardiser = Standardiser.fit(x)
    z, z_validation = standardiser(x), standardiser(x_validation)
    targets = one_hot(labels, classes, z.dtype)
    targets_validation = one_hot(labels_validation, classes, z.dtype)
    moment = SecondMoment.of(z)
    path: list[tuple[float, float]] = []
    if l2 is None:
        l2, path = choose_l2(
            z, targets, lambda weight: cross_entropy(z_validation, weight, targets_validation), moment=moment
        )
    curve: list[tuple[float, float]] = []

    def watch(weight: Tensor) -> None:
        curve.append((cross_entropy(z, weight, targets), cross_entropy(z_validation, weight, targets_validation)))

    weight, gradient_norm = fit_softmax(z, targets, l2, moment=moment, watch=watch)
    return Head(weight, standardiser, l2, "newton", gradient_norm, curve, path)


def choose_l2(
    z: Tensor,
    targets: Tensor,
    held_out_loss: Callable[[Tensor], float],
    moment: SecondMoment | None = None,
) -> tuple[float, list[tuple[float, float]]]:
    """Walk the penalties from strong to weak, each fit starting from the last, and take the best.

    Args:
        z: features (n, D).
        targets: (n, C).
        held_out_loss: of a weight (C, D), the loss on data that it was not fitted to.
        moment: the factorised second moment of z, where it is known already.

    Returns:
        The λ of the smallest held-out loss, and all that were tried with theirs; the walk ends once the loss has
        risen RISES_BEFORE_STOP times in a row.
    """
    path: list[tuple[float, float]] = []
    moment = moment or SecondMoment.of(z)
    weight = None
    best, rises = math.inf, 0
    for l2 in L2_PATH:
        tolerance = max(PATH_TOLERANCE, math.sqrt(2 * l2 * PATH_LOSS))
        weight, _ = fit_softmax(z, targets, l2, initial=weight, tolerance=tolerance, moment=moment)
        loss = held_out_loss(weight)
        path.append((l2, loss))
        rises = 0 if loss < best else rises + 1
        best = min(best, loss)
        if rises == RISES_BEFORE_STOP:
            break
    return min(path, key=lambda pair: pair[1])[0], path


def fit_softmax(
    z: Tensor,
    targets: Tensor,
    l2: float,
    weights: Tensor | None = None,
    initial: Tensor | None = None,
    tolerance: float | None = None,
    max_steps: int = 100,
    moment: SecondMoment | None = None,
    watch: Callable[[Tensor], None] | None = None,
) -> tuple[Tensor, float]:
    """Minimise mean_i w_i CE(softmax(W z_i), t_i) + l2/2 ‖W‖² by Newton's method.

    Each step is solved by K-FAC preconditioned conjugate gradients in single precision, so nothing of size (C·D)² is
    made, and only as far as it pays (Eisenstat & Walker, SIAM J. Sci. Comput. 17, 1996); objective and gradient, which
    decide where it ends, are summed in double precision.

    Args:
        z: features (n, D), float32 or float64.
        targets: distributions (n, C), one-hot or soft.
        l2: λ > 0, on all of W (the bias too, which makes the minimum unique).
        weights: w (n,) ≥ 0; None for ones.
        initial: start (C, D); None for zeros.
        tolerance: gradient norm to reach; None for GRADIENT_TOLERANCE of z's precision.
        max_steps: most Newton steps.
        moment: the factorised second moment of z, where it is known already.
        watch: is shown W before the first step and after each.

    Returns:
        W (C, D) and the gradient norm there.

    Raises:
        InputError: if l2 is not above 0, where separable data have no optimum.
        ConvergenceError: if the gradient norm is not reached.
    """
    if not l2 > 0:
        raise InputError(f"l2 is {l2}; separable data have no optimum without, give more than 0")
    tolerance = tolerance or GRADIENT_TOLERANCE[z.dtype]
    weight = torch.zeros(targets.shape[1], z.shape[1], dtype=z.dtype, device=z.device) if initial is None else initial
    moment = moment or SecondMoment.of(z)
    single, single_weights = z.float(), None if weights is None else weights.float()
    rounding = 500 * torch.finfo(z.dtype).eps
    here = _Point.at(z, targets, l2, weights, weight)
    if watch:
        watch(weight)
    forcing = FIRST_FORCING
    for _ in range(max_steps):
        if here.norm <= tolerance:
            return weight, here.norm
        hessian = HeadHessian(single, here.probabilities.float(), l2, weights=single_weights, moment=moment)
        unit = (here.gradient / here.norm).float()
        # No further than the last step needs, and no further than single precision goes.
        accuracy = max(forcing, 0.3 * tolerance / here.norm, 1e-5)
        step = conjugate_gradients(hessian, unit[None], accuracy, MAX_INNER_STEPS)[0][0].double() * here.norm
        slope = float((here.gradient * step).sum())
        length = 1.0
        while True:
            candidate = (weight - length * step).to(z.dtype)
            there = _Point.at(z, targets, l2, weights, candidate)
            # Rounding: near the optimum the objective cannot fall any more, though the gradient still can.
            if there.value <= here.value - 1e-4 * length * slope + rounding * abs(here.value):
                break
            length /= 2
            if length < 1e-10:
                raise ConvergenceError(
                    f"training the head stalled at gradient norm {here.norm:.1e} (asked: {tolerance:.0e}); "
                    "use a larger L2"
                )
        forcing = min(FIRST_FORCING, 0.9 * (there.norm / here.norm) ** 2)
        weight, here = candidate, there
        if watch:
            watch(weight)
    raise ConvergenceError(
        f"training the head did not reach gradient norm {tolerance:.0e} in {max_steps} steps; use a larger L2"
    )


@dataclass(frozen=True)
class _Point:
    """The objective at W: its value, its gradient (C, D) in double precision with its norm, and p (n, C)."""

    value: float
    gradient: Tensor
    norm: float
    probabilities: Tensor

    @classmethod
    def at(cls, z: Tensor, targets: Tensor, l2: float, weights: Tensor | None, weight: Tensor) -> _Point:
        probabilities = torch.empty(targets.shape, dtype=z.dtype, device=z.device)
        total = torch.zeros((), dtype=torch.float64, device=z.device)
        gradient = torch.zeros(weight.shape, dtype=torch.float64, device=z.device)
        for rows in chunks(len(z), 4 * targets.shape[1] + z.shape[1], z.element_size()):
            log_p = (z[rows] @ weight.T).log_softmax(1)
            t = targets[rows] if weights is None else targets[rows] * weights[rows, None]
            total -= (t * log_p).sum(dtype=torch.float64)
            p = torch.exp(log_p, out=probabilities[rows])
            gradient += (p * t.sum(1, keepdim=True) - t).T @ z[rows]
        wide = weight.double()
        gradient = gradient / len(z) + l2 * wide
        value = float(total) / len(z) + l2 / 2 * float((wide**2).sum())
        return cls(value, gradient, float(gradient.norm()), probabilities)


def train_head_by_recipe(
    x: Tensor,
    labels: Tensor,
    x_validation: Tensor,
    labels_validation: Tensor,
    classes: int,
    epochs: int = 50,
    learning_rate: float = 1e-3,
    batch_size: int = 1000,
    seed: int = 0,
) -> Head:
    """The original recipe: Adam on cross-entropy, no L2, a fixed number of epochs, embeddings as they are.

    It does not converge; the gradient norm that is returned says how far from it.
    """
    standardiser = Standardiser(torch.zeros_like(x[0]), torch.ones_like(x[0]))
    z, z_validation = standardiser(x), standardiser(x_validation)
    targets = one_hot(labels, classes, z.dtype)
    targets_validation = one_hot(labels_validation, classes, z.dtype)
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(x.shape[1])  # torch.nn.Linear's own initialisation
    weight = torch.empty(classes, z.shape[1], dtype=z.dtype).uniform_(-bound, bound, generator=generator)
    weight = weight.to(z.device).requires_grad_(True)
    optimiser = torch.optim.Adam([weight], lr=learning_rate)
    curve: list[tuple[float, float]] = []
    for _ in range(epochs):
        for rows in torch.randperm(len(z), generator=generator).split(batch_size):
            rows = rows.to(z.device)
            optimiser.zero_grad()
            functional.cross_entropy(z[rows] @ weight.T, targets[rows]).backward()
            optimiser.step()
        final = weight.detach()
        curve.append((cross_entropy(z, final, targets), cross_entropy(z_validation, final, targets_validation)))
    final = weight.detach()
    gradient = ((z @ final.T).softmax(1) - targets).T @ z / len(z)
    return Head(final, standardiser, 0.0, "adam", float(gradient.norm()), curve)


def check_embeddings(x: np.ndarray) -> None:
    """Refuse embeddings that no head can be trained on.

    Raises:
        InputError: if x is not (n, d) or holds NaN or infinity, with the first such row.
    """
    if x.ndim != 2 or not x.shape[1]:
        raise InputError(f"embeddings have shape {x.shape}; give (samples, features)")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise InputError(f"{len(bad)} embedding(s) hold NaN or infinity, the first in row {bad[0]}; leave them out")
