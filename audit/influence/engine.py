"""One interface to influence, whichever engine computes it, and the exact engine.

Signs and units are the same everywhere: positive = the sample helps; leaving it out raises the loss in question by
about influence / n nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from audit.compute.threads import softmax
from audit.errors import InputError
from audit.head.fit import Head, cross_entropy, fit_softmax, one_hot
from audit.head.hessian import HeadHessian, Solution
from audit.head.leave_one_out import HeldOut, LeaveOneOut, leave_one_out
from audit.influence.averaged import inner_products, mean_gradient, merge_halves
from audit.influence.pairwise import MEMORY, pairwise_influence, stream_pairwise, targets_at_once
from audit.influence.pixels import influence_of_pixels

if TYPE_CHECKING:
    from audit.images.backbone import Backbone

SHOWN_ROWS = 3
DOUBTFUL_AMPLIFICATION = 2.0  # from where on the closed form of leaving a sample out may err by a tenth
DOUBTFUL_SECOND_ORDER = 0.25  # of the standard deviation of the loss changes
MOST_REFITS = 100


@dataclass(frozen=True)
class Labelled:
    """What an engine is given: inputs with what the loss takes their labels to be.

    Attributes:
        inputs: embeddings (n, d); pixels (n, channels, height, width) for an engine on the whole model.
        targets: distributions over the classes (n, C), one-hot or soft.

    Raises:
        InputError: if the lengths differ, or an input or a target is NaN or infinite, naming the first such row.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if self.targets.ndim != 2 or len(self.inputs) != len(self.targets):
            raise InputError(
                f"inputs have shape {tuple(self.inputs.shape)}, targets {tuple(self.targets.shape)}; "
                "give (n, ...) and (n, classes) of the same n"
            )
        for name, values in (("inputs", self.inputs), ("targets", self.targets)):
            bad = torch.nonzero(~torch.isfinite(values).flatten(1).all(1)).flatten()
            if len(bad):
                shown = ", ".join(str(row) for row in bad[:SHOWN_ROWS].tolist())
                raise InputError(f"{name} of {len(bad)} row(s) are NaN or infinite ({shown}); leave them out")

    @classmethod
    def of(cls, inputs: Tensor, labels: Tensor, classes: int) -> Labelled:
        """With class numbers (n,) for labels."""
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise InputError(
                f"labels run from {int(labels.min())} to {int(labels.max())}; classes are 0 to {classes - 1}"
            )
        return cls(inputs, one_hot(labels, classes, inputs.dtype))

    def __len__(self) -> int:
        return len(self.inputs)


class Engine(Protocol):
    """What every engine answers; made from the training samples, which fix n and the Hessian."""

    name: str

    @property
    def residual(self) -> float | None:
        """The largest relative residual of the last solution; None where it is not known."""

    def averaged(self, samples: Labelled, validation: Labelled) -> Tensor:
        """Influence (n,) of every sample on the mean validation loss."""

    def pairwise(
        self, validation: Labelled, samples: Labelled, folder: str | Path | None = None, memory: int = MEMORY
    ) -> Any:
        """Influence (m, n) of every sample on the loss of every validation sample.

        A tensor if it fits into `memory` bytes, otherwise a zarr array in `folder`.
        """

    def self_influence(self, samples: Labelled) -> Tensor:
        """(n,) ≥ 0, nats: about the rise of a sample's own loss on leaving it out."""

    def leave_one_out(self, validation: Labelled | None = None) -> LeaveOneOut:
        """What the head would predict for each training sample without it, and the mean validation loss change."""

    def perturbation(self, sample: Labelled, validation: Labelled, backbone: nn.Module | None = None) -> Tensor:
        """Derivative (channels, height, width) of one sample's influence on the mean validation loss by its pixels."""


