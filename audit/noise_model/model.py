"""How likely each class is to be the true one, given the image and the label: a latent-label model fitted by EM.

The given label y of a sample is taken as a noisy reading of a true one: P(y = j | x) = Σ_k P(true = k | x) T_kj, with a
transition matrix T that is estimated from the same data (after Sukhbaatar et al., arXiv 1406.2080, and the confident
joint of Northcutt et al., arXiv 1911.00068). P(true | x) mixes readings of the embedding, none of which has seen the
sample's own label: the softmax head's leave-one-out prediction, in closed form, the vote of the nearest neighbours, and
where there is strong evidence that it adds something, as there mostly is, the linear discriminant of the classes. Heads
and votes never rule a class out: a penalised head and a vote with a flat member leave each some probability, which over
many classes and samples would pass for mistakes. So P(true = k | x) ∝ s_k² / (s_k + c) for s ∝ Π_r reading_r ^ a_r,
which is s where s is well above the floor c and falls off with its square below. The floor is the same for all data:
fitted to given labels, it rises with mistakes that depend on the picture, as people's do, since it makes them look like
labels that the picture rules out. Each round

1. fits T and the mixture to the likelihood of the given labels, log Σ_k P(true = k | x_i) T_k,y_i;
2. takes the posterior q_i(k) ∝ P(true = k | x_i) T_k,y_i as new soft targets;
3. refits head and discriminant on them, the head from its last weights, and predicts out of sample again.

What the head says that was trained on the given labels stays among the readings of later rounds, where there is strong
evidence for it, too, as there is where many labels are wrong at random: the later head has fewer mistakes to learn
from, but the first one was told nothing that it had said itself.

Labels that are known to be right, such as those of a trusted validation set, are no noisy readings: the posterior is
certain of them, they count in the likelihood as P(true = y | x), and they say nothing of T. So they show how far the
pictures themselves leave it open what is true.

Where the readings predict the given labels no better than class frequencies do, T cannot be told: labels are taken as
they are given (`too_little`).

Labels that were drawn from what the picture may be leave no trace in the likelihood, so that what is added for them in
the end follows from which classes are confused (`look_alikes`).

Few samples cannot tell pictures that could be either class from labels that are wrong: a flat P(true | x) with a small
T and a sharp one with a large T explain them alike. Of the sharpnesses that are nearly as likely as the likeliest, and
not much larger, the largest is taken, since an audit is asked about labels.

The L2 penalty, the exponents of the readings and the smoothing of T are chosen by out-of-sample likelihood on the data
at hand. Rounds end when the posteriors stay put; there are few of them, because the soft targets carry a little of
every label to its neighbours, and more rounds would feed that back. There are more where they go on making the given
labels likelier: systematic mistakes, which a head learns like any other pattern, come out of it bit by bit.

What has n × C entries is kept in single precision; embeddings beyond HELD_BYTES are read whenever they are needed. The
mixture has few parameters, and is fitted to MIXTURE_SAMPLES where there are more; all samples count for T in the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audit.compute.matrix import Rows, derive, here, hold, take
from audit.compute.threads import one_thread
from audit.head.fit import (
    CHANCE_GAIN,
    PATH_SAMPLES,
    Standardiser,
    choose_l2,
    cross_entropies,
    fit_softmax,
    logits,
    one_hot,
    probabilities,
    residuals,
    targets_of,
)
from audit.head.hessian import HeadHessian, KroneckerFactors, SecondMoment, chunks
from audit.head.leave_one_out import LeaveOneOut, approximation, leave_one_out
from audit.noise_model.discriminant import Discriminant, LeastSquares
from audit.noise_model.look_alikes import LookAlikes
from audit.noise_model.too_little import evidence_over_frequencies, frequencies, labels_as_given, slips_alone
from audit.progress import ProgressCallback, Step, silent

HELD_BYTES = 512 * 2**20  # of standardised embeddings, up to which they stay in memory
NEIGHBOURS = 20
# Neighbours are looked for among a part of the samples, so that cost grows with n, not n²: so many for each class, that
# five times as many are of a class as vote, between these bounds.
REFERENCES_PER_CLASS = 5 * NEIGHBOURS
REFERENCES = (10_000, 20_000)
# And among many, in so many principal directions of the embeddings, or one a class: on the development data the ranking
# is as good as with all of 512 or 1280 (average precision within .001), and similarities are most of the work.
PRINCIPAL = 128
SIMILARITY_COPIES = 4  # in a chunk's memory: in smaller chunks similarities stay in the cache until they are sorted
BLOCK = 16  # similarities, of which only the largest are looked at, unless that is among the largest of all
EIGEN_FLOP = 25.0  # d³, of the eigenvectors of a matrix of d × d
HELD_OUT = 0.2  # share of the samples that L2 is chosen on
# Of few samples a fifth says little about L2, so that more fifths are held out in turn, until they are so many in all.
FEWEST_HELD_OUT = 300
STANDARD_ERRORS = 0.5  # of the held-out loss, within which a stronger L2 is preferred
ROUNDS, MOST_ROUNDS = 3, 10
UNSETTLED = 0.1  # relative change of the expected number of mistakes, above which a round is not the last
GIVEN, BELIEVED = "given", "believed"  # what a head is trained on
CHECK_ROUNDS = 2  # at least, when labels are diagnosed again with a few others among them
# T, of C² entries, is sought on as many at random, or on fewer whose predictions are as many numbers.
MIXTURE_SAMPLES, MIXTURE_ENTRIES = 50_000, 50_000_000
# And the mixture's shape on as many of them, but for the last steps.
SHAPE_SAMPLES, SHAPE_ENTRIES = 4000, 10_000_000
FEWEST_SAMPLES = 1000  # of many classes, these do
CONCENTRATION_ENTRIES = 1_000_000  # of T, whose smoothing is chosen by as many where there are more
AT_ONCE = 4096  # numbers, which take no longer than a few
MIXTURE_STEPS = 30
LAST_STEPS = 2
# A step that changes the expected number of mistakes by less (relatively), and adds no more log-likelihood than one
# parameter is worth (nats, Akaike 1974), is the last.
MIXTURE_SETTLED = 2.5e-3
GAINED = 1.0
HALVINGS = 10  # of a step of the shape that lowers the likelihood
ALIKE = 0.01  # nats: likelihoods that differ by less are alike
SETTLED = 1e-3  # mean change of the posterior of the given label, below which no further round is made
FIT_TOLERANCE = 1e-3  # gradient norm of the heads: their predictions are compared, not their weights
EXACT_FLOP = 1e9  # (n + C·D) (C·D)² up to which leave-one-out is had exactly: a hundredth of a second on two cores
EXACT_CLASSES = 32  # of more, its work is in thousands of pairs of classes, too small each to be done fast
# The mixture's shape is the exponent of each reading. Its prior is normal about 0, which keeps separable data from
# certainty.
EXPONENT_SPREAD, EXPONENT_MOST = 3.0, 10.0
# c. On the development data the ranking is the same (average precision within .003) with .0003 to .004.
PREDICTION_FLOOR = 0.003
SHARPER = 2**0.25  # factor on the exponents from one sharpness to the next
# At most, to exponents 1.7 times the likeliest: few samples allow nearly any sharpness, and one that makes all
# predictions certain leaves no ranking.
SHARPENINGS = 3
REJECTED = 1.0  # nats of log-likelihood below the likeliest, what one parameter is worth, too
# Nats beyond what Schwarz's criterion asks of a parameter, (log n) / 2, at which the evidence for one more reading, or
# round, is very strong (Kass & Raftery 1995). On less, few samples got flatter predictions and fewer flags.
DECISIVE = 5.0
REFITS = 4  # EM steps for T, to a shape that is given
# In all, at least, as much as Jeffreys' prior adds: a class whose T rules mistakes out would leave no ranking.
LEAST_MISTAKES = 0.5
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
        transition: T (C, C), row = true class, column = given label; without the look-alikes.
        likeliest_share: expected number of mistakes at the likeliest sharpness, as a share of that at the chosen one.
        look_alikes: mistakes that labels alone do not show, which the posterior knows of.
        method: how loo_probabilities were had in closed form: 'exact', by Kronecker factors of the Hessian ('kfac'), or
            by each class's own block of it ('blocks').
        l2: λ of the head.
        rounds: of every round, the exponents of the readings (its head, from the second round on also that of the
            first, the neighbours, and the discriminant), the mean log-likelihood of the given labels (nats), and how
            far the posteriors of the given labels moved on average.
        evidence: by how much the readings of the worst round predict the given labels better than class frequencies
            do (nats, over all samples); where there are fewer samples than features, no more than by how much a head
            predicts labels that were held out.
        tells: whether that is decisive. Where it is not, labels are taken as they are given.
    """

    prior: Tensor
    posterior: Tensor
    probabilities: Tensor
    loo_probabilities: Tensor
    self_influence: Tensor
    neighbour_share: Tensor
    transition: Tensor
    likeliest_share: float
    look_alikes: LookAlikes
    method: str
    l2: float
    rounds: list[dict[str, float]]
    evidence: float = math.inf
    tells: bool = True


