"""Whether an audit found what a pipeline does not accept: `--fail-above`, `--fail-on`, `--fail-new` and others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

from audit.errors import InputError
from audit.findings.kinds import SPLIT_LEAK
from audit.findings.registry import kinds_named
from reports.text import share

if TYPE_CHECKING:
    from audit.summary.counts import Finding
    from audit.summary.summary import Summary
    from reports.ranges import Figure

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
    from reports.claims import claims_of  # not imported for the command's help

    return claims_of(summary).mistakes.scaled(1 / max(summary.counts.samples, 1), 1.0)


@dataclass(frozen=True)
class Limit:
    """What a pipeline does not accept.

    Attributes:
        share: the largest share of wrong labels; None for no limit.
        basis: the share that is compared with it.
        kinds: names of findings of which there must be none.
        new_flags: the largest number of flags that the former result does not have; None for no limit.
        unreadable: the largest share of unreadable images; None for no limit.
        cautions: whether a reason to doubt the audit's own numbers is not accepted.
    """

    share: float | None = None
    basis: Basis = "low"
    kinds: tuple[str, ...] = ()
    new_flags: int | None = None
    unreadable: float | None = None
    cautions: bool = False

    @classmethod
    def of(
        cls,
        share: float | None,
        basis: str,
        kinds: str | None = None,
        *,
        new_flags: int | None = None,
        unreadable: float | None = None,
        cautions: bool = False,
    ) -> Limit:
        """The limit that a user set.

        Args:
            share: of `--fail-above`; None if it was not given.
            basis: of `--fail-basis`.
            kinds: of `--fail-on`: names of checks or kinds of findings, with commas between.
            new_flags: of `--fail-new`.
            unreadable: of `--fail-unreadable`.
            cautions: of `--fail-cautions`.

        Raises:
            InputError: if a number is out of its range, or the basis or a name is unknown.
        """
        if share is not None and not 0 <= share < 1:
            raise InputError(f"--fail-above is {share}; it takes a share of the labels, from 0 to below 1")
        if basis not in BASES:
            raise InputError(f"--fail-basis is {basis!r}; it takes {', '.join(BASES[:-1])} or {BASES[-1]}")
        if share is None and basis != "low":
            raise InputError("--fail-basis says what --fail-above judges; give --fail-above too")
        if new_flags is not None and new_flags < 0:
            raise InputError(f"--fail-new is {new_flags}; it takes a number of flags, 0 or more")
        if unreadable is not None and not 0 <= unreadable < 1:
            raise InputError(f"--fail-unreadable is {unreadable}; it takes a share of the images, from 0 to below 1")
        named = () if kinds is None else kinds_named(kinds, "--fail-on")
        return cls(share, cast(Basis, basis), named, new_flags, unreadable, cautions)

    def is_exceeded(self, summary: Summary) -> bool:
        """Whether an audit has more wrong labels.

        Raises:
            InputError: if the basis is 'verified', and nothing is verified.
        """
        return self.share is not None and self._judged(summary) > self.share

    def unaccepted(self, summary: Summary) -> tuple[Finding, ...]:
        """The findings that there must not be, a kind each.

        Identical samples in several splits count only where the splits are the user's: an audit that draws the splits
        itself makes such a leak.
        """
        drawn = () if summary.config.use_splits else (SPLIT_LEAK,)
        return tuple(found for found in summary.findings if found.kind in self.kinds and found.kind not in drawn)

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
