"""The verdict in words, and the key numbers with the seal of each."""

from __future__ import annotations

from dataclasses import dataclass

from audit.summary.detection import InjectedDetection
from audit.summary.summary import Summary
from audit.summary.verified import Verified
from reports.claims import Claims, claims_of, pictures_to_check
from reports.known_mislabels import Comparison
from reports.ranges import (
    Figure,
    count_ends,
    count_phrase,
    count_range,
    figure,
    has_wide_count,
    is_any_number,
    is_none,
    share_phrase,
    share_range,
)
from reports.seals import Seal
from reports.text import Mark, count, count_decisions, count_flags, count_samples, share, threshold, unmarked

CANNOT_SAY = "labels alone cannot say"


@dataclass(frozen=True)
class KeyNumber:
    """One number of the overview: how it is known, and from what."""

    value: str
    label: str
    seal: Seal
    rests_on: str


def headline(summary: Summary) -> str:
    """The verdict on the labels: how many are wrong, as far as that is known, and what would tell."""
    claims, samples = claims_of(summary), summary.counts.samples
    if summary.verified is not None:
        return _verified_headline(claims.mistakes, summary.verified, samples)
    if summary.detection is not None:
        return _injected_headline(claims, summary.detection, samples)
    total, check = count(samples), f" {check_pictures(samples)} to know."
    if claims.too_little:
        proven = round(claims.mistakes.low)
        besides = f", besides {count(proven)} that certainly {_is(proven)}" if proven else ""
        return f"Too little to tell which of {total} labels are wrong{besides}.{check}"
    if is_none(claims.mistakes):
        return f"No label of {total} looks wrong."
    if has_wide_count(claims.mistakes):
        if claims.needs_check:
            return f"{_capital(_may_be(claims.mistakes, total))}; {CANNOT_SAY}.{check}"
        most = f"At most {count(claims.mistakes.high)} of {total} labels may be wrong."
        return f"{_capital(_may_be(claims.mistakes, total))}." if round(claims.mistakes.low) else most
    looks = "looks" if round(claims.mistakes.value) == 1 else "look"
    return f"{_capital(count_phrase(claims.mistakes))} of {total} labels {looks} wrong."


def check_pictures(samples: int) -> str:
    """'Check 40 pictures'."""
    return f"Check {pictures_to_check(samples)} pictures"


def _may_be(mistakes: Figure, total: str) -> str:
    return f"{count_phrase(mistakes)} of {total} labels may be wrong"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _verified_headline(mistakes: Figure, verified: Verified, samples: int) -> str:
    by = f"{count_decisions(verified.decided)} on drawn samples"
    if is_none(mistakes):
        return f"No label of {count(samples)} is wrong, say {by}."
    number = count_phrase(mistakes)
    verb = "is" if number.endswith(" 1") or number == "1" else "are"
    return f"{_capital(number)} of {count(samples)} labels {verb} wrong, say {by}."


def _injected_headline(claims: Claims, detection: InjectedDetection, samples: int) -> str:
    found, injected = count(detection.true_positive), count(detection.injected)
    first = f"The audit finds {found} of the {injected} labels that were made wrong on purpose"
    if claims.too_little or is_any_number(claims.mistakes):
        return f"{first}; how many of {count(samples)} are wrong in all, {CANNOT_SAY}."
    return f"{first}; its models put all wrong labels at {count_ends(claims.mistakes)} of {count(samples)}."


def sentences(summary: Summary, known: Comparison | None, mark: Mark = unmarked) -> list[str]:
    """The verdict after the headline: range, flags, how reliable they are, and what exact copies prove."""
    claims = claims_of(summary)
    said = [_on_all_labels(summary, claims)]
    if summary.counts.injected:
        said[0] += f" {_on_injection(summary, claims)}"
    return [*said, _on_flags(summary, claims, known, mark), *copies_sentences(summary)]


def _on_all_labels(summary: Summary, claims: Claims) -> str:
    """The share of wrong labels, and why it is known no better."""
    samples = max(summary.counts.samples, 1)
    if claims.too_little:
        return f"{claims.too_little} {_capital(count_phrase(claims.mistakes))} of the labels may be wrong."
    part = share_phrase(claims.mistakes.scaled(1 / samples, 1.0))
    if (verified := summary.verified) is not None:
        unsure = f"; {count_samples(verified.unsure)} could not be decided and are left out" if verified.unsure else ""
        return (
            f"That is {part} of the labels (90% interval: {count_ends(claims.mistakes)}). Of "
            f"{count_samples(verified.decided)} that chance drew and people decided, {count(verified.found)} "
            f"{_is(verified.found)} wrong{unsure}."
        )
    if is_none(claims.mistakes):
        return "Every model of the labels that fits them agrees."
    first = f"That is {part} of the labels"
    if has_wide_count(claims.mistakes):
        return f"{first}. {_models_differ(summary)}"
    ends = count_ends(claims.mistakes)
    return f"{first}." if ends == count(claims.mistakes.value) else f"{first}; the range is {ends}."


def _models_differ(summary: Summary) -> str:
    """What each model says; each one explains the labels about as well."""
    models = [model for model in summary.estimates.models if not model.ruled_out]
    if len(models) < 2:
        return "A hard picture with the right label and an easy one with a wrong label look alike to the audit."
    said = [f"{count(model.mistakes)} by {model.model!r}" for model in models]
    return f"Models that explain the labels about equally well differ: {', '.join(said[:-1])} and {said[-1]}."


