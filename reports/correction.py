"""Texts of the report about the head before and after correction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from audit.summary.correction import CorrectionElsewhere, CorrectionMeasured, EffectOnF1, UntrainedHead
from audit.summary.summary import Summary
from reports.text import MINUS, count, count_samples, decimal, threshold

ARMS = {"before": "before", "removed": "without the flagged samples", "corrected": "with the suggested labels"}
"""The heads before and after correction, in words."""


@dataclass(frozen=True)
class CorrectionTexts:
    """Texts about the corrected heads that were trained for one threshold.

    Attributes:
        threshold: the threshold.
        texts: by the name of the page element that shows each.
    """

    threshold: float
    texts: dict[str, str]


def correction_sentence(correction: CorrectionMeasured | CorrectionElsewhere) -> str | None:
    """How correction changed the head, and whether chance explains it; None if one of the heads was not trained."""
    on, f1 = correction.measured_on[0], []
    for head in correction.heads.by_name.values():
        if isinstance(head, UntrainedHead):
            return None
        f1.append(decimal(head.quality[on.name].f1))
    before, removed, corrected = f1
    if before == removed == corrected:
        return (
            "Trained again without the flagged samples, or with their suggested labels, the model's test F1 stays at "
            f"{before}, measured on {count_samples(on.samples)}."
        )
    effects = {effect.head: effect for effect in correction.effects if effect.on == on.name}
    without, relabelled = (_in_brackets(effects.get(arm)) for arm in ("removed", "corrected"))
    return (
        f"Trained again and measured on {count_samples(on.samples)}, the model's test F1 goes from {before} to "
        f"{removed} without the flagged samples{without}, and to {corrected} with their suggested labels{relabelled}."
        f"{_chance(effects.values())}"
    )


def correction_texts(summary: Summary) -> list[CorrectionTexts]:
    """Texts about the head before and after correction, for each threshold that heads were trained for.

    Returns:
        The audit's threshold first, then the others. Empty if there was nothing to correct.
    """
    correction = summary.correction
    if correction is None:
        return []
    audited = CorrectionTexts(summary.threshold, _texts(summary.threshold, correction))
    return [audited, *(CorrectionTexts(each.threshold, _texts(each.threshold, each)) for each in correction.elsewhere)]


def _in_brackets(effect: EffectOnF1 | None) -> str:
    """The 95 % interval of a change of F1."""
    return "" if effect is None else f" (change: {_change(effect.low)} to {_change(effect.high)})"


def _chance(effects: Iterable[EffectOnF1]) -> str:
    """Whether chance in the test samples explains the changes."""
    explained = [effect.low <= 0 <= effect.high for effect in effects]
    if not explained:
        return ""
    if all(explained):
        return " These are 95% intervals; chance in the test samples may explain both changes."
    if any(explained):
        return " These are 95% intervals; chance in the test samples may explain the change that may be 0."
    return " These are 95% intervals."


def _change(value: float) -> str:
    """A change with its sign, to three decimals."""
    text = f"{value:+.3f}"
    return "0.000" if float(text) == 0 else text.replace("-", MINUS)


def _texts(at: float, correction: CorrectionMeasured | CorrectionElsewhere) -> dict[str, str]:
    flagged = correction.flagged
    texts = {
        "sentence": correction_sentence(correction) or "",
        "threshold": threshold(at),
        "flagged-train": count(flagged.train),
        "flagged-validation": count(flagged.validation),
        "flagged-test": count(flagged.test),
        **{f"on-{on.name}": count(on.samples) for on in correction.measured_on},
    }
    for arm, head in correction.heads.by_name.items():
        if isinstance(head, UntrainedHead):
            continue
        texts[f"{arm}-samples"], texts[f"{arm}-l2"] = count(head.train_samples), f"{head.l2:.3g}"
        for on, quality in head.quality.items():
            measures = {"f1": quality.f1, "accuracy": quality.accuracy, "loss": quality.loss}
            texts |= {f"{arm}-{on}-{name}": decimal(value) for name, value in measures.items()}
    for effect in correction.effects:
        texts[f"{effect.head}-{effect.on}-effect"] = f"{_change(effect.low)} to {_change(effect.high)}"
    return texts
