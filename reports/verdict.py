"""The verdict in words, and the key numbers with the basis of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from audit.summary.estimates import Estimates
from audit.summary.summary import Summary
from reports.known_mislabels import Comparison
from reports.text import Mark, about, count, count_flags, count_samples, share, threshold, unmarked


@dataclass(frozen=True)
class KeyNumber:
    """One number of the overview: whether it was counted, measured or estimated, and on what."""

    value: str
    label: str
    basis: Literal["counted", "measured", "estimated"]
    rests_on: str


def headline(summary: Summary) -> str:
    """One sentence on how many labels are estimated to be wrong."""
    estimates, samples = summary.estimates, summary.counts.samples
    if not estimates.told:
        return f"Too little to tell which of {count(samples)} labels are wrong."
    if round(estimates.mistakes_high) == 0:
        return f"No label of {count(samples)} looks wrong."
    injected = summary.counts.injected
    if round(estimates.mistakes) == 0 and not injected:
        return f"Hardly a label of {count(samples)} looks wrong."
    changed = f"; {count(injected)} were changed on purpose" if injected else ""
    return f"About {count(estimates.mistakes)} of {count(samples)} labels look wrong{changed}."


def sentences(summary: Summary, known: Comparison | None, mark: Mark = unmarked) -> list[str]:
    """The verdict after the headline: interval, flags, how reliable they are, and what exact copies prove."""
    return [*_estimate_andflags(summary, known, mark), *copies_sentences(summary)]


def _estimate_andflags(summary: Summary, known: Comparison | None, mark: Mark) -> list[str]:
    counts, estimates = summary.counts, summary.estimates
    first = f"That is {share(estimates.mistakes / max(counts.samples, 1))} of the labels"
    low, high = count(estimates.mistakes_low), count(estimates.mistakes_high)
    first += "." if low == high else f"; the estimate lies between {low} and {high}."
    if not estimates.told:
        first = f"Between {low} and {high} may be: the embeddings predict labels no better than class frequencies do."
    if counts.injected:
        first += (
            f" The audit changed {count(counts.injected)} labels on purpose in a copy, to measure itself; "
            f"your own labels were not touched, and {_own_mistakes(estimates, counts.injected)}."
        )
    flagged = f"{mark('flagged_samples', count_samples(counts.flagged))} flagged for review"
    if known is not None and known.kind == "injected":
        found = _found(known, "injected mislabels", mark)
        precision = mark("precision_share", share(known.measures.precision))
        return [first, f"{flagged}. {found}, and {precision} of the flags are injected mislabels (precision)."]
    if counts.flagged:
        flagged += (
            f": {mark('expected_precision', about(estimates.precision))} of them are estimated to be really wrong "
            f"(precision), which is {mark('expected_recall', about(estimates.recall))} of all wrong labels (recall)"
        )
    if known is None:
        return [first, f"{flagged}. Nothing here was measured on known mislabels."]
    found = _found(known, "mislabels that were added to copies of the labels to measure the audit", mark)
    return [first, f"{flagged}. {found}."]


def copies_sentences(summary: Summary) -> list[str]:
    """What exact copies prove: wrong labels, and validation or test samples that the head was trained on."""
    copies, found = summary.copies, []
    if copies.contents:
        found.append(
            f"{count_samples(copies.samples)} are exact copies of each other, of {count(copies.contents)} different "
            "contents; each content counts once when labels are judged."
        )
    if copies.proven_mistakes:
        number = count(copies.proven_mistakes)
        wrong = "1 label is" if copies.proven_mistakes == 1 else f"{number} labels are"
        found.append(f"At least {wrong} certainly wrong: identical samples carry different labels.")
    if copies.leaked:
        found.append(
            f"Leak: {count_samples(copies.leaked)} of the validation and test splits {_is(copies.leaked)} in the "
            "training split too, so the head looks better than it is."
        )
    return found


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _own_mistakes(estimates: Estimates, injected: int) -> str:
    """How many labels look wrong in addition to the injected mislabels."""
    expected = (estimates.mistakes, estimates.mistakes_low, estimates.mistakes_high)
    own, low, high = (max(0.0, number - injected) for number in expected)
    if round(high) == 0:
        return "none of them looks wrong"
    number = f"about {count(own)} of them look" if round(own) > 0 else "hardly one of them looks"
    return f"{number} wrong (between {count(low)} and {count(high)})"


def _found(known: Comparison, names: str, mark: Mark) -> str:
    measures = known.measures
    return (
        f"Of the {count(measures.injected)} {names}, it finds "
        f"{mark('true_positive', count(measures.true_positive))} "
        f"(recall {mark('recall_share', share(measures.recall))})"
    )


def key_numbers(summary: Summary, known: Comparison | None, mark: Mark = unmarked) -> list[KeyNumber]:
    """The numbers of the overview, in display order."""
    numbers = _wrong_and_flagged(summary, mark)
    if known is None:
        numbers += [_expected_precision(summary.estimates, mark), _expected_recall(summary.estimates, mark)]
    elif known.kind == "controls":
        numbers += [_expected_precision(summary.estimates, mark), _measured_recall(known, "added mislabels", mark)]
    else:
        numbers += _measured_on_injected(known, mark)
    if summary.heads is None:
        return numbers
    test = summary.heads.given.test
    on = f"on {count_samples(test.samples)} of the test split"
    return [*numbers, KeyNumber(share(test.accuracy), "accuracy of the head", "measured", on)]


def _wrong_and_flagged(summary: Summary, mark: Mark) -> list[KeyNumber]:
    counts, estimates = summary.counts, summary.estimates
    interval = f"{count(estimates.mistakes_low)} to {count(estimates.mistakes_high)}, of {count(counts.samples)}"
    lowest = mark("threshold", threshold(summary.threshold))
    flagged_from = f"suspicion of {lowest} or more, of {count(counts.samples)} samples"
    return [
        KeyNumber(f"≈ {count(estimates.mistakes)}", "wrong labels", "estimated", interval),
        KeyNumber(mark("flagged", count(counts.flagged)), "flagged", "counted", flagged_from),
    ]


def _expected_precision(estimates: Estimates, mark: Mark) -> KeyNumber:
    value = mark("expected_precision", about(estimates.precision))
    return KeyNumber(value, "precision of the flags", "estimated", "flags that are right")


def _expected_recall(estimates: Estimates, mark: Mark) -> KeyNumber:
    value = mark("expected_recall", about(estimates.recall))
    return KeyNumber(value, "recall of the flags", "estimated", "wrong labels that are flagged")


def _measured_recall(known: Comparison, mislabels: str, mark: Mark) -> KeyNumber:
    measures = known.measures
    found = mark("true_positive", count(measures.true_positive))
    value = mark("recall_share", share(measures.recall))
    return KeyNumber(value, "recall", "measured", f"{found} of {count(measures.injected)} {mislabels} found")


def _measured_on_injected(known: Comparison, mark: Mark) -> list[KeyNumber]:
    measures = known.measures
    right = mark("true_positive", count(measures.true_positive))
    flags = mark("flags", count_flags(measures.flagged))
    return [
        KeyNumber(
            mark("precision_share", share(measures.precision)),
            "precision",
            "measured",
            f"{right} of {flags} are injected mislabels",
        ),
        _measured_recall(known, "injected mislabels", mark),
        KeyNumber(
            mark("false_positive", count(measures.false_positive)),
            "of your own labels flagged",
            "counted",
            "flagged but not injected: mistakes of the dataset, or false alarms",
        ),
    ]
