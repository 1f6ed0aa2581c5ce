"""How fast a reviewer can decide in the real App: keys pressed in a real browser, on 10,000 samples and 1,000 flags.

`python -m tests.benchmarks.app review` runs it. It needs Chromium, and the machine should be idle otherwise.
"""

from __future__ import annotations

import io
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import numpy as np
import psutil

from audit.config import AuditConfig
from integrations.fiftyone.importing import import_images
from integrations.fiftyone.review import decisions
from integrations.sources.digits import digits
from integrations.sources.labelled_images import LabelledImage, LabelledImages

if TYPE_CHECKING:
    from tests.browser.app_window import AppWindow

SAMPLES, FLAGS = 10_000, 1_000
KEYS, PAUSE_SECONDS = 30, 0.3
PICTURE = "[data-cy='panel-content-label_audit'] img"
WATCH = """() => {
    window.shown = []; window.pressed = []; window.waits = [];
    window.addEventListener("keydown", (event) => {  // before the page itself hears of it
        if (!event.shiftKey || event.key === "Shift") return;
        const picture = () => document.querySelector("PICTURE");
        const former = picture()?.getAttribute("src"), begun = performance.now();
        window.pressed.push(former);
        const look = () => {
            const now = picture();
            const isNext = now && now.getAttribute("src") !== former && now.complete && now.naturalWidth;
            if (isNext) window.waits.push(performance.now() - begun);
            else if (performance.now() - begun < 10000) requestAnimationFrame(look);
        };
        requestAnimationFrame(look);
    }, true);
}""".replace("PICTURE", PICTURE)


def many_digits(count: int = SAMPLES, wrong: int = FLAGS, seed: int = 0) -> LabelledImages:
    """Digits with a little noise, so that no two are the same, of which some have a wrong label."""
    from PIL import Image

    random = np.random.default_rng(seed)
    originals = list(digits())
    changed = set(random.choice(count, wrong, replace=False).tolist())

    def read() -> Iterator[LabelledImage]:
        noise = np.random.default_rng(seed)
        for number in range(count):
            original = originals[number % len(originals)]
            with Image.open(io.BytesIO(original.image)) as picture:
                pixels = np.asarray(picture, dtype=float) + noise.normal(0, 12, (64, 64))
            encoded = io.BytesIO()
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(encoded, "PNG")
            shift = 1 + number % 9 if number in changed else 0
            label = str((int(original.label) + shift) % 10)
            yield LabelledImage(f"digits/{number:05d}", encoded.getvalue(), label, None)

    return LabelledImages("digits", "digits", count, read)


def audited_digits(name: str, folder: Path, count: int = SAMPLES, wrong: int = FLAGS) -> fo.Dataset:
    """A dataset of such digits with a saved audit, which flags as many as are wrong."""
    from integrations.fiftyone import audit_dataset

    import_images(many_digits(count, wrong), name)
    dataset = fo.load_dataset(name)
    config = AuditConfig(weights="bundled", image_size=64, max_review=wrong)
    audit_dataset(dataset, config=config, save_to=folder / "result")
    return dataset


def review() -> dict[str, Any]:
    """Keys on 10,000 samples and 1,000 flags, explanations on: the wait for the next picture, CPU time per decision.

    The nearest pictures are there for each sample. Influence is on, too; it is asked for where a reviewer stays on a
    sample for longer than these keys do.
    """
    with tempfile.TemporaryDirectory() as folder:
        dataset = audited_digits("bench review", Path(folder))
        try:
            return measured(dataset, Path(folder))
        finally:
            fo.delete_dataset(dataset.name)


def measured(dataset: fo.Dataset, folder: Path, explanations: bool = True) -> dict[str, Any]:
    """The figures of a dataset that has an audit."""
    with in_the_app(dataset, folder) as window:
        if explanations:
            window.press("Why is it suspect?")
            window.panel.get_by_text("Training samples that speak").first.wait_for()
        # The click above may have scrolled the picture away, and then a key only brings it back.
        window.page.locator(PICTURE).first.scroll_into_view_if_needed()
        window.settle()
        window.page.evaluate(WATCH)
        return one_after_the_other(window) | paced(window, dataset)


@contextmanager
def in_the_app(dataset: fo.Dataset, folder: Path) -> Iterator[AppWindow]:
    """A window of the real App with the panel open, the nearest pictures of the first sample shown."""
    import shutil

    from playwright.sync_api import sync_playwright

    from tests.browser.app_window import AppWindow, served
    from tests.browsers import BROWSER_OPTIONS, BROWSERS

    found = next(path for name in BROWSERS if (path := shutil.which(name)))
    with served(dataset.name, folder / "console.log") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=BROWSER_OPTIONS)
        window = AppWindow(browser, address, folder)
        window.page.set_default_timeout(60_000)
        window.open_panel()
        window.panel.get_by_role("button", name="Dismiss").wait_for()
        window.panel.get_by_text("nearest are labelled").wait_for()
        yield window
        browser.close()


def one_after_the_other(window: AppWindow) -> dict[str, Any]:
    """A key as soon as the picture is there and half a second was thought about it."""
    page = window.page
    for number in range(KEYS):
        page.keyboard.press("Shift+D")
        page.wait_for_function(f"window.waits.length > {number}")
        page.wait_for_timeout(500)
    waits = page.evaluate("window.waits")
    return {
        "key_to_picture_median_ms": statistics.median(waits),
        "key_to_picture_95th_percentile_ms": float(np.percentile(waits, 95)),
    }


def paced(window: AppWindow, dataset: fo.Dataset) -> dict[str, Any]:
    """Keys at a fixed pace, whatever the App does; then which of them became decisions on the picture then shown."""
    page = window.page
    before = len(decisions(dataset, "audit"))
    window.settle()
    page.evaluate("() => { window.pressed = []; }")
    browser_before, server_before = cpu_seconds()
    began, requests = time.perf_counter(), []
    page.on("request", lambda request: requests.append(request.url))
    for number in range(KEYS):
        page.keyboard.press("Shift+D")
        rest = began + (number + 1) * PAUSE_SECONDS - time.perf_counter()
        page.wait_for_timeout(max(0.0, rest) * 1000)
    window.settle()
    page.wait_for_timeout(3000)
    window.settle()
    browser_after, server_after = cpu_seconds()
    made = decisions(dataset, "audit")[before:]
    shown = [_path(source) for source in page.evaluate("window.pressed")]
    paths = dict(zip(*dataset.values(["id", "filepath"]), strict=True))
    decided = [paths[entry["sample"]] for entry in made]
    count = max(1, len(decided))
    return {
        "keys": KEYS,
        "decisions": len(decided),
        # A key that came before the picture is ignored: the next one is on the same picture.
        "each_on_the_picture_shown_in_order": decided == list(dict.fromkeys(shown))[: len(decided)],
        "browser_cpu_s_per_decision": (browser_after - browser_before) / count,
        "server_cpu_s_per_decision": (server_after - server_before) / count,
        "requests_per_decision": len(requests) / count,
    }


def cpu_seconds() -> tuple[float, float]:
    """CPU time so far of the browser and of the App's server, with their children, in seconds."""
    browser = server = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            name, times, command = process.name(), process.cpu_times(), " ".join(process.cmdline())
        except psutil.Error:
            continue
        seconds = times.user + times.system
        if "chrom" in name:
            browser += seconds
        elif "mongod" not in command and re.search("fiftyone|open_app|main.py", command):
            server += seconds
    return browser, server


def _path(source: str) -> str:
    from urllib.parse import unquote

    return unquote(source.split("filepath=", 1)[1]) if source else ""
