"""How likely each class is to be the true one, given the image and the label: a latent-label model fitted by EM.

The given label y of a sample is taken as a noisy reading of a true one: P(y = j | x) = Σ_k P(true = k | x) T_kj, with
a transition matrix T that is estimated from the same data (after Sukhbaatar et al., arXiv 1406.2080, and the confident
joint of Northcutt et al., arXiv 1911.00068). P(true | x) mixes two readings of the embedding, neither of which has seen
the sample's own label: the softmax head's leave-one-out prediction, in closed form, and the vote of the nearest
neighbours. Each round

1. fits T and the mixture to the likelihood of the given labels, log Σ_k P(true = k | x_i) T_k,y_i;
2. takes the posterior q_i(k) ∝ P(true = k | x_i) T_k,y_i as new soft targets;
3. refits the head on them, from its last weights, and predicts out of sample again.

Few samples cannot tell pictures that could be either class from labels that are wrong: a flat P(true | x) with a small
T and a sharp one with a large T explain them alike. Of the sharpnesses that are nearly as likely as the likeliest, the
largest is taken, since an audit is asked about labels.

The L2 penalty, the temperature of the head, the weight of the neighbours and the smoothing of T are chosen by
out-of-sample likelihood on the data at hand. Rounds end when the posteriors stay put; there are few of them, because
the soft targets carry a little of every label to its neighbours, and more rounds would feed that back.

What has n × C entries is kept in single precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from audit.head import Standardiser, choose_l2, fit_softmax, one_hot
from audit.influence.hessian import HeadHessian, SecondMoment, chunks
from audit.influence.leave_one_out import LeaveOneOut, leave_one_out
from audit.progress import ProgressCallback, Step, silent

NEIGHBOURS = 20
REFERENCES = 20_000  # neighbours are looked for among this many samples at most, so that cost grows with n, not n²
HELD_OUT = 0.2  # share of the samples that L2 is chosen on
MAX_ROUNDS = 3
CHECK_ROUNDS = 2  # when labels are diagnosed again with a few others among them
MIXTURE_STEPS = 12
MIXTURE_SETTLED = 1e-3  # change of exponents and of T's entries, below which no further EM step is made
SETTLED = 1e-3  # mean change of the posterior of the given label, below which no further round is made
FIT_TOLERANCE = 1e-3  # gradient norm of the heads: their predictions are compared, not their weights
EXACT_FLOP = 1e10  # n (C·D)² up to which leave-one-out is had exactly: a tenth of a second on two cores
EXPONENT_SPREAD = 3.0  # standard deviation of the prior on the exponents, which keeps separable data from certainty
SHARPER = 2**0.25  # factor on the exponents from one sharpness to the next
SHARPEST = 8.0
REJECTED = 1.0  # nats of log-likelihood, what one parameter is worth (Akaike 1974)
REFITS = 4  # EM steps for T at each sharpness
FLOOR = 1e-12


@dataclass(frozen=True)
class Diagnosis:
    """What the data say about every sample's label.

    Attributes:
        prior: (n, C) probability of each class being the true one, given the image alone.
        posterior: (n, C) the same, given image and label.
        probabilities: (n, C) in-sample predictions of the head trained on the given labels.
        loo_probabilities: (n, C) its predictions for each sample as if it had not been trained on it.
        self_influence: (n,) ≥ 0, nats.
        neighbour_share: (n,) share of the neighbours' vote that the given label has, 0 to 1.
        transition: T (C, C), row = true class, column = given label.
        likeliest_share: expected number of mistakes at the likeliest sharpness, as a share of that at the chosen one.
        method: how loo_probabilities were had in closed form: 'exact', or 'kfac' (Kronecker factors of the Hessian).
        l2: λ of the head.
        rounds: of every round, the exponents of head and neighbours, the mean log-likelihood of the given labels
            (nats), and how far the posteriors of the given labels moved on average.
    """

    prior: Tensor
    posterior: Tensor
    probabilities: Tensor
    loo_probabilities: Tensor
    self_influence: Tensor
    neighbour_share: Tensor
    transition: Tensor
    likeliest_share: float
    method: str
    l2: float
    rounds: list[dict[str, float]]


class NoiseModel:
    """The model on one set of embeddings, for which labels can be diagnosed, and then others in their place.

    Args:
        x: (n, d) embeddings.
        seed: of what L2 is chosen on, and of the samples among which neighbours are looked for.
    """

    def __init__(self, x: Tensor, seed: int = 0) -> None:
        self.z = Standardiser.fit(x)(x).float()
        self.moment = SecondMoment.of(self.z)
        self.votes = NeighbourVotes(x, seed)
        self.seed = seed
        self.l2 = 0.0
        self._weight: Tensor | None = None

    def diagnose(self, labels: Tensor, classes: int, progress: ProgressCallback = silent) -> Diagnosis:
        """Fit the model to all samples.

        Args:
            labels: (n,) class numbers.
            classes: C.
            progress: told after each round.
        """
        given = one_hot(labels, classes, self.z.dtype)
        self._weight = None
        self.l2 = self._choose_l2(given)
        probabilities, left_out = self._fit(given)
        mixture, rounds = self._iterate(left_out.probabilities, labels, MAX_ROUNDS, progress)
        return Diagnosis(
            prior=mixture.prior,
            posterior=mixture.posterior,
            probabilities=probabilities,
            loo_probabilities=left_out.probabilities,
            self_influence=left_out.self_influence,
            neighbour_share=self.votes(given).gather(1, labels[:, None])[:, 0],
            transition=mixture.transition,
            likeliest_share=mixture.likeliest_share,
            method=left_out.method,
            l2=self.l2,
            rounds=rounds,
        )

    def rediagnose(self, labels: Tensor, classes: int) -> Tensor:
        """The posterior (n, C) with other labels in the place of those that were diagnosed.

        With the same L2, from the head's last weights on, and in CHECK_ROUNDS.

        Args:
            labels: (n,) class numbers, most of them as they were.
            classes: C.
        """
        left_out = self._fit(one_hot(labels, classes, self.z.dtype))[1]
        return self._iterate(left_out.probabilities, labels, CHECK_ROUNDS, silent)[0].posterior

    def _iterate(
        self, predicted: Tensor, labels: Tensor, most: int, progress: ProgressCallback
    ) -> tuple[Mixture, list[dict[str, float]]]:
        """The rounds, from the predictions (n, C) that the given labels themselves lead to."""
        targets, exponents = predicted, np.array([1.0, 0.0])
        rounds: list[dict[str, float]] = []
        for number in range(1, most + 1):
            if rounds:
                predicted = self._fit(targets)[1].probabilities
            mixture = fit_mixture(predicted, self.votes(targets), labels, exponents)
            exponents = np.array([mixture.head_weight, mixture.neighbour_weight])
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
            progress(Step("detection", number, most, "rounds"))
            if moved < SETTLED:
                break
        return mixture, rounds

    def _choose_l2(self, targets: Tensor) -> float:
        """The strongest λ whose loss on a held-out part is within one standard error of the smallest.

        Held-out samples are as noisily labelled as the rest, and a head that fits systematic mistakes predicts them
        too, so that the smallest loss asks for too little (the rule: Breiman et al. 1984, section 3.4.3).
        """
        order = torch.randperm(len(self.z), generator=torch.Generator().manual_seed(self.seed)).to(self.z.device)
        held, kept = order[: max(1, round(HELD_OUT * len(order)))], order[max(1, round(HELD_OUT * len(order))) :]
        z_held, targets_held = self.z[held], targets[held]
        losses: list[Tensor] = []

        def held_out_loss(weight: Tensor) -> float:
            losses.append(-(targets_held * (z_held @ weight.T).log_softmax(1)).sum(1))
            return float(losses[-1].mean())

        best, path = choose_l2(self.z[kept], targets[kept], held_out_loss, moment=self.moment)
        smallest = next(loss for (l2, _), loss in zip(path, losses, strict=True) if l2 == best)
        for (l2, _), loss in zip(path, losses, strict=True):
            excess = loss - smallest
            if float(excess.mean()) <= float(excess.std()) / len(excess) ** 0.5:
                return l2
        return best

    def _fit(self, targets: Tensor) -> tuple[Tensor, LeaveOneOut]:
        """Predictions (n, C) of a head trained on target distributions (n, C), and its leave-one-out predictions."""
        weight, _ = fit_softmax(
            self.z, targets, self.l2, initial=self._weight, tolerance=FIT_TOLERANCE, moment=self.moment
        )
        self._weight = weight
        logits = self.z @ weight.T
        probabilities = logits.softmax(1)
        hessian = HeadHessian(self.z, probabilities, self.l2, moment=self.moment)
        exact = hessian.use_cholesky("auto") and len(self.z) * float(hessian.parameters) ** 2 <= EXACT_FLOP
        method = "exact" if exact else "kfac"
        return probabilities, leave_one_out(hessian, self.z, logits, probabilities - targets, method=method)


class NeighbourVotes:
    """What the nearest neighbours of each sample say, weighted by cosine similarity; the sample itself has no vote.

    Args:
        x: embeddings (n, d).
        seed: of the REFERENCES samples among which neighbours are looked for, where there are more.
    """

    def __init__(self, x: Tensor, seed: int = 0) -> None:
        n = len(x)
        references = torch.arange(n, device=x.device)
        if n > REFERENCES:
            drawn = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:REFERENCES]
            references = drawn.sort().values.to(x.device)
        place_of = torch.full((n,), -1, device=x.device)
        place_of[references] = torch.arange(len(references), device=x.device)
        among = torch.nn.functional.normalize(x[references].float(), dim=1).T.contiguous()
        count = min(NEIGHBOURS, len(references) - 1)
        self.places = torch.empty(n, count, dtype=torch.int32, device=x.device)
        self.shares = torch.empty(n, count, device=x.device)
        for rows in chunks(n, len(references), 4):
            similarity = torch.nn.functional.normalize(x[rows].float(), dim=1) @ among
            own = place_of[rows]
            itself = (own >= 0).nonzero()[:, 0]
            similarity[itself, own[itself]] = -torch.inf
            nearest, places = similarity.topk(count, dim=1)
            self.places[rows] = references[places].int()
            self.shares[rows] = nearest.clamp_min(1e-6)
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
        prior: (n, C) probability of each class being the true one, given the image.
        posterior: (n, C) the same, given image and label.
        transition: T (C, C).
        likeliest_share: expected number of mistakes at the likeliest sharpness, as a share of that at the chosen one.
        head_weight, neighbour_weight: exponents of the two readings.
        log_likelihood: mean of log P(given label | x), nats.
    """

    prior: Tensor
    posterior: Tensor
    transition: Tensor
    likeliest_share: float
    head_weight: float
    neighbour_weight: float
    log_likelihood: float


