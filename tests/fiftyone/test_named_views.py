"""The panel's filters are saved views with names that can be read, and leave no others behind."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
import pytest

from integrations.fiftyone.plugin.named_views import KEPT
from integrations.fiftyone.plugin_install import PLUGIN
from tests.fiftyone.panel_window import opened
from tests.sixty_digits import audited_digits

pytestmark = pytest.mark.usefixtures("plugin_installed")

SHOW = f"{PLUGIN}/show_named_view"


@pytest.fixture
def dataset(dataset_name: Callable[[str], str]) -> fo.Dataset:
    """Sixty digits of three classes with a written audit."""
    return audited_digits(dataset_name("digits in named views"))


def test_the_name_of_the_view_says_what_the_filters_are(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    window.event("move_threshold", value=0.3)
    assert window.triggered[SHOW]["slug"] == "audit-0-3"
    window.event("choose_pair", given="0", suggested="1")
    window.event("toggle_unreviewed")
    assert window.triggered[SHOW]["slug"] == "audit-0-3-0-1-undecided"
    dataset.reload()
    named = dataset.load_saved_view("audit: ≥ 0.3, 0 → 1, undecided")
    assert sorted(named.values("id")) == sorted(window.shown_ids())


def test_few_of_these_views_are_kept_and_all_go_with_the_audit(dataset: fo.Dataset) -> None:
    own = dataset.limit(3)
    dataset.save_view("audit: ≥ my own", own)
    before = set(dataset.list_saved_views())
    window = opened(dataset)
    for hundredths in range(20, 40):
        window.event("move_threshold", value=hundredths / 100)
    dataset.reload()
    made = set(dataset.list_saved_views()) - before
    assert len(made) == KEPT + 1
    assert {"audit: ≥ 0.39", "audit: ≥ 0.38"} < made
    dataset.delete_run("audit")
    dataset.reload()
    assert dataset.list_saved_views() == ["audit: ≥ my own"]


def test_a_view_that_cannot_have_its_name_is_shown_without_one(dataset: fo.Dataset) -> None:
    dataset.save_view("audit: 0.3", dataset.limit(3))  # the App's address would be the same
    window = opened(dataset)
    window.event("move_threshold", value=0.3)
    assert "set_view" in window.triggered
    assert len(window.shown_ids()) == len(dataset.match({"audit_suspicion": {"$gte": 0.3}}))
    dataset.set_values("ground_truth.label", ["very " * 30 + "long"] * 60)
    window.event("choose_class", row=0)
    assert "set_view" in window.triggered or SHOW in window.triggered
    assert dataset.load_saved_view("audit: 0.3").values("id") == dataset.limit(3).values("id")
