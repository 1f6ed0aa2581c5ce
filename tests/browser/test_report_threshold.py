"""The slider of the report's threshold moves every number, plot and picture that depends on it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from audit.result import AuditResult
from audit.summary.estimates import Acceptance, AcceptedAt
from reports.claims import claims_of
from reports.correction import correction_texts
from reports.html import write_report
from reports.known_mislabels import compare_with_known
from reports.ranges import figure, share_range
from reports.wrong_labels_by_class import flagged_pairs, pairs_in_words
from tests.browser.report_page import OpenedReport
from tests.digits_result import CLASSES
from tests.made_reports import ReportText
from tests.waiting import slowdown

# -- the threshold slider


def move_threshold(page: Any, value: float) -> None:
    """Move the slider as a hand would, and wait until pictures and plots have followed."""
    page.locator("#threshold-slider").fill(str(value))
    page.wait_for_selector(f'html[data-threshold="{value}"]', state="attached")


def live_texts(page: Any) -> list[tuple[str, str]]:
    return [
        (name, text)
        for name, text in page.eval_on_selector_all(
            "[data-live], [data-class-flagged]",
            "nodes => nodes.map(node => [node.dataset.live ?? 'class ' + node.dataset.classFlagged, node.textContent])",
        )
    ]


def correction_at(result: AuditResult, value: float) -> str:
    """What is said of the heads that were trained for the nearest threshold."""
    measured = correction_texts(result.summary)
    return min(measured, key=lambda each: abs(each.threshold - value)).texts["sentence"]


@pytest.mark.parametrize("value", [0.25, 0.9])
def test_slider_moves_every_number_as_the_scores_have_it(
    browser: Any, reports: dict[str, Path], injected: AuditResult, tmp_path: Path, value: float
) -> None:
    scores = pd.read_parquet(injected.save(tmp_path) / "scores.parquet")
    flag, wrong = scores["suspicion"] >= value, scores["injected"]
    found = int((flag & wrong).sum())
    precision, recall = found / int(flag.sum()), found / int(wrong.sum())
    false_alarms = int((flag & ~wrong).sum())
    numbers = {
        "threshold": f"{value:.2f}",
        "flagged": f"{flag.sum():,}",
        "flagged_samples": f"{flag.sum():,} samples",
        "expected_precision": "an unknown share",
        "expected_recall": "an unknown share",
        "true_positive": f"{found:,}",
        "false_positive": f"{false_alarms:,}",
        "false_negative": f"{(~flag & wrong).sum():,}",
        "true_negative": f"{(~flag & ~wrong).sum():,}",
        "precision": f"{precision:.3f}",
        "recall": f"{recall:.3f}",
        "f1": f"{2 * precision * recall / (precision + recall):.3f}",
        "precision_share": f"{100 * precision:.1f}%",
        "recall_share": f"{100 * recall:.1f}%",
    }
    numbers["correction"] = correction_at(injected, value)
    by_class = flag.groupby(scores["label"]).sum()
    numbers |= {f"class {number}": str(by_class[label]) for number, label in enumerate(CLASSES)}
    with OpenedReport(browser, reports["injected"]) as opened:
        page = opened.page
        opened.open_details()
        before = live_texts(page)
        assert {name for name, _ in before} == set(numbers)
        move_threshold(page, value)
        assert [text for _, text in live_texts(page)] == [numbers[name] for name, _ in before]

        ordered = scores.sort_values("suspicion", ascending=False, kind="stable")
        assert opened.shown_ids() == list(ordered.index[:24])
        known = {"unexpected": flag & ~wrong, "missed": ~flag & wrong}
        for gallery, chosen in known.items():
            shown = opened.shown_ids(f"{gallery}-gallery")
            assert len(shown) == min(12, chosen.sum())
            assert chosen[shown].all()
        if value < injected.summary.threshold:
            assert "no picture in this report" in page.inner_text("#flagged-count")

        mark = "name => JSON.parse(document.querySelector(`[data-figure=${name}] .area`).dataset.mark)"
        assert page.evaluate(mark, "precision_recall") == pytest.approx([recall, precision])
        assert page.evaluate(mark, "roc") == pytest.approx([false_alarms / (~wrong).sum(), recall])
        line = page.locator("[data-figure=suspicion_histogram] .threshold-line")
        assert line.get_attribute("x1") == line.get_attribute("x2") == f"{100 * value:g}%"
        cells = page.locator("[data-figure=given_by_suggested] .cells title").all_text_contents()
        told = [re.fullmatch(r"given label (.+), suggested label (.+), (\d+) samples", text) for text in cells]
        pairs = scores[flag].groupby(["label", "other_label"]).size()
        assert {(found[1], found[2]): int(found[3]) for found in told if found} == pairs.to_dict()

        command = page.inner_text("#threshold-moved code")
        assert command == f"influence-audit run digits --dataset influence-audit-demo --threshold {value}"
        page.click("#threshold-reset")
        assert live_texts(page) == before
        assert not page.is_visible("#threshold-moved")
        assert opened.complaints == []


@pytest.mark.parametrize("which", ["injected", "plain"])
def test_slider_moves_to_the_nearest_heads_that_were_trained(
    browser: Any, reports: dict[str, Path], request: pytest.FixtureRequest, which: str
) -> None:
    summary = request.getfixturevalue(which).summary
    correction = summary.correction
    assert len(correction.elsewhere) >= 2
    with OpenedReport(browser, reports[which]) as opened:
        page = opened.page
        opened.open_details()
        untouched = page.inner_text("#correction")
        for measured in correction.elsewhere:
            move_threshold(page, round(measured.threshold + 0.03, 2))
            text = page.inner_text("#correction")
            assert f"for a threshold of {measured.threshold:.2f}" in text
            assert f"{measured.flagged.train:,} flagged training samples" in text
            on = measured.measured_on[0]
            for arm, head in measured.heads.by_name.items():
                shown = page.inner_text(f"[data-correction='{arm}-{on.name}-f1']")
                assert shown == f"{head.quality[on.name].f1:.3f}"
        page.locator("[data-reset-threshold]:visible").first.click()
        assert page.inner_text("#correction") == untouched


def test_slider_moves_flagged_against_others_where_nothing_was_injected(
    browser: Any, reports: dict[str, Path], plain: AuditResult
) -> None:
    with OpenedReport(browser, reports["plain"]) as opened:
        page = opened.page
        opened.open_details()
        for value in (0.15, plain.summary.threshold):
            move_threshold(page, value)
            groups = page.evaluate(
                "[...document.querySelectorAll('[data-figure=influence_by_class] .boxes')]"
                ".map(group => [...group.children].map(box => JSON.parse(box.dataset.values)))"
            )
            flag = plain.scores["suspicion"] >= value
            for boxes, rows in zip(groups, (plain.scores[~flag], plain.scores[flag]), strict=True):
                assert boxes[-1][2] == pytest.approx(rows["influence"].median(), rel=1e-5)
                assert boxes[0][3] == pytest.approx(
                    rows["influence"][rows["label"] == CLASSES[0]].quantile(0.75), rel=1e-5
                )
        assert page.inner_text("#flagged [data-live=expected_precision]").startswith("at least ")
        assert opened.complaints == []


def accepted_at(result: AuditResult, threshold: float, broken: tuple[float, float]) -> AcceptedAt:
    """What accepting from a threshold on comes to, where these shares of the labels are right."""
    samples = int((result.scores["suspicion"] >= threshold).sum())
    low, high = (samples * share for share in broken)
    return AcceptedAt(
        threshold=threshold, samples=samples, mended_low=0.0, mended_high=samples, broken_low=low, broken_high=high
    )


def test_slider_shows_the_precision_that_the_known_thresholds_around_it_allow(
    browser: Any, plain: AuditResult, tmp_path: Path
) -> None:
    rows = [
        accepted_at(plain, 0.9, (0.02, 0.06)),
        accepted_at(plain, 0.7, (0.1, 0.3)),
        accepted_at(plain, 0.4, (0.3, 0.6)),
    ]
    acceptance = Acceptance(by_threshold=tuple(rows), pays_from=0.9)
    path = write_report(replace(plain, summary=replace(plain.summary, acceptance=acceptance)), tmp_path / "report.html")
    above, below = rows[1], rows[2]
    between = int((plain.scores["suspicion"] >= 0.5).sum())
    wrong_low = max(above.samples - above.broken_high, between - below.broken_high)
    wrong_high = min(below.samples - below.broken_low, between - above.broken_low)
    bounds = (wrong_low / between, wrong_high / between)
    expected = share_range(figure(sum(bounds) / 2, *bounds, 1.0, "modelled"))
    with OpenedReport(browser, path) as opened:
        page = opened.page
        opened.open_details()
        assert page.locator("#acceptance-table tbody tr").count() == 3
        assert "It pays only from a suspicion of 0.90" in page.inner_text("#acceptance")
        at_first = page.inner_text("#flagged [data-live=expected_precision]")
        shown = {}
        for value in (0.9, 0.5, 0.1):
            move_threshold(page, value)
            shown[value] = page.inner_text("#flagged [data-live=expected_precision]")
            assert page.inner_text("#flagged [data-live=expected_recall]") == "an unknown share"
        assert shown == {0.9: "≈\u00a096%", 0.5: expected, 0.1: "an unknown share"}
        move_threshold(page, 1)
        assert page.inner_text("#flagged [data-live=expected_precision]") == "–"
        move_threshold(page, 0)
        everything = claims_of(plain.summary).mistakes.scaled(1 / len(plain.scores), 1.0)
        assert page.inner_text("#flagged [data-live=expected_precision]") == share_range(everything)
        assert page.inner_text("#flagged [data-live=expected_recall]") == "100%"
        page.click("#threshold-reset")
        assert page.inner_text("#flagged [data-live=expected_precision]") == at_first
        assert opened.complaints == []


def test_pairs_of_classes_follow_the_slider_and_lead_to_their_samples(
    browser: Any, reports: dict[str, Path], plain: AuditResult
) -> None:
    with OpenedReport(browser, reports["plain"]) as opened:
        page = opened.page
        for value in (None, 0.2):
            threshold = plain.summary.threshold if value is None else value
            if value is not None:
                move_threshold(page, value)
            flag = plain.scores["suspicion"] >= threshold
            at_threshold = replace(plain, scores=plain.scores.assign(flag=flag))
            pairs = flagged_pairs(at_threshold)
            assert page.inner_text("[data-live=where]") == pairs_in_words(pairs, int(flag.sum()))
            listed = page.locator("#confused-pairs button").all_inner_texts()
            assert [re.sub(r"\s+", " ", text) for text in listed] == [
                f"{given} → {other} {number}" for given, other, number in pairs[:10]
            ]
        page.select_option("[name=order]", "label")
        page.focus("#confused-pairs li:nth-child(2) button")
        page.keyboard.press("Enter")
        given, other, _ = pairs[1]
        of_pair = plain.scores[flag & (plain.scores["label"] == given) & (plain.scores["other_label"] == other)]
        assert opened.shown_ids() == list(of_pair.sort_values("suspicion", ascending=False, kind="stable").index[:24])
        assert page.evaluate("document.activeElement.name") == "given"
        assert opened.complaints == []


def test_where_nothing_is_flagged_the_matrix_comes_with_the_first_flag(
    browser: Any, reports: dict[str, Path], plain: AuditResult
) -> None:
    with OpenedReport(browser, reports["nothing flagged"]) as opened:
        page = opened.page
        assert not page.is_visible("#confused-plot")
        move_threshold(page, round(float(plain.scores["suspicion"].nlargest(20).min()), 2))
        assert page.is_visible("#confused-plot")
        assert not page.is_visible("#confused-empty")


def test_without_injection_the_flags_are_measured_on_spike_in_controls(
    browser: Any, reports: dict[str, Path], controls: AuditResult, injected: AuditResult
) -> None:
    known = compare_with_known(controls)
    assert known is not None
    for measure in ("true_positive", "false_positive", "precision", "recall", "average_precision", "auroc"):
        assert getattr(known.measures, measure) == pytest.approx(getattr(injected.summary.detection, measure))
    text = " ".join(ReportText(reports["controls"].read_text(encoding="utf-8")).text.split())
    assert "known mislabels were added to copies of your labels (spike-in controls)" in text
    assert "Your own mistakes count against precision here" in text
    assert "There is no measurement in this report" not in text
    with OpenedReport(browser, reports["controls"]) as opened:
        opened.open_details()
        move_threshold(opened.page, 0.9)
        flag, spiked = injected.scores["suspicion"] >= 0.9, injected.scores["injected"]
        assert opened.page.inner_text("[data-cell=true_positive]") == f"{(flag & spiked).sum():,}"
        assert opened.page.inner_text("[data-measure=recall]") == f"{(flag & spiked).sum() / spiked.sum():.3f}"
        for number, kind in enumerate(("look-alike", "slip")):
            of_kind = (controls.controls["kind"] == kind).to_numpy()
            recall = (flag.to_numpy() & of_kind).sum() / of_kind.sum()
            assert opened.page.inner_text(f"[data-kind='{number}']") == f"{recall:.3f}"
        own = (controls.scores["suspicion"] >= 0.9).sum()
        assert opened.page.inner_text("#threshold-form [data-live=flagged]") == f"{own:,}"
        assert opened.complaints == []


def test_fifty_thousand_samples_move_within_a_second(
    browser: Any, plain: AuditResult, tmp_path_factory: pytest.TempPathFactory
) -> None:
    many = pd.concat([plain.scores] * 28)
    many.index = pd.Index([f"{number:024x}" for number in range(len(many))], name="id")
    result = replace(plain, scores=many, explanations=plain.explanations.iloc[:0], thumbnails=plain.thumbnails.iloc[:0])
    path = write_report(result, tmp_path_factory.mktemp("large") / "report.html")
    assert path.stat().st_size < 15e6
    with OpenedReport(browser, path) as opened:
        slow = slowdown()
        seconds = opened.page.evaluate(
            """() => {
                const began = performance.now(), slider = document.getElementById('threshold-slider');
                slider.value = '0.3';
                slider.dispatchEvent(new Event('input'));
                return (performance.now() - began) / 1000;
            }"""
        )
        assert seconds < max(slow, slowdown())
        flagged = int((many["suspicion"] >= 0.3).sum())
        assert opened.page.inner_text("#threshold-value").endswith(f" {flagged:,} flagged")
        opened.page.wait_for_selector('html[data-threshold="0.3"]', state="attached")
        status = opened.page.inner_text("#flagged-count")
        assert f"{flagged - 1000:,} more are flagged at this threshold and are not shown here" in status
