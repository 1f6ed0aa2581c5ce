"""`verify` changes a result, and the conditions that the audit was judged by follow: in every file that lists them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from audit.result import AuditResult
from audit.verification.apply import apply_verification, reset_verification
from audit.verification.draw import draw_scores
from integrations.cli.conditions_file import JudgedAudit
from integrations.cli.exit_codes import ExitCode
from integrations.cli.judged_again import judge_again
from integrations.cli.judging import Judge, Judging
from reports.beside_result import read_beside, write_beside
from reports.conditions import Condition
from reports.limit import Limit

NAMED = ("pictures", "label", "audit")
OTHER = JudgedAudit("others", None, "audit", 6, (Condition("Duplicates", "fail", "Two.", "none", "2"),), seconds=2.5)


@pytest.fixture
def folder(plain: AuditResult, tmp_path: Path) -> Path:
    """A result that was judged by the verified share, which is not known yet, and by new flags."""
    former = replace(plain, scores=plain.scores.assign(flag=False))
    former.save(tmp_path / "former")
    plain.save(tmp_path / "result")
    limit = Limit.of(0.5, "verified", new_flags=0)
    files = tmp_path / "junit.xml", tmp_path / "conditions.json"
    judging = Judging(limit, since=tmp_path / "former", junit=files[0], conditions=files[1], named=NAMED)
    judge = Judge(judging, tmp_path / "result")
    write_beside(judge.before_report(plain, tmp_path / "result"), tmp_path / "result")
    conditions = tuple(judge.conditions)
    judging.write([OTHER, JudgedAudit(*NAMED, ExitCode.MISTAKE, conditions, "error: nothing is verified", 1.5)])
    return tmp_path / "result"


def verified(result: AuditResult, wrong: bool) -> AuditResult:
    """The result with sixty decisions, all alike."""
    drawn = draw_scores(result.scores, 60, 0).table
    return apply_verification(result, drawn.assign(decision=np.where(wrong, "wrong", "right")))


def listed(folder: Path) -> dict[str, tuple[int, str, dict[str, str]]]:
    """What the file of --conditions says of each audit: exit code, error, and the state of each condition."""
    audits = json.loads((folder.parent / "conditions.json").read_text())["audits"]
    return {
        each["source"]: (each["exit_code"], each["error"], {one["name"]: one["state"] for one in each["conditions"]})
        for each in audits
    }


def in_junit(folder: Path) -> dict[str | None, set[str | None]]:
    """The cases that failed or had an error in each suite of the JUnit file."""
    suites = ElementTree.parse(folder.parent / "junit.xml").getroot().findall("testsuite")
    return {
        suite.get("name"): {
            case.get("name")
            for case in suite.iter("testcase")
            if case.find("failure") is not None or case.find("error") is not None
        }
        for suite in suites
    }


def test_the_conditions_follow_the_decisions_and_go_back(plain: AuditResult, folder: Path) -> None:
    before = read_beside(folder).conditions
    assert [each.state for each in before][:2] == ["fail", "fail"]
    few = verified(plain, wrong=False)
    lines = list(judge_again(few, folder))
    now = read_beside(folder)
    share, new = now.conditions[:2]
    assert (share.name, share.state) == ("Wrong labels", "pass")
    assert "(verified)" in share.sentence
    assert new.found == f"{few.summary.counts.flagged:,} new"
    starts = ["conditions: ", "conditions written again: ", "junit written again: "]
    assert [line.startswith(start) for line, start in zip(lines, starts, strict=True)] == [True] * 3
    code, error, states = listed(folder)["pictures"]
    assert (error, states["Wrong labels"]) == ("", "pass")
    assert code == (ExitCode.NOT_MET if few.summary.counts.flagged else ExitCode.DONE)
    assert "Wrong labels" not in in_junit(folder)["pictures (label, audit)"]

    many = verified(plain, wrong=True)
    list(judge_again(many, folder))
    code, _, states = listed(folder)["pictures"]
    assert (code, states["Wrong labels"]) == (ExitCode.ABOVE_LIMIT, "fail")
    assert "Wrong labels" in in_junit(folder)["pictures (label, audit)"]

    list(judge_again(reset_verification(many), folder))
    assert read_beside(folder).conditions == before
    code, error, _ = listed(folder)["pictures"]
    assert code == ExitCode.MISTAKE
    assert "nothing is verified" in error


def test_the_other_audits_of_the_call_stay_as_they_are(plain: AuditResult, folder: Path) -> None:
    list(judge_again(verified(plain, wrong=False), folder))
    assert listed(folder)["others"] == (6, "", {"Duplicates": "fail"})
    assert in_junit(folder)["others (audit)"] == {"Duplicates"}
    suites = ElementTree.parse(folder.parent / "junit.xml").getroot().findall("testsuite")
    assert [float(suite.get("time") or 0) for suite in suites] == [2.5, 1.5]
    seconds = [each["seconds"] for each in json.loads((folder.parent / "conditions.json").read_text())["audits"]]
    assert seconds == [2.5, 1.5]


def test_files_that_are_gone_or_of_somebody_else_are_left_alone(plain: AuditResult, folder: Path) -> None:
    (folder.parent / "junit.xml").unlink()
    (folder.parent / "conditions.json").write_text('{"mine": 1}')
    lines = list(judge_again(verified(plain, wrong=False), folder))
    assert sum("is left as it is" in line for line in lines) == 2
    assert not (folder.parent / "junit.xml").exists()
    assert (folder.parent / "conditions.json").read_text() == '{"mine": 1}'
    assert read_beside(folder).conditions[0].state == "pass"


def test_new_flags_stay_as_they_were_where_the_former_result_is_another_one(plain: AuditResult, folder: Path) -> None:
    other = replace(plain, summary=replace(plain.summary, created="2027-01-01T00:00:00+00:00"))
    other.save(folder.parent / "former")
    before = read_beside(folder).conditions[1]
    list(judge_again(verified(plain, wrong=False), folder))
    assert read_beside(folder).conditions[1] == before


def test_an_audit_that_nobody_judged_has_no_conditions_afterwards(plain: AuditResult, tmp_path: Path) -> None:
    plain.save(tmp_path / "result")
    assert list(judge_again(plain, tmp_path / "result")) == []
    assert read_beside(tmp_path / "result").conditions == ()
