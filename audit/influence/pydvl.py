"""pyDVL 0.10's influence engines behind our interface, used so that its known defects do not bite.

pyDVL (Transferlab) has seven ways to invert the Hessian of any torch model. What this module does about them:

1. `CgInfluence` by default leaves rows of zeros beyond the first n_parameters right-hand sides, and its block variant
   stops after 10 steps for each right-hand side: it is always given `solve_simultaneously=True` and its own limit.
2. Its Hessian operator averages batches without regard to their sizes: batches are made equal. The last one is filled
   up with samples whose target is 0, which have no loss.
3. Its Gauss-Newton mode divides by the number of parameters and skips the first batch: it is not offered. For a head
   the Hessian is the Gauss-Newton matrix anyway.
   `InverseHarmonicMeanInfluence` has the same averaging: it is asked for one right-hand side at a time, where the
   divisor is 1, and its batches divide the samples evenly.
4. `EkfacInfluence` differentiates Σ √p log p in place of the loss under sampled labels, which makes its G factor wrong:
   during `fit` the model's last step returns the gradients of all labels, weighted by their probability. Its solution
   takes every layer for one with a bias, wrongly and silently: the head is always given as one.
5. `SequentialInfluenceCalculator` solves again for every batch of training samples: `influence_factors` is called once.

pyDVL leaves out the factor 1/n, as our influence does.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from audit.compute.matrix import Rows, to_memory
from audit.config import HEAD_ONLY
from audit.errors import ConvergenceError, InputError
from audit.extras import require_engine
from audit.head.fit import Head
from audit.head.hessian import CHUNK_BYTES, HeadHessian
from audit.influence.averaged import merge_halves
from audit.influence.engine import Influence, Labelled, check_request

if TYPE_CHECKING:
    from audit.images.backbone import Backbone

METHODS = ("direct", "cg", "lissa", "arnoldi", "nystroem", "ekfac", "inverse-harmonic-mean")
SOLVES = ("direct", "cg", "lissa")  # claim to solve the system: their residual is checked


@dataclass(frozen=True, kw_only=True)
class PydvlSettings:
    """Limits of pyDVL's engines."""

    # Largest relative residual that is accepted of the methods that claim to solve the system.
    residual: float = 1e-3
    # Parameters up to which 'direct' builds the Hessian: 6000² numbers in float64 take 288 MB.
    direct_parameters: int = 6000
    # Images in a pass through the whole model, and images whose gradients by all parameters are kept at once.
    model_batch: int = 128
    gradients_batch: int = 16
    # Rank of 'arnoldi' and 'nystroem'.
    rank: int = 100
    # Most steps of 'cg' on the head; on the whole model, where a step passes all training images forward and back; and
    # of 'lissa'.
    cg_steps: int = 2000
    model_cg_steps: int = 100
    lissa_steps: int = 20_000