class ExactEngine:
    """Influence of the head at its optimum: Cholesky or conjugate gradients to a stated residual.

    Args:
        head: trained, with its L2.
        train: the embeddings and labels that it was trained on.
        weights: of the samples in its objective (n,), ≥ 0; None for ones.
        damping: added to the Hessian's diagonal beside the L2.
        solver: 'auto', 'cholesky' or 'cg'.

    Attributes:
        solution: how the last system was solved; None before.
        residual: its largest relative residual; None before.

    Raises:
        InputError: if shapes do not match, a weight is negative, NaN or infinite, or L2 + damping is 0.
    """

    name = "exact"

    def __init__(
        self,
        head: Head,
        train: Labelled,
        weights: Tensor | None = None,
        damping: float = 0.0,
        solver: str = "auto",
    ) -> None:
        self.head, self.train, self.weights, self.solver = head, train, weights, solver
        self.solution: Solution | None = None
        check_fits(head, train)
        if weights is not None:
            if weights.shape != (len(train),):
                raise InputError(
                    f"weights have shape {tuple(weights.shape)}; give one for each of {len(train)} samples"
                )
            if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
                raise InputError("a sample weight is negative, NaN or infinite; give weights of 0 or more")
        self._of_train = self._predict(train)
        self.hessian = HeadHessian(*self._of_train[:2], head.l2, weights, damping)

    @property
    def residual(self) -> float | None:
        """The largest relative residual of the last solution; None before."""
        return None if self.solution is None else self.solution.residual

    def _material(self, samples: Labelled) -> tuple[Tensor, Tensor, Tensor]:
        """Features z (n, D), predicted probabilities p (n, C) and residuals p·Σt − t (n, C)."""
        if samples is self.train:
            return self._of_train
        check_fits(self.head, samples)
        return self._predict(samples)

    def _predict(self, samples: Labelled) -> tuple[Tensor, Tensor, Tensor]:
        z = self.head.features(samples.inputs)
        p = softmax(z @ self.head.weight.T.to(z))
        return z, p, p * samples.targets.sum(1, keepdim=True) - samples.targets

    def _solution_for(self, validation: Labelled) -> Tensor:
        if not len(validation):
            raise InputError("there are no validation samples; influence refers to their mean loss, give one or more")
        z, _, residuals = self._material(validation)
        self.solution = self.hessian.solve(mean_gradient(z, residuals)[None], self.solver)
        return self.solution.values[0]

    def averaged(self, samples: Labelled, validation: Labelled) -> Tensor:
        """Influence (n,) of every sample on the mean validation loss, with one solve.

        Raises:
            InputError: if shapes do not match or there is no validation sample.
            ConvergenceError: if the stated residual is not reached.
        """
        z, _, residuals = self._material(samples)
        return inner_products(z, residuals, self._solution_for(validation)[None])[0]

    def pairwise(
        self, validation: Labelled, samples: Labelled, folder: str | Path | None = None, memory: int = MEMORY
    ) -> Any:
        """Influence (m, n) of every sample on the loss of every validation sample.

        Args:
            validation, samples: m and n of them.
            folder: where to write the matrix, as a zarr array, a few rows at a time; None to return a tensor.
            memory: bytes that the work may take beside inputs and the Hessian's factor.

        Raises:
            InputError: if shapes do not match, or the matrix does not fit into `memory` and no folder is given.
            ConvergenceError: if the stated residual is not reached.
        """
        z_validation, _, residuals_validation = self._material(validation)
        z, _, residuals = self._material(samples)
        parts = (z_validation, residuals_validation, z, residuals)
        if folder is not None:
            return stream_pairwise(self.hessian, *parts, folder, self.solver, memory)
        size = len(validation) * len(samples) * z.element_size()
        if size > memory // 2:
            raise InputError(
                f"{len(validation)} × {len(samples)} pairwise influences take {size} bytes, more than half of the "
                f"{memory} allowed; give a folder to stream them to, or more memory"
            )
        rows = targets_at_once(self.hessian, len(samples), z.element_size(), memory - size)
        return pairwise_influence(self.hessian, *parts, self.solver, rows)

    def self_influence(self, samples: Labelled) -> Tensor:
        """rᵀ M r (n,) ≥ 0, nats: about the rise of a sample's own loss on leaving it out."""
        z, _, residuals = self._material(samples)
        return leave_one_out(self.hessian, z, z @ self.head.weight.T.to(z), residuals).self_influence

    def leave_one_out(
        self, validation: Labelled | None = None, method: str = "auto", most_refits: int = MOST_REFITS
    ) -> LeaveOneOut:
        """What the head would predict for each training sample without it.

        The loss change of 'exact' agrees with refits (slope 0.97 to 1.03) where the L2 is about what held-out loss
        chooses; on raw digits at a tenth of that, 1e-3, the slope was down to 0.86. That of 'kfac' is of first order:
        it ranks samples (Spearman 0.94 to 0.99), and its slope was between 0.74 and 1.01 (50 to 200 classes).

        Args:
            validation: to have the change of its mean loss on leaving each sample out, too.
            method: 'exact', 'kfac', 'blocks' or 'auto'; the result says which.
            most_refits: how many samples are left out for real, with 'exact': those where the closed form errs most,
                as far as their amplification is above 2 or what is of second order in their loss change above a
                quarter of all samples' standard deviation. Not where the head is not at the optimum (trainer 'adam')
                or damping makes the Hessian another objective's.

        Raises:
            ConvergenceError: if the Hessian is not positive definite, or a solution or a refit does not converge.
        """
        z = self.hessian.z
        logits = z @ self.head.weight.T.to(z)
        held_out = None
        if validation is not None:
            z_validation, _, _ = self._material(validation)
            held_out = HeldOut(z_validation, z_validation @ self.head.weight.T.to(z), validation.targets)
        found = leave_one_out(
            self.hessian, z, logits, self._of_train[2], self.weights, method=method, validation=held_out
        )
        if found.method == "exact" and self.head.trainer == "newton" and self.hessian.ridge == self.head.l2:
            doubt = found.amplification / DOUBTFUL_AMPLIFICATION
            if found.loss_change is not None and found.second_order is not None:
                usual = found.loss_change.std(correction=0).clamp_min(torch.finfo(doubt.dtype).tiny)
                doubt = torch.maximum(doubt, found.second_order.abs() / usual / DOUBTFUL_SECOND_ORDER)
            order = torch.argsort(doubt, descending=True)[:most_refits]
            return self._with_refits(found, order[doubt[order] > 1], held_out)
        return found

    def _with_refits(self, found: LeaveOneOut, rows: Tensor, validation: HeldOut | None) -> LeaveOneOut:
        """Probabilities and loss changes of these samples from heads that were trained without them."""
        z, targets = self.hessian.z, self.train.targets.to(self.hessian.z)
        probabilities, change = found.probabilities.clone(), found.loss_change
        change = None if change is None else change.clone()
        for row in rows.tolist():
            weights = torch.ones_like(z[:, 0]) if self.weights is None else self.weights.clone()
            weights[row] = 0  # and the mean still over n: dividing by n − 1 would change L2 for all the others
            weight, _ = fit_softmax(
                z, targets, self.head.l2, weights, self.head.weight.to(z), moment=self.hessian.moment
            )
            probabilities[row] = (z[row] @ weight.T).softmax(0)
            if change is not None and validation is not None:
                before = cross_entropy(validation.z, self.head.weight.to(z), validation.targets)
                change[row] = cross_entropy(validation.z, weight, validation.targets) - before
        return replace(found, probabilities=probabilities, loss_change=change, refitted=rows if len(rows) else None)

    def perturbation(self, sample: Labelled, validation: Labelled, backbone: nn.Module | None = None) -> Tensor:
        """Which pixels of a training image would move the mean validation loss.

        Args:
            sample: one image, pixels (1, channels, height, width) in [0, 1], with its target.
            validation: embeddings, as `averaged` takes them.
            backbone: pixels (b, channels, height, width) to embeddings (b, d), differentiable
                (`audit.influence.pixels.pixels_to_embedding`).

        Returns:
            (channels, height, width): ∂ influence / ∂ pixel; raising a pixel by δ lowers the mean validation loss of
            the retrained head by δ / n times this (Koh & Liang, arXiv 1703.04730, section 2.2).

        Raises:
            InputError: if there is no backbone or the sample is not one image.
        """
        if backbone is None or sample.inputs.ndim != 4 or len(sample) != 1:
            raise InputError(
                "perturbation takes one image (1, channels, height, width) and the backbone that embeds it"
            )
        solution = self._solution_for(validation)
        return influence_of_pixels(backbone, self.head, solution, sample.inputs, sample.targets)


