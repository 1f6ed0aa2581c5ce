"""The real App opens on the flagged samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import fiftyone as fo
import pytest

from integrations.fiftyone import write_result
from integrations.fiftyone.app import opening_view
from tests.browser.app_window import served
from tests.fiftyone.made_up import made_up_result
from tests.fiftyone.test_fiftyone import FIELDS, INJECTION_FIELDS
from tests.sixty_digits import sixty_digits

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Names = Callable[[str], str]


@pytest.fixture
def dataset(dataset_name: Names) -> fo.Dataset:
    """Sixty digits of three classes."""
    return sixty_digits(dataset_name("written digits"))


@pytest.fixture
def app_address(dataset: fo.Dataset, tmp_path: Path) -> Iterator[str]:
    """The address at which the real App shows the dataset with a written result."""
    write_result(dataset, made_up_result(dataset))
    with served(dataset.name, tmp_path / "console.log") as address:
        yield address


def test_the_app_opens_on_the_flagged_samples(
    dataset: fo.Dataset, app_address: str, browser: Browser, tmp_path: Path
) -> None:
    """The picture is kept where INFLUENCE_AUDIT_SCREENSHOTS names a folder."""
    flagged = opening_view(dataset.name)
    folder = Path(os.environ.get("INFLUENCE_AUDIT_SCREENSHOTS", tmp_path))
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.add_init_script("window.IS_PLAYWRIGHT = true")
    page.goto(app_address)
    page.wait_for_selector("[data-cy=spotlight-section-forward]")
    page.wait_for_selector("canvas[canvas-loaded=true]")
    assert page.get_by_text("audit: flagged").first.is_visible()
    assert page.get_by_text(f"{len(flagged)} samples").first.is_visible()
    page.screenshot(path=folder / "app-flagged.png")
    assert page.locator("[data-cy='sidebar-group-label audit (audit)-field']").is_visible()
    for field in FIELDS | INJECTION_FIELDS:
        assert page.locator(f"[data-cy=sidebar-field-{field}]").is_visible()
    page.close()
    assert (folder / "app-flagged.png").stat().st_size > 10_000
