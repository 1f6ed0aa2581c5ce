"""Leave-one-out predictions: what the head would predict for a sample that it was not trained on, in closed form.

With M_i = (I ⊗ z_i)ᵀ (nH)⁻¹ (I ⊗ z_i) (C, C), the leverage of sample i, and its curvature A_i = diag p_i − p_i p_iᵀ,
leaving out sample i with weight w_i changes its own logits by M_i u_i, where u_i = (I − w_i A_i M_i)⁻¹ w_i r_i. This is
one Newton step of the problem without the sample (Rad & Maleki, arXiv 1801.10243). It is least exact for samples with
high leverage, whose u_i is several times w_i r_i, such as the only image with a bright pixel in a corner.

The methods differ in how they compute M_i: `exact` does so exactly; `kfac` uses Kronecker factors, for more samples and
classes; `class_blocks` uses each class's own block of H, for classes with few samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audit.compute.by_blocks import map_blocks
from audit.compute.matrix import Rows, map_rows, to_memory
from audit.head.factors import KroneckerFactors
from audit.head.hessian import HeadHessian
from audit.head.leave_one_out.approximate import left_out_approximately
from audit.head.leave_one_out.class_blocks import leverages_by_class
from audit.head.leave_one_out.common import LeaveOneOut, weights_of
from audit.head.leave_one_out.exact import left_out_exactly
from audit.head.leave_one_out.kfac import without_the_sample
from audit.head.settings import LeaveOneOutSettings


def leave_one_out(
    hessian: HeadHessian,
    z: Rows,
    logits: Rows,
    residuals: Rows,
    weights: Rows | None = None,
    trained_on: Tensor | None = None,
    method: str = "auto",
    start: KroneckerFactors | None = None,
    predictions_only: bool = False,
    settings: LeaveOneOutSettings = LeaveOneOutSettings(),
) -> LeaveOneOut:
    """Leave-one-out predictions of samples.

    Args:
        hessian: of the training objective.
        z, logits, residuals: (n, D), (n, C) and p − t (n, C) of the samples. If they are not in memory, 'kfac' works in
            float32, which costs it no accuracy; 'blocks' needs them in memory.
        weights: the samples' weights w (n,) in the objective; None for ones.
        trained_on: bool (n,), False for samples that were not in training, whose predictions stay as they are; None
            if all were.
        method: 'exact', 'kfac', 'blocks', or 'auto': 'exact' if affordable, else `approximation`.
        start: the `factors` of a similar head on the same features with the same L2, from which one step of the fixed
            point is enough.
        predictions_only: leave out the self-influence, which takes up to a third of the time.
        settings: what 'auto' affords, and how exactly the methods compute.

    Raises:
        ConvergenceError: if the Hessian is not positive definite.
    """
    if method == "auto":
        flop = len(z) * float(hessian.parameters) ** 2
        affordable = hessian.use_cholesky("auto") and flop <= settings.exact_flop
        method = "exact" if affordable else approximation(hessian, settings)
    samples: list[Rows | None] = [z, logits, residuals]
    if method == "kfac" and not isinstance(z, Tensor):
        samples = [z.float(), logits.float(), residuals.float()]
    samples += [weights, trained_on]
    if method == "exact":
        probabilities, self_influence = map_rows(left_out_exactly, samples, hessian, predictions_only)
        return LeaveOneOut(probabilities, self_influence, method)
    factors = leverages = bend = None
    if method == "kfac":
        kfac = factors = without_the_sample(hessian, start, settings)
    else:
        kfac = KroneckerFactors(None, None, torch.ones(1, 1, dtype=z.dtype, device=z.device), hessian.ridge)
        in_memory = to_memory(z)
        w = weights_of(in_memory, None if weights is None else to_memory(weights), trained_on)
        leverages, bend = leverages_by_class(hessian, in_memory, to_memory(residuals), w, settings)
    probabilities, self_influence = map_blocks(
        left_out_approximately,
        [*samples, leverages, bend],
        *(kfac, hessian.n, predictions_only, settings),
        numbers=3 * z.shape[1] + 10 * logits.shape[1],
    )
    return LeaveOneOut(probabilities, to_memory(self_influence)[:, 0], method, factors)


def approximation(hessian: HeadHessian, settings: LeaveOneOutSettings = LeaveOneOutSettings()) -> str:
    """The method if exact leverages are not affordable: 'kfac', or 'blocks' where 'kfac' is not accurate.

    'kfac' is not accurate if, by Kronecker factors, the head has more than `parameters_per_sample` effective parameters
    for each sample: the trace of (H − λ) H⁻¹, over n. Two classes, which one contrast couples, and features that are
    not in memory always take 'kfac'.
    """
    if hessian.classes == 2 or not isinstance(hessian.z, Tensor):
        return "kfac"
    scales = hessian.kronecker(apart=True).scales.double()
    effective = float((1 - hessian.ridge * scales).sum()) / hessian.n
    return "blocks" if effective > settings.parameters_per_sample else "kfac"
