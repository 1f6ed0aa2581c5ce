"""A report in a browser page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


class OpenedReport:
    """A report in a browser page, with every complaint and every request that it made."""

    def __init__(
        self,
        browser: Any,
        path: Path,
        viewport: dict[str, int] = DESKTOP,
        scheme: str = "light",
        bypass_csp: bool = False,
    ) -> None:
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme, bypass_csp=bypass_csp)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def __enter__(self) -> OpenedReport:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def open_details(self) -> None:
        """Open the fold below the report's main part."""
        self.page.click("#details > summary")
        self.page.wait_for_selector("#how-title")

    def plots(self) -> list[str]:
        """The names of all plots, after opening the fold that most of them are in."""
        self.open_details()
        return [str(plot.get_attribute("data-figure")) for plot in self.page.query_selector_all("[data-figure]")]

    def wait_until(self, truth: str, seconds: float = 120) -> None:
        """Wait until an expression is true: `wait_for_function` looks again by eval, which the report forbids."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(truth):
            assert time.monotonic() < end, f"not true within {seconds} s: {truth}"
            self.page.wait_for_timeout(50)

    def shown_ids(self, gallery: str = "flagged-gallery") -> list[str]:
        ids: list[str] = self.page.eval_on_selector_all(
            f"#{gallery} .card", "cards => cards.map(card => card.dataset.sample)"
        )
        return ids

    def sideways_overflow(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
