"""The report can be used by keyboard, on paper, and by those who see, move or wait less."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from audit.result import AuditResult
from tests.browser.report_page import OpenedReport
from tests.waiting import slowdown

# -- for everyone


@pytest.mark.parametrize("name", ["injected", "hostile", "unsure", "decided"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, reports: dict[str, Path], name: str, scheme: str) -> None:
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    # The page's policy keeps strangers' scripts out; axe is one, so it is lifted here and nowhere else.
    with OpenedReport(browser, reports[name], scheme=scheme, bypass_csp=True) as opened:
        page = opened.page
        opened.open_details()
        page.evaluate(axe)
        for open_a_sample in (False, True):
            if open_a_sample:
                page.locator("#flagged-gallery .card").first.click()
            violations = page.evaluate("axe.run().then(result => result.violations)")
            found = [(each["impact"], each["id"], each["nodes"][0]["html"]) for each in violations]
            assert [each for each in found if each[0] in ("serious", "critical")] == []
            assert found == []


def test_everything_is_reached_by_keyboard(browser: Any, reports: dict[str, Path], injected: AuditResult) -> None:
    with OpenedReport(browser, reports["injected"]) as opened:
        page = opened.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("location.hash") == "#content"
        page.focus("#threshold-slider")
        page.keyboard.press("End")
        page.wait_for_selector('html[data-threshold="1"]', state="attached")
        assert "No sample reaches the threshold" in page.inner_text("#flagged-count")
        page.keyboard.press("ArrowLeft")
        page.wait_for_selector('html[data-threshold="0.99"]', state="attached")
        flagged = int((injected.scores["suspicion"] >= 0.99).sum())
        assert page.get_attribute("#threshold-slider", "aria-valuetext") == f"0.99, {flagged} flagged"
        page.focus("#threshold-reset")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "threshold-slider"
        reached = set()
        for _ in range(200):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("(node => node.id || node.name || node.className)(document.activeElement)"))
        page.focus("#flagged-reset")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "app-address"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.dataset.sample") == injected.flagged.index[0]
        wanted = {"theme", "threshold-exact", "search", "given", "suggested", "origin", "order", "flagged-more", "card"}
        assert wanted <= reached
        assert opened.complaints == []


def test_neighbours_and_the_app_are_one_step_from_a_flagged_sample(
    browser: Any, reports: dict[str, Path], injected: AuditResult
) -> None:
    first = injected.flagged.index[0]
    known = injected.explanations
    known = known[(known["target"] == first) & (known["reason"] == "flagged")]
    with OpenedReport(browser, reports["injected"]) as opened:
        page = opened.page
        assert page.locator("#flagged-gallery .card").first.locator(".nearest .picture").count() == 4
        labels = page.locator("#flagged-gallery .card").first.locator(".nearest .side bdi").all_inner_texts()
        assert labels == [injected.scores.loc[first, "label"], injected.scores.loc[first, "other_label"]]
        framed = page.locator("#flagged-gallery .nearest .picture.suspect")
        assert framed.first.locator("img").get_attribute("alt").endswith("a suspect too")
        page.locator("#flagged-gallery .card").first.click()
        link = page.get_attribute("#sheet a", "href")
        assert link == f"http://localhost:5151/datasets/influence-audit-demo?id={first}"
        shown = page.eval_on_selector_all("#sheet .card", "cards => cards.map(card => card.dataset.sample)")
        assert shown == [
            *injected.nearest[injected.nearest["target"] == first]["neighbour"],
            *known[known["kind"] == "helpful"]["neighbour"],
            *known[known["kind"] == "harmful"]["neighbour"],
        ]
        page.keyboard.press("Escape")
        card_link = page.locator("#flagged-gallery .in-app").first
        assert card_link.get_attribute("href") == link
        page.fill("#app-address", "https://elsewhere:6000/datasets/whatever")
        moved = f"https://elsewhere:6000/datasets/influence-audit-demo?id={first}"
        assert card_link.get_attribute("href") == moved
        page.fill("#app-address", "javascript:alert(1)")
        assert card_link.get_attribute("href") == moved
        assert opened.complaints == []


def test_moves_nothing_for_those_who_asked_for_that(browser: Any, reports: dict[str, Path]) -> None:
    with OpenedReport(browser, reports["injected"]) as opened:
        assert opened.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "smooth"
        opened.page.emulate_media(reduced_motion="reduce")
        assert opened.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
        animated = (
            "[...document.querySelectorAll('*')].some(node => getComputedStyle(node).transitionDuration !== '0s')"
        )
        assert not opened.page.evaluate(animated)


def test_a_thousand_flagged_samples_are_painted_in_time(browser: Any, reports: dict[str, Path]) -> None:
    slow = slowdown()
    with OpenedReport(browser, reports["many"]) as opened:
        painted = opened.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        assert painted < 8000 * max(slow, slowdown())


def test_printed_plots_fit_the_page(browser: Any, reports: dict[str, Path]) -> None:
    with OpenedReport(browser, reports["injected"], {"width": 700, "height": 1000}) as opened:
        opened.open_details()
        opened.page.emulate_media(media="print")
        opened.wait_until("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