def make_engine(
    name: str,
    head: Head,
    train: Labelled,
    damping: float = 0.0,
    solver: str = "auto",
    backbone: Backbone | None = None,
) -> Engine:
    """An engine by its name.

    Args:
        name: 'exact', or 'pydvl-' and one of pyDVL's methods (`audit.influence.pydvl.METHODS`).
        head, train, damping, solver: as `ExactEngine` takes them; the solver is its own.
        backbone: for a pyDVL engine on the whole model, whose inputs are pixels then; None for one on the head.

    Raises:
        InputError: if the name is unknown, or the engine cannot be had, with the reason.
    """
    if name == "exact":
        return ExactEngine(head, train, damping=damping, solver=solver)
    from audit.influence.pydvl import PydvlEngine

    scope = "head" if backbone is None else "model"
    return PydvlEngine(name.removeprefix("pydvl-"), head, train, damping, scope=scope, backbone=backbone)


def engine_on_validation(engine: Engine, samples: Labelled, validation: Tensor, validation_targets: Tensor) -> Tensor:
    """`audit.influence.averaged.influence_on_validation` with any engine.

    Args:
        engine: made from the training samples.
        samples: n, those of the validation split included.
        validation: positions (m,) of the validation samples, m ≥ 2.
        validation_targets: (m, C), what the validation loss takes their labels to be.

    Returns:
        (n,), positive = helps.
    """
    halves = [validation[0::2], validation[1::2]]
    each = [
        engine.averaged(samples, Labelled(samples.inputs[half], validation_targets[start::2]))
        for start, half in enumerate(halves)
    ]
    return merge_halves(torch.stack(each), halves).to(samples.targets.dtype)