class PydvlEngine:
    """Influence by one of pyDVL's engines.

    Args:
        method: 'direct', 'cg', 'lissa', 'arnoldi', 'nystroem', 'ekfac' or 'inverse-harmonic-mean'.
        head: trained on embeddings.
        train: the training samples: embeddings, or pixels (n, 3, size, size) in [0, 1] with a backbone.
        hessian: of the head's objective on the training samples, without sample weights.
        backbone: the network that the head's embeddings are from, to take all its parameters and the head's into
            account; None for those of the head alone.
        settings: limits of the engines.

    Raises:
        InputError: if pyDVL is not installed, a name is unknown, or the method cannot do what is asked, and why.
    """

    def __init__(
        self,
        method: str,
        head: Head,
        train: Labelled,
        hessian: HeadHessian,
        backbone: Backbone | None = None,
        settings: PydvlSettings = PydvlSettings(),
    ) -> None:
        _check_method(method, backbone)
        self.name = f"pydvl-{method}"
        self.method, self.head, self.train, self.hessian = method, head, train, hessian
        self.settings = settings
        self.scope = "head" if backbone is None else "model"
        # pyDVL's EK-FAC makes its factors in single precision.
        self.dtype = torch.float32 if method == "ekfac" or self.scope == "model" else torch.float64
        self.fisher = _Fisher()
        self.model = self._model(backbone)
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        if method == "direct" and parameters > settings.direct_parameters:
            raise InputError(f"pydvl-direct would need a matrix of {parameters}² numbers; use pydvl-cg")
        self._fit(min(settings.rank, parameters - 1))

    def _model(self, backbone: Backbone | None) -> nn.Module:
        weight = self.head.weight.detach()
        linear = nn.Linear(weight.shape[1] - 1, len(weight))
        linear.weight, linear.bias = nn.Parameter(weight[:, :-1].clone()), nn.Parameter(weight[:, -1].clone())
        layers: list[nn.Module] = [linear, self.fisher]
        if backbone is not None:
            from audit.influence.pixels import pixels_to_embedding

            body = copy.deepcopy(pixels_to_embedding(backbone)).requires_grad_(True)
            layers = [body, _Standardised(self.head), *layers]
        return nn.Sequential(*layers).to(self.train.inputs.device, self.dtype).eval()

    def _fit(self, rank: int) -> None:
        from pydvl.influence import torch as peers

        loss, ridge, limits = functional.cross_entropy, self.hessian.ridge, self.settings
        x, targets = self._inputs(to_memory(self.train.inputs)), to_memory(self.train.targets).to(self.dtype)
        if self.method == "inverse-harmonic-mean":
            limit = len(x) if self.scope == "head" else limits.gradients_batch
            size = max(divisor for divisor in range(1, limit + 1) if len(x) % divisor == 0)
        else:
            size = len(x) if self.scope == "head" else limits.model_batch
        batches = equal_batches(x, targets, size)
        if self.method == "direct":
            fitted = peers.DirectInfluence(self.model, loss, ridge).fit(batches)
        elif self.method == "cg":
            # pyDVL stops at rtol² · ‖b‖; a whole model is in single precision, which does not get as far.
            rtol = 1e-5 if self.scope == "head" else 3e-2
            most = limits.cg_steps if self.scope == "head" else limits.model_cg_steps
            fitted = peers.CgInfluence(
                self.model, loss, ridge, rtol=rtol, atol=1e-10, maxiter=most, solve_simultaneously=True
            ).fit(batches)
        elif self.method == "lissa":
            scale = 1.1 * largest_eigenvalue(self.hessian)
            fitted = peers.LissaInfluence(
                self.model, loss, ridge, maxiter=limits.lissa_steps, scale=scale, rtol=1e-6, warn_on_max_iteration=False
            ).fit(batches)
        elif self.method == "arnoldi":
            fitted = peers.ArnoldiInfluence(self.model, loss, ridge, rank=rank, use_woodbury=True).fit(batches)
        elif self.method == "nystroem":
            fitted = peers.NystroemSketchInfluence(self.model, loss, ridge, rank=rank).fit(batches)
        elif self.method == "ekfac":
            passes: Any = _AllLabels(self.fisher, x, self.train.targets.shape[1])
            fitted = peers.EkfacInfluence(self.model, update_diagonal=True, hessian_regularization=ridge).fit(passes)
            self.fisher.label = None
        else:
            fitted = peers.InverseHarmonicMeanInfluence(self.model, loss, ridge).fit(batches)
        self.fitted: Any = fitted

    def _inputs(self, inputs: Tensor) -> Tensor:
        """What the model takes: standardised embeddings (n, d), or pixels."""
        features = self.head.features(inputs)[:, :-1] if self.scope == "head" else inputs
        return features.to(self.dtype)

    def _as_weights(self, factors: Tensor) -> Tensor:
        """(k, C, D) of factors (k, C·D), in which the biases come last."""
        classes = len(self.head.weight)
        return torch.cat([factors[:, :-classes].view(len(factors), classes, -1), factors[:, -classes:, None]], 2)

    def averaged(self, samples: Labelled, validation: Tensor, validation_targets: Rows) -> Influence:
        """See `Engine.averaged`; a method that claims to solve must leave no residual above `settings.residual`."""
        check_request(self.head, samples, validation)
        halves = [validation[0::2], validation[1::2]]
        values, residuals = [], []
        for start, half in enumerate(halves):
            some = Labelled(samples.inputs[half], validation_targets[start::2])
            value, residual = self.on_mean_loss(samples, some)
            values.append(value)
            residuals.append(residual)
        merged = merge_halves(torch.stack(values), halves).to(samples.targets.dtype)
        known = [residual for residual in residuals if residual is not None]
        return Influence(merged, self.name, max(known) if known else None)

    def on_mean_loss(self, samples: Labelled, some: Labelled) -> tuple[Tensor, float | None]:
        """Influence (n,) of every sample on the mean loss of some, and the largest relative residual (for the head)."""
        factor, largest = None, None
        for rows in self._chunks(some):
            factors, residual = self._factors(some, rows)
            added = factors.sum(0, keepdim=True)
            factor = added if factor is None else factor + added
            largest = residual if largest is None or residual is None else max(largest, residual)
        assert factor is not None
        return self._products(factor / len(some), samples)[0], largest

    def _chunks(self, samples: Labelled) -> Iterator[slice]:
        """So that per-sample gradients fit into a few CHUNK_BYTES."""
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        step = max(1, 4 * CHUNK_BYTES // (8 * parameters))
        return (slice(start, start + step) for start in range(0, len(samples), step))

    def _factors(self, samples: Labelled, rows: slice) -> tuple[Tensor, float | None]:
        """H⁻¹ g (k, parameters) of the loss gradients of some samples, and its residual where it is of the head."""
        x, targets = self._inputs(samples.inputs[rows]), samples.targets[rows].to(self.dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Reached max number of iterations")
            try:
                if self.method == "inverse-harmonic-mean":
                    singles = zip(x.split(1), targets.split(1), strict=True)
                    factors = torch.cat([self.fitted.influence_factors(*single) for single in singles])
                else:
                    factors = self.fitted.influence_factors(x, targets)
            except UserWarning as warning:
                other = "" if self.scope == "head" else ", or pydvl-nystroem, which takes no iterations"
                raise ConvergenceError(
                    f"{self.name}: {str(warning).splitlines()[0].strip()}; use a larger L2 or damping{other}"
                ) from None
        if self.scope != "head":
            return factors, None
        return factors, self._residual(samples.inputs[rows], samples.targets[rows], self._as_weights(factors.double()))

    def _residual(self, inputs: Tensor, targets: Tensor, solutions: Tensor) -> float:
        z = self.head.features(inputs)
        residuals = (z @ self.head.weight.T).softmax(1) * targets.sum(1, keepdim=True) - targets
        b = residuals[:, :, None] * z[:, None, :]
        left = (b - self.hessian.product(solutions)).flatten(1).norm(dim=1)
        residual = float((left / b.flatten(1).norm(dim=1).clamp_min(1e-12)).max())
        if self.method in SOLVES and not residual <= self.settings.residual:
            raise ConvergenceError(
                f"{self.name} stopped at relative residual {residual:.1e} (accepted: {self.settings.residual:.0e}); "
                "use a larger L2 or damping, or engine 'exact'"
            )
        return residual

    def _products(self, factors: Tensor, samples: Labelled) -> Tensor:
        """(k, n)."""
        parts = [
            self.fitted.influences_from_factors(
                factors, self._inputs(samples.inputs[rows]), samples.targets[rows].to(self.dtype)
            )
            for rows in self._chunks(samples)
        ]
        return torch.cat(parts, 1) if parts else factors.new_empty(len(factors), 0)


def _check_method(method: str, backbone: Backbone | None) -> None:
    if method not in METHODS:
        raise InputError(f"pyDVL engine {method!r} is unknown; it takes {', '.join(METHODS)}")
    if backbone is not None and f"pydvl-{method}" in HEAD_ONLY:
        able = ", ".join(name for name in METHODS if f"pydvl-{name}" not in HEAD_ONLY)
        raise InputError(f"pydvl-{method} cannot take scope 'model': {HEAD_ONLY[f'pydvl-{method}']}; these can: {able}")
    require_engine(f"pydvl-{method}")


def equal_batches(x: Tensor, targets: Tensor, size: int) -> DataLoader:
    """Batches of one size whose plain mean loss is the mean loss of the samples.

    Samples are added to the last batch whose target is all 0: the cross-entropy −Σ t log p has neither value nor
    curvature there. The targets of the others make up for the larger count.
    """
    count = -(-len(x) // size)
    size = -(-len(x) // count)
    missing = count * size - len(x)
    if missing:
        x = torch.cat([x, x[:1].expand(missing, *x.shape[1:])])
        targets = torch.cat([targets, targets.new_zeros(missing, targets.shape[1])]) * (len(x) / (len(x) - missing))
    return DataLoader(TensorDataset(x, targets), batch_size=size)


def largest_eigenvalue(hessian: HeadHessian, steps: int = 50) -> float:
    """Of H, by power iteration; a lower bound that is near after this many steps."""
    vector = torch.ones(1, hessian.classes, hessian.features, dtype=torch.float64, device=hessian.z.device)
    vector[:, ::2] *= -1
    value = 0.0
    for _ in range(steps):
        vector = hessian.product(vector / vector.norm())
        value = float(vector.norm())
    return value


class _Standardised(nn.Module):
    """The head's features of embeddings."""

    mean: Tensor
    scale: Tensor

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.register_buffer("mean", head.standardiser.mean.clone())
        self.register_buffer("scale", head.standardiser.scale.clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.scale


class _Fisher(nn.Module):
    """Passes logits on; with a label set, passes back √(C p_label) (e_label − p) whatever the loss was.

    Over all C labels these have the mean outer product diag p − ppᵀ.
    """

    def __init__(self) -> None:
        super().__init__()
        self.label: int | None = None

    def forward(self, logits: Tensor) -> Tensor:
        return logits if self.label is None else _GradientOfLabel.apply(logits, self.label)


class _GradientOfLabel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, label: int) -> Tensor:
        ctx.save_for_backward(logits)
        ctx.label = label
        return logits.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (logits,) = ctx.saved_tensors
        p = logits.softmax(1)
        gradient = -p
        gradient[:, ctx.label] += 1
        return gradient * (p.shape[1] * p[:, ctx.label, None]).sqrt(), None


class _AllLabels:
    """What `EkfacInfluence.fit` iterates over: the training samples once for each label."""

    def __init__(self, fisher: _Fisher, x: Tensor, classes: int) -> None:
        self.fisher, self.x, self.classes = fisher, x, classes

    def __iter__(self) -> Iterator[tuple[Tensor]]:
        for label in range(self.classes):
            self.fisher.label = label
            yield (self.x,)
