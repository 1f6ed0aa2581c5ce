"""Heads trained again on corrected labels, starting from the head at hand; they are used for their predictions only.

The labellings are of the same samples. So all heads are fitted together, and each pass over the features serves all.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from audit.compute.matrix import Rows, to_memory
from audit.errors import ConvergenceError
from audit.head.factors import SecondMoment
from audit.head.fit import Head
from audit.head.fit_together import LEFT_OUT, Fit, Problem, fit_together, mean_losses
from audit.head.settings import PathSettings, TogetherSettings


@dataclass(frozen=True, kw_only=True)
class RetrainSettings:
    """How a head's L2 penalty is found anew, and how exactly it is fitted."""

    # Factor between one penalty and the next that is tried, from that of the head at hand: the step of the whole path.
    step: float = math.sqrt(10)
    # Most penalties that are tried.
    tries: int = 6
    # How exactly each is fitted, and what counts as a gain; and the share of that tolerance for the penalty that is
    # chosen, whose predictions are reported.
    path: PathSettings = field(default_factory=PathSettings)
    last: float = 0.2
    # How the fits approach their optimum.
    fit: TogetherSettings = field(default_factory=TogetherSettings)


@dataclass(frozen=True)
class Relabelling:
    """Other labels of the samples that the head at hand was trained on and tuned on.

    Attributes:
        labels: (n,) class numbers to train on, LEFT_OUT for samples that are not used.
        held_out: (m,) class numbers for the choice of L2, likewise.
        l2: λ; None to choose it.
        start: W (C, D) to start from; None for that of the head at hand.
    """

    labels: Tensor
    held_out: Tensor
    l2: float | None = None
    start: Tensor | None = None


def retrained_heads(
    before: Head,
    x: Rows,
    x_validation: Rows,
    relabellings: Sequence[Relabelling],
    moment: SecondMoment | None = None,
    settings: RetrainSettings = RetrainSettings(),
) -> list[Head | ConvergenceError]:
    """A head for each labelling of nearly the same samples, within a few steps of the head at hand.

    It keeps the standardised features of the head before. Unless L2 is given, the search goes from the penalty before
    to weaker ones, or else to stronger ones, for as long as the held-out loss falls by more than chance. Each fit
    starts from the last and ends where its loss is near its minimum, which predictions do not tell apart. Of many
    samples, the search uses some, and the last fit all.

    Args:
        before: a head trained with 'newton'.
        x: (n, d) embeddings of the training samples.
        x_validation: (m, d), for the choice of L2.
        relabellings: one for each head.
        moment: the factorised second moment of the features of x, for preconditioning.
        settings: how L2 is chosen.

    Returns:
        The heads. In the place of one whose gradient norm is not reached with the given penalty, or with the one
        before, is the error that says so.
    """
    z, z_validation = (before.features(rows).float() for rows in (x, x_validation))
    every = math.ceil(len(z_validation) / settings.path.samples)
    z_validation = to_memory(z_validation if every == 1 else z_validation[::every])
    relabellings = [replace(one, held_out=one.held_out[::every]) for one in relabellings]
    samples = _Samples.of(z, settings.path.samples, moment or SecondMoment.of(z))
    outcomes: list[Head | ConvergenceError] = [ConvergenceError("")] * len(relabellings)
    searches = {place: _search(one, before, settings, samples.every > 1) for place, one in enumerate(relabellings)}
    asked: dict[int, list[_Asked]] = {place: next(search) for place, search in searches.items()}
    while asked:
        flat = [(relabellings[place], one) for place, of_search in asked.items() for one in of_search]
        found = iter(_fitted(flat, samples, z_validation, settings))
        answers = {place: [next(found) for _ in of_search] for place, of_search in asked.items()}
        asked = {}
        for place, tried in answers.items():
            try:
                asked[place] = searches[place].send(tried)
            except StopIteration as ended:
                outcomes[place] = _head_of(ended.value, before)
    return outcomes


