"""Decisions in the report: by key and mouse, kept in the browser, and saved as a table that `apply` reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audit.result import AuditResult
from integrations.corrections.decisions import decided_in_file
from tests.browser.report_page import OpenedReport

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def pressed(page: Page, sample: str) -> str | None:
    """The decision that a card shows."""
    button = page.locator(f'#flagged-gallery [data-decides="{sample}"] .choice[aria-pressed="true"]')
    return button.get_attribute("data-action") if button.count() else None


def test_decisions_outlast_a_reload_and_come_back_as_a_table(
    browser: Browser, reports: dict[str, Path], plain: AuditResult, tmp_path: Path
) -> None:
    flagged = plain.flagged
    kept, relabelled, removed, named, undone = flagged.index[:5]
    with OpenedReport(browser, reports["plain"]) as opened:
        page = opened.page
        page.focus("#flagged-gallery .card")
        for key in "krx":  # each decides and goes on to the next card
            page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.sample") == named
        page.keyboard.press("Enter")
        other = next(
            label
            for label in plain.summary.classes
            if label not in flagged.loc[named, ["label", "other_label"]].tolist()
        )
        page.select_option(".sheet-decision select", label=str(other))
        page.keyboard.press("Escape")
        page.locator(f'[data-decides="{undone}"] .choice').first.click()
        page.locator(f'[data-decides="{undone}"] .choice').first.click()
        assert page.inner_text("#decided-count") == f"4 of {len(flagged)} decided"

        page.reload()
        wanted = {kept: "keep", relabelled: "relabel", removed: "remove", named: "relabel", undone: None}
        assert {sample: pressed(page, sample) for sample in wanted} == wanted
        page.select_option("[name=decided]", "open")
        assert opened.shown_ids()[0] == undone
        with page.expect_download() as download:
            page.click("#decisions-save")
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        assert opened.complaints == []

    decided = decided_in_file(path, plain)
    assert path.name == "decisions.csv"
    assert decided.keys == {kept, relabelled, removed, named}
    assert {change.key: change.label for change in decided.changes} == {
        relabelled: flagged.loc[relabelled, "other_label"],
        named: other,
    }


def test_names_that_a_spreadsheet_would_run_are_made_safe(
    browser: Browser, reports: dict[str, Path], hostile: AuditResult, tmp_path: Path
) -> None:
    with OpenedReport(browser, reports["hostile"]) as opened:
        page = opened.page
        page.focus("#flagged-gallery .card")
        for _ in range(24):
            page.keyboard.press("r")
        with page.expect_download() as download:
            page.click("#decisions-save")
        path = tmp_path / "decisions.csv"
        download.value.save_as(path)
    decided = decided_in_file(path, hostile)
    first = hostile.flagged.iloc[:24]
    labels = {change.key: change.label for change in decided.changes}
    expected = first["other_label"][first["other_label"].str.strip() != ""]
    assert {key: label.strip() for key, label in labels.items()} == {
        key: label.strip() for key, label in expected.items()
    }
