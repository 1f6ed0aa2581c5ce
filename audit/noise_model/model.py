"""How likely each class is to be the true one, given the image and the label: a latent-label model fitted by EM.

The given label y of a sample is a noisy observation of its true class: P(y = j | x) = Σ_k P(true = k | x) T_kj. The
transition matrix T is estimated from the same data (after Sukhbaatar et al., arXiv 1406.2080, and the confident joint
of Northcutt et al., arXiv 1911.00068). P(true | x) mixes readings of the embedding, none of which has seen the sample's
own label (`readings`). Each round

1. fits T and the mixture to the likelihood of the given labels, log Σ_k P(true = k | x_i) T_k,y_i (`mixture`);
2. computes the posterior q_i(k) ∝ P(true = k | x_i) T_k,y_i, which are new soft targets;
3. refits head and discriminant on these targets, and predicts without each sample again.

The prediction of the first head, which was trained on the given labels, stays a reading in later rounds if the evidence
for it is very strong. This is mostly the case if many labels are wrong at random. The later head learns from fewer
mistakes, but its targets include the model's own predictions; those of the first head do not.

There are few rounds, because the soft targets carry a little of every label to its neighbours, and with more rounds it
would come back to the sample itself. There are more rounds if each of them makes the given labels likelier: a head
learns systematic mistakes like any other pattern, and forgets them only over several rounds.

Labels that are known to be right, such as those of a trusted validation set, are not noisy. The posterior is certain of
them, their likelihood is P(true = y | x), and they are not used to estimate T. So they show how ambiguous the pictures
themselves are.

If the readings predict the given labels no better than class frequencies do, T cannot be estimated, and the model
assumes that the labels are right (`too_little`). The likelihood does not show wrong labels
that were drawn from P(true | x). The model estimates their number from the confusions of classes (`look_alikes`).

The data choose the L2 penalty, the exponents of the readings and the smoothing of T, by out-of-sample likelihood. All
other numbers are in `settings`. Matrices with n × C entries are float32. They, and embeddings, are in memory, in files
or on workers, and are computed and read a block of rows at a time (`audit.compute`). What is fitted is fitted to some
of the samples, or to sums over all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from audit.compute.by_blocks import local
from audit.compute.matrix import Rows, fetch_rows
from audit.head.fit import targets_of
from audit.noise_model.diagnosis import Diagnosis
from audit.noise_model.given_labels import GivenLabels
from audit.noise_model.given_predictions import GivenPredictions
from audit.noise_model.heads import Features
from audit.noise_model.learners import Learners
from audit.noise_model.look_alikes import LookAlikes
from audit.noise_model.mixture import MixtureFit, fit_mixture
from audit.noise_model.readings import Readings
from audit.noise_model.rounds import Mixture, Predictors, Round, StoppingRule, mix
from audit.noise_model.settings import NoiseSettings
from audit.noise_model.too_little import believe_as_given, evidence_over_frequencies, posterior_as_given
from audit.noise_model.trusted import TrustedHead
from audit.noise_model.votes import NeighbourVotes, principal
from audit.progress import ProgressCallback, Step, silent


@dataclass(frozen=True)
class Fitted:
    """A diagnosis of given labels, and the state from which other labels of the same samples can be diagnosed.

    Attributes:
        diagnosis: the diagnosis of the given labels.
        learners: the learners after the last round.
        mixtures: the fit of each round's mixture.
        trusted_head: the head trained on the trusted labels; None if it adds nothing to the readings.
    """

    diagnosis: Diagnosis
    learners: Learners
    mixtures: tuple[MixtureFit, ...]
    trusted_head: TrustedHead | None = None


@dataclass(frozen=True)
class _Rounds:
    """The last round's mixture, the report and the fit of each round, and the learners after the last round."""

    mixture: Mixture
    reported: list[Round]
    mixtures: tuple[MixtureFit, ...]
    learners: Learners