@dataclass(frozen=True)
class _Samples:
    """The samples that heads are fitted to: all for the last fit, and every so many for the choice of L2.

    Attributes:
        z: features (n, D).
        part: those of every so many.
        every: which.
        moment: the factorised second moment of z.
    """

    z: Rows
    part: Rows
    every: int
    moment: SecondMoment

    @classmethod
    def of(cls, z: Rows, most: int, moment: SecondMoment) -> _Samples:
        """At most so many of them for the choice of L2."""
        every = math.ceil(len(z) / most)
        return cls(z, z if every == 1 else z[::every], every, moment)

    def fits(self, asked: Sequence[tuple[Relabelling, _Asked]], settings: RetrainSettings, on_all: bool) -> list[Fit]:
        """The fits that are asked for, to all samples or to the part; λ n is the same for both."""
        every = 1 if on_all else self.every
        z = self.z if on_all else self.part
        problems = []
        for of, one in asked:
            l2 = one.l2 * len(self.z) / len(z)
            tolerance = one.exactness * settings.path.tolerance(l2)
            problems.append(Problem(of.labels[::every], l2, one.start, tolerance))
        return fit_together(z, problems, self.moment, settings.fit)


def _fitted(
    asked: Sequence[tuple[Relabelling, _Asked]], samples: _Samples, z_validation: Rows, settings: RetrainSettings
) -> list[_Tried]:
    """The fits that are asked for, with their losses on z_validation (m, D)."""
    fits: dict[int, Fit] = {}
    for on_all in (False, True):
        places = [place for place, (_, one) in enumerate(asked) if one.on_all == on_all]
        if places:
            found = samples.fits([asked[place] for place in places], settings, on_all)
            fits |= dict(zip(places, found, strict=True))
    made = [fits[place] for place in range(len(asked))]
    losses = mean_losses(z_validation, [of.held_out for of, _ in asked], [fit.weight for fit in made])
    return [
        _Tried(one.l2, fit.weight, fit.norm, loss, fit.error)
        for (_, one), fit, loss in zip(asked, made, losses, strict=True)
    ]


@dataclass(frozen=True)
class _Asked:
    """A fit that a search asks for: its penalty, W (C, D) to start from, and the share of the usual tolerance.

    Attributes:
        on_all: whether it is fitted to all samples.
    """

    l2: float
    start: Tensor
    exactness: float = 1.0
    on_all: bool = False


@dataclass(frozen=True)
class _Tried:
    """A fit: its penalty, W (C, D), the gradient norm there, the held-out loss (nats), and why it failed, or None."""

    l2: float
    weight: Tensor
    norm: float
    loss: float
    error: ConvergenceError | None


@dataclass(frozen=True)
class _Found:
    """The fit that a search has chosen, and the penalties it has tried with their held-out losses."""

    fit: _Tried
    path: list[tuple[float, float]]


_Search = Generator[list[_Asked], list[_Tried], _Found]


def _search(of: Relabelling, before: Head, settings: RetrainSettings, on_part: bool) -> _Search:
    """Asks for fits until it has found the penalty; `on_part` says that only the last is fitted to all samples."""
    start = before.weight if of.start is None else of.start
    if of.l2 is not None:
        (only,) = yield [_Asked(of.l2, start, settings.last, on_all=True)]
        return _Found(only, [])
    (first,) = yield [_Asked(before.l2, start)]
    if first.error:
        return _Found(first, [])
    chance = settings.path.chance_gain / max(1, int((of.held_out != LEFT_OUT).sum()))
    path = [(first.l2, first.loss)]
    best = first
    for factor in (1 / settings.step, settings.step):
        start = best.weight
        while len(path) < settings.tries:
            (tried,) = yield [_Asked(best.l2 * factor, start)]
            if tried.error:
                break  # with less of a penalty it would be harder still
            path.append((tried.l2, tried.loss))
            # A stronger penalty is as good where its loss is the least but for chance; a weaker one has to gain more.
            least = min(loss for _, loss in path)
            if tried.loss > (least + chance if factor > 1 else best.loss - chance):
                break
            # W moves about as far from one penalty to the next.
            best, start = tried, 2 * tried.weight - best.weight.to(tried.weight)
        if best.l2 < first.l2:
            break  # weaker was better, and stronger is not
    (last,) = yield [_Asked(best.l2, best.weight, settings.last, on_all=True)]
    return _Found(best if last.error and not on_part else last, path)


def _head_of(found: _Found, before: Head) -> Head | ConvergenceError:
    fit = found.fit
    if fit.error:
        return fit.error
    return replace(
        before, weight=fit.weight.to(before.weight), l2=fit.l2, gradient_norm=fit.norm, curve=[], l2_path=found.path
    )
