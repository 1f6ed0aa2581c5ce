"""The whole review in a browser on the real App: audit, look, understand, decide, undo, correct, audit again, report.

The pictures of each step are kept where INFLUENCE_AUDIT_SCREENSHOTS names a folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import fiftyone as fo
import pytest
from conftest import SHARED_DATA
from fiftyone import ViewField as F

from integrations.fiftyone.audit_job import results_home
from integrations.fiftyone.review import decisions
from integrations.sources import resolve_source

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

MISTAKES = 8
FIFTYONE_LOADS = "entry is loading"  # what FiftyOne's own page says when it reloads a dataset
SERVE = (
    "import sys; from integrations.fiftyone.app import open_app; "
    "from integrations.fiftyone.plugin_install import install_plugin; install_plugin(); "
    "open_app(sys.argv[1], port=5320, browser=False, ready=lambda address: print(address, flush=True))"
)


@pytest.fixture
def boats(tables_boats: Path, dataset_name: Callable[[str], str]) -> fo.Dataset:
    """Tables and boats, some of them labelled wrong."""
    if tables_boats != SHARED_DATA / "tiny-imagenet-tables-boats":
        pytest.skip(
            "review in the browser not made: ../shared/data is absent, and the digits leave no flag to go on with"
        )
    view = resolve_source(str(tables_boats / "valid.parquet"), dataset=dataset_name("boats to review")).open()
    dataset = view._dataset
    one, other = dataset.distinct("ground_truth.label")
    for label, wrong in ((one, other), (other, one)):
        part = dataset.match(F("source_label") == label).limit(MISTAKES // 2)
        part.set_values("ground_truth.label", [wrong] * len(part))
    return dataset


@pytest.fixture
def address(boats: fo.Dataset, tmp_path: Path) -> Iterator[str]:
    """Where the real App shows them; its console must stay free of stack traces."""
    console = tmp_path / "console.log"
    with console.open("w") as errors:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, boats.name], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert server.stdout is not None
        yield next(line.strip() for line in server.stdout if line.startswith("http"))
    finally:
        server.terminate()
        server.wait(timeout=30)
    assert "Traceback" not in console.read_text()


class App:
    """One window of the App, with what a reviewer does in it."""

    def __init__(self, browser: Browser, address: str, folder: Path, theme: str = "dark") -> None:
        self.folder = folder
        self.theme = theme
        self.pictures: list[Path] = []
        self.errors: list[str] = []
        self.page: Page = browser.new_page(viewport={"width": 1600, "height": 1200})
        self.page.add_init_script("window.IS_PLAYWRIGHT = true")
        self.page.add_init_script(f"localStorage.setItem('mui-mode', '{theme}')")
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("[data-cy=spotlight-section-forward]", timeout=60_000)
        self.page.wait_for_selector("canvas[canvas-loaded=true]", timeout=60_000)

    @property
    def panel(self) -> Locator:
        return self.page.locator("[data-cy='panel-content-label_audit']").first

    def picture(self, step: str) -> None:
        self.page.wait_for_selector("canvas[canvas-loaded=true]", timeout=60_000)
        self.page.wait_for_timeout(1200)  # the grid draws its images with a delay
        path = self.folder / f"review-{self.theme}-{len(self.pictures) + 1:02d}-{step}.png"
        self.page.screenshot(path=path)
        self.pictures.append(path)

    def operate(self, label: str) -> Locator:
        """Choose an operator in the palette; its form."""
        self.page.keyboard.press("`")
        self.page.get_by_placeholder("Search operations by name...").fill(label)
        self.page.get_by_text(f"Label audit: {label}", exact=True).first.click()
        return self.form()

    def form(self) -> Locator:
        form = self.page.locator("[data-cy=operators-prompt-modal]")
        form.wait_for(timeout=20_000)
        return form

    def submit(self, label: str) -> None:
        self.form().get_by_role("button", name=label, exact=True).first.click()
        self.page.locator("[data-cy=operators-prompt-modal]").wait_for(state="hidden", timeout=120_000)

    def audit(self) -> None:
        """Start the audit that the form describes, watch it, and close its window once it is done."""
        self.form().get_by_role("button", name="Audit labels", exact=True).first.click()
        self.page.get_by_text("estimated to be wrong").first.wait_for(timeout=120_000)
        self.page.get_by_role("button", name="Done", exact=True).first.click()

    def press(self, label: str | re.Pattern[str]) -> None:
        self.panel.get_by_role("button", name=label).first.click()

    def sees(self, text: str | re.Pattern[str]) -> None:
        self.page.get_by_text(text).first.wait_for(timeout=60_000)

    def open_panel(self) -> None:
        self.page.locator("[title='New panel']").first.click()
        self.page.locator("[data-cy=new-panel-option-label_audit]").first.click()
        self.panel.wait_for(timeout=20_000)


def test_a_reviewer_goes_from_a_flag_to_a_corrected_label(
    boats: fo.Dataset, address: str, browser: Browser, tmp_path: Path
) -> None:
    folder = Path(os.environ.get("INFLUENCE_AUDIT_SCREENSHOTS", tmp_path))
    app = App(browser, address, folder)
    app.picture("dataset")

    form = app.operate("Audit labels")
    form.get_by_text("More settings").click()
    form.get_by_text("Backbone weights:").wait_for(timeout=20_000)
    form.locator("input[value='auto']").fill("bundled")
    app.page.wait_for_timeout(1500)
    app.picture("audit-form")
    app.audit()
    app.panel.get_by_text("Most confused with").wait_for(timeout=60_000)
    boats.reload()
    flagged = boats.load_saved_view("audit: flagged").values("id")
    assert len(flagged) >= MISTAKES // 2
    app.sees(f"0 / {len(flagged)}")
    app.picture("audited")

    slider = app.panel.locator(".MuiSlider-root").first
    place = slider.bounding_box()
    assert place is not None
    slider.click(position={"x": place["width"] * 0.8, "y": place["height"] / 2})
    app.sees(re.compile(r"Show suspicion of at least 0\.(79|80|81)"))
    above = len(boats.match(F("audit_suspicion") >= 0.8))
    app.sees(f"{above} sample")
    app.picture("threshold")

    app.panel.locator("table tbody tr").first.click()
    app.panel.get_by_text(re.compile("^class ")).wait_for(timeout=20_000)
    app.picture("class")
    app.press("Show all samples")
    app.panel.get_by_text(re.compile("^class ")).wait_for(state="hidden", timeout=20_000)
    app.sees(f"{len(boats)} samples")
    app.page.wait_for_timeout(1000)

    app.press("Why is it suspect?")
    app.panel.get_by_text("Training samples that speak").first.wait_for(timeout=60_000)
    app.picture("explanation")

    first = boats.load_saved_view("audit: to review").first().id
    app.press("Accept suggestion")
    app.sees(f"1 / {len(flagged)}")
    app.picture("accepted")
    boats.reload()
    assert boats[first].audit_status == "relabelled"
    app.press("Undo last")
    app.sees(f"0 / {len(flagged)}")
    boats.reload()
    assert boats[first].audit_status == "unreviewed"
    app.picture("undone")

    form = app.operate("Load audit")
    form.get_by_text("flagged", exact=True).click()
    app.submit("Load audit")
    app.sees(f"{len(flagged)} samples")
    app.page.wait_for_timeout(2000)
    _select_first_samples(app, 3)
    app.panel.get_by_role("button", name="Accept suggestion (3)").wait_for(timeout=20_000)
    app.picture("selection")
    app.press("Accept suggestion (3)")
    app.sees(f"3 / {len(flagged)}")
    boats.reload()
    accepted = boats.match(F("audit_status") == "relabelled").values("id")
    assert accepted == boats.select(flagged[:3]).values("id")
    app.picture("selection-accepted")

    app.press("Apply")
    app.form().get_by_text("3 corrected labels").wait_for(timeout=20_000)
    app.picture("apply-form")
    app.submit("Apply corrections")
    app.sees("3 samples corrected in the label field")
    boats.reload()
    for sample in boats.select(accepted):
        assert sample.ground_truth.label == sample.audit_suggested.label != sample.audit_original.label
    app.picture("applied")

    app.press("Audit labels")
    form = app.form()
    form.locator("input[value='audit_2']").fill("audit")
    form.get_by_text("Replace audit 'audit'").wait_for(timeout=20_000)
    app.picture("key-taken")
    form.get_by_role("checkbox").first.check()
    app.page.wait_for_timeout(1500)
    app.audit()
    app.sees("Since the last audit: 3 labels corrected")
    boats.reload()
    app.sees(f"0 / {len(boats.match(F('audit_flag') == True))}")  # noqa: E712
    app.picture("second-audit")
    assert boats.get_run_info("audit").config.summary["since_last"]["labels_corrected"] == 3
    assert len(decisions(boats, "audit")) == 7  # accepted, undone, three accepted, three applied

    with app.page.expect_download(timeout=60_000) as download:
        app.press("Report")
        app.submit("Make report")
    assert download.value.suggested_filename == "report.html"
    assert (results_home(boats, "audit") / "report.html").is_file()
    app.picture("report")
    assert [error for error in app.errors if error != FIFTYONE_LOADS] == []
    app.page.close()

    light = App(browser, address, folder, "light")
    if not light.panel.count():
        light.open_panel()
    light.panel.get_by_text("Most confused with").wait_for(timeout=60_000)
    light.press("Why is it suspect?")
    light.panel.get_by_text("Training samples that speak").first.wait_for(timeout=60_000)
    light.picture("panel")
    light.page.locator("canvas[canvas-loaded=true]").first.click()
    light.page.locator("[data-cy=modal]").wait_for(timeout=30_000)
    modal = light.page.locator("[data-cy=modal]")
    modal.get_by_text("Label audit", exact=True).first.click()
    modal.get_by_text("Training samples that speak").first.wait_for(timeout=60_000)
    light.picture("sample")
    modal.get_by_role("button", name="Dismiss").first.click()
    light.sees("1 sample dismissed")
    boats.reload()
    assert boats.count_values("audit_status")["dismissed"] == 1
    light.page.close()
    assert all(picture.stat().st_size > 10_000 for picture in [*app.pictures, *light.pictures])


def _select_first_samples(app: App, count: int) -> None:
    """Tick the first images of the grid."""
    images = app.page.locator("[data-cy=spotlight-section-forward] [data-cy=looker]")
    for number in range(count):
        image = images.nth(number)
        image.hover()
        image.click(position={"x": 19, "y": 19})  # the box to tick appears under the pointer
        app.page.wait_for_timeout(700)
