"""What a pipeline asks for: new flags, unreadable images and cautions, in the report's list, JSON and JUnit's XML."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from audit.errors import InputError
from audit.result import AuditResult
from integrations.cli.conditions_file import JudgedAudit, as_json, junit_xml, write_outputs
from integrations.cli.exit_codes import ExitCode
from integrations.cli.judging import Judge, Judging, exit_code_of_audit
from integrations.history import RUNS_FILE, History
from reports.beside_result import read_beside, write_beside
from reports.conditions import Condition, conditions_of
from reports.history import Run, run_of, trend_of, trend_sentences
from reports.html import render_report
from reports.limit import Limit
from reports.new_flags import new_flags
from tests.made_statements import audited
from tests.made_summary import made_counts

SUMMARY = audited(10_000, (174, 160, 190), (0.90, 0.85, 0.95))


def of(name: str, conditions: list[Condition]) -> Condition:
    return next(condition for condition in conditions if condition.name == name)


def test_an_unreadable_share_above_the_limit_fails() -> None:
    summary = replace(SUMMARY, counts=made_counts(samples=95, unreadable=4, without_label=1))
    for limit, state in ((0.04, "pass"), (0.039, "fail"), (0.0, "fail")):
        found = of("Unreadable images", conditions_of(summary, Limit.of(None, "low", unreadable=limit)))
        assert (found.state, found.found) == (state, "4.0%")
    assert found.sentence == "4 of 100 images are unreadable (4.0%)."
    assert "Unreadable images" not in {condition.name for condition in conditions_of(summary)}


def test_a_caution_and_too_little_to_tell_fail_only_where_that_was_asked() -> None:
    doubtful = replace(SUMMARY, estimates=replace(SUMMARY.estimates, cautions=("Few known mislabels.",)))
    untold = replace(SUMMARY, estimates=replace(SUMMARY.estimates, told=False))
    asked = Limit.of(None, "low", cautions=True)
    assert of("Reliability", conditions_of(SUMMARY, asked)).state == "pass"
    for summary in (doubtful, untold):
        assert of("Reliability", conditions_of(summary, asked)).state == "fail"
    assert of("Reliability", conditions_of(doubtful)).state == "warn"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"new_flags": -1}, "--fail-new is -1; it takes a number of flags, 0 or more"),
        ({"unreadable": 1.0}, "--fail-unreadable is 1.0; it takes a share of the images, from 0 to below 1"),
        ({"unreadable": float("nan")}, "--fail-unreadable is nan"),
    ],
)
def test_a_limit_out_of_range_is_called_by_its_option(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        Limit.of(None, "low", **options)  # type: ignore[arg-type]


def test_new_flags_are_those_that_the_former_result_lacks(plain: AuditResult) -> None:
    former = plain.scores.iloc[:-100].copy()
    flagged = former.index[former["flag"]]
    former.loc[flagged[:3], "flag"] = False
    added = int(plain.scores["flag"].iloc[-100:].sum())
    new = new_flags(former, "2026-01-02T03:04:05+00:00", plain.scores)
    assert (new.of_known, new.of_added, new.gone, new.number) == (3, added, 0, 3 + added)
    assert new.sentence.startswith(f"{3 + added} flags are new since 2026-01-02 03:04 ({added} of samples that were")
    assert new_flags(plain.scores, "2026", former).gone == 3
    strangers = former.set_index(former.index + " of another dataset").assign(filepath=None)
    assert new_flags(strangers, "2026", plain.scores).number == plain.summary.counts.flagged
    limit = Limit.of(None, "low", new_flags=3 + added)
    assert of("New flags", conditions_of(plain.summary, limit, new)).state == "pass"
    assert of("New flags", conditions_of(plain.summary, replace(limit, new_flags=0), new)).state == "fail"
    assert of("New flags", conditions_of(plain.summary, limit)).state == "warn"


def test_the_exit_code_is_that_of_the_first_condition_that_is_not_met(capsys: pytest.CaptureFixture[str]) -> None:
    summary = replace(SUMMARY, counts=made_counts(samples=9_000, unreadable=1_000, classes=10, flagged=50))
    limit = Limit.of(None, "low", unreadable=0.01)
    assert exit_code_of_audit(summary, limit, conditions_of(summary, limit)) == ExitCode.NOT_MET == 6
    assert "unreadable images: 1,000 of 10,000 images are unreadable (10.0%); --fail-unreadable asked for at most" in (
        capsys.readouterr().err
    )
    both = Limit.of(0.001, "low", unreadable=0.01)
    assert exit_code_of_audit(summary, both, conditions_of(summary, both)) == ExitCode.ABOVE_LIMIT == 3


def test_the_files_say_what_the_list_says(tmp_path: Path) -> None:
    limit = Limit.of(0.01, "low", unreadable=0.0)
    odd = Condition("Duplicates", "warn", "Twice: a\x00b & <c>.", "", "1")
    conditions = (*conditions_of(SUMMARY, limit), odd)
    done = JudgedAudit("pictures", None, "audit", 3, conditions, seconds=1.5)
    failed = JudgedAudit("nowhere", "second", "audit", 2, error="error: no such source")
    root = ElementTree.fromstring(junit_xml([done, failed]))
    assert (root.get("name"), root.get("failures"), root.get("errors")) == ("influence-audit", "1", "1")
    suites = root.findall("testsuite")
    assert [suite.get("time") for suite in suites] == ["1.5", "0.0"]
    assert [suite.get("name") for suite in suites] == ["pictures (audit)", "nowhere (second, audit)"]
    cases = {case.get("name"): case for case in suites[0].findall("testcase")}
    assert set(cases) == {condition.name for condition in conditions}
    failure = cases["Wrong labels"].find("failure")
    assert failure is not None
    assert "is above the limit of 1.0%" in (failure.get("message") or "")
    assert (cases["Duplicates"].findtext("system-out") or "").startswith("warning: Twice: a\ufffdb & <c>")
    content = as_json([done, failed])
    assert content["state"] == "fail"
    assert content["audits"][0]["conditions"][0] == {
        "name": "Wrong labels",
        "state": "fail",
        "sentence": conditions[0].sentence,
        "asked": "at most 1.0% wrong labels (low)",
        "found": conditions[0].found,
    }
    assert as_json([replace(done, conditions=(odd,))])["state"] == "warn"
    files = tmp_path / "new" / "junit.xml", tmp_path / "conditions.json"
    for _ in range(2):  # an earlier file of ours is replaced
        Judging(junit=files[0], conditions=files[1]).check()
        write_outputs([done, failed], *files)
    assert json.loads(files[1].read_text()) == content
    files[0].write_text("<testsuites name='mine'/>")
    with pytest.raises(InputError, match="is no JUnit file of influence-audit; give another with --junit"):
        Judging(junit=files[0]).check()


def test_a_history_keeps_a_line_a_run_and_two_results(plain: AuditResult, tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    assert plain.summary.source is not None
    source = replace(plain.summary.source, in_fiftyone=False)
    dates = [f"2026-01-0{day}T03:00:00+00:00" for day in (1, 2, 3)]
    for number, created in enumerate(dates):
        estimates = replace(plain.summary.estimates, mistakes_low=10.0 * number)
        result = replace(plain, summary=replace(plain.summary, created=created, estimates=estimates, source=source))
        judge = Judge(Judging(history=history.folder, limit=Limit.of(None, "low", new_flags=0)), tmp_path / "none")
        beside = judge.before_report(result, tmp_path)
        state = of("New flags", judge.conditions).state
        assert (judge.problem, state) == (None, "pass" if number else "warn")
    assert [run.created for run in history.runs()] == dates
    assert [run.new_flags for run in history.runs()] == [None, 0, 0]
    assert len(list((history.folder / "results").iterdir())) == 2
    former, last = history.last_two()
    assert AuditResult.load(former).summary.created == dates[1]
    assert history.former_of(AuditResult.load(last)) == former == beside.former
    write_beside(beside, tmp_path)
    assert read_beside(tmp_path) == beside
    page = render_report(result, beside.conditions, beside.runs)
    assert 'id="history-table"' in page
    assert "2026-01-01 03:00" in page
    assert 'id="history-table"' not in render_report(result)
    with (history.folder / RUNS_FILE).open("a") as file:
        file.write('{"created": "2026-01-04"')  # as a full disk may leave it
    assert len(history.runs()) == 3
    other = tmp_path / "others"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files \(notes.txt\) and no runs.jsonl"):
        History(other).check()


def test_the_trend_in_words() -> None:
    first = run_of(replace(SUMMARY, created="2026-01-01T03:00:00+00:00"), None, decisions=0)
    second = replace(first, created="2026-01-02T03:00:00+00:00", new_flags=12, gone_flags=1, decisions=40)
    assert Run.from_line(second.to_line()) == second
    assert trend_of([first]) is None
    said = trend_sentences([first, replace(second, mistakes=second.mistakes.scaled(0.5, 1e4))])
    assert said == [
        "Wrong labels: ≈\u00a01.7% on 2026-01-01 03:00, ≈\u00a00.9% now (modelled).",
        "Since then 12 flags came and 1 went.",
        "People made 40 decisions, 40 of them since.",
    ]
    overlapping = replace(second, mistakes=replace(second.mistakes, value=180.0))
    assert "overlap" in trend_sentences([first, overlapping])[1]
    trend = trend_of([replace(first, created=f"2026-01-{day:02}") for day in range(1, 16)])
    assert trend is not None
    assert (len(trend.rows), trend.earlier, trend.rows[0].moment) == (12, 3, "2026-01-15")