class NoiseModel:
    """The model on one set of embeddings, for which labels can be diagnosed, and then others in their place.

    Args:
        x: (n, d) embeddings; not necessarily in memory.
        classes: C.
        seed: of what L2 is chosen on, of the samples among which neighbours are looked for, and of those that the
            mixture is fitted to.
        trusted: bool (n,), the samples whose labels are known to be right; None where none is.
    """

    def __init__(self, x: Rows, classes: int, seed: int = 0, trusted: Tensor | None = None) -> None:
        x = x.float()
        z: Any = Standardiser.fit(x)(x)
        n, features = z.shape
        self.fewer_samples_than_features = n < features
        held = 4 * n * features <= HELD_BYTES
        z = hold(z) if held else z
        moment = SecondMoment.of(z)
        if held:  # in the eigenvectors, once and for all: heads are penalised alike in any orthogonal coordinates
            z, moment = hold(derive(moment.rotate, z, width=features)), SecondMoment(moment.values, None)
            if self.fewer_samples_than_features:
                # Samples span no more directions than they are. The others are rounding, and would make the head too
                # large for exact leave-one-out, which the approximation misses by far where n < D.
                z, moment = z[:, -n:].contiguous(), SecondMoment(moment.values[-n:], None)
        self.z, self.moment = z, moment
        self.classes, self.trusted = classes, trusted
        self.votes = NeighbourVotes(principal(x, classes), classes, seed)
        self.order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(x.device)
        self.l2 = 0.0
        self._fits: list[Fit] = []
        self._look_alikes = LookAlikes(0.0, 0.0, 0.0)
        self._tells, self._held_out_evidence = True, math.inf
        self._starts: dict[str, Tensor] = {}
        self._factors: KroneckerFactors | None = None
        self._least_squares: LeastSquares | None = None

    def diagnose(self, labels: Tensor, progress: ProgressCallback = silent) -> Diagnosis:
        """Fit the model to all samples.

        Args:
            labels: (n,) class numbers.
            progress: told after each round.
        """
        self._factors = None
        some = self.order[: _affordable(SHAPE_SAMPLES, SHAPE_ENTRIES, self.classes)]
        self._least_squares = LeastSquares(self.z, self.moment, labels, self.classes, some)
        self.l2, weight = self._choose_l2(labels)
        self._starts = {GIVEN: weight, BELIEVED: weight}
        predicted, left_out = self._fit(targets_of(labels, self.classes, self.z), GIVEN)
        given = GivenLabels(labels, self.trusted)
        mixture, rounds, self._fits = self._iterate(left_out.probabilities, given, progress)
        # Of the worst round: one alone may fit noise, and later ones learn from posteriors, which bring a sample some
        # of its own label.
        evidence = evidence_over_frequencies(labels, self.classes, min(fit["log_likelihood"] for fit in rounds))
        if self.fewer_samples_than_features:  # there, closed forms of leaving a sample out let its label through
            evidence = min(evidence, self._held_out_evidence)
        self._tells = evidence > _decisive(len(labels))
        if not self._tells:
            rate = LEAST_MISTAKES / len(labels)
            mixture = replace(
                mixture,
                prior=frequencies(labels, self.classes),
                posterior=labels_as_given(labels, self.classes, rate, self.trusted),
                transition=slips_alone(self.classes, rate, mixture.transition),
                likeliest_share=1.0,
            )
        self._look_alikes = LookAlikes(0.0, 0.0, 0.0)
        if self._tells:
            self._look_alikes = LookAlikes.of(
                mixture.prior,
                mixture.posterior,
                mixture.transition,
                labels,
                self.trusted,
                _decisive(len(labels)),
            )
        return Diagnosis(
            prior=mixture.prior,
            posterior=self._with_look_alikes(mixture, given),
            probabilities=predicted,
            loo_probabilities=left_out.probabilities,
            self_influence=left_out.self_influence,
            neighbour_share=self.votes.share_of(labels),
            transition=mixture.transition,
            likeliest_share=mixture.likeliest_share,
            look_alikes=self._look_alikes,
            method=left_out.method,
            l2=self.l2,
            rounds=rounds,
            evidence=evidence,
            tells=self._tells,
        )

    def rediagnose(self, labels: Tensor) -> Tensor:
        """The posterior (n, C) with other labels in the place of those that were diagnosed.

        With the same L2, from the weights that the heads had, and in one round less, but CHECK_ROUNDS at least. The
        exponents of the readings and the rate of look-alikes stay what they were; T is fitted anew, from what it was.

        Args:
            labels: (n,) class numbers, most of them as they were.
        """
        if not self._tells:
            return labels_as_given(labels, self.classes, LEAST_MISTAKES / len(labels), self.trusted)
        left_out = self._fit(targets_of(labels, self.classes, self.z), GIVEN, predictions_only=True)[1].probabilities
        # The first round has a reading less than all others.
        later = self._fits[1:][-max(CHECK_ROUNDS - 1, len(self._fits) - 2) :]
        known = [self._fits[0], *later]
        given = GivenLabels(labels, self.trusted)
        return self._with_look_alikes(self._iterate(left_out, given, silent, known)[0], given)

    def _with_look_alikes(self, mixture: Mixture, labels: GivenLabels) -> Tensor:
        """The posterior (n, C) of the mixture, in its place, with what it cannot see."""
        posterior = mixture.posterior
        self._look_alikes.add_to(posterior, mixture.prior, mixture.transition, labels.numbers, labels.trusted)
        return posterior

    def _iterate(
        self, given: Tensor, labels: GivenLabels, progress: ProgressCallback, known: Sequence[Fit] = ()
    ) -> tuple[Mixture, list[dict[str, float]], list[Fit]]:
        """The rounds, from the predictions (n, C) that the given labels themselves lead to, and the fit of each.

        There are ROUNDS, or fewer where the posteriors stay put, and then more, up to MOST_ROUNDS, as long as the
        evidence that they add something is very strong, or the expected number of mistakes is far from settled. Where
        fits are known, there are as many, or fewer where the posteriors stay put.
        """
        least, most = (len(known), len(known)) if known else (ROUNDS, MOST_ROUNDS)
        targets, believed, mixture = labels.settle(given), None, None
        reached, expected = -math.inf, math.inf
        rounds: list[dict[str, float]] = []
        fits: list[Fit] = []
        for number in range(1, most + 1):
            if rounds:
                mixture = believed = None  # of the round before, only the posterior is needed
                believed = self._fit(targets, BELIEVED, predictions_only=True)[1].probabilities
            before = labels.beliefs_in(targets)
            learnt = targets if rounds else targets_of(labels.numbers, self.classes, self.z)
            fit = known[number - 1] if known else None
            mixture = self._mix(given, believed, targets, self._discriminant(learnt), labels, fit)
            targets, exponents = mixture.posterior, mixture.fit.shape
            fits.append(mixture.fit)
            moved = float((labels.beliefs_in(targets) - before).abs().mean())
            rounds.append(
                {
                    "head_weight": float(exponents[0]),
                    "first_head_weight": 0.0 if believed is None else float(exponents[3]),
                    "neighbour_weight": float(exponents[1]),
                    "discriminant_weight": float(exponents[2]),
                    "log_likelihood": mixture.log_likelihood,
                    "moved": moved,
                }
            )
            progress(Step("detection", number, max(number, least), "rounds"))
            gained = len(labels) * (mixture.log_likelihood - reached)
            mistakes, expected = expected, len(labels) - float(labels.beliefs_in(targets).sum(dtype=torch.float64))
            # A change by less than one mistake is none: few samples have nothing more to say.
            settled = gained <= _decisive(len(labels)) and abs(expected - mistakes) <= max(1.0, UNSETTLED * expected)
            if moved < SETTLED or (settled and number >= least):
                break
            reached = max(reached, mixture.log_likelihood)
        assert mixture is not None
        return mixture, rounds, fits

    def _mix(
        self,
        given: Tensor,
        believed: Tensor | None,
        beliefs: Tensor,
        discriminant: Discriminant,
        labels: GivenLabels,
        known: Fit | None,
    ) -> Mixture:
        """The mixture of heads' predictions (n, C), the neighbours' beliefs (n, C) and discriminants, fitted, for all.

        With a known fit, only T is fitted, from what it was. Where there is `believed`, the prior takes its place, and
        the posterior that of `beliefs`, to save memory.
        """

        def readings_of(rows: slice | Tensor) -> Readings:
            votes, others = self.votes(beliefs, rows), discriminant(rows)
            if believed is None:
                return Readings.of(given[rows], votes, others)
            return Readings.of(believed[rows], votes, others, given[rows])

        some = self.order[: _affordable(MIXTURE_SAMPLES, MIXTURE_ENTRIES, self.classes)]
        readings = readings_of(some)
        if known is None:
            likeliest, fitted = fit_mixture(readings, labels.of_samples(some))
        else:
            likeliest = fitted = fit_transition(readings, known.shape, known.transition, labels.of_samples(some))
        transition, likeliest_share = fitted.transition, likeliest.mistakes / max(fitted.mistakes, FLOOR)
        prior, posterior = believed, beliefs
        if prior is None:
            prior, posterior = torch.empty_like(given), torch.empty_like(given)
        parts = chunks(len(labels), 12 * self.classes, 4)
        if len(some) == len(labels):
            prior[some] = readings.mixed(fitted.shape).T
        else:
            del readings
            for rows in parts:
                prior[rows] = readings_of(rows).mixed(fitted.shape).T
            for rows in parts:
                posterior[rows] = _believed(prior[rows].T, transition, labels.of_samples(rows))[0].T
            transition = estimate_transition(posterior, labels)
        log_likelihood = 0.0
        for rows in parts:
            after, evidence = _believed(prior[rows].T, transition, labels.of_samples(rows))
            posterior[rows] = after.T
            log_likelihood += float(evidence.log().sum(dtype=torch.float64))
        return Mixture(prior, posterior, transition, likeliest_share, fitted, log_likelihood / len(labels))

    def _discriminant(self, targets: Rows) -> Discriminant:
        """Of samples that count as target distributions (n, C), by least squares with the penalty that was chosen."""
        assert self._least_squares is not None
        return Discriminant.of(self._least_squares(targets), targets)

    def _choose_l2(self, labels: Tensor) -> tuple[float, Tensor]:
        """The strongest λ with nearly the smallest held-out loss, and a W from there.

        That is within STANDARD_ERRORS of it on average, or within CHANCE_GAIN in all.

        Held-out samples are as noisily labelled as the rest, and a head that fits systematic mistakes predicts them
        too, so that the smallest loss asks for too little (after Breiman et al. 1984, section 3.4.3).
        """
        share = max(1, round(HELD_OUT * len(self.order)))
        folds = min(len(self.order) // share, math.ceil(FEWEST_HELD_OUT / share))
        walks = [self._held_out_losses(labels, fold * share, share) for fold in range(folds)]
        steps = min(len(losses) for _, losses, _ in walks)
        losses = [torch.cat([of_fold[step] for _, of_fold, _ in walks]) for step in range(steps)]
        smallest = min(losses, key=lambda loss: float(loss.mean()))
        held_out = labels[self.order[: folds * share]]
        self._held_out_evidence = evidence_over_frequencies(held_out, self.classes, -float(smallest.mean()))
        excesses = [loss - smallest for loss in losses]
        allowed = [
            max(STANDARD_ERRORS * float(excess.std()) / len(excess) ** 0.5, CHANCE_GAIN / len(excess))
            for excess in excesses
        ]
        within = [float(excess.mean()) <= most for excess, most in zip(excesses, allowed, strict=True)]
        chosen = within.index(True)
        penalties, _, weights = walks[0]
        return penalties[chosen], weights[chosen]

    def _held_out_losses(
        self, labels: Tensor, start: int, count: int
    ) -> tuple[list[float], list[Tensor], list[Tensor]]:
        """Penalties from strong to weak, with each the losses of `count` samples from a place in the order, and W."""
        held = self.order[start : start + count][:PATH_SAMPLES]
        kept = torch.cat([self.order[start + count :], self.order[:start]])[:PATH_SAMPLES]
        z_kept, z_held = (here(take(self.z, part)) for part in (kept, held))
        targets_kept, targets_held = (one_hot(labels[part], self.classes, self.z.dtype) for part in (kept, held))
        losses: list[Tensor] = []
        weights: list[Tensor] = []

        def held_out_loss(weight: Tensor) -> float:
            weights.append(weight)
            losses.append(cross_entropies(z_held, weight, targets_held))
            return float(losses[-1].mean())

        _, path = choose_l2(z_kept, targets_kept, held_out_loss, moment=self.moment, samples=len(self.order) - count)
        return [l2 for l2, _ in path], losses, weights

    def _fit(self, targets: Rows, labels: str, predictions_only: bool = False) -> tuple[Tensor, LeaveOneOut]:
        """Predictions (n, C) of a head trained on target distributions (n, C), and its leave-one-out predictions.

        Args:
            targets: (n, C).
            labels: GIVEN or BELIEVED, what they are: it starts from the last head of that kind.
            predictions_only: as for `leave_one_out`.
        """
        weight, _ = fit_softmax(
            self.z, targets, self.l2, initial=self._starts[labels], tolerance=FIT_TOLERANCE, moment=self.moment
        )
        self._starts[labels] = weight
        predicted = here(probabilities(self.z, weight))
        hessian = HeadHessian(self.z, predicted, self.l2, moment=self.moment)
        size = float(hessian.parameters)
        affordable = (len(self.z) + size) * size**2 <= EXACT_FLOP
        few = self.classes <= EXACT_CLASSES
        exactly = few and affordable and isinstance(self.z, Tensor) and hessian.use_cholesky("auto")
        method = "exact" if exactly else approximation(hessian)
        left_out = leave_one_out(
            hessian,
            self.z,
            logits(self.z, weight),
            residuals(predicted, targets),
            method=method,
            start=self._factors,
            predictions_only=predictions_only,
        )
        self._factors = left_out.factors
        return predicted, left_out


def principal(x: Rows, classes: int) -> Rows:
    """x (n, d) in its principal directions about the origin, as many as neighbours are looked for in.

    All of x where finding the directions would take half of what they save, or more.
    """
    n, features = x.shape
    count = max(PRINCIPAL, classes)
    saved = 2.0 * n * _reference_count(n, classes) * (features - count)
    if saved < 2 * (2.0 * n * features * (features + count) + EIGEN_FLOP * features**3):
        return x
    return derive(SecondMoment.of(x).leading(count).rotate, x, width=count)


def _reference_count(n: int, classes: int) -> int:
    """Among how many of n samples neighbours are looked for."""
    return min(n, max(REFERENCES_PER_CLASS * classes, REFERENCES[0]), REFERENCES[1])


class NeighbourVotes:
    """What the nearest neighbours of each sample say, weighted by cosine similarity; the sample itself has no vote.

    Args:
        x: embeddings (n, d).
        classes: C.
        seed: of the samples among which neighbours are looked for, where that is not all of them.
    """

    def __init__(self, x: Rows, classes: int, seed: int = 0) -> None:
        n = len(x)
        references = torch.arange(n, device=x.device)
        enough = _reference_count(n, classes)
        if n > enough:
            drawn = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:enough]
            references = drawn.sort().values.to(x.device)
        place_of = torch.full((n,), -1, device=x.device)
        place_of[references] = torch.arange(len(references), device=x.device)
        among = torch.nn.functional.normalize(x[references].float(), dim=1).T.contiguous()
        count = min(NEIGHBOURS, len(references) - 1)
        self.classes = classes
        self.places = torch.empty(n, count, dtype=torch.int32, device=x.device)
        self.shares = torch.empty(n, count, device=x.device)
        for rows in chunks(n, SIMILARITY_COPIES * len(references), 4):
            similarity = torch.nn.functional.normalize(x[rows].float(), dim=1) @ among
            own = place_of[rows]
            itself = (own >= 0).nonzero()[:, 0]
            similarity[itself, own[itself]] = -torch.inf
            nearest, places = largest(similarity, count)
            self.places[rows] = references[places].int()
            self.shares[rows] = nearest.clamp_min(1e-6)
        self.shares /= self.shares.sum(1, keepdim=True)

    def __call__(self, beliefs: Tensor, rows: slice | Tensor = slice(None)) -> Tensor:
        """Mean belief (k, C) of the neighbours of samples, with one more that believes in all classes alike.

        Args:
            beliefs: (n, C) of all samples.
            rows: the samples.
        """
        places, shares = self.places[rows], self.shares[rows]
        count = places.shape[1]
        weights = shares.to(beliefs) * (count / (count + 1))
        votes = torch.nn.functional.embedding_bag(places, beliefs, per_sample_weights=weights, mode="sum")
        return votes.add_(1 / (self.classes * (count + 1)))

    def share_of(self, labels: Tensor, rows: Tensor | None = None, own: Tensor | None = None) -> Tensor:
        """The vote (k,) that samples' own labels have, where the neighbours believe in theirs.

        Args:
            labels: (n,) class numbers of all samples.
            rows: positions (k,) of the samples that are asked about; None for all.
            own: (k,) the labels of theirs; None for those in `labels`.
        """
        places, shares = (self.places, self.shares) if rows is None else (self.places[rows], self.shares[rows])
        own = labels if own is None else own
        count = places.shape[1]
        agreeing = torch.zeros_like(shares[:, 0])
        for place in range(count):
            agreeing += shares[:, place] * (labels[places[:, place]] == own)
        return (count * agreeing + 1 / self.classes) / (count + 1)


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest values (k, count) of each row of values (k, m), from the largest on, and their columns.

    They lie in the blocks with the largest maxima, of which there need be no more than values are sought: finding
    maxima takes far less time than putting values in order.
    """
    k, columns = values.shape
    across = columns // BLOCK
    if across <= count:
        found, places = values.topk(count, dim=1)
        return found, places
    blocks = values[:, : BLOCK * across].view(k, BLOCK, across)  # each one column in `across`
    best = blocks.amax(1).topk(count, dim=1, sorted=False).indices
    steps = torch.arange(0, BLOCK * across, across, device=values.device)
    places = (best[:, None] + steps[:, None]).view(k, -1)
    rest = torch.arange(BLOCK * across, columns, device=values.device).expand(k, -1)
    places = torch.cat([places, rest], 1)
    found, order = values.gather(1, places).topk(count, dim=1)
    return found, places.gather(1, order)


@dataclass(frozen=True)
class Mixture:
    """A mixture of heads and neighbours under label noise, fitted.

    Attributes:
        prior: (n, C) probability of each class being the true one, given the image.
        posterior: (n, C) the same, given image and label.
        transition: T (C, C).
        likeliest_share: expected number of mistakes at the likeliest sharpness, as a share of that at the chosen one.
        fit: to the samples that it was fitted to; its shape has the exponents of the round's head, the neighbours, the
            discriminant, and from the second round on the first head.
        log_likelihood: mean of log P(given label | x), nats.
    """

    prior: Tensor
    posterior: Tensor
    transition: Tensor
    likeliest_share: float
    fit: Fit
    log_likelihood: float


def fit_mixture(readings: Readings, labels: GivenLabels) -> tuple[Fit, Fit]:
    """Fit the shape of P(true | x), and T, to the likelihood of the given labels.

    Args:
        readings: of k samples, that have not seen their own labels, in an order that does not matter. Those beyond two
            count only where the evidence for them is very strong.
        labels: of k samples.

    Returns:
        The likeliest fit, and the sharpest that is nearly as likely.
    """
    shape = np.array([1.0, 0.0])  # the first reading alone
    first_two = readings.of_first(2)
    likeliest, transition = _likeliest(
        first_two, labels, shape, estimate_transition(first_two.mixed(shape).T, labels), math.inf, -math.inf
    )
    for count in range(2, len(readings.logs)):
        shape = np.append(likeliest.shape, 0.0)
        wider, following = _likeliest(
            readings.of_first(count + 1), labels, shape, transition, None, likeliest.log_likelihood
        )
        if wider.log_likelihood > likeliest.log_likelihood + _decisive(len(labels)):
            likeliest, transition = wider, following
        else:
            likeliest = replace(likeliest, shape=shape)
    sharpest = likeliest
    for _ in range(SHARPENINGS):
        sharper = SHARPER * sharpest.shape
        fit = fit_transition(readings, sharper, transition, labels)
        if fit.log_likelihood < likeliest.log_likelihood - REJECTED:
            break
        sharpest, transition = fit, fit.transition
    return likeliest, sharpest


def fit_transition(readings: Readings, shape: np.ndarray, transition: Tensor, labels: GivenLabels) -> Fit:
    """The fit of a shape, after REFITS steps of EM for T from one to start with."""
    with one_thread(readings.numbers):
        prior = readings.mixed(shape)
        for _ in range(REFITS):
            fit, transition = Fit.of(prior, shape, transition, labels)
    return fit


def _likeliest(
    readings: Readings,
    labels: GivenLabels,
    shape: np.ndarray,
    transition: Tensor,
    mistakes: float | None,
    reached: float,
) -> tuple[Fit, Tensor]:
    """The likeliest fit, and the T that its posterior leads to, from a shape and T.

    Args:
        readings: of k samples.
        labels: of these.
        shape: to start from.
        transition: to start from.
        mistakes: that are expected there; infinity where that is not known, None where only the likelihood matters.
        reached: the log-likelihood there, or minus infinity.
    """
    few = _affordable(SHAPE_SAMPLES, SHAPE_ENTRIES, len(transition))
    for looked_at, steps in ((few, MIXTURE_STEPS), (len(labels), LAST_STEPS)):
        part, whole = slice(0, looked_at), looked_at >= len(labels)
        some = readings.of_samples(part)
        prior = some.mixed(shape)
        for _ in range(steps):
            with one_thread(prior.numel()):
                shape, prior = _better_shape(some, transition, labels.of_samples(part), shape, prior)
            with one_thread(readings.numbers):
                fit, transition = Fit.of(prior if whole else readings.mixed(shape), shape, transition, labels)
            gained, reached = fit.log_likelihood - reached, fit.log_likelihood
            settled = mistakes is None or abs(fit.mistakes - mistakes) <= MIXTURE_SETTLED * fit.mistakes
            if gained <= GAINED and settled:
                break
            mistakes = None if mistakes is None else fit.mistakes
        if whole:
            break
    return fit, transition


def _decisive(samples: int) -> float:
    """Nats of log-likelihood of so many samples that are very strong evidence for what adds them."""
    return DECISIVE + math.log(samples) / 2


def _affordable(samples: int, entries: int, classes: int) -> int:
    """So many samples, or as many as have so many predicted probabilities, but FEWEST_SAMPLES at least."""
    return min(samples, max(FEWEST_SAMPLES, entries // classes))


@dataclass(frozen=True)
class Fit:
    """A shape and T, what log-likelihood they give all labels (nats), and the expected number of mistakes."""

    shape: np.ndarray
    transition: Tensor
    log_likelihood: float
    mistakes: float

    @classmethod
    def of(cls, prior: Tensor, shape: np.ndarray, transition: Tensor, labels: GivenLabels) -> tuple[Fit, Tensor]:
        """The fit of a prior (C, k), which has this shape, and the T that its posterior leads to."""
        posterior, evidence = _believed(prior, transition, labels)
        log_likelihood = float(evidence.log().sum(dtype=torch.float64))
        mistakes = len(labels) - float(labels.beliefs_in(posterior.T).sum(dtype=torch.float64))
        return cls(shape, transition, log_likelihood, mistakes), estimate_transition(posterior.T, labels)


@dataclass(frozen=True)
class GivenLabels:
    """Class numbers (k,) of samples, and bool (k,) for those that are known to be right; None where none is."""

    numbers: Tensor
    trusted: Tensor | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def of_samples(self, part: slice | Tensor) -> GivenLabels:
        """Those of a part of the samples."""
        return GivenLabels(self.numbers[part], None if self.trusted is None else self.trusted[part])

    def likelihood(self, transition: Tensor) -> Tensor:
        """(C, k): the probability of each given label, were a class the true one, under T (C, C)."""
        of_labels = transition.index_select(1, self.numbers)
        return self._certain(of_labels.T).T

    def settle(self, beliefs: Tensor) -> Tensor:
        """Beliefs (k, C), in a copy certain of the trusted labels where there are any."""
        return beliefs if self.trusted is None else self._certain(beliefs.clone())

    def beliefs_in(self, beliefs: Tensor) -> Tensor:
        """What beliefs (k, C) there are in each given label (k,)."""
        return beliefs.gather(1, self.numbers[:, None])[:, 0]

    def _certain(self, values: Tensor) -> Tensor:
        """Values (k, C), changed where labels are trusted: one for the given class, nought for the others."""
        if self.trusted is not None:
            (rows,) = self.trusted.nonzero(as_tuple=True)
            values[rows] = 0.0
            values[rows, self.numbers[rows]] = 1.0
        return values


def _believed(prior: Tensor, transition: Tensor, labels: GivenLabels) -> tuple[Tensor, Tensor]:
    """The posterior (C, k) of a prior (C, k), and P(given label | x) (k,)."""
    posterior = prior * labels.likelihood(transition)
    evidence = posterior.sum(0).clamp_min(FLOOR)
    return posterior / evidence, evidence


@dataclass(frozen=True)
class Readings:
    """Logarithms (C, k) of r readings: torch sums fastest over a first dimension.

    A shape (r,) is the exponent a of each.
    """

    logs: tuple[Tensor, ...]

    @property
    def numbers(self) -> int:
        """C · k."""
        return self.logs[0].numel()

    @classmethod
    def of(cls, *predicted: Tensor) -> Readings:
        """Of probabilities (k, C)."""
        return cls(tuple(reading.T.contiguous().clamp_min(FLOOR).log_() for reading in predicted))

    def of_first(self, count: int) -> Readings:
        """So many of them."""
        return Readings(self.logs[:count])

    def of_samples(self, part: slice) -> Readings:
        """For a part of the samples."""
        return Readings(tuple(reading[:, part] for reading in self.logs))

    def mixed(self, shape: np.ndarray) -> Tensor:
        """(C, k) ∝ s² / (s + c) for s ∝ Π_r reading_r ^ a_r."""
        s, tail = self._above(shape)
        kept = s * (1 - tail)
        return kept / kept.sum(0)

    def slopes(self, shape: np.ndarray) -> Tensor:
        """Derivatives (r, C, k) of the logarithm of s² / (s + c) by each a."""
        s, tail = self._above(shape)
        return torch.stack([(1 + tail) * (reading - (s * reading).sum(0)) for reading in self.logs])

    def _above(self, shape: np.ndarray) -> tuple[Tensor, Tensor]:
        """s (C, k), and c / (s + c), how much of it the floor takes."""
        weighted = float(shape[0]) * self.logs[0]
        for exponent, reading in zip(shape[1:], self.logs[1:], strict=True):
            weighted = weighted.add_(reading, alpha=float(exponent))
        s = weighted.softmax(0)
        return s, PREDICTION_FLOOR / (s + PREDICTION_FLOOR)


def _better_shape(
    readings: Readings, transition: Tensor, labels: GivenLabels, start: np.ndarray, prior: Tensor
) -> tuple[np.ndarray, Tensor]:
    """Newton's step for the shape, from one with its prior (C, k) to another with its own.

    It goes towards the shape's largest posterior probability given the labels and T.
    """
    precision = np.full(len(readings.logs), 1 / EXPONENT_SPREAD**2)
    posterior, evidence = _believed(prior, transition, labels)
    slopes = readings.slopes(start)

    def loss(shape: np.ndarray, evidence: Tensor) -> float:
        unlikely = float((precision * shape**2).sum()) / 2
        return unlikely - float(evidence.log().sum(dtype=torch.float64))

    # d/da log Σ_k p_k T_k = E_posterior[slope] − E_prior[slope], and once more: Var_posterior − Var_prior. How the
    # slopes themselves change with a is left out: the halvings see to it that a step helps.
    (means, spread), (believed_means, believed_spread) = (_moments(slopes, under) for under in (prior, posterior))
    slope = precision * start + (means - believed_means).sum(0)
    curvature = np.diag(precision) + spread
    if np.linalg.eigvalsh(curvature - believed_spread)[0] > precision.min() / 2:
        curvature -= believed_spread
    # At a bound, only what leads away from it moves.
    free = ((start > 0) | (slope < 0)) & ((start < EXPONENT_MOST) | (slope > 0))
    step = np.zeros_like(start)
    step[free] = np.linalg.solve(curvature[np.ix_(free, free)], -slope[free])
    value = loss(start, evidence)
    for halving in range(HALVINGS):
        candidate = (start + step / 2**halving).clip(0.0, EXPONENT_MOST)
        mixed = readings.mixed(candidate)
        if loss(candidate, _believed(mixed, transition, labels)[1]) <= value + ALIKE:
            return candidate, mixed
    return start, prior


def _moments(readings: Tensor, under: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Means (k, r) of r readings (r, C, k) under probabilities (C, k), and the sum of their covariances (r, r)."""
    weighted = readings * under
    means = weighted.sum(1).double().T
    products = weighted.flatten(1) @ readings.flatten(1).T
    return means.cpu().numpy(), (products - means.T @ means).cpu().numpy()


