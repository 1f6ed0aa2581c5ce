"""What the report says in words: the verdict, the key numbers with what each rests on, and what to do next."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from audit.config import AuditConfig
from audit.flags.correction import MEASURES
from reports.known_mislabels import Comparison

MINUS = "−"

Mark = Callable[[str, str], str]
"""Marks a number that depends on the threshold: takes its name and its text. The page moves what is marked."""


def unmarked(name: str, text: str) -> str:
    """The number as it stands, where nothing moves it."""
    return text


@dataclass(frozen=True)
class KeyNumber:
    """One number of the overview, with whether it was counted, measured or estimated and on what."""

    value: str
    label: str
    basis: Literal["counted", "measured", "estimated"]
    rests_on: str


@dataclass(frozen=True)
class NextStep:
    """Something to do now: what and why, and the commands for it, if there are any."""

    title: str
    text: str
    commands: tuple[str, ...] = ()


def count(value: float | None) -> str:
    """A whole number with thousands separators: 12,345."""
    return "–" if value is None else f"{round(value):,}"


def share(value: float | None) -> str:
    """A share as a percentage: 94.3%."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f}%"


def about(value: float | None) -> str:
    """An estimated share: ≈ 94.3%."""
    return "–" if value is None else f"≈ {share(value)}"


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
    if not estimates["told"]:
        return f"Too little to tell which of {count(samples)} labels are wrong."
    if round(estimates["mistakes_high"]) == 0:
        return f"No label of {count(samples)} looks wrong."
    injected = summary["counts"]["injected"]
    if round(estimates["mistakes"]) == 0 and not injected:
        return f"Hardly a label of {count(samples)} looks wrong."
    changed = f"; {count(injected)} were changed on purpose" if injected else ""
    return f"About {count(estimates['mistakes'])} of {count(samples)} labels look wrong{changed}."


def sentences(summary: dict[str, Any], known: Comparison | None, mark: Mark = unmarked) -> list[str]:
    """The verdict after the headline: interval, flags, how far to trust them, and what identical samples prove."""
    return [*_estimate_and_flags(summary, known, mark), *copies_sentences(summary)]


def _estimate_and_flags(summary: dict[str, Any], known: Comparison | None, mark: Mark) -> list[str]:
    counts, estimates = summary["counts"], summary["estimates"]
    first = f"That is {share(estimates['mistakes'] / max(counts['samples'], 1))} of the labels"
    low, high = count(estimates["mistakes_low"]), count(estimates["mistakes_high"])
    first += "." if low == high else f"; the estimate lies between {low} and {high}."
    if not estimates["told"]:
        first = f"Between {low} and {high} may be: the embeddings predict labels no better than class frequencies do."
    if counts["injected"]:
        first += (
            f" The audit changed {count(counts['injected'])} labels on purpose in a copy, to measure itself; "
            f"your own labels were not touched, and {_own_mistakes(estimates, counts['injected'])}."
        )
    flagged = f"{mark('flagged_samples', _samples(counts['flagged']))} flagged for review"
    if known is not None and known.kind == "injected":
        found = _found(known, "injected mislabels", mark)
        precision = mark("precision_share", share(known.measures["precision"]))
        return [first, f"{flagged}. {found}, and {precision} of the flags are injected mislabels (precision)."]
    if counts["flagged"]:
        flagged += (
            f": {mark('expected_precision', about(estimates['precision']))} of them are estimated to be really wrong "
            f"(precision), which is {mark('expected_recall', about(estimates['recall']))} of all wrong labels (recall)"
        )
    if known is None:
        return [first, f"{flagged}. Nothing here was measured on known mislabels."]
    found = _found(known, "mislabels that were added to copies of the labels to measure the audit", mark)
    return [first, f"{flagged}. {found}."]


def copies_sentences(summary: dict[str, Any]) -> list[str]:
    """What identical samples prove: wrong labels, and a head that is measured on what it was trained on."""
    copies, found = summary["copies"], []
    if copies["contents"]:
        found.append(
            f"{_samples(copies['samples'])} are exact copies of each other, of {count(copies['contents'])} different "
            "contents; each content counts once when labels are judged."
        )
    if copies["proven_mistakes"]:
        number = count(copies["proven_mistakes"])
        wrong = "1 label is" if copies["proven_mistakes"] == 1 else f"{number} labels are"
        found.append(f"At least {wrong} certainly wrong: identical samples carry different labels.")
    if copies["leaked"]:
        found.append(
            f"Leak: {_samples(copies['leaked'])} of the validation and test splits {_is(copies['leaked'])} in the "
            "training split too, so the head looks better than it is."
        )
    return found


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _own_mistakes(estimates: dict[str, Any], injected: int) -> str:
    """How many labels look wrong beside those that were made wrong."""
    own, low, high = (max(0.0, estimates[name] - injected) for name in ("mistakes", "mistakes_low", "mistakes_high"))
    if round(high) == 0:
        return "none of them looks wrong"
    number = f"about {count(own)} of them look" if round(own) > 0 else "hardly one of them looks"
    return f"{number} wrong (between {count(low)} and {count(high)})"