def _on_injection(summary: Summary, claims: Claims) -> str:
    injected, samples = summary.counts.injected, summary.counts.samples
    first = f"The audit changed {count(injected)} labels on purpose in a copy, to measure itself"
    mistakes = claims.mistakes
    if mistakes.high < injected and not claims.too_little:
        left_out = f"The range leaves out these {count(injected)}, so do not rely on it"
        return f"{first}. {left_out}. Your own labels were not touched."
    value, low, high = (max(0.0, number - injected) for number in (mistakes.value, mistakes.low, mistakes.high))
    own = figure(value, low, high, samples - injected, mistakes.seal)
    if is_none(own):
        return f"{first}; your own labels were not touched, and none of them looks wrong."
    return f"{first}; your own labels were not touched, and {count_phrase(own)} of them may be wrong."


def _on_flags(summary: Summary, claims: Claims, known: Comparison | None, mark: Mark) -> str:
    """How many samples are flagged, and how good the flags are."""
    flagged = f"Flagged for review: {mark('flagged_samples', count_samples(summary.counts.flagged))}"
    if known is not None and known.kind == "injected":
        precision = mark("precision_share", share(known.measures.precision))
        found = _found(known, "injected mislabels", mark)
        return f"{flagged}. {found}, and {precision} of the flags are injected mislabels (precision)."
    if claims.precision is not None:
        verb = "are" if claims.precision.seal == "verified" else "may be"
        flagged += f". Of the flags, {mark('expected_precision', share_range(claims.precision))} {verb} right"
        flagged += f" ({claims.precision.seal})"
    if known is None:
        return f"{flagged}. Nothing here was measured on known mislabels."
    return (
        f"{flagged}. {_found(known, 'mislabels that were added to copies of the labels to measure the audit', mark)}."
    )


def cautions(summary: Summary) -> tuple[str, ...]:
    """Why the models may be off. None where decisions on drawn samples, or the verdict itself, say more."""
    claims = claims_of(summary)
    return () if claims.mistakes.seal == "verified" or claims.too_little else summary.estimates.cautions


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
        found.append(f"At least {wrong} certainly wrong (counted): identical samples carry different labels.")
    if copies.leaked:
        found.append(
            f"Leak: {count_samples(copies.leaked)} of the validation and test splits {_is(copies.leaked)} in the "
            "training split too, so the head looks better than it is."
        )
    return found


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _found(known: Comparison, names: str, mark: Mark) -> str:
    measures = known.measures
    return (
        f"Of the {count(measures.injected)} {names}, it finds "
        f"{mark('true_positive', count(measures.true_positive))} "
        f"(recall {mark('recall_share', share(measures.recall))})"
    )


def key_numbers(summary: Summary, known: Comparison | None, mark: Mark = unmarked) -> list[KeyNumber]:
    """The numbers of the overview, in display order."""
    claims = claims_of(summary)
    numbers = [_wrong_labels(summary, claims), _flagged(summary, mark)]
    if known is not None and known.kind == "injected":
        numbers += _measured_on_injected(known, mark)
    else:
        numbers += _of_the_flags(summary, claims, mark)
    if known is not None and known.kind == "controls":
        numbers.append(_measured_recall(known, "recall on added mislabels", "added mislabels", mark))
    if summary.heads is None:
        return numbers
    test = summary.heads.given.test
    on = f"on {count_samples(test.samples)} of the test split"
    return [*numbers, KeyNumber(share(test.accuracy), "accuracy of the head", "measured", on)]


def _wrong_labels(summary: Summary, claims: Claims) -> KeyNumber:
    mistakes, total = claims.mistakes, f"of {count(summary.counts.samples)}"
    ends = f"{count_ends(mistakes)}, {total}"
    if summary.verified is not None:
        shown = total if has_wide_count(mistakes) else ends
        rests = f"{shown}; {count_decisions(summary.verified.decided)}, 90% interval"
    elif claims.too_little:
        rests = f"{total}; too little to tell"
    else:
        rests = f"{total}; {CANNOT_SAY}" if has_wide_count(mistakes) else ends
    return KeyNumber(count_range(mistakes), "wrong labels", mistakes.seal, rests)


def _flagged(summary: Summary, mark: Mark) -> KeyNumber:
    lowest = mark("threshold", threshold(summary.threshold))
    flagged_from = f"suspicion of {lowest} or more, of {count(summary.counts.samples)} samples"
    return KeyNumber(mark("flagged", count(summary.counts.flagged)), "flagged", "counted", flagged_from)


def _of_the_flags(summary: Summary, claims: Claims, mark: Mark) -> list[KeyNumber]:
    """Precision and recall of the flags, as far as they are known."""
    numbers = []
    for name, label, number, meaning in (
        ("expected_precision", "precision of the flags", claims.precision, "flags that are right"),
        ("expected_recall", "recall of the flags", claims.recall, "wrong labels that are flagged"),
    ):
        if number is not None:
            by = f"; {count_decisions(summary.verified.decided)}" if summary.verified is not None else ""
            numbers.append(KeyNumber(mark(name, share_range(number)), label, number.seal, f"{meaning}{by}"))
    return numbers


def _measured_recall(known: Comparison, label: str, mislabels: str, mark: Mark) -> KeyNumber:
    measures = known.measures
    found = mark("true_positive", count(measures.true_positive))
    value = mark("recall_share", share(measures.recall))
    return KeyNumber(value, label, "measured", f"{found} of {count(measures.injected)} {mislabels} found")


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
        _measured_recall(known, "recall", "injected mislabels", mark),
        KeyNumber(
            mark("false_positive", count(measures.false_positive)),
            "of your own labels flagged",
            "counted",
            "flagged but not injected: mistakes of the dataset, or false alarms",
        ),
    ]