def estimate_transition(posterior: Tensor, labels: GivenLabels) -> Tensor:
    """T (C, C) from expected counts, smoothed as much as the counts themselves ask for.

    Each class's error rate is drawn to the common one, and its distribution over wrong labels to the uniform one; how
    strongly is the concentration that maximises the Dirichlet-multinomial likelihood of the counts (empirical Bayes).

    Args:
        posterior: (n, C) of the true class.
        labels: of the n samples; those that are trusted have no part in it.
    """
    classes = posterior.shape[1]
    numbers = labels.numbers
    if labels.trusted is not None:
        posterior, numbers = posterior[~labels.trusted], numbers[~labels.trusted]
    counts = torch.zeros(classes, classes, dtype=torch.float64, device=posterior.device)
    for rows in chunks(len(numbers), classes):
        counts.index_add_(1, numbers[rows], posterior[rows].T.double())  # row = true, column = given
    right, total = counts.diagonal().clone(), counts.sum(1)
    wrong = counts  # from here on: the matrix is large, and there is one
    wrong.diagonal().zero_()
    wrongs = wrong.sum(1)
    common = wrongs.sum() / total.sum()
    strength = concentration(torch.stack([wrongs, right], 1), torch.stack([common, 1 - common]).clamp_min(FLOOR))
    rate = ((wrongs + strength * common) / (total + strength)).clamp_min(LEAST_MISTAKES / len(numbers))
    if classes > 2:
        every = math.ceil(classes**2 / CONCENTRATION_ENTRIES)
        off = ~torch.eye(classes, dtype=torch.bool, device=counts.device)[::every]
        uniform = torch.full((classes - 1,), 1 / (classes - 1), dtype=counts.dtype, device=counts.device)
        wrong += concentration(wrong[::every][off].view(-1, classes - 1), uniform) / (classes - 1)
        wrong.diagonal().zero_()
    else:
        wrong[:] = 1 - torch.eye(2, dtype=counts.dtype, device=counts.device)
    wrong *= (rate / wrong.sum(1))[:, None]
    wrong.diagonal().copy_(1 - rate)
    return wrong.to(posterior.dtype).contiguous()  # of which columns are taken, element by element of a row


