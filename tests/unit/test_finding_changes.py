"""Two audits side by side: which findings beside single labels are new, and which are gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from audit.findings import Finding
from audit.findings.table import table_of
from audit.result import AuditResult
from audit.summary.parts import to_json
from reports.changes import compare, sentences
from reports.compare import render_comparison

Results = tuple[AuditResult, AuditResult]


def with_findings(result: AuditResult, found: Sequence[Finding], chosen: str = "all") -> AuditResult:
    config = result.summary.config.replace(findings=chosen)
    summary = replace(result.summary, config=config)
    return replace(result, summary=summary, findings=table_of(found, list(result.scores.index)))


def dark(row: int) -> Finding:
    return Finding(kind="dark", evidence=f"picture {row} is dark", samples=(row,))


def copies(*rows: int) -> Finding:
    return Finding(kind="near-duplicates", evidence=f"{len(rows)} images are nearly the same", samples=rows)


def small(label: str, samples: int) -> Finding:
    return Finding(kind="small-class", evidence=f"class {label!r} has {samples} samples", classes=(label,))


BEFORE = [dark(1), dark(2), copies(5, 6), copies(7, 8, 9), copies(10, 11), small("1", 4)]
AFTER = [dark(2), dark(3), copies(5, 6), copies(7, 8), copies(10, 11, 12), small("1", 6), small("2", 3)]


def test_what_is_new_and_gone_is_counted_by_kind(corrected: Results) -> None:
    values = compare(with_findings(corrected[0], BEFORE), with_findings(corrected[1], AFTER))
    counted = {change.kind: (change.first, change.second, change.new, change.gone) for change in values.findings}
    assert counted == {
        "dark": (2, 2, 1, 1),
        "near-duplicates": (3, 3, 1, 0),  # a copy less is nothing new, a copy more is
        "small-class": (1, 2, 1, 0),  # the same class with another number of samples is known
    }
    said = " ".join(sentences(values))
    assert "3 findings are new: 1 dark pictures, 1 near-duplicates in one class, 1 small classes." in said
    assert "1 of the first audit's findings is gone." in said
    (dark_one,) = (change for change in to_json(values)["findings"] if change["kind"] == "dark")
    assert dark_one["examples"] == [{"detail": "picture 3 is dark", "samples": [corrected[1].scores.index[3]]}]


def test_nothing_is_called_new_or_gone_that_an_audit_did_not_look_for(corrected: Results) -> None:
    first, second = with_findings(corrected[0], [], "duplicates"), with_findings(corrected[1], AFTER)
    values = compare(first, second)
    assert {change.kind for change in values.findings if not change.looked} == {"dark", "small-class"}
    said = " ".join(sentences(values))
    assert "3 findings are new: 3 near-duplicates in one class." in said
    assert "The first audit did not look for dark pictures, small classes" in said
    back = compare(second, first)
    assert sum(change.gone for change in back.findings if change.kind != "near-duplicates") == 0


@pytest.mark.parametrize("found", [[], BEFORE])
def test_two_audits_with_the_same_findings_have_no_new_ones(corrected: Results, found: list[Finding]) -> None:
    values = compare(with_findings(corrected[0], found), with_findings(corrected[1], found))
    assert all(change.new == change.gone == 0 for change in values.findings)
    assert ("No finding beside single labels is new." in sentences(values)) == bool(found)


def test_a_finding_about_many_classes_is_known_by_all_of_them(corrected: Results) -> None:
    many = Finding(kind="small-class", evidence="4 of 9 classes are small", classes=("1", "2", "3", "4"))
    fewer, others = replace(many, classes=("1", "2", "4")), replace(many, classes=("1", "2", "5"))
    first = with_findings(corrected[0], [many])
    assert first.findings["class"].tolist() == ["1", "2", "3", "4"]
    new = [
        compare(first, with_findings(corrected[1], [found])).findings[0].new for found in (many, fewer, small("3", 2))
    ]
    assert new == [0, 0, 0]
    assert compare(first, with_findings(corrected[1], [others])).findings[0].new == 1


def test_the_page_shows_the_new_findings(corrected: Results) -> None:
    page = render_comparison(with_findings(corrected[0], BEFORE), with_findings(corrected[1], AFTER))
    assert 'id="findings"' in page
    assert "Picture 3 is dark" in page
    assert "Picture 2 is dark" not in page
    assert "not looked for" not in page
