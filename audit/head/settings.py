"""The numbers that set the head's training, its Hessian and its leave-one-out predictions.

Each has its meaning, its unit, and where it was measured; those without a measurement are choices. A caller changes one
like this:

    fit_softmax(z, targets, l2, settings=FitSettings(newton_steps=200))
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How the training of the softmax head approaches the optimum."""

    # Gradient norm at which Newton's steps take over from L-BFGS. Below it, L-BFGS needs hundreds of passes over the
    # data where the penalty is small, and its end point depends on the order of the sums.
    newton_from: float = 1e-3
    # Most steps of L-BFGS, and the number of past steps from which it estimates the curvature.
    lbfgs_steps: int = 1000
    lbfgs_memory: int = 10
    # Most steps of Newton's method.
    newton_steps: int = 100
    # Relative residual to which the first Newton step is solved; later steps are solved more accurately.
    first_residual: float = 0.1
    # Most conjugate-gradient steps within one Newton step.
    cg_steps: int = 500


@dataclass(frozen=True, kw_only=True)
class PathSettings:
    """How the L2 penalty λ is chosen: heads are fitted with one penalty after another and compared on held-out data."""

    # Penalties to try, from strong to weak: 1 down to 1e-7.
    penalties: tuple[float, ...] = tuple(10 ** (k / 2) for k in range(0, -15, -1))
    # A fit ends at this gradient norm, or at the norm at which its loss is at most this many nats above the optimum
    # (gradient norm² / 2λ), whichever is larger. Both are enough to rank penalties by held-out loss.
    gradient_norm: float = 1e-4
    excess_loss: float = 1e-5
    # Number of rises of the held-out loss in a row that end the search.
    rises: int = 2
    # Log-likelihood (nats) that fitting one number, such as λ, gains by chance on average (Wilks 1938). Smaller
    # differences between held-out losses, summed over their samples, do not tell penalties apart. Without this
    # allowance, six held-out samples that are all predicted correctly would ask for no penalty at all.
    chance_gain: float = 0.5
    # Most samples that the search uses, evenly spaced; and most held-out samples.
    samples: int = 50_000

    def tolerance(self, l2: float) -> float:
        """The gradient norm at which a fit with the penalty λ ends."""
        return max(self.gradient_norm, math.sqrt(2 * l2 * self.excess_loss))


@dataclass(frozen=True, kw_only=True)
class TogetherSettings:
    """How several heads on the same features are fitted together, each from a start near its optimum."""

    # Most steps of Newton's method, and most halvings of a step.
    steps: int = 50
    halvings: int = 20
    # Largest relative residual to which a step is solved, and most conjugate-gradient steps within it.
    residual: float = 0.1
    cg_steps: int = 100
    # Most probabilities (samples × classes × heads) that are kept in memory: 256 MiB.
    held_numbers: int = 2**26


@dataclass(frozen=True, kw_only=True)
class HessianSettings:
    """How systems with the head's Hessian H are solved."""

    # Parameters (C·D) up to which 'auto' may factorise H: 6000² numbers in float64 take 288 MB.
    dense_parameters: int = 6000
    # FLOP up to which the factor is computed in float64; a larger one is computed in float32.
    double_flop: float = 2e10
    # Conjugate-gradient steps that a solution usually takes, by which 'auto' compares the cost of both methods.
    usual_cg_steps: int = 20
    # Classes up to which K-FAC couples classes. With more, a class has next to nothing of another's probability:
    # conjugate gradients take as many steps without the coupling, and the eigenvectors of C × C cost more than they do.
    coupled_classes: int = 200
    # Features up to which the approximate inverse has a block for each class; with more, these take longer than they
    # save. And numbers in all of them: half a GiB.
    by_class_features: int = 1728
    by_class_numbers: int = 2**27
    # Column blocks of a symmetric product. With b blocks, (b + 1) / 2b of its entries are computed.
    product_blocks: int = 4


@dataclass(frozen=True, kw_only=True)
class ClassBlockSettings:
    """Leave-one-out by each class's own block of the Hessian."""

    # A sample contributes to a class's block only if its curvature there is above this share of the class's mean, and
    # is evaluated in it only if its residual there is above this share of its largest one.
    least_share: float = 0.01
    # Change of a label's logit (nats) in one Newton step, from which the logit is followed to its optimum.
    large_step: float = 1.0
    # Samples of a block, those with the largest curvature, whose curvature changes along the way.
    followed_samples: int = 64
    # Most Newton steps on the way (about three are needed), and most halvings of a step that raises the objective.
    newton_steps: int = 10
    halvings: int = 5
    # Relative rise of the objective that counts as rounding.
    rounding: float = 1e-9
    # Change of the logit (nats) below which no further step follows.
    settled: float = 0.05
    # Probabilities are kept this far from 0 and 1, so that their logits are finite.
    least_probability: float = 1e-9


@dataclass(frozen=True, kw_only=True)
class LeaveOneOutSettings:
    """How predictions without a sample are computed."""

    # FLOP, n (C·D)², up to which 'auto' computes exact leverages: about 5 s on two cores.
    exact_flop: float = 1e12
    # Effective parameters of the head for each sample, above which 'auto' takes 'blocks' in place of 'kfac'. Measured
    # on simulated data: with a higher bound mistakes were missed, or five times too many were expected. With a lower
    # one, 'blocks' stays closer to refits, but takes longer and finds no more mistakes.
    parameters_per_sample: float = 2.0
    # Most likely classes of a sample whose couplings are computed; those between the others make no difference.
    likely_classes: int = 32
    # Fixed-point steps of 'kfac' towards the curvature that the other samples see, and the number of evenly spaced
    # samples that it is averaged over.
    fixed_point_steps: int = 3
    fixed_point_samples: int = 4000
    # Self-influence by conjugate gradients: the relative residual to reach, and the most steps.
    self_influence_residual: float = 1e-5
    self_influence_steps: int = 100
    blocks: ClassBlockSettings = field(default_factory=ClassBlockSettings)
