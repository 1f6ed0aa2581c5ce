"""What is known of the wrong labels and of the flags: by verification where there is one, otherwise by models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.noise_model.settings import ControlSettings
from audit.summary.estimates import Estimates, ModelledNumbers
from audit.summary.parts import to_json
from audit.summary.summary import Summary
from audit.summary.verified import Verified, VerifiedNumber
from reports.ranges import Figure, anything, figure, has_wide_count, is_any_number

CHECKED_PICTURES = 40
"""Drawn samples that mostly settle what labels alone cannot say."""

SETTINGS = ControlSettings()


@dataclass(frozen=True)
class Claims:
    """What an audit may claim.

    Attributes:
        mistakes: number of wrong labels.
        precision: share of the flags that are right; None where nothing is flagged.
        recall: share of the wrong labels that are flagged; None where nothing is flagged, or nothing is wrong.
        too_little: why the audit cannot tell wrong labels from right ones, as a sentence; empty where it can.
    """

    mistakes: Figure
    precision: Figure | None
    recall: Figure | None
    too_little: str = ""

    @property
    def is_wide(self) -> bool:
        """Whether the mistakes or the precision of the flags are known within a wide range only."""
        return has_wide_count(self.mistakes) or (self.precision is not None and self.precision.is_wide)

    @property
    def is_unknown(self) -> bool:
        """Whether nothing is known of the number of wrong labels."""
        return bool(self.too_little) or is_any_number(self.mistakes)

    @property
    def needs_check(self) -> bool:
        """Whether some decisions would say more than the audit can.

        They would say little where hardly one of so many pictures would be a mistake even at the range's upper end.
        """
        samples = self.mistakes.most
        found_at_most = self.mistakes.high * min(CHECKED_PICTURES, samples) / max(samples, 1)
        open_question = bool(self.too_little) or (self.is_wide and found_at_most >= 1)
        return self.mistakes.seal == "modelled" and open_question


def claims_of(summary: Summary) -> Claims:
    """What is known: verified numbers where there are some, otherwise modelled ones."""
    samples = summary.counts.samples
    if summary.verified is not None:
        return verified_claims(summary.verified, samples)
    estimates, why = summary.estimates, too_little(summary)
    proven = float(summary.copies.proven_mistakes)
    flagged = estimates.precision is not None
    if why:
        share = anything(1.0) if flagged else None
        return Claims(anything(samples, low=proven), share, share, why)
    # On few samples, hard pictures look like wrong labels to every model: none of their lower ends is sure.
    in_doubt = has_few_controls(summary)
    least = proven if in_doubt else max(proven, estimates.mistakes_low)
    mistakes = figure(estimates.mistakes, least, estimates.mistakes_high, samples, "modelled")
    return Claims(mistakes, _precision(summary, mistakes, in_doubt), _recall(summary, in_doubt))


def verified_claims(verified: Verified, samples: int) -> Claims:
    """What the decisions on a verification sample say."""
    return Claims(
        verified_figure(verified.mistakes, samples),
        None if verified.precision is None else verified_figure(verified.precision, 1.0),
        None if verified.recall is None else verified_figure(verified.recall, 1.0),
    )


def too_little(summary: Summary) -> str:
    """Why the labels are too few, or the embeddings too poor, to tell wrong labels from right ones.

    That is the case where the embeddings predict the labels no better than class frequencies do, where the audit hardly
    ranks known mislabels above other labels, and where most classes are small. Empty if none of these holds.
    """
    if not summary.estimates.told:
        return "The embeddings predict the labels no better than the class frequencies do."
    auroc = summary.controls.slip_auroc
    if auroc is not None and auroc < SETTINGS.hardly_told:
        return (
            "The audit hardly ranks known mislabels above other labels: its AUROC on them is "
            f"{auroc:.2f}, and chance gives 0.50."
        )
    sizes = _class_sizes(summary)
    small = sum(size < SETTINGS.small_class for size in sizes)
    if small * 2 > len(sizes):
        which = "All" if small == len(sizes) else f"{small:,} of"
        return f"{which} {len(sizes):,} classes have fewer than {SETTINGS.small_class} samples."
    return ""


def has_few_controls(summary: Summary) -> bool:
    """Whether so few known mislabels could be added that they measure little."""
    added = [kind.added for kind in summary.controls.kinds.values()]
    return bool(added) and min(added) < SETTINGS.few


def pictures_to_check(samples: int) -> int:
    """How many drawn samples to check first."""
    return min(CHECKED_PICTURES, samples)


def claims_to_json(claims: Claims) -> dict[str, Any]:
    """The claims as JSON values, for the run of a FiftyOne dataset."""
    values: dict[str, Any] = to_json(claims)
    return values


def claims_from_json(stored: Mapping[str, Any]) -> Claims:
    """The claims that `claims_to_json` stored."""
    shares = [stored.get(name) for name in ("precision", "recall")]
    precision, recall = (None if share is None else Figure(**share) for share in shares)
    return Claims(Figure(**stored["mistakes"]), precision, recall, stored.get("too_little", ""))


def _class_sizes(summary: Summary) -> list[float]:
    """Samples of each class; the mean where they are not known."""
    sizes = [
        float(row.clean_count + row.corrupted_count) for row in summary.influence_by_class if row.class_ is not None
    ]
    return sizes or [summary.counts.samples / summary.counts.classes] * summary.counts.classes


def _precision(summary: Summary, mistakes: Figure, in_doubt: bool) -> Figure | None:
    """The range of the precision. Where there may be fewer mistakes than flags, some flags may be false."""
    estimates, flagged = summary.estimates, max(summary.counts.flagged, 1)
    if estimates.precision is None:
        return None
    low = 0.0 if in_doubt or estimates.precision_low is None else estimates.precision_low
    high = 1.0 if estimates.precision_high is None else estimates.precision_high
    ends = min(low, mistakes.low / flagged), min(high, mistakes.high / flagged)
    return figure(estimates.precision, *ends, 1.0, "modelled")


def _recall(summary: Summary, in_doubt: bool) -> Figure | None:
    """The range of the recall: what each model says of the flags, divided by what it says of all mistakes."""
    estimates, flagged = summary.estimates, summary.counts.flagged
    if estimates.recall is None or estimates.precision is None:
        return None
    models: list[Estimates | ModelledNumbers] = [model for model in estimates.models if not model.ruled_out]
    lows, highs = [], []
    for model in models or [estimates]:
        found_low = 0.0 if in_doubt else min(model.mistakes_low, flagged * (model.precision_low or 0.0))
        found_high = flagged * (1.0 if model.precision_high is None else model.precision_high)
        lows.append(found_low / model.mistakes_high if model.mistakes_high else 0.0)
        highs.append(found_high / model.mistakes_low if model.mistakes_low else 1.0)
    return figure(estimates.recall, min(lows), max(highs), 1.0, "modelled")


def verified_figure(number: VerifiedNumber, most: float) -> Figure:
    """A verified number with its 90 % interval."""
    return figure(number.value, number.low, number.high, most, "verified")
