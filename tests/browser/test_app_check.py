"""The check of an audit in a browser on the real App: ten pictures, blind, by keys; then their decisions are used."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import fiftyone as fo
import pytest

from integrations.fiftyone.review import check_progress, decisions_to_verify, start_check
from tests.browser.app_window import FIFTYONE_LOADS, GRID_IMAGES, AppWindow, served
from tests.sixty_digits import audited_digits

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TELLING = ("suspicion", "suggest", "flagged", "influence", "confused", "helps", "harms")
FIELD = "[data-cy='sidebar-field-container-audit_{}']"


@pytest.fixture
def dataset(dataset_name: Callable[[str], str]) -> fo.Dataset:
    """Sixty digits with a written audit, of which ten are drawn to be checked."""
    dataset = audited_digits(dataset_name("digits to check"))
    start_check(dataset, "audit", size=10)
    return dataset


def test_a_reviewer_checks_an_audit_blind_by_keys_and_uses_the_decisions(
    dataset: fo.Dataset, browser: Browser, tmp_path: Path
) -> None:
    folder = Path(os.environ.get("INFLUENCE_AUDIT_SCREENSHOTS", tmp_path))
    with served(dataset.name, tmp_path / "console.log") as address:
        app = AppWindow(browser, address, folder)
        app.open_panel()
        app.panel.get_by_text("Go on with the check: 0 of 10").wait_for()
        app.picture("check-overview")
        check_by_keys(app, dataset)
        use_and_take_back(app, dataset)
        assert [error for error in app.errors if error != FIFTYONE_LOADS] == []


def check_by_keys(app: AppWindow, dataset: fo.Dataset) -> None:
    """Decide on the ten pictures; until each is decided, nothing on the page says what the audit thinks of it."""
    app.press("Go on with the check")
    app.panel.get_by_text("Is this label right?").wait_for()
    app.page.wait_for_function(f"document.querySelectorAll('{GRID_IMAGES}').length == 10")
    for name in ("suspicion", "influence", "flag"):
        app.page.locator(FIELD.format(name)).wait_for(state="hidden")
    app.picture("check-first")
    said = []
    former: str | None = None
    for number, key in enumerate("RWURRWRRRR"):
        app.panel.get_by_text(f"{number} of 10").wait_for()
        former = app.waits_for_picture(former)  # a key that comes before it is ignored
        if number not in (2, 6):  # after a wrong label, the panel offers the suggestion for that one
            said.append(app.panel.inner_text().lower())
            assert not re.search(r"0\.\d\d", app.page.inner_text("body"))  # a suspicion, on a picture say
        app.page.keyboard.press(f"Shift+{key}")
        if number == 1:
            offered(app, dataset)
        if number == 4:
            app.panel.get_by_text("5 of 10").wait_for()
            app.page.keyboard.press("Shift+Z")
            app.panel.get_by_text("4 of 10").wait_for()
            app.page.keyboard.press("Shift+R")
    assert [word for text in said for word in TELLING if word in text] == []
    app.panel.get_by_text("All 10 pictures are decided.").wait_for()
    app.sees(re.compile("9 decisions say that .* of the flags are right"))
    app.picture("check-decided")
    dataset.reload()
    table = decisions_to_verify(dataset, "audit")
    assert table["decision"].tolist() == [{"R": "right", "W": "wrong", "U": "unsure"}[key] for key in "RWURRWRRRR"]


def offered(app: AppWindow, dataset: fo.Dataset) -> None:
    """After 'wrong': name the right label, or not."""
    app.panel.get_by_text("Which one is right?").wait_for()
    app.picture("check-wrong")
    progress = check_progress(dataset, "audit")
    assert progress is not None
    wrong = dataset[progress.drawn[1]]
    app.press("Another label")
    app.form().get_by_role("combobox").last.fill("7")
    app.page.keyboard.press("Enter")
    app.settle()
    app.submit("Relabel")
    app.panel.get_by_text("The last one is 7").wait_for()
    dataset.reload()
    wrong.reload()
    assert (wrong.audit_status, wrong.audit_corrected.label) == ("relabelled", "7")


def use_and_take_back(app: AppWindow, dataset: fo.Dataset) -> None:
    """Use the decisions: overview, grid and sidebar follow; then go back to what the model said."""
    summary = dataset.get_run_info("audit").config.summary
    app.press("Use these decisions")
    app.panel.get_by_text("wrong labels, verified").wait_for()
    app.sees("60 samples")
    for name in ("suspicion", "model_suspicion"):
        app.page.locator(FIELD.format(name)).wait_for()
    app.watch()
    app.picture("check-used")
    dataset.reload()
    used = dataset.get_run_info("audit").config.summary
    assert used["verified"]["decided"] == 9
    app.sees(f"Show suspicion of at least {used['threshold']:.2f}")
    app.press("Back to what the model said")
    app.panel.get_by_text("wrong labels, verified").wait_for(state="hidden")
    app.sees(f"Show suspicion of at least {summary['threshold']:.2f}")
    app.page.locator(FIELD.format("model_suspicion")).wait_for(state="hidden")
    app.picture("check-taken-back")
    dataset.reload()
    assert dataset.get_run_info("audit").config.summary["threshold"] == summary["threshold"]
