"""What an audit claims: a sentence for each state of knowledge, and no number that it does not have."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from audit.errors import InputError
from audit.summary.estimates import Estimates
from audit.summary.summary import Summary
from reports import verdict
from reports.acceptance import UNKNOWN, acceptance_sentences
from reports.claims import claims_from_json, claims_of, claims_to_json
from reports.index import IndexEntry, _headline
from reports.limit import Limit
from reports.next_steps import VERIFY, next_steps
from reports.ranges import anything, count_phrase, count_range, figure, share_range
from reports.seals import SEAL_MEANINGS
from tests.made_statements import accepting, audited, classes_of, controls, untold, verified, with_copies
from tests.made_summary import made_counts

NATURAL = audited(10_000, (174, 47, 388), (0.75, 0.02, 0.75))
NARROW = audited(10_000, (174, 160, 190), (0.90, 0.85, 0.95))
CLEAN = audited(10_000, (0.2, 0.0, 0.4), None)
SMALL = audited(60, (40, 30, 45), (0.998, 0.99, 1.0), influence_by_class=classes_of(30, 30))

# -- numbers in words


@pytest.mark.parametrize(
    ("ends", "text", "phrase"),
    [
        ((174, 160, 190), "≈ 174", "about 174"),
        ((174, 47, 388), "47 to 388", "between 47 and 388"),
        ((120, 0, 388), "up to 388", "between 0 and 388"),
        ((700, 0, 1500), "any number", "any number"),
        ((900, 700, 1500), "at least 700", "at least 700"),
        ((0.2, 0.0, 0.4), "0", "none"),
        ((0, 0, 3), "up to 3", "between 0 and 3"),
        ((1234, 1200, 1260), "≈ 1,234", "about 1,234"),
        ((12, 12, 12), "12", "12"),
        ((3.1, 2.7, 3.4), "≈ 3", "about 3"),
        ((410, 300, 410), "300 to 410", "between 300 and 410"),
    ],
)
def test_a_count_is_a_point_only_where_its_range_is_narrow(
    ends: tuple[float, float, float], text: str, phrase: str
) -> None:
    number = figure(*ends, 1500, "modelled")
    assert count_range(number).replace("\u00a0", " ") == text
    assert count_phrase(number) == phrase


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((0.87, 0.85, 0.9), "≈ 87%"),
        ((0.75, 0.6, 0.9), "60% to 90%"),
        ((0.02, 0.02, 0.75), "2% to 75%"),
        ((0.3, 0.0, 0.4), "up to 40%"),
        ((0.9, 0.7, 1.0), "at least 70%"),
        ((0.5, 0.0, 1.0), "any share"),
        ((0.5, 0.003, 1.0), "any share"),
        ((1.0, 0.99, 1.0), "> 99%"),
        ((0.0, 0.0, 0.0), "0%"),
        ((0.0174, 0.016, 0.019), "≈ 1.7%"),
    ],
)
def test_a_share_is_a_point_only_where_its_range_is_narrow(ends: tuple[float, float, float], text: str) -> None:
    assert share_range(figure(*ends, 1.0, "modelled")).replace("\u00a0", " ") == text


def test_a_figure_never_leaves_what_is_possible() -> None:
    beyond = figure(56, 20, 90, 26, "modelled")
    assert (beyond.value, beyond.low, beyond.high) == (26, 20, 26)
    assert share_range(beyond.scaled(1 / 26, 1.0)) == "> 99%"
    assert share_range(figure(56, 5, 90, 26, "modelled").scaled(1 / 26, 1.0)) == "at least 19%"
    assert (anything(10).low, anything(10).high) == (0, 10)


def test_every_seal_has_a_meaning() -> None:
    assert list(SEAL_MEANINGS) == ["verified", "measured", "modelled", "counted"]
    assert all(meaning.endswith(".") for meaning in SEAL_MEANINGS.values())


# -- the verdict


WIDE_BUT_FEW = "Between 0 and 28 of 1,100 labels may be wrong; labels alone cannot say. Check 40 pictures to know."

HEADLINES: list[tuple[str, Summary, str]] = [
    (
        "wide",
        NATURAL,
        "Between 47 and 388 of 10,000 labels may be wrong; labels alone cannot say. Check 40 pictures to know.",
    ),
    (
        "from zero",
        audited(10_000, (124, 0, 390), None),
        "Between 0 and 390 of 10,000 labels may be wrong; labels alone cannot say. Check 40 pictures to know.",
    ),
    ("few at most", audited(1100, (1, 0, 3), None), "At most 3 of 1,100 labels may be wrong."),
    ("forty would hold one", audited(1100, (9, 0, 28), None), WIDE_BUT_FEW),
    (
        "any number",
        audited(1500, (663, 0, 1500), None),
        "Any number of 1,500 labels may be wrong; labels alone cannot say. Check 40 pictures to know.",
    ),
    ("narrow", NARROW, "About 174 of 10,000 labels look wrong."),
    ("one", audited(500, (1.1, 1.0, 1.2), None), "About 1 of 500 labels looks wrong."),
    ("none", CLEAN, "No label of 10,000 looks wrong."),
    (
        "nothing told",
        untold(audited(60, (5, 0, 60), None)),
        "Too little to tell which of 60 labels are wrong. Check 40 pictures to know.",
    ),
    (
        "chance ranks as well",
        replace(SMALL, controls=controls(auroc=0.55)),
        "Too little to tell which of 60 labels are wrong. Check 40 pictures to know.",
    ),
    (
        "small classes",
        audited(45, (20, 15, 25), None, influence_by_class=classes_of(15, 12, 18)),
        "Too little to tell which of 45 labels are wrong. Check 40 pictures to know.",
    ),
    (
        "small classes, some proven",
        with_copies(audited(30, (20, 15, 25), None, influence_by_class=classes_of(15, 15)), 3),
        "Too little to tell which of 30 labels are wrong, besides 3 that certainly are. Check 30 pictures to know.",
    ),
    (
        "verified",
        verified(NATURAL, (71, 20, 140), (0.1, 0.05, 0.2)),
        "Between 20 and 140 of 10,000 labels are wrong, say 60 decisions on drawn samples.",
    ),
    (
        "verified, narrow",
        verified(untold(NATURAL), (4052, 3700, 4400), (0.7, 0.65, 0.75)),
        "About 4,052 of 10,000 labels are wrong, say 60 decisions on drawn samples.",
    ),
    (
        "verified, none",
        verified(CLEAN, (0, 0, 0.3), None),
        "No label of 10,000 is wrong, say 60 decisions on drawn samples.",
    ),
]


@pytest.mark.parametrize(("summary", "text"), [case[1:] for case in HEADLINES], ids=[case[0] for case in HEADLINES])
def test_the_headline_says_what_is_known_and_no_more(summary: Summary, text: str) -> None:
    assert verdict.headline(summary) == text


@pytest.mark.parametrize("summary", [case[1] for case in HEADLINES], ids=[case[0] for case in HEADLINES])
def test_every_number_has_a_seal_and_no_wide_range_is_a_point(summary: Summary) -> None:
    claims = claims_of(summary)
    numbers = {each.label: each for each in verdict.key_numbers(summary, None)}
    seal = "modelled" if summary.verified is None else "verified"
    assert numbers["wrong labels"].seal == seal
    assert numbers["to review"].seal == "counted"
    label = "precision of the flags"
    assert (label in numbers) == (claims.precision is not None)
    if claims.precision is not None:
        assert numbers[label].seal == seal
        assert "≈" not in numbers[label].value or not claims.precision.is_wide
        assert "100%" not in numbers[label].value
    assert claims_from_json(claims_to_json(claims)) == claims


def test_a_small_clean_set_gets_no_verdict_that_claims_a_mistake_as_certain() -> None:
    few = replace(SMALL, controls=controls(added=6))
    for summary in (
        few,
        replace(few, influence_by_class=()),
        replace(few, estimates=replace(SMALL.estimates, models=())),
        replace(SMALL, controls=controls(added=6, auroc=0.6)),
        untold(SMALL),
    ):
        claims = claims_of(summary)
        assert claims.mistakes.low == 0
        assert claims.precision is not None
        assert claims.precision.low == 0
        text = " ".join([verdict.headline(summary), *verdict.sentences(summary, None)])
        assert not re.search(r"looks? wrong|certainly|100\s?%", text)
        assert "may be wrong" in text


def test_the_reason_is_part_of_a_verdict_that_cannot_tell() -> None:
    small = audited(45, (20, 15, 25), None, influence_by_class=classes_of(15, 12, 18))
    assert verdict.sentences(small, None)[0] == (
        "All 3 classes have fewer than 20 samples. Any number of the labels may be wrong."
    )
    mixed = replace(small, influence_by_class=classes_of(15, 12, 30))
    assert verdict.sentences(mixed, None)[0].startswith("2 of 3 classes have fewer than 20 samples.")
    assert not claims_of(replace(small, influence_by_class=classes_of(15, 30, 30))).too_little
    assert "AUROC on them is 0.55" in verdict.sentences(replace(NATURAL, controls=controls(auroc=0.55)), None)[0]
    assert "class frequencies" in verdict.sentences(untold(NATURAL), None)[0]
    cautioned = replace(small, estimates=replace(small.estimates, cautions=("Known mislabels are few.",)))
    assert verdict.cautions(cautioned) == ()
    assert verdict.cautions(replace(NATURAL, estimates=cautioned.estimates)) == ("Known mislabels are few.",)


def test_a_wide_range_says_how_far_the_models_differ() -> None:
    text = verdict.sentences(NATURAL, None)[0]
    assert text == (
        "That is 0.5% to 3.9% of the labels. Models that explain the labels about equally well expect 47, 174 and 388."
    )
    ruled_out = replace(NATURAL.estimates.models[0], ruled_out=True)
    estimates = replace(NATURAL.estimates, models=(ruled_out, *NATURAL.estimates.models[1:]))
    assert "expect 174 and 388" in verdict.sentences(replace(NATURAL, estimates=estimates), None)[0]


def test_the_flags_are_said_to_be_as_good_as_is_known() -> None:
    assert verdict.sentences(NATURAL, None)[1].startswith(
        "Flagged for review: 50 samples. Of the flags, 2% to 75% may be right (modelled)."
    )
    text = verdict.sentences(verified(NATURAL, (71, 20, 140), (0.1, 0.05, 0.2)), None)
    assert "Of the flags, 5% to 20% are right (verified)" in text[1]
    assert "Of 60 samples that chance drew and people decided, 14 are wrong; 3 samples could not be decided" in text[0]


def test_recall_follows_the_models_and_is_no_point_where_they_differ() -> None:
    recall = claims_of(NATURAL).recall
    assert recall is not None
    assert recall.low == pytest.approx(50 * 0.02 / (388 * 1.05))
    assert recall.high == pytest.approx(50 * 0.75 / (47 * 0.95))
    assert recall.is_wide
    sure = claims_of(audited(10_000, (55, 54, 56), (0.9, 0.89, 0.91))).recall
    assert sure is not None
    assert not sure.is_wide


def test_no_flag_is_sure_where_there_may_be_no_mistake() -> None:
    one_flag = made_counts(samples=539, classes=10, flagged=1)
    claims = claims_of(audited(539, (1.2, 0.0, 6.0), (0.99, 0.98, 1.0), counts=one_flag))
    assert claims.precision is not None
    assert claims.recall is not None
    assert share_range(claims.precision) == "any share"
    assert share_range(claims.recall) == "any share"
    enough = claims_of(audited(539, (49, 48, 52), (0.98, 0.97, 0.99))).precision
    assert enough is not None
    assert (enough.low, enough.high) == pytest.approx((0.96, 0.99))


def test_proven_mistakes_are_counted_and_the_range_holds_them() -> None:
    summary = with_copies(audited(10_000, (2, 0, 30), None), 5)
    assert claims_of(summary).mistakes.low == 5
    assert verdict.headline(summary).startswith("Between 5 and 30 of 10,000 labels may be wrong")
    assert any("At least 5 labels are certainly wrong (counted)" in text for text in verdict.sentences(summary, None))


# -- what to do


def test_a_check_comes_first_where_labels_alone_cannot_say() -> None:
    for summary in (NATURAL, untold(NATURAL), replace(NARROW, estimates=NATURAL.estimates)):
        first = next_steps(summary, None)[0]
        assert first.title == "Check 40 pictures to know"
        assert first.commands == (VERIFY,)
    for summary in (NARROW, CLEAN, verified(NATURAL, (71, 20, 140), (0.1, 0.05, 0.2))):
        assert all(VERIFY not in step.commands for step in next_steps(summary, None))


ACCEPTED: list[tuple[Summary, str]] = [
    (
        replace(NATURAL, acceptance=accepting()),
        "Accepting all 50 suggestions unseen is expected to mend 1 to 38 labels, and to break 12 to 49 labels that are "
        "right (modelled). At no threshold is it known to mend more labels than it breaks. Decide on each sample.",
    ),
    (
        replace(NATURAL, acceptance=accepting(pays_from=0.9)),
        "Accepting all 50 suggestions unseen is expected to mend 1 to 38 labels, and to break 12 to 49 labels that are "
        "right (modelled). It pays only from a suspicion of 0.90 (20 suggestions): below, it may break more than it "
        "mends.",
    ),
    (
        replace(NATURAL, acceptance=accepting((40, 44), (2, 8), pays_from=0.5)),
        "Accepting all 50 suggestions unseen is expected to mend ≈\u00a042 labels, and to break 2 to 8 labels that are "
        "right (modelled). From a suspicion of 0.50 it pays: it mends more labels than it breaks.",
    ),
    (
        replace(NATURAL, acceptance=accepting((0, 50), (0, 50))),
        "Accepting all 50 suggestions unseen is expected to mend up to 50 labels, and to break up to 50 labels that "
        "are right (modelled). At no threshold is it known to mend more labels than it breaks. Decide on each sample.",
    ),
    (NATURAL, UNKNOWN),
    (untold(replace(NATURAL, acceptance=accepting(pays_from=0.9))), UNKNOWN),
    (CLEAN, ""),
    (
        verified(replace(NATURAL, acceptance=accepting(pays_from=0.9)), (71, 20, 140), (0.1, 0.05, 0.2)),
        "Accepting all 50 suggestions unseen is expected to mend 2 to 10 labels, and to break ≈\u00a045 labels that "
        "are right (verified). At no threshold is it known to mend more labels than it breaks. Decide on each sample.",
    ),
    (
        verified(NATURAL, (400, 380, 420), (0.9, 0.86, 0.94)),
        "Accepting all 50 suggestions unseen is expected to mend ≈\u00a045 labels, and to break 3 to 7 labels that are "
        "right (verified). From a suspicion of 0.50 it pays: it mends more labels than it breaks.",
    ),
]


@pytest.mark.parametrize(("summary", "text"), ACCEPTED)
def test_what_accepting_unseen_comes_to_is_said_with_its_ranges(summary: Summary, text: str) -> None:
    assert " ".join(acceptance_sentences(summary)) == text


# -- the gate


@pytest.mark.parametrize(
    ("summary", "basis", "limit", "exceeded"),
    [
        (NATURAL, "low", 0.004, True),
        (NATURAL, "low", 0.01, False),
        (NATURAL, "estimate", 0.01, True),
        (NATURAL, "estimate", 0.02, False),
        (untold(NATURAL), "low", 0.0, False),
        (verified(NATURAL, (71, 20, 140), None), "verified", 0.007, True),
        (verified(NATURAL, (71, 20, 140), None), "verified", 0.008, False),
        (verified(NATURAL, (71, 20, 140), None), "low", 0.0021, False),
    ],
)
def test_the_gate_judges_what_it_was_told_to(summary: Summary, basis: str, limit: float, exceeded: bool) -> None:
    assert Limit.of(limit, basis).is_exceeded(summary) == exceeded


def test_the_gate_says_the_range_and_refuses_what_it_cannot_judge() -> None:
    assert Limit.of(0.004, "low").sentence(NATURAL) == (
        "0.5% to 3.9% of the labels may be wrong (modelled); the low end of 0.5% is above the limit of 0.4%"
    )
    with pytest.raises(InputError, match="nothing is verified in this audit"):
        Limit.of(0.1, "verified").is_exceeded(NATURAL)
    with pytest.raises(InputError, match="it takes low, estimate or verified"):
        Limit.of(0.1, "high")
    with pytest.raises(InputError, match="from 0 to below 1"):
        Limit.of(1.0, "low")
    with pytest.raises(InputError, match="give --fail-above too"):
        Limit.of(None, "verified")
    assert not Limit().is_exceeded(NATURAL)


def test_several_audits_add_up_to_a_range() -> None:
    entries = [IndexEntry("a", None, "audit", 0, summary) for summary in (NATURAL, NARROW)]
    assert _headline(entries) == "Between 207 and 578 of 20,000 labels may be wrong."
    assert _headline(entries[1:]) == "About 174 of 10,000 labels look wrong."
    assert entries[0].to_json()["wrong"] == {"value": 174, "low": 47, "high": 388, "most": 10_000, "seal": "modelled"}


def test_an_older_result_without_models_has_a_range_too() -> None:
    estimates: Estimates = replace(NATURAL.estimates, models=(), precision_low=None, precision_high=None)
    claims = claims_of(replace(NATURAL, estimates=estimates, influence_by_class=()))
    assert claims.precision is not None
    assert (claims.precision.low, claims.precision.high) == (0.0, 1.0)
    assert share_range(claims.precision) == "any share"
