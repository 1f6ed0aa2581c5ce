"""The HTML report in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from audit.result import AuditResult
from tests.browser.report_page import PHONE, OpenedReport

# -- in a browser


INJECTED_PLOTS = [
    "precision_recall",
    "roc",
    "suspicion_histogram",
    "influence_by_class",
    "given_by_suggested",
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
        ("nothing flagged", ["suspicion_histogram", "influence_by_class", "given_by_suggested", "confusion_given"]),
    ],
)
def test_opens_without_complaint_and_draws_every_plot(
    browser: Any, reports: dict[str, Path], name: str, plots: list[str]
) -> None:
    with OpenedReport(browser, reports[name]) as opened:
        assert opened.draw_all() == plots
        for plot in opened.page.query_selector_all("[data-figure]"):
            assert plot.query_selector_all(".trace, .heatmaplayer .hm, .point"), plot.get_attribute("data-figure")
            plot.hover()
        assert opened.sideways_overflow() == 0
        assert opened.complaints == []
        outside = [url for url in opened.requests if not url.startswith(("file:", "data:", "blob:"))]
        assert outside == []


@pytest.mark.parametrize("name", ["injected", "hostile", "many", "unsure", "decided"])
def test_fits_a_phone(browser: Any, reports: dict[str, Path], name: str) -> None:
    with OpenedReport(browser, reports[name], PHONE) as opened:
        opened.draw_all()
        assert opened.sideways_overflow() == 0
        heights = opened.page.eval_on_selector_all(
            "#confused-pairs button", "buttons => buttons.map(b => b.clientHeight)"
        )
        assert max(heights) < 60
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


def test_pictures_are_decoded_and_a_missing_one_has_a_placeholder(
    browser: Any, reports: dict[str, Path], injected: AuditResult
) -> None:
    missing = next(sample for sample in injected.flagged.index if sample not in injected.thumbnails.index)
    with OpenedReport(browser, reports["injected"]) as opened:
        page = opened.page
        opened.wait_until("[...document.images].every(image => image.complete)")
        assert page.evaluate("[...document.images].every(image => image.naturalWidth === 96 && image.alt)")
        page.fill("[name=search]", missing)
        assert page.inner_text("#flagged-gallery .picture") == "no picture in this report"


def test_theme_follows_the_system_and_the_button(browser: Any, reports: dict[str, Path]) -> None:
    with OpenedReport(browser, reports["injected"], scheme="dark") as opened:
        page = opened.page
        opened.draw_all()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 27)"
        stroke = "getComputedStyle(document.querySelector('[data-figure=loss_curves] .js-line')).stroke"
        assert page.evaluate(stroke) == "rgb(111, 180, 240)"
        page.click("#theme")
        opened.wait_until(f"{stroke} === 'rgb(31, 111, 180)'")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(247, 248, 250)"
        page.reload()
        assert page.evaluate("document.documentElement.dataset.theme") == "light"
        assert opened.complaints == []


def test_prints_light_with_every_plot_and_no_controls(browser: Any, reports: dict[str, Path]) -> None:
    with OpenedReport(browser, reports["injected"], scheme="dark") as opened:
        page = opened.page
        page.emulate_media(media="print")
        opened.wait_until(
            "[...document.querySelectorAll('[data-figure]')].every(plot => plot.dataset.drawn === 'print')"
        )
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.is_visible("#flagged-filters")
        assert not page.is_visible("#theme")
        assert page.is_visible("#how details td")
        assert page.is_visible("#confused-pairs button")
        assert len(page.pdf()) > 50_000
        page.emulate_media(media="screen")
        fits = (
            "[...document.querySelectorAll('[data-figure]')].every(plot => plot.dataset.drawn === 'dark'"
            " && plot.querySelector('.main-svg').clientWidth <= plot.clientWidth)"
        )
        opened.wait_until(fits)
        assert not page.is_visible("#how details td")
        assert opened.sideways_overflow() == 0
        assert opened.complaints == []


def test_class_gallery_follows_its_choice(browser: Any, reports: dict[str, Path], injected: AuditResult) -> None:
    rows = injected.scores[(injected.scores["label"] == "digit 7") & (injected.scores["split"] == "train")]
    with OpenedReport(browser, reports["injected"]) as opened:
        opened.page.select_option("#class-choice", label="digit 7")
        assert opened.shown_ids("class-harmful") == list(rows.sort_values("influence").index[:8])
        known = injected.explanations
        targets = pd.unique(known["target"][known["reason"] == "validation"])
        opened.page.click("#explained-more")
        shown = opened.page.eval_on_selector_all(
            "#explained-list > .explained > div:first-child .card", "cards => cards.map(card => card.dataset.sample)"
        )
        assert shown == list(targets)
