"""The findings of an audit in a browser on the real App: from the panel to a decision, and from there to a tag."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from integrations.fiftyone.findings_decide import finding_decisions
from tests.browser.app_window import FIFTYONE_LOADS, AppWindow, served
from tests.digits_with_findings import digits_with_findings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FINDINGS = "[data-cy='panel-content-label_audit_findings']"


def screenshot(app: AppWindow, step: str) -> None:
    """Take a picture of the page; the panel hides the grid, so no image of it has to be drawn."""
    app.settle()
    app.page.screenshot(path=app.folder / f"{step}.png", animations="disabled")


def test_a_reviewer_decides_on_a_finding_and_applies_it(
    dataset_name: Callable[[str], str], browser: Browser, tmp_path: Path
) -> None:
    dataset = digits_with_findings(dataset_name("findings in the App"))
    ids = dataset.values("id")
    folder = Path(os.environ.get("INFLUENCE_AUDIT_SCREENSHOTS", tmp_path))
    with served(dataset.name, tmp_path / "console.log") as address:
        app = AppWindow(browser, address, folder)
        app.open_panel()
        app.press("Findings")
        panel = app.page.locator(FINDINGS).first
        panel.get_by_text("6 findings").wait_for()
        app.settle()  # the App draws the table again when all of the panel is there, and loses a click until then
        panel.get_by_text("Near-duplicates in one class", exact=True).first.click()
        panel.get_by_text("3 images labelled '0' are copies").wait_for()
        screenshot(app, "findings-copies")
        panel.get_by_role("button", name="Keep only this").nth(1).click()
        panel.get_by_text("2 images labelled '0' are copies").wait_for()
        app.settle()
        panel.get_by_role("button", name="Apply 1 decision").click()
        app.form().get_by_text("2 samples to remove.").wait_for()
        screenshot(app, "findings-apply")
        app.submit("Apply decisions on findings")
        panel.get_by_role("button", name="Apply 1 decision").wait_for(state="hidden")
        screenshot(app, "findings-applied")
        assert [error for error in app.errors if error != FIFTYONE_LOADS] == []
    dataset.reload()
    assert set(dataset.match_tags("audit_remove").values("id")) == {ids[1], ids[3]}
    assert [(entry["action"], entry["kept"]) for entry in finding_decisions(dataset, "audit")] == [("remove", ids[2])]
