"""The report at its edges: a thousand classes, one flag, none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from audit.findings import Audited, Finding
from audit.findings.copies import find as find_copies
from audit.findings.dataset import SETTINGS
from audit.findings.dataset import find as find_faults
from audit.findings.table import summarise, table_of
from audit.result import AuditResult
from audit.summary.influence import ClassInfluence
from reports.answers import answers
from reports.class_table import MAX_TABLE_ROWS
from reports.figures import MAX_CLASSES
from reports.html import FIRST_SKIPPED, WORST_CLASSES, render_report
from reports.most_confused import most_confused
from reports.next_steps import next_steps
from reports.wrong_labels_by_class import flagged_pairs, most_affected_classes, pairs_in_words
from tests.made_reports import ReportText, nothing_flagged
from tests.unit.test_findings import dataset


@pytest.fixture(scope="module")
def thousand_classes(plain: AuditResult) -> str:
    """The page of a thousand classes, with many samples that were left out; no pictures."""
    names = np.arange(1000)
    labels = np.arange(len(plain.scores)) % 1000
    scores = plain.scores.assign(label=labels, suggested_label=(labels + 1) % 1000, other_label=(labels + 1) % 1000)
    summary, diagonal = plain.summary, tuple((int(name), int(name), 1) for name in names)
    assert summary.heads is not None
    heads = {
        name: replace(head, test=replace(head.test, confusion=diagonal)) for name, head in summary.heads.by_name.items()
    }
    of_class = [
        ClassInfluence(class_=name, clean=0.1, clean_count=1, corrupted=None, corrupted_count=0)
        for name in (*names.tolist(), None)
    ]
    summary = replace(
        summary,
        classes=tuple(names.tolist()),
        influence_by_class=tuple(of_class),
        heads=replace(summary.heads, **heads),
        counts=replace(summary.counts, classes=1000),
    )
    left_out = pd.DataFrame({"id": [f"left-{row}" for row in range(500)], "filepath": None, "reason": "no label"})
    return render_report(
        replace(plain, scores=scores, summary=summary, skipped=left_out, thumbnails=plain.thumbnails.iloc[:0])
    )


def section(page: str, name: str) -> tuple[str, str]:
    """What a section shows at first, and what its fold of others has."""
    text = page[page.index(f'<section id="{name}"') :]
    shown, _, rest = text[: text.index("</section>")].partition('<details class="others">')
    return shown, rest.partition("</details>")[0]


def test_a_thousand_classes_are_a_small_page_with_few_rows_in_sight(thousand_classes: str) -> None:
    assert len(thousand_classes.encode()) < 1.5e6
    rows = {name: section(thousand_classes, name) for name in ("classes", "influence", "skipped")}
    shown = {name: (first.count("<tr") - 1, others.count("<tr") - 1) for name, (first, others) in rows.items()}
    assert shown == {
        "classes": (WORST_CLASSES + 1, MAX_TABLE_ROWS - WORST_CLASSES),
        "influence": (MAX_CLASSES + 1, MAX_TABLE_ROWS - MAX_CLASSES),
        "skipped": (FIRST_SKIPPED, MAX_TABLE_ROWS - FIRST_SKIPPED),
    }
    text = " ".join(ReportText(thousand_classes).text.split()).replace(" .", ".")
    assert "The 200 classes with most wrong labels of 1,000; all are in scores.parquet." in text
    assert "The first 200 are here; all are in skipped.parquet." in text


def test_a_matrix_shows_classes_that_are_confused_with_each_other() -> None:
    rows = np.arange(500)
    counts = csr_array((np.ones(500, dtype=int), (rows, 999 - rows)), shape=(1000, 1000))
    chosen = most_confused(counts, 20)
    assert len(chosen) == 20
    assert counts[chosen][:, chosen].sum() == 10
    dense = csr_array(np.ones((30, 30), dtype=int) + 5 * (np.arange(30) < 4)[:, None])
    assert set(range(4)) <= set(most_confused(dense, 10).tolist())
    assert most_confused(csr_array((3, 3), dtype=int), 20).tolist() == [0, 1, 2]
    assert len(most_confused(csr_array((30, 30), dtype=int), 20)) == 20


def test_small_classes_are_one_finding_and_few_of_many_pairs_are_named() -> None:
    numbers = np.repeat(np.arange(300), 2)
    found = [finding for finding in find_faults(dataset(numbers)) if finding.kind == "small-class"]
    assert [len(finding.classes) for finding in found] == [300]
    assert found[0].evidence.startswith(
        "300 of 300 classes are small, and have up to 2 samples; the largest has 2: '0'"
    )
    many = audited_before_validation(300)
    assert [len(finding.classes) for finding in find_copies(many) if finding.kind == "class-without-validation"] == [
        300
    ]
    random = np.random.default_rng(0)
    numbers = np.repeat(np.arange(24), 20)
    prior = np.full((480, 24), 1e-3)
    prior[np.arange(480), numbers] = 1
    together = 8 * (numbers // 8)  # three groups of eight classes that nothing tells apart
    for first in (0, 8, 16):
        rows = np.flatnonzero(together == first)
        prior[rows, first : first + 8] = random.random((len(rows), 8))
    alike = [finding for finding in find_faults(dataset(numbers, prior=prior)) if finding.kind == "classes-alike"]
    assert len(alike) == SETTINGS.named
    (worth,) = {finding.worth for finding in alike}
    assert worth.endswith(f"pairs are alike; the {SETTINGS.named} most alike are named")
    assert SETTINGS.named < int(worth.split()[0]) <= 84


def audited_before_validation(classes: int) -> Audited:
    """Two samples of each class, none of them in the validation split, and no two alike."""
    keys = np.arange(4 * classes, dtype=np.uint64).view(np.uint8).reshape(-1, 16)
    return replace(dataset(np.repeat(np.arange(classes), 2)), keys=keys)


def test_the_page_names_all_classes_of_one_finding_in_a_fold(plain: AuditResult) -> None:
    found = Finding(
        kind="small-class", evidence="40 of 42 classes are small", classes=tuple(f"rare {n}" for n in range(40))
    )
    table = table_of([found], [])
    summary = replace(plain.summary, findings=summarise(table))
    page = render_report(replace(plain, findings=table, summary=summary))
    shown, others = section(page, "findings")
    assert "40 of 42 classes are small" in shown
    assert "rare 39" not in shown
    assert "all 40 classes" in others
    assert all(f"rare {n}" in others for n in range(40))


def one_flagged(result: AuditResult) -> AuditResult:
    """With only the most suspicious sample flagged."""
    first = result.scores["suspicion"].idxmax()
    summary = replace(result.summary, counts=replace(result.summary.counts, flagged=1))
    return replace(result, scores=result.scores.assign(flag=result.scores.index == first), summary=summary)


def test_one_flag_is_spoken_of_as_one(plain: AuditResult) -> None:
    result = one_flagged(plain)
    given, other = result.flagged[["label", "other_label"]].iloc[0]
    assert most_affected_classes(result).startswith(f"The only flag is \u2068{given}\u2069 → \u2068{other}\u2069.")
    assert pairs_in_words(flagged_pairs(result), 1).endswith("\u2069.")
    said = {answer.question: answer.text for answer in answers(result)}
    steps = [step.text for step in next_steps(result.summary, None)]
    assert not any("most suspicious first" in text for text in (*said.values(), *steps))
    assert any("1 sample below" in text for text in steps)


def test_where_nothing_is_flagged_no_empty_matrix_is_shown(plain: AuditResult) -> None:
    hidden = '<div class="panel plotted" id="confused-plot" hidden>'
    assert hidden in render_report(nothing_flagged(plain))
    assert hidden not in render_report(plain)