def fit_mixture(predicted: Tensor, votes: Tensor, labels: Tensor, start: np.ndarray) -> Mixture:
    """Fit P(true | x) ∝ predicted^a · votes^b and T to the likelihood of the given labels.

    Args:
        predicted, votes: (n, C) readings that have not seen the sample's own label.
        labels: (n,).
        start: exponents (a, b) to start from.
    """
    readings = _Readings(predicted.clamp_min(FLOOR).log(), votes.clamp_min(FLOOR).log())
    exponents = start
    transition = estimate_transition(predicted, labels)
    for _ in range(MIXTURE_STEPS):
        last, before = exponents, transition
        exponents = _fit_exponents(readings, transition, labels, last)
        best = _Fit.of(readings, exponents, transition, labels)
        transition = estimate_transition(best.posterior, labels)
        if max(abs(exponents - last).max(), float((transition - before).abs().max())) <= MIXTURE_SETTLED:
            break
    chosen, factor = best, SHARPER
    while factor <= SHARPEST:
        fit = _Fit.of(readings, factor * exponents, transition, labels)
        for _ in range(REFITS - 1):
            fit = _Fit.of(readings, factor * exponents, estimate_transition(fit.posterior, labels), labels)
        if fit.log_likelihood < best.log_likelihood - REJECTED:
            break
        chosen, transition, factor = fit, fit.transition, factor * SHARPER
    return Mixture(
        chosen.prior,
        chosen.posterior,
        chosen.transition,
        best.mistakes(labels) / max(chosen.mistakes(labels), FLOOR),
        float(chosen.exponents[0]),
        float(chosen.exponents[1]),
        chosen.log_likelihood / len(labels),
    )


