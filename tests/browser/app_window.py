"""The real App in a window of a real browser, with what a reviewer does in it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.ports import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Route

GRID_IMAGES = "[data-cy=spotlight-section-forward] [data-cy=looker]"
FIFTYONE_LOADS = "entry is loading"  # what FiftyOne's own page says when it reloads a dataset
SERVE = (
    "import sys; from integrations.fiftyone.app import open_app; "
    "from integrations.fiftyone.plugin_install import install_plugin; install_plugin(); "
    "open_app(sys.argv[1], port=int(sys.argv[2]), browser=False, ready=lambda address: print(address, flush=True))"
)


@contextmanager
def served(dataset: str, console: Path, environment: dict[str, str] | None = None) -> Iterator[str]:
    """Where the real App shows a dataset; its console must stay free of stack traces."""
    with console.open("w") as errors:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, dataset, str(free_port())],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
    try:
        assert server.stdout is not None
        yield next(line.strip() for line in server.stdout if line.startswith("http"))
    finally:
        server.terminate()
        server.wait(timeout=30)
    assert "Traceback" not in console.read_text()


class AppWindow:
    """One window of the App, with what a reviewer does in it."""

    def __init__(self, browser: Browser, address: str, folder: Path, theme: str = "dark") -> None:
        self.folder = folder
        self.theme = theme
        self.pictures: dict[str, Path] = {}
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
        self.page.wait_for_timeout(700)  # the grid draws its images with a delay
        path = self.folder / f"review-{self.theme}-{len(self.pictures) + 1:02d}-{step}.png"
        self.page.screenshot(path=path)
        self.pictures[step] = path

    def operate(self, label: str) -> Locator:
        """Choose an operator in the palette; its form."""
        self.page.keyboard.press("`")
        self.page.get_by_placeholder("Search operations by name...").fill(label)
        self.page.get_by_text(f"Label audit: {label}", exact=True).first.click()
        return self.form()

    def form(self) -> Locator:
        form = self.page.locator("[data-cy=operators-prompt-modal]")
        form.wait_for(timeout=60_000)
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
        self.page.bring_to_front()  # a page behind another one is not drawn
        self.panel.get_by_role("button", name=label).first.click()

    def skip(self, by_key: bool = False) -> None:
        """Go on to the next sample, and wait until it is shown."""
        shown = self.panel.locator("img").first
        former = shown.get_attribute("src")
        if by_key:
            self.page.keyboard.press("Shift+N")
        else:
            self.press("Next")
        deadline = time.monotonic() + 60
        while shown.get_attribute("src") == former:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def lose_first_answer(self, event: str) -> list[str]:
        """Let the browser not get what the panel answers to an event, once; which were lost so far."""
        lost: list[str] = []

        def route(route: Route) -> None:
            if event in (route.request.post_data or "") and not lost:
                lost.append(event)
                route.fetch()
                route.abort()
            else:
                route.continue_()

        self.page.route("**/operators/execute", route)
        return lost

    def sees(self, text: str | re.Pattern[str]) -> None:
        self.page.get_by_text(text).first.wait_for(timeout=60_000)

    def open_panel(self) -> None:
        """Open the panel, unless it is there already: the App brings back what was open before, when it gets to it."""
        self.page.bring_to_front()
        if not self.panel.count():
            self.page.locator("[title='New panel']").first.click()
            choice = self.page.locator("[data-cy=new-panel-option-label_audit]").first
            choice.or_(self.panel).first.wait_for(timeout=60_000)
            if self.panel.count():
                self.page.keyboard.press("Escape")
            else:
                choice.click()
        self.panel.wait_for(timeout=60_000)

    def select_first_samples(self, count: int) -> None:
        """Tick the first images of the grid."""
        images = self.page.locator(GRID_IMAGES)
        for number in range(count):
            image = images.nth(number)
            image.hover()
            image.click(position={"x": 19, "y": 19})  # the box to tick appears under the pointer
            self.page.wait_for_timeout(700)
