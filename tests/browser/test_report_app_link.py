"""A card's link opens its sample in the real App, wherever that is served."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import fiftyone as fo

from audit.result import AuditResult
from tests.command.forked_command import forked_command, start_forked
from tests.ports import free_port
from tests.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@contextmanager
def _app(dataset: str, folder: Path) -> Iterator[str]:
    """The address that `influence-audit app` prints."""
    printed, errors, start = folder / "app.printed", folder / "app.log", "FiftyOne App: "
    words = ("app", dataset, "--port", str(free_port()), "--no-browser")
    server = start_forked(*words, cwd=folder, stdout=printed, stderr=errors, environment=dict(os.environ))

    def addresses() -> list[str]:
        lines = printed.read_text().splitlines() if printed.exists() else []
        return [line.removeprefix(start).strip() for line in lines if line.startswith(start)]

    try:
        wait_until(lambda: addresses() or server.exitcode is not None)
        assert addresses(), errors.read_text()
        yield addresses()[0]
    finally:
        server.terminate()
        server.join(timeout=120)


def test_a_cards_link_opens_its_sample(browser: Browser, tmp_path: Path, dataset_name: Callable[[str], str]) -> None:
    name = dataset_name("digits to open")
    arguments = ("digits", "--keep-labels", "3,8", "--dataset", name, "--weights", "bundled", "--inject", "0.1", "-q")
    done = forked_command("run", *arguments, "-o", "result", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    chosen = AuditResult.load(tmp_path / "result").flagged.index[3]
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script("window.IS_PLAYWRIGHT = true")
    page = context.new_page()
    page.goto((tmp_path / "result" / "report.html").as_uri())
    link = page.locator(f"[data-app='{chosen}']")
    assert link.get_attribute("href") == f"http://localhost:5151/datasets/digits%20to%20open?id={chosen}"
    with _app(name, tmp_path) as address:
        page.fill("#app-address", address)  # the whole line that the command prints will do
        with context.expect_page() as opened:
            link.click()
        app = opened.value
        app.wait_for_selector("[data-cy=modal]")
        for shown in (chosen, fo.load_dataset(name)[chosen].filepath):
            app.locator("[data-cy=modal]").get_by_text(shown, exact=True).first.wait_for()
    context.close()
