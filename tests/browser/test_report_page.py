"""The HTML report in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from audit.result import AuditResult
from reports.html import write_report
from tests.browser.report_page import DESKTOP, PHONE, OpenedReport

# -- in a browser


INJECTED_PLOTS = [
    "given_by_suggested",
    "precision_recall",
    "roc",
    "suspicion_histogram",
    "influence_by_class",
    "confusion_before",
    "confusion_removed",
    "confusion_corrected",
    "loss_curves",
    "confusion_given",
]


@pytest.mark.parametrize(
    ("name", "plots"),
    [
        ("injected", INJECTED_PLOTS),
        ("hostile", INJECTED_PLOTS),
        ("many", INJECTED_PLOTS),
        ("plain", [name for name in INJECTED_PLOTS if name not in ("precision_recall", "roc", "confusion_given")]),
        ("controls", [name for name in INJECTED_PLOTS if name != "confusion_given"]),
        ("nothing flagged", ["given_by_suggested", "suspicion_histogram", "influence_by_class", "confusion_given"]),
    ],
)
def test_opens_without_complaint_and_draws_every_plot(
    browser: Any, reports: dict[str, Path], name: str, plots: list[str]
) -> None:
    with OpenedReport(browser, reports[name]) as opened:
        assert opened.plots() == plots
        drawn = opened.page.query_selector_all("[data-figure]")
        hidden = [plot for plot in drawn if not plot.is_visible()]
        assert [plot.get_attribute("data-figure") for plot in hidden] == (
            plots[:1] if name == "nothing flagged" else []
        )
        for plot in drawn[len(hidden) :]:
            assert plot.query_selector_all(".bar, polyline, .boxes, .frame"), plot.get_attribute("data-figure")
            assert plot.query_selector(".area").bounding_box()["width"] > 300
            plot.hover()
        assert opened.sideways_overflow() == 0
        assert opened.complaints == []
        outside = [url for url in opened.requests if not url.startswith(("file:", "data:", "blob:"))]
        assert outside == []


@pytest.mark.parametrize("name", ["injected", "hostile", "many", "unsure", "decided"])
def test_fits_a_phone(browser: Any, reports: dict[str, Path], name: str) -> None:
    with OpenedReport(browser, reports[name], PHONE) as opened:
        opened.open_details()
        assert opened.sideways_overflow() == 0
        heights = opened.page.eval_on_selector_all(
            "#confused-pairs button", "buttons => buttons.map(b => b.clientHeight)"
        )
        assert max(heights) < 60
        opened.page.evaluate("document.querySelector('#how details').open = true")
        widths = opened.page.eval_on_selector_all("#how .terms td", "cells => cells.map(cell => cell.clientWidth)")
        assert min(widths) > 200  # pixels: a value and its meaning are below each other, not in columns of two letters
        assert opened.page.is_visible("nav a[href='#flagged']")
        assert opened.complaints == []


def test_filters_search_and_order(browser: Any, reports: dict[str, Path], injected: AuditResult) -> None:
    flagged = injected.flagged
    with OpenedReport(browser, reports["injected"]) as opened:
        page = opened.page
        assert opened.shown_ids() == list(flagged.index[:24])
        assert page.inner_text("#flagged-count") == (
            f"Showing 24 of {len(flagged)} flagged samples. 1 of them has no picture in this report."
        )
        page.click("#flagged-more")
        assert opened.shown_ids() == list(flagged.index[:48])

        page.select_option("[name=given]", "=digit 3")
        of_class = flagged[flagged["label"] == "digit 3"]
        assert opened.shown_ids() == list(of_class.index[:24])
        page.select_option("[name=suggested]", "=digit 5")
        pair = of_class[of_class["suggested_label"] == "digit 5"]
        assert opened.shown_ids() == list(pair.index)
        page.click("#flagged-reset")

        page.select_option("[name=origin]", "own")
        assert opened.shown_ids() == list(flagged[~flagged["injected"]].index[:24])
        page.select_option("[name=order]", "harmful")
        own = flagged[~flagged["injected"]].sort_values("influence", kind="stable")
        assert opened.shown_ids() == list(own.index[:24])
        page.click("#flagged-reset")

        page.fill("[name=search]", flagged.index[70].upper())
        assert opened.shown_ids() == [flagged.index[70]]
        page.fill("[name=search]", "no such thing")
        assert opened.shown_ids() == []
        assert page.inner_text("#flagged-count") == "No flagged sample matches."
        assert opened.complaints == []


def test_page_shows_the_measured_numbers(browser: Any, reports: dict[str, Path], injected: AuditResult) -> None:
    detection = injected.summary.detection
    with OpenedReport(browser, reports["injected"]) as opened:
        opened.open_details()
        for cell in ("true_positive", "false_positive", "false_negative", "true_negative"):
            assert opened.page.inner_text(f"[data-cell={cell}]") == f"{getattr(detection, cell):,}"
        for measure in ("precision", "recall", "f1", "average_precision", "auroc"):
            assert opened.page.inner_text(f"[data-measure={measure}]") == f"{getattr(detection, measure):.3f}"
        missed = injected.scores[injected.scores["injected"] & ~injected.scores["flag"]]
        assert set(opened.shown_ids("missed-gallery")) == set(missed.sort_values("suspicion")[-12:].index)


def test_a_sample_opens_by_keyboard_with_all_its_scores(
    browser: Any, reports: dict[str, Path], injected: AuditResult
) -> None:
    first, second = injected.flagged.index[:2]
    with OpenedReport(browser, reports["injected"]) as opened:
        page = opened.page
        page.focus("#flagged-gallery .card")
        page.keyboard.press("Enter")
        sheet = page.inner_text("#sheet")
        assert first in sheet
        assert injected.scores.loc[first, "filepath"] in sheet
        page.keyboard.press("ArrowRight")
        assert second in page.inner_text("#sheet")
        page.keyboard.press("Escape")
        assert not page.is_visible("#sheet")
        assert page.evaluate("document.activeElement.dataset.sample") == first
        assert opened.complaints == []


def test_pictures_are_decoded_and_a_missing_one_has_its_name(
    browser: Any, reports: dict[str, Path], injected: AuditResult
) -> None:
    missing = next(sample for sample in injected.flagged.index if sample not in injected.thumbnails.index)
    file = Path(injected.scores.loc[missing, "filepath"]).name
    with OpenedReport(browser, reports["injected"]) as opened:
        page = opened.page
        opened.wait_until("[...document.images].every(image => image.complete)")
        assert page.evaluate("[...document.images].every(image => image.naturalWidth === 96 && image.alt)")
        page.fill("[name=search]", missing)
        assert page.inner_text("#flagged-gallery .picture") == file


def test_theme_follows_the_system_and_the_button(browser: Any, reports: dict[str, Path]) -> None:
    with OpenedReport(browser, reports["injected"], scheme="dark") as opened:
        page = opened.page
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 27)"
        stroke = "getComputedStyle(document.querySelector('[data-figure=loss_curves] polyline.clean')).stroke"
        assert page.evaluate(stroke) == "rgb(111, 180, 240)"
        page.click("#theme")
        opened.wait_until(f"{stroke} === 'rgb(31, 111, 180)'")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(247, 248, 250)"
        page.reload()
        assert page.evaluate("document.documentElement.dataset.theme") == "light"
        assert opened.complaints == []


def test_prints_light_and_short_with_closed_details_and_no_controls(browser: Any, reports: dict[str, Path]) -> None:
    with OpenedReport(browser, reports["injected"], scheme="dark") as opened:
        page = opened.page
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        for hidden in ("#flagged-filters", "#theme", "#decisions", "#flagged-gallery .choice", "#how", "#details h2"):
            assert not page.is_visible(hidden), hidden
        for shown in ("#verdict", "#next", "#confused-pairs button", "[data-figure=given_by_suggested] .area"):
            assert page.is_visible(shown), shown
        assert page.evaluate("document.getElementById('flagged').remove()") is None
        assert pages_of(page.pdf()) <= 6
        page.emulate_media(media="screen")
        assert opened.sideways_overflow() == 0
        assert opened.complaints == []


def pages_of(pdf: bytes) -> int:
    """Number of pages of a PDF that Chromium wrote."""
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@pytest.mark.parametrize("name", ["injected", "many", "unsure"])
def test_a_lead_reads_the_answers_on_the_first_screen(browser: Any, reports: dict[str, Path], name: str) -> None:
    with OpenedReport(browser, reports[name], {"width": 1440, "height": 900}) as opened:
        page = opened.page
        questions = page.locator(".answers dt").all_inner_texts()
        assert questions == ["How sure?", "Which classes?", "What first?", "How long?"]
        foot = "selector => document.querySelector(selector).getBoundingClientRect().bottom"
        for part in ("#verdict", ".answers", ".cards"):
            assert page.evaluate(foot, part) <= 900, part
        assert page.evaluate("document.getElementById('flagged').getBoundingClientRect().top + scrollY") <= 4500
        said = page.inner_text("#verdict") + page.inner_text(".answers") + page.inner_text(".cards")
        for word in ("head", "suspicion", "slip", "look-alike", "nats", "kfac"):
            assert word not in said.lower(), word
    with OpenedReport(browser, reports[name], PHONE) as opened:
        assert opened.page.evaluate(foot, ".answers") <= 844


def test_a_link_into_the_closed_details_opens_them(browser: Any, reports: dict[str, Path]) -> None:
    with OpenedReport(browser, reports["injected"]) as opened:
        page = opened.page
        assert not page.is_visible("#how-title")
        page.evaluate("location.hash = 'how'")
        page.wait_for_selector("#how-title")
        opened.wait_until("Math.abs(document.getElementById('how').getBoundingClientRect().top) < innerHeight")


def test_without_javascript_the_first_flags_and_the_plots_are_there(
    browser: Any, reports: dict[str, Path], injected: AuditResult
) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(reports["injected"].as_uri())
    cards = page.locator("#flagged-gallery .card")
    assert cards.count() == 10
    assert page.locator("#flagged-gallery img").count() >= 9
    assert injected.flagged["label"].iloc[0] in cards.first.inner_text()
    nearest = cards.first.locator(".nearest .picture img")
    assert nearest.count() == 4
    assert cards.first.locator(".nearest .side bdi").all_inner_texts() == [
        injected.flagged["label"].iloc[0],
        injected.flagged["other_label"].iloc[0],
    ]
    assert page.locator("[data-figure=given_by_suggested] .cells rect").count() > 0
    assert "Without JavaScript" in page.inner_text("noscript")
    assert not page.locator("[data-copy]").first.is_visible()
    context.close()


def test_class_gallery_follows_its_choice(browser: Any, reports: dict[str, Path], injected: AuditResult) -> None:
    rows = injected.scores[(injected.scores["label"] == "digit 7") & (injected.scores["split"] == "train")]
    with OpenedReport(browser, reports["injected"]) as opened:
        opened.open_details()
        opened.page.select_option("#class-choice", label="digit 7")
        assert opened.shown_ids("class-harmful") == list(rows.sort_values("influence").index[:8])
        known = injected.explanations
        targets = pd.unique(known["target"][known["reason"] == "validation"])
        opened.page.click("#explained-more")
        shown = opened.page.eval_on_selector_all(
            "#explained-list > .explained > div:first-child .card", "cards => cards.map(card => card.dataset.sample)"
        )
        assert shown == list(targets)


LONG = ["Ubiquitous_" + letter * 289 for letter in "abc"]


@pytest.mark.parametrize("javascript", [True, False])
def test_class_names_of_300_characters_fit_every_page(
    browser: Any, plain: AuditResult, tmp_path: Path, javascript: bool
) -> None:
    names = dict(zip(plain.summary.classes, [*LONG, *plain.summary.classes[len(LONG) :]], strict=True))
    columns = ["label", "suggested_label", "other_label"]
    scores = plain.scores.assign(**{column: plain.scores[column].map(names) for column in columns})
    summary = replace(plain.summary, classes=tuple(names.values()))
    path = write_report(replace(plain, scores=scores, summary=summary), tmp_path / "long.html")
    for viewport in (DESKTOP, PHONE):
        context = browser.new_context(viewport=viewport, java_script_enabled=javascript)
        page = context.new_page()
        page.goto(path.as_uri())
        widest = page.locator("html").evaluate("root => root.scrollWidth") if javascript else None
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        with Image.open(tmp_path / "page.png") as picture:
            assert picture.width == viewport["width"] == (widest or viewport["width"])
        was = page.locator("#flagged-gallery .was").all()
        assert max(box["height"] for each in was if (box := each.bounding_box()) is not None) < 40
        context.close()