def concentration(counts: Tensor, mean: Tensor) -> float:
    """The Dirichlet concentration, of a prior with this mean (k,), under which counts (rows, k) are likeliest.

    From 0.01 (rows share nothing) to 100 000 (rows are alike), in steps of a factor 10^¼. The likelihood has one
    maximum (Levin & Reeds, Annals of Statistics 5, 1977), so that of many counts every fourth step is looked at first.
    """
    strengths = torch.tensor([10 ** (step / 4) for step in range(-8, 21)], dtype=counts.dtype, device=counts.device)
    sums = counts.sum(1)

    def likeliest(steps: range) -> int:
        likelihoods = []
        for part in chunks(len(steps), 3 * counts.numel()):
            prior = strengths[steps[part]][:, None] * mean
            whole = prior.sum(1, keepdim=True)
            rows = torch.lgamma(whole) - torch.lgamma(sums + whole) - torch.lgamma(prior).sum(1, keepdim=True)
            likelihoods.append(rows.sum(1) + torch.lgamma(counts + prior[:, None]).sum((1, 2)))
        return steps[int(torch.cat(likelihoods).argmax())]

    if len(strengths) * counts.numel() <= AT_ONCE:
        return float(strengths[likeliest(range(len(strengths)))])
    near = likeliest(range(0, len(strengths), 4))
    return float(strengths[likeliest(range(max(0, near - 3), min(len(strengths), near + 4)))])
