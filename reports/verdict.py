"""What the report says in words: the verdict, the key numbers with what each rests on, and what to do next."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import Any, Literal

MINUS = "−"


@dataclass(frozen=True)
class KeyNumber:
    """One number of the overview, with whether it was counted, measured or estimated and on what."""

    value: str
    label: str
    basis: Literal["counted", "measured", "estimated"]
    rests_on: str


@dataclass(frozen=True)
class NextStep:
    """Something to do now: a sentence and, where there is one, the command for it."""

    title: str
    text: str
    command: str | None = None


def count(value: float | None) -> str:
    """A whole number with thousands separators: 12,345."""
    return "–" if value is None else f"{round(value):,}"


def share(value: float | None) -> str:
    """A share as a percentage: 94.3%."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f}%"


def decimal(value: float | None) -> str:
    """A measure in [0, 1] or a loss, to three decimals."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def threshold(value: float) -> str:
    """A threshold on the suspicion, with as many decimals as tell it from 0 and 1."""
    decimals = next((n for n in range(2, 6) if 0 < round(value, n) < 1), 2)
    return f"{value:.{decimals}f}"


def sentence(text: str) -> str:
    """A phrase of the result as a sentence of the page."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


def signed(value: float | None) -> str:
    """An influence with its sign, to three significant digits."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+#.3g}".rstrip(".")
    return text.replace("-", MINUS)


def headline(summary: dict[str, Any]) -> str:
    """How many labels are estimated to be wrong, in a sentence."""
    estimates, samples = summary["estimates"], summary["counts"]["samples"]
    if round(estimates["mistakes_high"]) == 0:
        return f"No label of {count(samples)} looks wrong."
    injected = summary["counts"]["injected"]
    changed = f"; {count(injected)} were changed on purpose" if injected else ""
    return f"About {count(estimates['mistakes'])} of {count(samples)} labels look wrong{changed}."


def sentences(summary: dict[str, Any]) -> list[str]:
    """The verdict after the headline: interval, flags, and how far to trust them."""
    counts, estimates, detection = summary["counts"], summary["estimates"], summary["detection"]
    first = f"That is {share(estimates['mistakes'] / max(counts['samples'], 1))} of the labels"
    low, high = count(estimates["mistakes_low"]), count(estimates["mistakes_high"])
    first += "." if low == high else f"; the estimate lies between {low} and {high}."
    if counts["injected"]:
        first += (
            f" The audit changed {count(counts['injected'])} labels on purpose in a copy, to measure itself; "
            "your own labels were not touched."
        )
    flagged = f"The audit flagged {_samples(counts['flagged'])} for review."
    if detection is None:
        trust = "Nothing was injected, so how good the flags are is estimated here and not measured."
        return [first, f"{flagged} {trust}"]
    if not detection["flagged"]:
        return [first, f"{flagged} None of the {count(detection['injected'])} injected mislabels was found."]
    found = (
        f"Measured on the injected mislabels: it found {count(detection['true_positive'])} of "
        f"{count(detection['injected'])} (recall {share(detection['recall'])}), and "
        f"{share(detection['precision'])} of its flags are injected mislabels (precision)."
    )
    return [first, f"{flagged} {found}"]


def key_numbers(summary: dict[str, Any]) -> list[KeyNumber]:
    """The numbers of the overview, in the order they are shown."""
    counts, estimates, detection = summary["counts"], summary["estimates"], summary["detection"]
    numbers = [
        KeyNumber(
            f"≈ {count(estimates['mistakes'])}",
            "wrong labels",
            "estimated",
            f"{count(estimates['mistakes_low'])} to {count(estimates['mistakes_high'])}, of {count(counts['samples'])}",
        ),
        KeyNumber(
            count(counts["flagged"]),
            "flagged",
            "counted",
            f"suspicion of {threshold(summary['threshold'])} or more, of {count(counts['samples'])} samples",
        ),
    ]
    if detection is None:
        numbers += [
            KeyNumber(_about(estimates["precision"]), "precision of the flags", "estimated", "flags that are right"),
            KeyNumber(_about(estimates["recall"]), "recall of the flags", "estimated", "wrong labels that are flagged"),
        ]
    else:
        numbers += [
            KeyNumber(
                share(detection["precision"]),
                "precision",
                "measured",
                f"{count(detection['true_positive'])} of {_flags(detection['flagged'])} are injected mislabels",
            ),
            KeyNumber(
                share(detection["recall"]),
                "recall",
                "measured",
                f"{count(detection['true_positive'])} of {count(detection['injected'])} injected mislabels found",
            ),
            KeyNumber(
                count(detection["false_positive"]),
                "of your own labels flagged",
                "counted",
                "flagged but not injected: mistakes of the dataset, or false alarms",
            ),
        ]
    test = summary["heads"]["given"]["test"]
    numbers.append(
        KeyNumber(
            share(test["accuracy"]),
            "accuracy of the head",
            "measured",
            f"on {_samples(test['samples'])} of the test split",
        )
    )
    return numbers


def next_steps(summary: dict[str, Any]) -> list[NextStep]:
    """What to do with this outcome, with the commands."""
    source = summary.get("source") or {}
    dataset = shlex.quote(str(source["dataset"])) if source.get("dataset") else "DATASET"
    again = f"influence-audit run {_as_source(source)}"
    counts, detection = summary["counts"], summary["detection"]
    steps = []
    if counts["flagged"]:
        flagged = f"Look at the {_samples(counts['flagged'])} below or in the FiftyOne App, most suspicious first"
        own = "" if detection is None else f"; {count(detection['false_positive'])} of them carry your own labels"
        steps.append(
            NextStep(
                "Review what was flagged",
                f"{flagged}{own}. A flag is a reason to look, not a proof: suggested labels are suggestions.",
                f"influence-audit app {dataset}",
            )
        )
    if detection is None:
        steps.append(
            NextStep(
                "Measure how far to trust the flags",
                "Run the audit again with a tenth of the labels changed on purpose. Your labels are not overwritten, "
                "and the report then says which share of the injected mislabels was found.",
                f"{again} --inject 0.1",
            )
        )
    else:
        again += f" --inject {summary['config']['inject']:g}"
    steps.append(
        NextStep(
            "Correct and audit again",
            "Once labels are corrected, a second run says how many wrong ones are left.",
            again,
        )
    )
    return steps


def _as_source(source: dict[str, Any]) -> str:
    """The audited dataset, where corrections are, as the command takes it."""
    if not source.get("dataset"):
        return "SOURCE"
    text = shlex.quote(f"fiftyone:{source['dataset']}")
    if source["label_field"] != "ground_truth":
        text += f" --label-field {shlex.quote(source['label_field'])}"
    if source["audit_key"] != "audit":
        text += f" --audit-key {shlex.quote(source['audit_key'])}"
    return text


def _about(value: float | None) -> str:
    return "–" if value is None else f"≈ {share(value)}"


def _samples(number: int) -> str:
    return f"{count(number)} sample{'' if number == 1 else 's'}"


def _flags(number: int) -> str:
    return f"{count(number)} flag{'' if number == 1 else 's'}"
