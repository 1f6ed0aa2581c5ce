"""Conditions pass, warn or fail as the user asked."""

from __future__ import annotations

from dataclasses import replace

from audit.config import AuditConfig
from audit.summary.counts import Finding
from audit.summary.surroundings import FailedStage
from reports.conditions import Condition, conditions_of, worst_state
from reports.limit import Limit
from tests.made_statements import audited, untold

SUMMARY = audited(10_000, (174, 160, 190), (0.90, 0.85, 0.95))


def found(kind: str, number: int = 3) -> Finding:
    return Finding(kind=kind, findings=number, samples=2 * number, meaning="Meant.", examples=("a.png and b.png",))


def by_name(conditions: list[Condition]) -> dict[str, Condition]:
    return {condition.name: condition for condition in conditions}


def test_nothing_found_and_nothing_asked_passes() -> None:
    conditions = conditions_of(SUMMARY)
    assert [condition.name for condition in conditions] == [
        "Leaks between splits",
        "Duplicates",
        "Small classes",
        "Reliability",
    ]
    assert {condition.state for condition in conditions} == {"pass"}
    assert {condition.asked for condition in conditions} == {""}
    assert worst_state(conditions) == "pass"


def test_the_gate_is_judged_only_where_it_was_set() -> None:
    above = conditions_of(SUMMARY, Limit.of(0.01, "low"))[0]
    assert (above.name, above.state, above.asked) == ("Wrong labels", "fail", "at most 1.0% wrong labels (low)")
    assert "is above the limit of 1.0%" in above.sentence
    below = conditions_of(SUMMARY, Limit.of(0.02, "low"))[0]
    assert below.state == "pass"
    unjudged = conditions_of(SUMMARY, Limit.of(0.02, "verified"))[0]
    assert unjudged.state == "fail"
    assert unjudged.sentence.startswith("Nothing is verified in this audit")


def test_a_finding_warns_and_fails_only_where_it_was_asked_for() -> None:
    summary = replace(SUMMARY, findings=(found("duplicate-labels"), found("near-leak"), found("dark")))
    conditions = by_name(conditions_of(summary))
    assert conditions["Duplicates"].state == "warn"
    assert conditions["Duplicates"].sentence == "Duplicates with different labels: 3 (the first: a.png and b.png)."
    assert conditions["Leaks between splits"].state == "warn"
    asked = by_name(conditions_of(summary, Limit.of(None, "low", "leaks,dark")))
    assert asked["Leaks between splits"].state == "fail"
    assert asked["Duplicates"].state == "warn"
    assert (asked["Dark pictures"].state, asked["Dark pictures"].asked) == ("fail", "none")
    assert worst_state(asked.values()) == "fail"


def test_leaks_between_splits_that_the_audit_drew_itself_do_not_count() -> None:
    summary = replace(SUMMARY, findings=(found("split-leak"),))
    assert by_name(conditions_of(summary, Limit.of(None, "low", "leaks")))["Leaks between splits"].state == "pass"
    own = replace(summary, config=AuditConfig(use_splits=True))
    assert by_name(conditions_of(own, Limit.of(None, "low", "leaks")))["Leaks between splits"].state == "fail"


def test_cautions_and_failed_stages_are_warnings() -> None:
    doubtful = replace(SUMMARY, estimates=replace(SUMMARY.estimates, cautions=("Few known mislabels.",)))
    assert by_name(conditions_of(doubtful))["Reliability"].state == "warn"
    (too_little,) = (each for each in conditions_of(untold(SUMMARY)) if each.name == "Reliability")
    assert too_little.state == "warn"
    assert "predict the labels no better" in too_little.sentence
    failed = replace(SUMMARY, failed_stages=(FailedStage(stage="findings", reason="Findings failed."),))
    assert by_name(conditions_of(failed))["Complete"].state == "warn"
    assert by_name(conditions_of(failed, Limit.of(None, "low", "leaks")))["Complete"].state == "fail"


def test_what_was_not_looked_for_is_no_condition() -> None:
    summary = replace(SUMMARY, config=AuditConfig(findings="none"))
    assert "Small classes" not in by_name(conditions_of(summary))
