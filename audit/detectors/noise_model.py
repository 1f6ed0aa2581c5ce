"""How likely each class is to be the true one, given the image and the label: a latent-label model fitted by EM.

The given label y of a sample is taken as a noisy reading of a true one: P(y = j | x) = Σ_k P(true = k | x) T_kj, with
a transition matrix T that is estimated from the same data (after Sukhbaatar et al., arXiv 1406.2080, and the confident
joint of Northcutt et al., arXiv 1911.00068). P(true | x) mixes two readings of the embedding, neither of which has seen
the sample's own label: the softmax head's out-of-sample prediction and the vote of the nearest neighbours. Each round

1. fits T and the mixture to the likelihood of the given labels, log Σ_k P(true = k | x_i) T_k,y_i;
2. takes the posterior q_i(k) ∝ P(true = k | x_i) T_k,y_i as new soft targets;
3. refits the head on them and predicts out of sample again.

The L2 penalty, the temperature of the head, the weight of the neighbours and the smoothing of T are chosen by
out-of-sample likelihood on the data at hand. Rounds end when the posteriors stay put; there are few of them, because
the soft targets carry a little of every label to its neighbours, and more rounds would feed that back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from audit.head import Standardiser, choose_l2, cross_entropy, fit_softmax, one_hot
from audit.influence.hessian import HeadHessian, SecondMoment, chunks
from audit.influence.leave_one_out import leave_one_out
from audit.progress import ProgressCallback, Step, silent

NEIGHBOURS = 20
FOLDS = 10
HELD_FOLDS = 2  # held out together while L2 is chosen
MAX_ROUNDS = 3
MIXTURE_STEPS = 12
SETTLED = 1e-3  # mean change of the posterior of the given label, below which no further round is made
FIT_TOLERANCE = 1e-3  # gradient norm of the folds' heads: their predictions are compared, not their weights
EXACT_FLOP = 1e11  # n (C·D)² up to which leave-one-out is had exactly: a second on two cores
EXPONENT_SPREAD = 3.0  # standard deviation of the prior on the exponents, which keeps separable data from certainty
FLOOR = 1e-12


@dataclass(frozen=True)
class Diagnosis:
    """What the data say about every sample's label.

    Attributes:
        posterior: (n, C) probability of each class being the true one, given image and label.
        probabilities: (n, C) in-sample predictions of the head trained on the given labels.
        loo_probabilities: (n, C) its predictions for each sample as if it had not been trained on it.
        self_influence: (n,) ≥ 0, nats.
        transition: T (C, C), row = true class, column = given label.
        method: how loo_probabilities were had in closed form: 'exact', or 'kfac' (Kronecker factors of the Hessian).
        l2: λ of the head.
        rounds: of every round, the exponents of head and neighbours, the mean log-likelihood of the given labels
            (nats), and how far the posteriors of the given labels moved on average.
    """

    posterior: Tensor
    probabilities: Tensor
    loo_probabilities: Tensor
    self_influence: Tensor
    transition: Tensor
    method: str
    l2: float
    rounds: list[dict[str, float]]


def diagnose(x: Tensor, labels: Tensor, classes: int, seed: int = 0, progress: ProgressCallback = silent) -> Diagnosis:
    """Fit the model to all samples.

    Args:
        x: (n, d) embeddings.
        labels: (n,) class numbers.
        classes: C.
        seed: of the folds.
        progress: told after each round.
    """
    z = Standardiser.fit(x)(x)
    given = one_hot(labels, classes, z.dtype)
    votes_of = NeighbourVotes(x)
    folds = Folds(z, seed)
    l2 = folds.choose_l2(given)
    predicted = folds.predict(given, l2)
    rounds: list[dict[str, float]] = []
    targets = predicted
    for number in range(1, MAX_ROUNDS + 1):
        if rounds:
            predicted = folds.predict(targets, l2)
        mixture = fit_mixture(predicted, votes_of(targets), labels)
        moved = float((mixture.posterior - targets).gather(1, labels[:, None]).abs().mean())
        targets = mixture.posterior
        rounds.append(
            {
                "head_weight": mixture.head_weight,
                "neighbour_weight": mixture.neighbour_weight,
                "log_likelihood": mixture.log_likelihood,
                "moved": moved,
            }
        )
        progress(Step("detection", number, MAX_ROUNDS, "rounds"))
        if moved < SETTLED:
            break
    weight, _ = fit_softmax(z, given, l2)
    logits = z @ weight.T
    probabilities = logits.softmax(1)
    hessian = HeadHessian(z, probabilities, l2)
    exact = hessian.use_cholesky("auto") and len(z) * float(hessian.parameters) ** 2 <= EXACT_FLOP
    left_out = leave_one_out(hessian, z, logits, probabilities - given, method="exact" if exact else "kfac")
    return Diagnosis(
        posterior=mixture.posterior,
        probabilities=probabilities,
        loo_probabilities=left_out.probabilities,
        self_influence=left_out.self_influence,
        transition=mixture.transition,
        method=left_out.method,
        l2=l2,
        rounds=rounds,
    )


class Folds:
    """Predicts every sample with a head that was not trained on it.

    In single precision: what the folds leave out moves predictions by far more than rounding does.

    Args:
        z: features (n, D).
        seed: of the partition.
    """

    def __init__(self, z: Tensor, seed: int) -> None:
        order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed)).to(z.device)
        self.parts = [order[number::FOLDS] for number in range(FOLDS)]
        self.z = z.float()
        self.moment = SecondMoment.of(self.z)  # of all samples: it only preconditions the folds' fits
        self.weights: list[Tensor | None] = [None] * FOLDS

    def choose_l2(self, targets: Tensor) -> float:
        """λ of the smallest loss on a held-out fifth, from strong to weak."""
        held = torch.cat(self.parts[:HELD_FOLDS])
        kept = torch.cat(self.parts[HELD_FOLDS:])
        targets = targets.to(self.z.dtype)
        z_held = self.z[held]
        return choose_l2(
            self.z[kept], targets[kept], lambda w: cross_entropy(z_held, w, targets[held]), moment=self.moment
        )[0]

    def predict(self, targets: Tensor, l2: float) -> Tensor:
        """(n, C) from heads trained on target distributions (n, C); each starts from its own last weights."""
        out = torch.empty_like(targets)
        for number, held in enumerate(self.parts):
            kept = torch.cat([part for other, part in enumerate(self.parts) if other != number])
            weight, _ = fit_softmax(
                self.z[kept],
                targets[kept].to(self.z.dtype),
                l2,
                initial=self.weights[number],
                tolerance=FIT_TOLERANCE,
                moment=self.moment,
            )
            self.weights[number] = weight
            out[held] = (self.z[held] @ weight.T).softmax(1).to(out.dtype)
        return out


class NeighbourVotes:
    """What the nearest neighbours of each sample say, weighted by cosine similarity; the sample itself has no vote.

    Args:
        x: embeddings (n, d).
    """

    def __init__(self, x: Tensor) -> None:
        count = min(NEIGHBOURS, len(x) - 1)
        unit = torch.nn.functional.normalize(x.float(), dim=1)
        self.places = torch.empty(len(x), count, dtype=torch.long, device=x.device)
        self.shares = torch.empty(len(x), count, dtype=x.dtype, device=x.device)
        for rows in chunks(len(x), len(x), 4):
            similarity = unit[rows] @ unit.T
            similarity[torch.arange(len(similarity)), torch.arange(rows.start, rows.stop)] = -torch.inf
            nearest, self.places[rows] = similarity.topk(count, dim=1)
            self.shares[rows] = nearest.clamp_min(1e-6).to(x.dtype)
        self.shares /= self.shares.sum(1, keepdim=True)

    def __call__(self, beliefs: Tensor) -> Tensor:
        """Mean belief (n, C) of the neighbours, with one neighbour more that believes in all classes alike."""
        count = self.places.shape[1]
        votes = torch.full_like(beliefs, 1 / beliefs.shape[1])
        for place in range(count):
            votes += count * self.shares[:, place, None] * beliefs[self.places[:, place]]
        return votes / (count + 1)


@dataclass(frozen=True)
class Mixture:
    """A fitted mixture of head and neighbours under label noise.

    Attributes:
        posterior: (n, C).
        transition: T (C, C).
        head_weight, neighbour_weight: exponents of the two readings.
        log_likelihood: mean of log P(given label | x), nats.
    """

    posterior: Tensor
    transition: Tensor
    head_weight: float
    neighbour_weight: float
    log_likelihood: float


def fit_mixture(predicted: Tensor, votes: Tensor, labels: Tensor) -> Mixture:
    """Fit P(true | x) ∝ predicted^a · votes^b and T to the likelihood of the given labels.

    Args:
        predicted, votes: (n, C) readings that have not seen the sample's own label.
        labels: (n,).
    """
    readings = torch.stack([predicted.clamp_min(FLOOR).log(), votes.clamp_min(FLOOR).log()])
    exponents = np.array([1.0, 0.0])
    posterior = predicted
    for _ in range(MIXTURE_STEPS):
        transition = estimate_transition(posterior, labels)
        exponents = _fit_exponents(readings, transition, labels, exponents)
        joint = torch.einsum("r,rnc->nc", readings.new_tensor(exponents), readings).softmax(1) * transition[:, labels].T
        evidence = joint.sum(1, keepdim=True)
        posterior = joint / evidence
    return Mixture(
        posterior, transition, float(exponents[0]), float(exponents[1]), float(evidence.clamp_min(FLOOR).log().mean())
    )


def _fit_exponents(readings: Tensor, transition: Tensor, labels: Tensor, start: np.ndarray) -> np.ndarray:
    likelihood_of_label = transition[:, labels].T

    def loss(exponents: np.ndarray) -> tuple[float, np.ndarray]:
        # d/da log Σ_k s_k T_k = E_posterior[reading] − E_prior[reading]
        prior = torch.einsum("r,rnc->nc", readings.new_tensor(exponents), readings).softmax(1)
        joint = prior * likelihood_of_label
        evidence = joint.sum(1, keepdim=True).clamp_min(FLOOR)
        slope = ((joint / evidence - prior) * readings).sum(2).mean(1).cpu().numpy()
        precision = 1 / (EXPONENT_SPREAD**2 * readings.shape[1])
        return (
            -float(evidence.log().mean()) + precision / 2 * float((exponents**2).sum()),
            -slope + precision * exponents,
        )

    return minimize(loss, start, jac=True, bounds=[(0, 10), (0, 10)], method="L-BFGS-B").x


def estimate_transition(posterior: Tensor, labels: Tensor) -> Tensor:
    """T (C, C) from expected counts, smoothed as much as the counts themselves ask for.

    Each class's error rate is drawn to the common one, and its distribution over wrong labels to the uniform one; how
    strongly is the concentration that maximises the Dirichlet-multinomial likelihood of the counts (empirical Bayes).

    Args:
        posterior: (n, C) of the true class.
        labels: (n,) given.
    """
    classes = posterior.shape[1]
    counts = posterior.new_zeros(classes, classes).index_add_(0, labels, posterior).T  # row = true, column = given
    right = counts.diagonal().clone()
    wrong = counts - torch.diag(right)
    common = wrong.sum() / counts.sum()
    strength = concentration(torch.stack([wrong.sum(1), right], 1), torch.stack([common, 1 - common]).clamp_min(FLOOR))
    rate = (wrong.sum(1) + strength * common) / (counts.sum(1) + strength)
    if classes == 2:
        spread = 1 - torch.eye(2, dtype=counts.dtype, device=counts.device)
    else:
        off = ~torch.eye(classes, dtype=torch.bool, device=counts.device)
        uniform = torch.full((classes - 1,), 1 / (classes - 1), dtype=counts.dtype, device=counts.device)
        strength = concentration(counts[off].view(classes, classes - 1), uniform)
        spread = (wrong + strength / (classes - 1)) * off
        spread = spread / spread.sum(1, keepdim=True)
    return spread * rate[:, None] + torch.diag(1 - rate)


def concentration(counts: Tensor, mean: Tensor) -> float:
    """The Dirichlet concentration, of a prior with this mean (k,), under which counts (rows, k) are likeliest.

    From 0.01 (rows share nothing) to 100 000 (rows are alike), in steps of a factor 10^¼.
    """

    def log_likelihood(strength: float) -> float:
        prior = strength * mean
        rows = torch.lgamma(prior.sum()) - torch.lgamma(counts.sum(1) + prior.sum())
        return float((rows + (torch.lgamma(counts + prior) - torch.lgamma(prior)).sum(1)).sum())

    return max((10 ** (step / 4) for step in range(-8, 21)), key=log_likelihood)