@dataclass(frozen=True)
class _Fit:
    """Prior and posterior (n, C) under exponents and T, and the log-likelihood of all given labels (nats)."""

    exponents: np.ndarray
    transition: Tensor
    prior: Tensor
    posterior: Tensor
    log_likelihood: float

    @classmethod
    def of(cls, readings: _Readings, exponents: np.ndarray, transition: Tensor, labels: Tensor) -> _Fit:
        prior = readings.mixed(exponents)
        posterior = prior * transition[:, labels].T
        evidence = posterior.sum(1, keepdim=True).clamp_min(FLOOR)
        posterior /= evidence
        return cls(exponents, transition, prior, posterior, float(evidence.log().sum(dtype=torch.float64)))

    def mistakes(self, labels: Tensor) -> float:
        """Expected number of mistakes."""
        return len(labels) - float(self.posterior.gather(1, labels[:, None]).sum(dtype=torch.float64))


@dataclass(frozen=True)
class _Readings:
    """Logarithms (n, C) of the head's and the neighbours' readings."""

    head: Tensor
    neighbours: Tensor

    def mixed(self, exponents: np.ndarray, rows: slice = slice(None)) -> Tensor:
        """(rows, C) ∝ head^a · neighbours^b."""
        a, b = (float(exponent) for exponent in exponents)
        return (a * self.head[rows] + b * self.neighbours[rows]).softmax(1)