class NoiseModel:
    """The model of one set of embeddings. It can diagnose any labels of the samples, and stores none of them.

    Args:
        x: (n, d) embeddings; not necessarily in memory.
        classes: C.
        seed: the seed for drawing the samples that are used to choose L2, to search neighbours, and to fit the mixture.
        trusted: bool (n,), labels that are known to be right; None if there are none.
        settings: of the model.
        predictions: of a model of the user's own, a further reading; None if there are none.
    """

    def __init__(
        self,
        x: Rows,
        classes: int,
        seed: int = 0,
        trusted: Tensor | None = None,
        settings: NoiseSettings = NoiseSettings(),
        predictions: GivenPredictions | None = None,
    ) -> None:
        x = x.float()
        self.features = Features.of(x, settings.head.held_bytes)
        self.classes, self.trusted, self.settings = classes, trusted, settings
        self.votes = NeighbourVotes(principal(x, classes, settings.neighbours), classes, seed, settings.neighbours)
        self.predictions = None if predictions is None else predictions.reading(self.votes)
        self.order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)

    def diagnose(self, labels: Tensor, progress: ProgressCallback = silent) -> Diagnosis:
        """Diagnose class numbers (n,): the diagnosis of `fit`."""
        return self.fit(labels, progress).diagnosis

    def fit(self, labels: Tensor, progress: ProgressCallback = silent) -> Fitted:
        """Fit the model to all samples, and diagnose their labels.

        Args:
            labels: (n,) class numbers.
            progress: called after each round.
        """
        given = GivenLabels(labels, self.trusted)
        learners, held_out_evidence = Learners.choose(self.features, labels, self.classes, self.order, self.settings)
        head, learners = learners.fit_to_given(labels)
        rounds = self._run_rounds(head.left_out.probabilities, given, learners, progress=progress)
        evidence = self._evidence(labels, rounds.reported, held_out_evidence)
        tells = evidence > self.settings.decisive_for(len(labels))
        mixture = rounds.mixture if tells else believe_as_given(rounds.mixture, given, self.settings)
        look_alikes, trusted_head = LookAlikes.none(), None
        if tells:
            trusted_head = TrustedHead.of(self.features, mixture.prior, given, self.order, self.settings)
            if trusted_head is not None:
                mixture = trusted_head.applied(mixture, self.features, given, self.order, self.settings)
            prior, posterior, transition = mixture.prior, mixture.posterior, mixture.transition
            look_alikes = LookAlikes.of(prior, posterior, transition, given, self.settings)
        diagnosis = Diagnosis(
            prior=local(mixture.prior),
            posterior=local(look_alikes.added(mixture.posterior, mixture.prior, mixture.transition, given)),
            probabilities=local(head.probabilities),
            loo_probabilities=local(head.left_out.probabilities),
            self_influence=head.left_out.self_influence,
            neighbour_share=self.votes.share_of(labels),
            transition=mixture.transition,
            likeliest_share=mixture.likeliest_share,
            look_alikes=look_alikes,
            method=head.left_out.method,
            l2=learners.l2,
            rounds=[asdict(reported) for reported in rounds.reported],
            evidence=evidence,
            tells=tells,
            trusted_weight=0.0 if trusted_head is None else trusted_head.exponents[1],
        )
        return Fitted(diagnosis, rounds.learners, rounds.mixtures, trusted_head)

    def rediagnose(self, fitted: Fitted, labels: Tensor) -> tuple[Rows, Fitted]:
        """Diagnose other labels of the same samples than those that the model was fitted to.

        L2, the exponents of the readings and the rate of look-alikes are taken from the fit. T and the heads are fitted
        again, starting from those of the fit. There is one round less, with a minimum of a few rounds.

        Args:
            fitted: the fit to the former labels.
            labels: (n,) class numbers, most of them the same as before.

        Returns:
            The posterior (n, C), and the fit with the heads of this diagnosis. A further diagnosis is faster if it
            starts from them.
        """
        given = GivenLabels(labels, self.trusted)
        if not fitted.diagnosis.tells:
            return posterior_as_given(given, self.classes, self.settings), fitted
        # The first round is always repeated: its mixture is the only one without the first head as a reading.
        first, *later = fitted.mixtures
        repeated = min(len(later), max(self.settings.rounds.fewest_again - 1, len(later) - 1))
        known = [first, *later[len(later) - repeated :]]
        left_out, learners = fitted.learners.left_out_by_given(labels)
        rounds = self._run_rounds(left_out, given, learners, known)
        mixture, look_alikes = rounds.mixture, fitted.diagnosis.look_alikes
        if fitted.trusted_head is not None:
            mixture = fitted.trusted_head.applied(mixture, self.features, given, self.order, self.settings)
        posterior = look_alikes.added(mixture.posterior, mixture.prior, mixture.transition, given)
        return posterior, replace(fitted, learners=rounds.learners)

    def _run_rounds(
        self,
        first_head: Rows,
        labels: GivenLabels,
        learners: Learners,
        known: Sequence[MixtureFit] = (),
        progress: ProgressCallback = silent,
    ) -> _Rounds:
        """Run the rounds.

        Args:
            first_head: (n, C) leave-one-out predictions of the head that was trained on the given labels.
            labels: of the n samples.
            learners: to start from.
            known: fits whose exponents are kept, one per round; if empty, each round fits its own.
            progress: called after each round.
        """
        rule = StoppingRule(len(labels), len(known), self.settings)
        posterior: Rows = labels.settle(first_head)
        later_head, mixture, believed = None, None, labels.beliefs_in(posterior)
        reported: list[Round] = []
        mixtures: list[MixtureFit] = []
        for number in range(1, rule.most + 1):
            if number > 1:
                mixture = later_head = None  # frees memory: only the posterior of the previous round is needed
                later_head, learners = learners.left_out_by_believed(posterior)
            targets = targets_of(labels.numbers, self.classes, self.features.z) if number == 1 else posterior
            discriminant = learners.discriminant(targets)
            predictors = Predictors(
                first_head, later_head, posterior, self.votes, targets, discriminant, self.predictions
            )
            mixture = mix(predictors.source(), labels, known[number - 1] if known else None, self.order, self.settings)
            posterior, before = mixture.posterior, believed
            believed = labels.beliefs_in(posterior)
            moved = float((believed - before).abs().mean())
            mistakes = len(labels) - float(believed.sum(dtype=torch.float64))
            mixtures.append(mixture.fit)
            reported.append(Round.of(mixture, moved))
            progress(Step("detection", number, max(number, rule.least), "rounds"))
            if rule.ends_with(number, mixture.log_likelihood, mistakes, moved):
                break
        assert mixture is not None
        return _Rounds(mixture, reported, tuple(mixtures), learners)

    def _evidence(self, labels: Tensor, reported: list[Round], held_out: float) -> float:
        """By how much the model predicts labels better than class frequencies do (nats, over all samples)."""
        # The evidence of the worst round counts. A single round may fit noise, and later rounds learn from posteriors,
        # through which a sample's own label affects its prediction.
        worst = min(of_round.log_likelihood for of_round in reported)
        evidence = evidence_over_frequencies(labels, self.classes, worst)
        if not self.features.more_than_samples:
            return evidence
        return min(evidence, max(held_out, self._evidence_of_predictions(labels)))

    def _evidence_of_predictions(self, labels: Tensor) -> float:
        """By how much the given predictions alone do so; minus infinity if there are none."""
        if self.predictions is None:
            return -math.inf
        readings = Readings.of(
            self.settings.mixture.prediction_floor, predictions=fetch_rows(self.predictions, self.order)
        )
        likeliest, _ = fit_mixture(readings, GivenLabels(labels[self.order]), self.settings)
        return evidence_over_frequencies(labels, self.classes, likeliest.log_likelihood / len(labels))