def check_fits(head: Head, samples: Labelled) -> None:
    """Refuse samples of another embedding length or number of classes than the head's.

    Raises:
        InputError: saying both shapes.
    """
    classes, features = head.weight.shape
    if samples.inputs.ndim != 2 or samples.inputs.shape[1] != features - 1 or samples.targets.shape[1] != classes:
        raise InputError(
            f"embeddings have shape {tuple(samples.inputs.shape)} and targets {tuple(samples.targets.shape)}; "
            f"the head takes (n, {features - 1}) and (n, {classes})"
        )


def helpful_and_harmful(
    influence: Tensor, count: int, within: Sequence[int] | Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Positions of the strongest helpers and of the strongest harmers, strongest first.

    Args:
        influence: (n,): a row of the pairwise matrix for the training samples that help and harm a validation sample,
            a column for the validation samples that a training sample helps and harms.
        count: most positions of each kind.
        within: positions to choose from, e.g. those of one class; None for all.
    """
    places = None if within is None else torch.as_tensor(within, device=influence.device)
    chosen = influence if places is None else influence[places]
    helpful, harmful = _above_zero(chosen, count), _above_zero(-chosen, count)
    return (helpful, harmful) if places is None else (places[helpful], places[harmful])


def _above_zero(values: Tensor, count: int) -> Tensor:
    """Positions of the largest of what is above 0, largest first and of equals the first one first."""
    least = torch.topk(values, min(count, len(values))).values.amin().clamp_min(0) if count and len(values) else 0
    places = torch.nonzero((values >= least) & (values > 0)).flatten()  # without sorting all of them
    return places[torch.argsort(values[places], descending=True, stable=True)[:count]]
