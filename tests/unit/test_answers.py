"""What a lead asks of a report is answered in one line each."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from audit.result import AuditResult
from audit.summary.summary import Summary
from reports.answers import answers
from reports.review_time import review_time
from tests.made_reports import nothing_flagged
from tests.made_statements import audited, untold, verified


@pytest.mark.parametrize(
    ("pictures", "text"),
    [
        (1, "under a minute"),
        (10, "about 1 min"),
        (123, "about 10 min"),
        (300, "about 30 min"),
        (800, "about 1 h 20"),
        (600, "about 1 h"),
        (12_000, "about 20 h"),
    ],
)
def test_the_time_has_no_more_digits_than_it_deserves(pictures: int, text: str) -> None:
    assert review_time(pictures) == text


def said(result: AuditResult, summary: Summary | None = None) -> dict[str, str]:
    whole = result if summary is None else replace(result, summary=summary)
    return {answer.question: answer.text.replace("\u00a0", " ") for answer in answers(whole)}


def test_what_comes_first_and_how_long_it_takes_follows_what_is_known(plain: AuditResult) -> None:
    flagged = plain.summary.counts.flagged
    precise = replace(plain.summary.estimates, precision_low=0.85, precision_high=0.95, precision=0.9)
    sure = said(plain, replace(plain.summary, estimates=precise))
    assert sure["What first?"] == f"Review the {flagged} flags below, most suspicious first."
    assert sure["How long?"].startswith(f"About 6 min for {flagged} flags (at 6 seconds a picture, which is a guess")
    wide = replace(plain.summary.estimates, mistakes=174.0, mistakes_low=47.0, mistakes_high=388.0)
    unsure = said(plain, replace(plain.summary, estimates=wide))
    assert unsure["What first?"].startswith("Check 40 pictures that chance draws; then review the ")
    assert unsure["How sure?"].startswith("Not sure: several models of the labels fit equally well and differ.")
    assert said(plain)["How sure?"].startswith("The number is within 90 to 110, but how good the flags are is hardly")
    nothing = said(nothing_flagged(plain))
    assert nothing["What first?"] == "Nothing needs a review. Audit again when the labels change."
    assert nothing["How long?"] == "No time: there is nothing to review."
    assert nothing["Which classes?"] == "None: nothing is flagged."


def test_the_seal_is_that_of_the_number(plain: AuditResult) -> None:
    decided = verified(audited(1797, (174, 47, 388), (0.5, 0.1, 0.9)), (71, 20, 140), (0.1, 0.05, 0.2))
    known = replace(plain, summary=replace(plain.summary, verified=decided.verified))
    assert [answer.seal for answer in answers(known)] == ["verified", None, None, None]
    assert said(known)["How sure?"].startswith("60 decisions on drawn pictures give 20 to 140 (90% interval).")
    assert said(plain, untold(plain.summary))["How sure?"].startswith("The embeddings predict the labels no better")


def test_injected_mislabels_name_no_classes(injected: AuditResult) -> None:
    own = injected.summary.detection.false_positive
    assert re.match(r"(Of your own|None of your own|Not sure)", said(injected)["How sure?"])
    assert said(injected)["What first?"].startswith(f"Review the {own} flags on your own labels below")
    assert said(injected)["Which classes?"].startswith("Not told: the mislabels that were injected on purpose hide")
