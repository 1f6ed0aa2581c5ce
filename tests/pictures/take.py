"""Takes the README's pictures: `make pictures`. It runs the demo and a review by itself, on a database of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests import ROOT
from tests.conftest import BROWSER_OPTIONS, BROWSERS
from tests.mongod import Mongod
from tests.pictures.figures import SHOWN, of_summary
from tests.ports import free_port

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("influence-audit")
DATASET = "influence-audit-demo"
REVIEW = "tests/browser/test_app_review.py::test_a_reviewer_goes_from_a_flag_to_a_corrected_label"


def main() -> None:
    """Write report.png with its figures, app.png and review.webp beside this file."""
    with tempfile.TemporaryDirectory(prefix="influence-audit-pictures-") as name:
        folder = Path(name)
        database = Mongod(folder / "mongod")
        try:
            take_demo(folder, database.environment)
        finally:
            database.kill()
        kept = os.environ | {"INFLUENCE_AUDIT_SCREENSHOTS": str(folder)}
        subprocess.run([sys.executable, "-m", "pytest", "-q", REVIEW], cwd=ROOT, env=kept, check=True)
        shutil.copy(folder / "review.webp", HERE)


def take_demo(folder: Path, environment: dict[str, str]) -> None:
    """Run the demo, and take its report and the App on its dataset."""
    subprocess.run([COMMAND, "demo", "--quiet"], cwd=folder, env=environment, check=True)
    result = folder / "audit-results" / DATASET / "audit"
    summary = json.loads((result / "summary.json").read_text(encoding="utf-8"))
    SHOWN.write_text(json.dumps(of_summary(summary), indent=1) + "\n")
    browser_path = next(path for name in BROWSERS if (path := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=BROWSER_OPTIONS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto((result / "report.html").as_uri())
        page.wait_for_load_state("load")
        page.screenshot(path=HERE / "report.png")
        take_app(browser.new_page(viewport={"width": 1440, "height": 900}), environment)
        browser.close()


def take_app(page: Page, environment: dict[str, str]) -> None:
    """The App as the command opens it."""
    arguments = ["app", DATASET, "--no-browser", "--port", str(free_port())]
    server = subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, text=True, env=environment)
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
        server.wait(timeout=120)


if __name__ == "__main__":
    main()