def _found(known: Comparison, names: str, mark: Mark) -> str:
    measures = known.measures
    return (
        f"Of the {count(measures['injected'])} {names}, it finds "
        f"{mark('true_positive', count(measures['true_positive']))} "
        f"(recall {mark('recall_share', share(measures['recall']))})"
    )


def key_numbers(summary: dict[str, Any], known: Comparison | None, mark: Mark = unmarked) -> list[KeyNumber]:
    """The numbers of the overview, in the order they are shown."""
    counts, estimates = summary["counts"], summary["estimates"]
    from_on = mark("threshold", threshold(summary["threshold"]))
    numbers = [
        KeyNumber(
            f"≈ {count(estimates['mistakes'])}",
            "wrong labels",
            "estimated",
            f"{count(estimates['mistakes_low'])} to {count(estimates['mistakes_high'])}, of {count(counts['samples'])}",
        ),
        KeyNumber(
            mark("flagged", count(counts["flagged"])),
            "flagged",
            "counted",
            f"suspicion of {from_on} or more, of {count(counts['samples'])} samples",
        ),
    ]
    if known is None or known.kind == "controls":
        numbers.append(
            KeyNumber(
                mark("expected_precision", about(estimates["precision"])),
                "precision of the flags",
                "estimated",
                "flags that are right",
            )
        )
    if known is None:
        recall = mark("expected_recall", about(estimates["recall"]))
        numbers.append(KeyNumber(recall, "recall of the flags", "estimated", "wrong labels that are flagged"))
    else:
        measures = known.measures
        right = mark("true_positive", count(measures["true_positive"]))
        recall = mark("recall_share", share(measures["recall"]))
        if known.kind == "controls":
            numbers.append(
                KeyNumber(
                    recall, "recall", "measured", f"{right} of {count(measures['injected'])} added mislabels found"
                )
            )
        else:
            flags = mark("flags", _flags(measures["flagged"]))
            numbers += [
                KeyNumber(
                    mark("precision_share", share(measures["precision"])),
                    "precision",
                    "measured",
                    f"{right} of {flags} are injected mislabels",
                ),
                KeyNumber(
                    recall, "recall", "measured", f"{right} of {count(measures['injected'])} injected mislabels found"
                ),
                KeyNumber(
                    mark("false_positive", count(measures["false_positive"])),
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


RESULT_FOLDER = "RESULT_FOLDER"
"""Stands in commands for the folder of the result: a report can be made anywhere, so it does not know."""


def next_steps(summary: dict[str, Any], known: Comparison | None, mark: Mark = unmarked) -> list[NextStep]:
    """What to do with this outcome, with the commands."""
    counts = summary["counts"]
    steps = [_review(summary, mark) if counts["flagged"] else _nothing_to_review(summary)]
    if known is None:
        steps.append(
            NextStep(
                "Measure how far to trust the flags",
                "Run the audit again with a tenth of the labels changed on purpose. Your labels are not overwritten, "
                "and the report then says which share of the injected mislabels was found.",
                _if_stored(summary, run_again(summary, inject=0.1)),
            )
        )
    again = run_again(summary)
    if not counts["flagged"]:
        steps.append(
            NextStep(
                "Audit again when the labels change",
                "The same command audits what was added or relabelled since; no embedding is computed twice.",
                _if_stored(summary, again),
            )
        )
        return steps
    helps = summary["correction"] and correction_sentence(summary["correction"])
    steps.append(
        NextStep(
            "Correct and audit again",
            f"{mark('correction', helps) + ' ' if helps else ''}A second audit says how many wrong labels are left, "
            "and the comparison what changed.",
            _if_stored(summary, f"{again} -o corrected", f"influence-audit compare {RESULT_FOLDER} corrected"),
        )
    )
    return steps


def _review(summary: dict[str, Any], mark: Mark) -> NextStep:
    own, app = "", _if_stored(summary, app_command(summary))
    if summary["detection"] is not None:
        own = f"; {mark('false_positive', count(summary['detection']['false_positive']))} of them carry your own labels"
    flagged = mark("flagged_samples", _samples(summary["counts"]["flagged"]))
    return NextStep(
        "Review what was flagged",
        f"Look at the {flagged} below{' or in the FiftyOne App' if app else ''}, most suspicious first{own}. A flag is "
        "a reason to look, not a proof: suggested labels are suggestions. "
        + ("The App's panel Label audit keeps your decisions and applies the corrections. " if app else "")
        + f"The flagged samples also come as a table; {RESULT_FOLDER} is the folder that this report lies in.",
        (*app, f"influence-audit export {RESULT_FOLDER} -o flagged.csv"),
    )


def app_command(summary: dict[str, Any]) -> str:
    """The command that opens the App on the audited dataset."""
    return f"influence-audit app {shlex.quote(str(_source(summary).get('dataset') or 'DATASET'))}"


def _nothing_to_review(summary: dict[str, Any]) -> NextStep:
    most = round(summary["estimates"]["mistakes_high"])
    doubt = f"Up to {count(most)} labels may be wrong all the same: a" if most else "A"
    return NextStep(
        "Nothing to correct",
        f"No sample reaches the threshold of {threshold(summary['threshold'])}. {doubt} lower threshold, set with the "
        "slider, shows the most suspicious samples below.",
    )


def _if_stored(summary: dict[str, Any], *commands: str) -> tuple[str, ...]:
    """Commands that take the labels from a dataset; none where the audit was of arrays."""
    return commands if _source(summary).get("dataset") else ()


def _source(summary: dict[str, Any]) -> dict[str, Any]:
    return summary.get("source") or {}


_OF_INJECTION = ("inject", "inject_strategy", "inject_into")
_OF_THE_THRESHOLD = ("threshold", "target_precision", "max_review")
_OF_THE_MACHINE = ("batch_size", "cache_dir")


def run_again(summary: dict[str, Any], inject: float | None = None, any_threshold: bool = False) -> str:
    """The command that audits the same dataset again, where corrections are, with the same settings.

    Args:
        inject: share of the labels to change on purpose; default: as in this audit.
        any_threshold: leave out what chose the threshold.
    """
    config = summary["config"] | ({} if inject is None else {"inject": inject})
    left_out = _OF_THE_MACHINE + (_OF_THE_THRESHOLD if any_threshold else ())
    left_out += () if config["inject"] else _OF_INJECTION
    text = f"influence-audit run {_as_source(_source(summary))}"
    for setting in dataclasses.fields(AuditConfig):
        value = config.get(setting.name, setting.default)
        if value != setting.default and setting.name not in left_out:
            option = f"--{setting.name.replace('_', '-')}"
            text += f" {option}" if value is True else f" {option} {shlex.quote(str(value))}"
    return text


ARMS = {"before": "before", "removed": "without the flagged samples", "corrected": "with the suggested labels"}
"""The heads before and after correction, in words."""


def correction_sentence(correction: dict[str, Any]) -> str | None:
    """What correcting did to the head, in a sentence; None where one of the heads could not be trained."""
    heads = correction["heads"]
    if any("error" in head for head in heads.values()):
        return None
    on = correction["measured_on"][0]
    before, removed, corrected = (
        decimal(heads[arm]["quality"][on["name"]]["f1"]) for arm in ("before", "removed", "corrected")
    )
    measured = f"(measured on {_samples(on['samples'])})"
    if before == removed == corrected:
        return (
            "Trained again without the flagged samples, or with their suggested labels, the head's test F1 stays at "
            f"{before} {measured}."
        )
    return (
        f"Trained again, the head's test F1 goes from {before} to {removed} without the flagged samples, and to "
        f"{corrected} with their suggested labels {measured}."
    )


def correction_texts(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """What the report says of the heads before and after correction, at each threshold that they were trained for.

    Returns:
        The audit's threshold first, then the others: the threshold, and the texts by the names of their places. Empty
        where there was nothing to correct.
    """
    correction = summary["correction"]
    if correction is None:
        return []
    found = []
    for measured in [{"threshold": summary["threshold"], **correction}, *correction["elsewhere"]]:
        texts = {
            "sentence": correction_sentence(measured) or "",
            "threshold": threshold(measured["threshold"]),
            **{f"flagged-{part}": count(number) for part, number in measured["flagged"].items()},
            **{f"on-{on['name']}": count(on["samples"]) for on in measured["measured_on"]},
        }
        for arm, head in measured["heads"].items():
            if "error" not in head:
                texts[f"{arm}-samples"], texts[f"{arm}-l2"] = count(head["train_samples"]), f"{head['l2']:.3g}"
                for on, quality in head["quality"].items():
                    texts |= {f"{arm}-{on}-{measure}": decimal(quality[measure]) for measure in MEASURES}
        found.append({"threshold": measured["threshold"], "texts": texts})
    return found


def _as_source(source: dict[str, Any]) -> str:
    """The audited dataset, where corrections are, as the command takes it; VIEW stands for a view without a name."""
    if not source.get("dataset"):
        return "SOURCE"
    text = shlex.quote(f"fiftyone:{source['dataset']}")
    part = source.get("part", {})
    for option, value in {"view": "VIEW"}.items() if part is None else part.items():
        for one in [value] if isinstance(value, str) else value:
            text += f" --{option.replace('_', '-')} {shlex.quote(one)}"
    if source["label_field"] != "ground_truth":
        text += f" --label-field {shlex.quote(source['label_field'])}"
    if source["audit_key"] != "audit":
        text += f" --audit-key {shlex.quote(source['audit_key'])}"
    return text


def _samples(number: int) -> str:
    return f"{count(number)} sample{'' if number == 1 else 's'}"


def _flags(number: int) -> str:
    return f"{count(number)} flag{'' if number == 1 else 's'}"
