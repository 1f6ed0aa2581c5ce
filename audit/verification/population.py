"""The samples of an audit as a verification sample sees them, and what decisions say of all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.verification.anytime import Draws
from audit.verification.curve import Bins, Curves, CurveSettings, Fit, group_in_bins
from audit.verification.strata import DesignSettings, split_into_strata


@dataclass(frozen=True)
class Decided:
    """What a reviewer found of samples.

    Attributes:
        rows: (k,) of the samples.
        wrong: bool (k,), whether each label is wrong.
        drawn: bool (k,), whether each was drawn at random; the others were decided in ordinary review.
    """

    rows: np.ndarray
    wrong: np.ndarray
    drawn: np.ndarray

    def among(self, chosen: np.ndarray) -> Decided:
        """Those of chosen samples, bool (n,)."""
        part = chosen[self.rows]
        return Decided(self.rows[part], self.wrong[part], self.drawn[part])

    def and_drawn(self, rows: np.ndarray, wrong: bool) -> Decided:
        """Together with further drawn samples (k,), all decided alike."""
        return Decided(
            np.concatenate([self.rows, rows]),
            np.concatenate([self.wrong, np.full(len(rows), wrong)]),
            np.concatenate([self.drawn, np.ones(len(rows), dtype=bool)]),
        )


@dataclass(frozen=True)
class Population:
    """All samples.

    Attributes:
        suspicion: (n,) in [0, 1].
        flag: bool (n,).
        bins: groups of samples with about the same suspicion.
        curves: how the share of wrong labels may rise with the suspicion.
    """

    suspicion: np.ndarray
    flag: np.ndarray
    bins: Bins
    curves: Curves

    @classmethod
    def of(
        cls,
        suspicion: np.ndarray,
        flag: np.ndarray,
        design: DesignSettings = DesignSettings(),
        settings: CurveSettings = CurveSettings(),
    ) -> Population:
        """The population with these suspicions (n,) in [0, 1] and flags, bool (n,)."""
        bins = group_in_bins(suspicion, split_into_strata(suspicion, flag, design), settings)
        return cls(suspicion, flag, bins, Curves(bins, settings))

    def fit(self, decided: Decided) -> Fit:
        """The posterior after the drawn decisions; those of ordinary review say nothing of other samples."""
        drawn = decided.drawn
        return self.curves.fit(
            self.bins.count(decided.rows[drawn & decided.wrong]), self.bins.count(decided.rows[drawn & ~decided.wrong])
        )

    def totals(self, decided: Decided, chosen: np.ndarray | None = None, fit: Fit | None = None) -> np.ndarray:
        """Draws (draws, bins) of how many labels are wrong, decided ones counted as they are.

        Args:
            decided: by a reviewer.
            chosen: bool (n,), of samples to count; None for all.
            fit: after the decisions on these samples, where it is known already.
        """
        chosen = np.ones(len(self.flag), dtype=bool) if chosen is None else chosen
        decided = decided.among(chosen)
        fit = fit or self.fit(decided)
        undecided = self.bins.count(chosen) - self.bins.count(decided.rows)
        return fit.draw_wrong(undecided) + self.bins.count(decided.rows[decided.wrong])

    def divided(self, decided: Decided, chosen: np.ndarray, fit: Fit) -> np.ndarray:
        """Draws (2, draws, bins) of how many labels are wrong among chosen samples, bool (n,), and among the others.

        Args:
            decided: by a reviewer.
            chosen: bool (n,).
            fit: after the decisions on all samples.
        """
        parts = (chosen, ~chosen)
        undecided, wrong = (
            np.stack([count(part) for part in parts])
            for count in (
                lambda part: self.bins.count(part) - self.bins.count(decided.among(part).rows),
                lambda part: self.bins.count(decided.among(part).rows[decided.among(part).wrong]),
            )
        )
        return fit.draw_wrong(undecided) + wrong[:, None]

    def number(self, decided: Decided, chosen: np.ndarray, totals: np.ndarray) -> Draws:
        """How many labels of chosen samples, bool (n,), are wrong, from draws (draws, bins) of that number.

        The samples are looked at in two parts, the flagged and the others. Where no drawn label of a part is wrong, all
        its undecided labels may be right; where none is right, all may be wrong.
        """
        values = totals.sum(1)
        least, most = np.zeros(len(values)), np.zeros(len(values))
        for bins, samples in (
            (self.flagged_bins, chosen & self.flag),
            (~self.flagged_bins, chosen & ~self.flag),
        ):
            part = decided.among(samples)
            drawn, found = part.wrong[part.drawn], totals[:, bins].sum(1)
            least += found if drawn.any() else part.wrong.sum()
            most += samples.sum() - (~part.wrong).sum() if drawn.all() else found
        of_all = decided.among(chosen)
        drawn = of_all.wrong[of_all.drawn]
        none = np.inf if drawn.any() else float(of_all.wrong.sum())
        every = float(chosen.sum() - (~of_all.wrong).sum()) if drawn.all() else -np.inf
        return Draws(values, least, most, none, every)

    @property
    def flagged_bins(self) -> np.ndarray:
        """Bool (bins,), of flagged samples; a bin is flagged as a whole or not at all."""
        return self.bins.count(self.flag) > 0
