"""The contact sheet of a verification sample, in a real browser."""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd
import pytest

from audit import AuditConfig, AuditResult, audit_images, draw_verification
from audit.data.samples import Samples
from audit.verification.decision_file import decision_table, read_decision_file
from reports.verification_sheet import write_verification_sheet
from tests.browser.report_page import PHONE, OpenedReport
from tests.command.forked_command import forked_command
from tests.digits_result import HOSTILE_CLASSES
from tests.explained_digits import digit_files

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SIZE = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the result of an audit of ninety digits and its sheet."""
    home = tmp_path_factory.mktemp("sheet")
    config = AuditConfig(weights="bundled", device="cpu", inject=0.1, cache_dir=str(home / "cache"))
    result = audit_images(digit_files(home), config)
    folder = result.save(home / "result")
    done = forked_command("verify", "result", "--size", str(SIZE), cwd=home)
    assert done.returncode == 0, done.stderr
    return folder


def pressed(page: Page, number: int) -> str | None:
    """The decision that a card shows."""
    button = page.locator(f'#picture-{number} .choice[aria-pressed="true"]')
    return button.get_attribute("data-word") if button.count() else None


def test_decisions_by_keys_and_mouse_outlast_a_reload_and_come_back_as_a_table(
    folder: Path, tmp_path: Path, browser: Browser
) -> None:
    with OpenedReport(browser, folder / "verification.html") as opened:
        page = opened.page
        assert page.locator(".decide").count() == SIZE
        assert page.locator(".decide img").count() == SIZE
        widths = page.eval_on_selector_all(".decide img", "images => images.map(image => image.naturalWidth)")
        assert min(widths) > 0
        for key in "rwu":
            page.keyboard.press(key)
        assert [pressed(page, number) for number in (1, 2, 3, 4)] == ["right", "wrong", "unsure", None]
        assert "current" in str(page.locator("#picture-4").get_attribute("class"))
        page.locator("#picture-5 .choice", has_text="Wrong").click()
        page.locator("#picture-5 select").select_option(index=1)
        named = page.locator("#picture-5 select option:checked").inner_text()
        assert named != page.locator("#picture-5 h3").inner_text()
        page.keyboard.press("ArrowRight")  # in a list of classes, keys choose a class
        page.locator("#picture-6 .choice", has_text="Right").click()
        page.locator("#picture-6 .choice", has_text="Right").click()  # taken back
        page.locator("#picture-7 h3").click()
        page.keyboard.press("t")
        assert pressed(page, 7) == "wrong"
        assert page.evaluate("document.activeElement.tagName") == "SELECT"
        page.keyboard.press("Enter")
        page.keyboard.press("R")  # capitals, too; on the next picture
        assert pressed(page, 8) == "right"
        assert page.locator("#count").inner_text() == f"6 of {SIZE} decided"

        page.reload()
        assert [pressed(page, number) for number in range(1, 9)] == [
            *("right", "wrong", "unsure", None, "wrong", None, "wrong", "right")
        ]
        assert page.locator("#picture-5 select option:checked").inner_text() == named
        assert "current" in str(page.locator("#picture-4").get_attribute("class"))  # the first that is open
        page.locator("#next-open").click()
        assert "current" in str(page.locator("#picture-6").get_attribute("class"))
        with page.expect_download() as download:
            page.locator("#download").click()
        assert download.value.suggested_filename == "verification.csv"
        download.value.save_as(tmp_path / "filled.csv")
        assert opened.complaints == []
        assert {url.split(":")[0] for url in opened.requests} <= {"file", "data", "blob"}

    table = read_decision_file(tmp_path / "filled.csv")
    assert table["decision"].tolist()[:8] == ["right", "wrong", "unsure", "", "wrong", "", "wrong", "right"]
    assert table["true_label"].tolist()[4] == named
    unfilled = pd.read_csv(folder / "verification.csv", dtype=str, keep_default_na=False).set_index("id")
    assert table.index.tolist() == unfilled.index.tolist()
    kept = ["file", "label", "seed", "audit"]
    pd.testing.assert_frame_equal(table[kept], unfilled[kept], check_dtype=False)
    done = forked_command("verify", folder, "--decisions", tmp_path / "filled.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    verified = AuditResult.load(folder).summary.verified
    assert verified is not None
    assert (verified.decided, verified.unsure) == (5, 1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_the_page_fits_a_phone(
    folder: Path, browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    with OpenedReport(browser, folder / "verification.html", PHONE, scheme, bypass_csp=True) as opened:
        opened.page.keyboard.press("w")
        assert opened.sideways_overflow() <= 0
        opened.page.evaluate(axe)
        violations = opened.page.evaluate("axe.run().then(result => result.violations)")
        assert [(each["impact"], each["id"], each["nodes"][0]["html"]) for each in violations] == []


def test_hostile_names_are_text_and_come_back_as_they_are(tmp_path: Path, browser: Browser) -> None:
    hostile = [*HOSTILE_CLASSES[:-1], "=1+1", "a;b,c"]
    images = digit_files(tmp_path)
    labels = [hostile[place % len(hostile)] for place in range(len(images))]
    config = AuditConfig(weights="bundled", device="cpu", cache_dir=str(tmp_path / "cache"))
    result = audit_images(Samples(images.ids, images.images, labels), config)
    order = draw_verification(result, 30).table["order"].astype(float)
    table = decision_table(result.scores, order, 0)
    path = write_verification_sheet(result, table, tmp_path / "sheet.html", "influence-audit verify '<b>'")
    with OpenedReport(browser, path) as opened:
        page = opened.page
        for number in range(1, 31):
            page.locator(f"#picture-{number} .choice", has_text="Wrong").click()
            page.locator(f"#picture-{number} select").select_option(index=1 + number % (len(hostile) - 1))
        with page.expect_download() as download:
            page.locator("#download").click()
        download.value.save_as(tmp_path / "filled.csv")
        assert opened.complaints == []
        assert opened.sideways_overflow() <= 0
    read = read_decision_file(tmp_path / "filled.csv")
    assert read["label"].tolist() == [result.scores["label"][name] for name in read.index]
    assert set(read["true_label"]) <= set(hostile)
    assert (read["true_label"] != read["label"]).all()


def test_a_key_too_many_changes_nothing(folder: Path, browser: Browser) -> None:
    with OpenedReport(browser, folder / "verification.html") as opened:
        page = opened.page
        for _ in range(SIZE):
            page.keyboard.press("r")
        page.keyboard.press("w")
        page.keyboard.press("t")
        assert [pressed(page, number) for number in range(1, SIZE + 1)] == ["right"] * SIZE
        assert page.locator("#next-open").is_disabled()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("u")
        assert pressed(page, SIZE) == "unsure"
        page.reload()
        page.keyboard.press("w")
        assert pressed(page, SIZE) == "unsure"
        page.evaluate("localStorage.clear()")


def test_samples_without_pictures_are_said(folder: Path, tmp_path: Path, browser: Browser) -> None:
    result = AuditResult.load(folder)
    result = dataclasses.replace(result, scores=result.scores.assign(filepath=None), thumbnails=result.thumbnails[:0])
    table = decision_table(result.scores, draw_verification(result, 4).table["order"].astype(float), 0)
    path = write_verification_sheet(result, table, tmp_path / "sheet.html", "influence-audit verify result")
    with OpenedReport(browser, path) as opened:
        assert "4 of these samples have no picture here" in opened.page.locator(".overview").inner_text()
        first = opened.page.locator("#picture-1").inner_text()
        assert "The audit was given no picture of this sample." in first
        assert table.index[0] in first
