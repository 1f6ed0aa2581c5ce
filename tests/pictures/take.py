"""Takes the README's pictures of the demo's report and of the App on its dataset: `make pictures`, after a demo."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COMMAND = Path(sys.executable).with_name("influence-audit")
DATASET = "influence-audit-demo"
REPORT = ROOT / "audit-results" / DATASET / "audit" / "report.html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def main() -> None:
    """Write report.png and app.png beside this file."""
    browser_path = next(path for name in BROWSERS if (path := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=OPTIONS)
        page = browser.new_page(viewport={"width": 1280, "height": 1500})
        page.goto(REPORT.as_uri())
        page.wait_for_load_state("load")
        page.screenshot(path=HERE / "report.png")
        take_app(browser.new_page(viewport={"width": 1440, "height": 900}))
        browser.close()


def take_app(page: Page) -> None:
    """The App as the command opens it."""
    server = subprocess.Popen([COMMAND, "app", DATASET, "--no-browser"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = next(line for line in server.stdout if line.startswith("FiftyOne App:")).split()[-1]
        page.add_init_script("window.IS_PLAYWRIGHT = true")
        page.goto(address)
        page.wait_for_selector("[data-cy=spotlight-section-forward]", timeout=60_000)
        page.wait_for_selector("canvas[canvas-loaded=true]", timeout=60_000)
        page.wait_for_timeout(2000)  # labels are drawn after the images
        page.screenshot(path=HERE / "app.png")
    finally:
        server.terminate()
        server.wait(timeout=30)


if __name__ == "__main__":
    main()
