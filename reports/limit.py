"""Whether more labels are wrong than a limit allows: `--fail-above`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from audit.errors import InputError
from audit.summary.summary import Summary
from reports.claims import claims_of
from reports.ranges import Figure
from reports.text import share

Basis = Literal["low", "estimate", "verified"]
"""The share that a limit is compared with: the low end of the range, which holds under every model; the number that the
noise model expects; or the number that decisions on drawn samples give."""

BASES: tuple[Basis, ...] = get_args(Basis)

_WORDS: dict[Basis, str] = {
    "low": "the low end of",
    "estimate": "the noise model's estimate of",
    "verified": "the verified share of",
}


def wrong_share(summary: Summary) -> Figure:
    """The share of wrong labels, as it is known."""
    return claims_of(summary).mistakes.scaled(1 / max(summary.counts.samples, 1), 1.0)


@dataclass(frozen=True)
class Limit:
    """A limit on the share of wrong labels; None for no limit."""

    share: float | None = None
    basis: Basis = "low"

    @classmethod
    def of(cls, share: float | None, basis: str) -> Limit:
        """The limit that a user set.

        Raises:
            InputError: if the share is none, or the basis is unknown.
        """
        if share is not None and not 0 <= share < 1:
            raise InputError(f"--fail-above is {share}; it takes a share of the labels, from 0 to below 1")
        if basis not in BASES:
            raise InputError(f"--fail-basis is {basis!r}; it takes {', '.join(BASES[:-1])} or {BASES[-1]}")
        if share is None and basis != "low":
            raise InputError("--fail-basis says what --fail-above judges; give --fail-above too")
        return cls(share, cast(Basis, basis))

    def is_exceeded(self, summary: Summary) -> bool:
        """Whether an audit has more wrong labels.

        Raises:
            InputError: if the basis is 'verified', and nothing is verified.
        """
        return self.share is not None and self._judged(summary) > self.share

    def sentence(self, summary: Summary) -> str:
        """Why an audit is above the limit, with the range."""
        found = wrong_share(summary)
        judged = f"{_WORDS[self.basis]} {share(self._judged(summary))}"
        known = f"{share(found.low)} to {share(found.high)} of the labels may be wrong ({found.seal})"
        return f"{known}; {judged} is above the limit of {share(self.share)}"

    def _judged(self, summary: Summary) -> float:
        samples = max(summary.counts.samples, 1)
        if self.basis == "estimate":
            return summary.estimates.mistakes / samples
        if self.basis == "low":
            return wrong_share(summary).low
        if summary.verified is None:
            raise InputError(
                "nothing is verified in this audit, so --fail-basis verified cannot judge it; check drawn pictures "
                "with `influence-audit verify RESULT_FOLDER`, or use --fail-basis low"
            )
        return summary.verified.mistakes.value / samples
