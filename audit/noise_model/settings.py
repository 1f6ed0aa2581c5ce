"""The settings of the noise model: the meaning and unit of each number, and how it was measured.

A caller changes a number like this:

    NoiseModel(x, classes, settings=NoiseSettings(rounds=RoundSettings(most=5)))

"Development data" are the labelled datasets that `tests/benchmarks` runs on. Numbers without a measurement are choices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from audit.noise_model.neighbour_settings import NeighbourSettings


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """Settings of the softmax head's training and of its leave-one-out predictions."""

    # Bytes of standardised embeddings that are kept in memory. Larger ones are read whenever they are needed.
    held_bytes: int = 512 * 2**20
    # Share of the samples that is held out to choose the L2 penalty.
    held_out: float = 0.2
    # A fifth of few samples is too small to choose L2. Further fifths are held out in turn, up to this many samples.
    fewest_held_out: int = 300
    # Standard errors of the held-out loss within which a stronger penalty is preferred (Breiman et al. 1984, 3.4.3).
    standard_errors: float = 0.5
    # Gradient norm at which training ends. The model compares predictions of heads, not their weights.
    tolerance: float = 1e-3
    # FLOP, (n + C·D) (C·D)², up to which leave-one-out is exact: a hundredth of a second on two cores.
    exact_flop: float = 1e9
    # Number of classes up to which it is exact. More classes have thousands of pairs, each too small to be fast.
    exact_classes: int = 32


@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """When the rounds end."""

    # Usual number of rounds.
    usual: int = 3
    most: int = 10
    # Least number of rounds to diagnose a copy of the labels with a few changes.
    fewest_again: int = 2
    # Mean change of the posterior of the given label below which no further round follows.
    settled: float = 1e-3
    # Relative change of the expected number of mistakes above which a further round follows.
    unsettled: float = 0.1


