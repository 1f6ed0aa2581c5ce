"""The real App in a window of a real browser, with what a reviewer does in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.forking import StartedScript
from tests.ports import free_port
from tests.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Request, Route

IS_ON_SCREEN = """async () => {
    const file = performance.getEntriesByType("resource").find(({ name }) => name.includes("review/queue.js"));
    return Boolean((await import(file.name)).queue.isOnScreen());
}"""
"""Whether the review's sample has been on screen for so long that a key decides on it."""

GRID_IMAGES = "[data-cy=spotlight-section-forward] [data-cy=looker]"
OPERATORS = "/operators/"
POLL = '"__method__":"poll_'
STILL_SECONDS = 0.25
PAGE_AS_IT_IS = """() => document.body.innerHTML
    + [...document.images].map(image => image.complete).join()
    + [...document.querySelectorAll("canvas")].map(canvas => canvas.getAttribute("canvas-loaded")).join()"""
FIFTYONE_LOADS = "entry is loading"  # what FiftyOne's own page says when it reloads a dataset
SERVE = (
    "import sys; from integrations.fiftyone.app import open_app; "
    "from integrations.fiftyone.plugin_install import install_plugin; install_plugin(); "
    "open_app(sys.argv[1], port=int(sys.argv[2]), browser=False, ready=lambda address: print(address, flush=True))"
)


@contextmanager
def served(dataset: str, console: Path, environment: dict[str, str] | None = None) -> Iterator[str]:
    """Where the real App shows a dataset; its console must stay free of stack traces."""
    server = StartedScript(console, SERVE, dataset, str(free_port()), environment=environment)
    try:
        yield server.wait_for_line("http").strip()
    finally:
        server.process.terminate()
        server.wait()
    assert "Traceback" not in server.stderr.read_text()


def asks_an_operator(request: Request) -> bool:
    """Whether it asks for something that the page waits for; the panel's timers ask again and again."""
    return OPERATORS in request.url and POLL not in (request.post_data or "")


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
        self.asked: set[Request] = set()
        self.page.on("request", lambda request: self.asked.add(request) if asks_an_operator(request) else None)
        for over in ("requestfinished", "requestfailed"):
            self.page.on(over, lambda request: self.asked.discard(request))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("[data-cy=spotlight-section-forward]")
        self.page.wait_for_selector("canvas[canvas-loaded=true]")

    @property
    def panel(self) -> Locator:
        return self.page.locator("[data-cy='panel-content-label_audit']").first

    def settle(self) -> None:
        """Wait until every operator has answered, no image is being drawn, and the page twice says the same.

        The App draws images after a delay, and asks a form's operator again a moment after something was typed.
        """
        former: list[str] = []

        def still() -> bool:
            former.append(self.page.evaluate(PAGE_AS_IT_IS))
            return not self.asked and len(former) > 1 and former[-1] == former[-2]

        wait_until(still, every=STILL_SECONDS)

    def watch(self) -> None:
        """Let pass what a late answer of an idle machine takes, to see that it brings nothing back."""
        self.page.wait_for_timeout(2000)
        self.settle()

    def picture(self, step: str) -> None:
        self.page.wait_for_selector("canvas[canvas-loaded=true]")
        path = self.folder / f"review-{self.theme}-{len(self.pictures) + 1:02d}-{step}.png"
        self.settle()
        self.page.screenshot(path=path, animations="disabled")
        self.pictures[step] = path

    def operate(self, label: str) -> Locator:
        """Choose an operator in the palette; its form."""
        self.page.keyboard.press("`")
        self.page.get_by_placeholder("Search operations by name...").fill(label)
        self.page.get_by_text(f"Label audit: {label}", exact=True).first.click()
        return self.form()

    def form(self) -> Locator:
        form = self.page.locator("[data-cy=operators-prompt-modal]")
        form.wait_for()
        return form

    def submit(self, label: str) -> None:
        self.form().get_by_role("button", name=label, exact=True).first.click()
        self.page.locator("[data-cy=operators-prompt-modal]").wait_for(state="hidden")

    def audit(self) -> None:
        """Start the audit that the form describes, watch it, and close its window once it is done."""
        self.form().get_by_role("button", name="Audit labels", exact=True).first.click()
        self.page.get_by_text("labels flagged").first.wait_for()
        self.page.get_by_role("button", name="Done", exact=True).first.click()

    def press(self, label: str | re.Pattern[str]) -> None:
        self.page.bring_to_front()  # a page behind another one is not drawn
        self.panel.get_by_role("button", name=label).first.click()

    def decide(self, key: str) -> None:
        """Press a key of the review once the picture has been on screen for so long that the key counts."""
        wait_until(lambda: self.page.evaluate(IS_ON_SCREEN))
        self.page.keyboard.press(f"Shift+{key}")

    def skip(self, by_key: bool = False) -> None:
        """Go on to the next sample, and wait until it is shown."""
        shown = self.panel.locator("img").first
        former = shown.get_attribute("src")
        if by_key:
            self.page.keyboard.press("Shift+N")
        else:
            self.press("Next")
        wait_until(lambda: shown.get_attribute("src") not in (former, None, ""))
        self.settle()  # its buttons are drawn for that sample, too

    def waits_for_picture(self, former: str | None) -> str | None:
        """The address of the panel's picture, once it is another one and on screen."""
        shown = self.panel.locator("img").first
        is_there = "image => image.complete && image.naturalWidth > 0"
        wait_until(lambda: shown.get_attribute("src") != former and shown.evaluate(is_there))
        return shown.get_attribute("src")

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
        self.page.get_by_text(text).first.wait_for()

    def open_panel(self) -> None:
        """Open the panel, unless it is there already: the App brings back what was open before, when it gets to it."""
        self.page.bring_to_front()
        if not self.panel.count():
            self.page.locator("[title='New panel']").first.click()
            choice = self.page.locator("[data-cy=new-panel-option-label_audit]").first
            choice.or_(self.panel).first.wait_for()
            if self.panel.count():
                self.page.keyboard.press("Escape")
            else:
                choice.click()
        self.panel.wait_for()

    def select_first_samples(self, count: int) -> None:
        """Tick the first images of the grid."""
        images = self.page.locator(GRID_IMAGES)
        for number in range(count):
            image = images.nth(number)
            image.hover()
            image.click(position={"x": 19, "y": 19})  # the box to tick appears under the pointer
            self.settle()