def _fit_exponents(readings: _Readings, transition: Tensor, labels: Tensor, start: np.ndarray) -> np.ndarray:
    n, classes = readings.head.shape

    def loss(exponents: np.ndarray) -> tuple[float, np.ndarray]:
        # d/da log Σ_k s_k T_k = E_posterior[reading] − E_prior[reading]
        value, slope = 0.0, np.zeros(2)
        for rows in chunks(n, 4 * classes, 4):
            prior = readings.mixed(exponents, rows)
            posterior = prior * transition[:, labels[rows]].T
            evidence = posterior.sum(1, keepdim=True).clamp_min(FLOOR)
            value -= float(evidence.log().sum(dtype=torch.float64))
            shift = posterior / evidence - prior
            for place, reading in enumerate((readings.head, readings.neighbours)):
                slope[place] -= float((shift * reading[rows]).sum(dtype=torch.float64))
        precision = 1 / EXPONENT_SPREAD**2
        return (
            (value + precision / 2 * float((exponents**2).sum())) / n,
            (slope + precision * exponents) / n,
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
    counts = torch.zeros(classes, classes, dtype=torch.float64, device=posterior.device)
    for rows in chunks(len(labels), classes):
        counts.index_add_(0, labels[rows], posterior[rows].double())
    counts = counts.T  # row = true, column = given
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
    return (spread * rate[:, None] + torch.diag(1 - rate)).to(posterior.dtype)


def concentration(counts: Tensor, mean: Tensor) -> float:
    """The Dirichlet concentration, of a prior with this mean (k,), under which counts (rows, k) are likeliest.

    From 0.01 (rows share nothing) to 100 000 (rows are alike), in steps of a factor 10^¼.
    """

    def log_likelihood(strength: float) -> float:
        prior = strength * mean
        rows = torch.lgamma(prior.sum()) - torch.lgamma(counts.sum(1) + prior.sum())
        return float((rows + (torch.lgamma(counts + prior) - torch.lgamma(prior)).sum(1)).sum())

    return max((10 ** (step / 4) for step in range(-8, 21)), key=log_likelihood)