@dataclass(frozen=True, kw_only=True)
class MixtureSettings:
    """How the exponents of the readings and T are fitted."""

    # c, a probability: P(true | x) falls off with its square below it. Measured on the development data: average
    # precision stays within .003 from .0003 to .004. It is the same for all data: fitted to given labels it would rise
    # with mistakes that depend on the picture, because these look like labels that the picture rules out.
    prediction_floor: float = 0.003
    # Standard deviation of the normal prior of an exponent about 0, which keeps separable data from certainty.
    exponent_spread: float = 3.0
    # Largest exponent.
    exponent_most: float = 10.0
    # T has C² entries. It is fitted to this many random samples, or to fewer that have this many probabilities.
    samples: int = 50_000
    entries: int = 50_000_000
    # The exponents are fitted to this many of those, but for the last steps.
    exponent_samples: int = 4000
    exponent_entries: int = 10_000_000
    # Least number of samples, however many classes there are.
    fewest_samples: int = 1000
    # Largest number of steps on the few samples, and on all.
    steps: int = 30
    last_steps: int = 2
    # A step is the last one if it changes the expected number of mistakes by less than `settled` (relatively) and adds
    # no more than `gained` log-likelihood (nats): what one parameter is worth (Akaike 1974).
    settled: float = 2.5e-3
    gained: float = 1.0
    # Largest number of halvings of a step of the exponents that lowers the likelihood.
    halvings: int = 10
    # Likelihoods that differ by less (nats) count as equal.
    alike: float = 0.01
    # Factor on the exponents from one sharpness to the next.
    sharper: float = 2**0.25
    # Largest number of such factors; it allows exponents up to 1.7 times the likeliest ones. Few samples allow almost
    # any sharpness. If all predictions are certain, there is no ranking.
    sharpenings: int = 3
    # A sharpness is rejected this far below the likeliest (nats of log-likelihood): what one parameter is worth.
    rejected: float = 1.0
    # Number of EM steps for T if the exponents are given.
    refits: int = 4

    def few_samples(self, classes: int) -> int:
        """How many samples the exponents are fitted to."""
        return self._affordable(self.exponent_samples, self.exponent_entries, classes)

    def many_samples(self, classes: int) -> int:
        """How many samples T is fitted to."""
        return self._affordable(self.samples, self.entries, classes)

    def _affordable(self, samples: int, entries: int, classes: int) -> int:
        return min(samples, max(self.fewest_samples, entries // classes))


@dataclass(frozen=True, kw_only=True)
class TransitionSettings:
    """How T is estimated from expected counts."""

    # Least total number of mistakes: as many as Jeffreys' prior adds. Without mistakes in T, a class has no ranking.
    least_mistakes: float = 0.5
    # Entries of T, spread over its rows, by which the smoothing is chosen where T has more.
    concentration_entries: int = 1_000_000


@dataclass(frozen=True, kw_only=True)
class DiscriminantSettings:
    """How the linear discriminant is fitted."""

    # Ridge penalties to choose from, as shares of the features' mean second moment.
    ridges: tuple[float, ...] = tuple(10 ** (k / 2) for k in range(-6, 5))
    # Share of the covariance within classes that is added to its diagonal. A class without samples leaves it singular.
    jitter: float = 1e-6
    # Number of samples that a class is assumed to have if leaving one out leaves none.
    least_samples: float = 1e-3
    # Upper limit of a sample's own weight in its prediction. The weight is below 1, but rounding could make it 1.
    most_leverage: float = 1 - 1e-6


@dataclass(frozen=True, kw_only=True)
class LookAlikeSettings:
    """How look-alikes are found among the expected confusions."""

    # Number of confusions up to which all are used; if there are more, those of evenly spaced classes.
    entries: int = 1_000_000
    # Steps of EM, at most.
    steps: int = 1000
    # Change of a pattern's share below which EM ends.
    settled: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class TrustedSettings:
    """Settings of the head that is trained only on trusted labels."""

    # Nats of log-likelihood of the trusted labels from which this head counts: what a parameter is worth (Akaike 1974).
    # With the original recipe on tables and boats it adds 1.3 to 18 nats, elsewhere on the development data mostly 0.
    # With a stricter limit, some of these audits found none of the mislabels. With this one, the head sometimes counts
    # where it adds nothing, which changes little.
    least_evidence: float = 1.0
    # Number of parts of the trusted samples that are held out in turn. Each class needs this many trusted samples.
    folds: int = 5
    # Steps of EM for T, at most.
    steps: int = 100
    # Change of an entry of T below which EM ends.
    settled: float = 1e-4


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """How many known mislabels are added, and when the estimates that rest on them need a caution."""

    # Share of the samples that get a known mislabel in a copy. It is small, so that a copy is similar to the data.
    share: float = 0.05
    # Number of known mislabels to reach, over all copies.
    enough: int = 200
    most_copies: int = 4
    # EM steps for the share of slips.
    slip_share_steps: int = 100
    # Number of known mislabels of a kind below which their recall is unreliable: its standard error is up to .09.
    few: int = 30
    # Number of samples of a class below which its error rate is unreliable: at 10 %, the standard error is .07 or more.
    small_class: int = 20
    # AUROC of the slips below which known mislabels can hardly be told from other labels; 0.5 is chance.
    hardly_told: float = 0.7
    # Share of the known mislabels of either kind that is found, below which few flags do not mean few mistakes.
    hardly_found: float = 0.25


@dataclass(frozen=True, kw_only=True)
class SimplerSettings:
    """Settings of the two simpler models, which the ranges go over."""

    # Nats of log-likelihood per sample by which a model may be less likely than the best and still count, beyond the
    # 1.92 of a 95 % interval. The models are not true: on the development data the real number of mistakes is mostly
    # within .01 of the likeliest (with .005 a quarter of the ranges of precision leave the real one out, and with .02
    # ranges are half as wide again).
    per_sample: float = 0.01
    by_chance: float = 1.92
    # Steps of the sharpness t from one to its double, at most so many in either direction; a search ends after so many
    # that do not count.
    steps_to_double: int = 4
    most_steps: int = 12
    missed: int = 2
    # Samples that T is fitted to, or fewer that have this many probabilities; steps of EM at most, and the relative
    # change of the number of mistakes that ends it.
    samples: int = 50_000
    entries: int = 2_000_000
    em_steps: int = 60
    settled: float = 1e-3
    # Entries of T by which its smoothing is chosen, which is most of the time where there are 1000 classes.
    concentration_entries: int = 100_000

    def fitted_samples(self, classes: int) -> int:
        """How many samples the models are fitted to."""
        return min(self.samples, max(1000, self.entries // classes))

    def tolerance(self, samples: int, further_parameters: float = 0.0) -> float:
        """How much less likely labels of so many samples may be (nats), by a model with so many parameters less."""
        return self.by_chance + max(self.per_sample * samples, further_parameters)


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """All settings of the noise model, by subject."""

    # Nats beyond what Schwarz's criterion asks of a parameter, (log n) / 2, at which the evidence for one more reading
    # or round is very strong (Kass & Raftery 1995). With less, few samples got flatter predictions and fewer flags.
    decisive: float = 5.0
    neighbours: NeighbourSettings = field(default_factory=NeighbourSettings)
    head: HeadSettings = field(default_factory=HeadSettings)
    rounds: RoundSettings = field(default_factory=RoundSettings)
    mixture: MixtureSettings = field(default_factory=MixtureSettings)
    transition: TransitionSettings = field(default_factory=TransitionSettings)
    discriminant: DiscriminantSettings = field(default_factory=DiscriminantSettings)
    look_alikes: LookAlikeSettings = field(default_factory=LookAlikeSettings)
    trusted: TrustedSettings = field(default_factory=TrustedSettings)
    controls: ControlSettings = field(default_factory=ControlSettings)
    simpler: SimplerSettings = field(default_factory=SimplerSettings)

    def decisive_for(self, samples: int) -> float:
        """The gain in log-likelihood (nats, over all of this many samples) that counts as very strong evidence."""
        return self.decisive + math.log(samples) / 2
