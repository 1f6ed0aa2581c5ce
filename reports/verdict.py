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
from reports.review_time import review_time
from reports.seals import Seal
from reports.text import MINUS, Mark, count, count_decisions, count_samples, share, unmarked

CANNOT_SAY = "labels alone cannot say"
PRECISION = "precision of the flags"


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
    """How many wrong labels each model expects; each one explains the labels about as well."""
    models = [model for model in summary.estimates.models if not model.ruled_out]
    if len(models) < 2:
        return "A hard picture with the right label and an easy one with a wrong label look alike to the audit."
    said = [count(model.mistakes) for model in sorted(models, key=lambda model: model.mistakes)]
    return f"Models that explain the labels about equally well expect {', '.join(said[:-1])} and {said[-1]}."


def _on_injection(summary: Summary, claims: Claims) -> str:
    injected = summary.counts.injected
    first = f"The audit changed {count(injected)} labels on purpose in a copy, to measure itself"
    own = own_mistakes(summary, claims)
    if own is None:
        left_out = f"The range leaves out these {count(injected)}, so do not rely on it"
        return f"{first}. {left_out}. Your own labels were not touched."
    if is_none(own):
        return f"{first}; your own labels were not touched, and none of them looks wrong."
    return f"{first}; your own labels were not touched, and {count_phrase(own)} of them may be wrong."


def own_mistakes(summary: Summary, claims: Claims) -> Figure | None:
    """The wrong labels without those that the audit made wrong itself; None where the range leaves these out."""
    mistakes, injected = claims.mistakes, summary.counts.injected
    if mistakes.high < injected and not claims.too_little:
        return None
    value, low, high = (max(0.0, number - injected) for number in (mistakes.value, mistakes.low, mistakes.high))
    return figure(value, low, high, summary.counts.samples - injected, mistakes.seal)


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
            "training split too, so the model looks better than it is."
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
    """The numbers of the overview, in display order: all of them are about the reader's own labels.

    Args:
        summary: of the audit.
        known: the known mislabels, whose figures are in the report's details.
        mark: marks the numbers that depend on the threshold.
    """
    claims = claims_of(summary)
    detection = summary.detection
    if detection is None:
        numbers = [_wrong_labels(summary, claims), _to_review(summary, mark), *_precision(summary, claims, mark)]
    else:
        numbers = [_own_wrong_labels(summary, claims), _own_to_review(summary, detection, mark)]
        numbers += _own_precision(claims, detection)
    return [*numbers, *_worth(summary)]


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


def _own_wrong_labels(summary: Summary, claims: Claims) -> KeyNumber:
    own, injected = own_mistakes(summary, claims), count(summary.counts.injected)
    total = f"of {count(summary.counts.samples - summary.counts.injected)}, without the {injected} injected"
    value = "not known" if own is None else count_range(own)
    return KeyNumber(value, "wrong labels of your own", claims.mistakes.seal, total)


def _to_review(summary: Summary, mark: Mark) -> KeyNumber:
    flagged = summary.counts.flagged
    total = f"flagged, of {count_samples(summary.counts.samples)}"
    return KeyNumber(mark("flagged", count(flagged)), "to review", "counted", _with_time(total, flagged))


def _own_to_review(summary: Summary, detection: InjectedDetection, mark: Mark) -> KeyNumber:
    own = detection.false_positive
    total = f"flagged labels of your own, beside {count(detection.true_positive)} injected"
    return KeyNumber(mark("false_positive", count(own)), "to review", "counted", _with_time(total, own))


def _with_time(text: str, pictures: int) -> str:
    return f"{text}; {review_time(pictures)}" if pictures else text


def _precision(summary: Summary, claims: Claims, mark: Mark) -> list[KeyNumber]:
    """The share of the flags that are right, as far as it is known."""
    number = claims.precision
    if number is None:
        return []
    by = f"; {count_decisions(summary.verified.decided)}" if summary.verified is not None else ""
    value = mark("expected_precision", share_range(number))
    return [KeyNumber(value, PRECISION, number.seal, f"flags that are right{by}")]


def _own_precision(claims: Claims, detection: InjectedDetection) -> list[KeyNumber]:
    """The same of the flags on the reader's own labels: those that the audit did not make wrong itself."""
    own, found = detection.false_positive, detection.true_positive
    if claims.precision is None or not own:
        return []
    value, low, high = (
        max(0.0, (part * detection.flagged - found) / own)
        for part in (claims.precision.value, claims.precision.low, claims.precision.high)
    )
    number = figure(value, low, high, 1.0, claims.precision.seal)
    rests = "flags on your own labels that are right, at the audit's threshold"
    return [KeyNumber(share_range(number), PRECISION, number.seal, rests)]


def _worth(summary: Summary) -> list[KeyNumber]:
    """What correcting does to the test F1 of a model that is trained again, where that was measured."""
    if summary.correction is None:
        return []
    on = summary.correction.measured_on[0]
    effect = next((each for each in summary.correction.effects if (each.head, each.on) == ("corrected", on.name)), None)
    if effect is None:
        return []
    low, high = (
        f"{100 * end:+.1f}".replace("-", MINUS).replace(f"{MINUS}0.0", "0.0") for end in (effect.low, effect.high)
    )
    value = f"{low} to {high}" if low != high else "no change" if effect.low == effect.high == 0 else low
    rests = f"points of test F1 with the suggested labels, on {count_samples(on.samples)}; 95% interval"
    return [KeyNumber(value, "what correcting is worth", "measured", rests)]
