"""What the grid shows of a review: a badge for each decision, and injected mislabels only where they are wanted."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
import numpy as np
import pytest
from fiftyone import ViewField as F

from integrations.fiftyone import write_result
from integrations.fiftyone.review import accept, confirm, dismiss, relabel, remove, undo_last, unsure
from integrations.fiftyone.review.nearest import share_rest
from tests.fiftyone.made_up import made_up_result
from tests.fiftyone.panel_window import opened
from tests.sixty_digits import audited_digits, sixty_digits

pytestmark = pytest.mark.usefixtures("plugin_installed")

Names = Callable[[str], str]


@pytest.fixture
def dataset(dataset_name: Names) -> fo.Dataset:
    """Sixty digits of three classes with a written audit."""
    return audited_digits(dataset_name("digits in the grid"))


def badges(dataset: fo.Dataset, ids: list[str]) -> list[str | None]:
    dataset.reload()
    return dataset.select(ids, ordered=True).values("audit_decided")


def test_each_decision_is_a_badge_in_the_grid_and_undo_takes_it_away(dataset: fo.Dataset) -> None:
    ids = dataset.match(F("audit_suggested.label") != F("ground_truth.label")).limit(6).values("id")
    assert badges(dataset, ids) == [None] * 6
    for decide, sample in zip((accept, confirm, dismiss, unsure, remove), ids, strict=False):
        decide(dataset, "audit", [sample])
    relabel(dataset, "audit", [ids[5]], "seven")
    suggested = dataset[ids[0]].audit_suggested.label
    assert badges(dataset, ids) == [f"→ {suggested}", "wrong", "right", "unsure", "remove", "→ seven"]
    assert "audit_decided" in dataset.app_config.active_fields.paths
    dismiss(dataset, "audit", [ids[5]])
    undo_last(dataset, "audit")
    assert badges(dataset, ids[5:]) == ["→ seven"]
    while undo_last(dataset, "audit"):
        continue
    assert badges(dataset, ids) == [None] * 6


def test_decisions_of_an_earlier_version_get_their_badge(dataset: fo.Dataset) -> None:
    first, second, third = dataset.limit(3).values("id")
    dismiss(dataset, "audit", [first])
    relabel(dataset, "audit", [second], "seven")
    dataset.delete_sample_field("audit_decided")
    confirm(dataset, "audit", [third])
    assert badges(dataset, [first, second, third]) == ["right", "→ seven", "wrong"]
    assert len(dataset.exists("audit_decided")) == 3


def test_an_audit_again_keeps_the_badges(dataset: fo.Dataset) -> None:
    first = dataset.first().id
    dismiss(dataset, "audit", [first])
    write_result(dataset, made_up_result(dataset, inject=False))
    assert badges(dataset, [first]) == ["right"]
    dataset.rename_run("audit", "second")
    dataset.reload()
    assert dataset[first].second_decided == "right"


def test_injected_mislabels_are_hidden_in_grid_queue_and_numbers(dataset_name: Names) -> None:
    dataset = sixty_digits(dataset_name("digits with injection"))
    write_result(dataset, made_up_result(dataset))
    dataset.reload()
    window = opened(dataset)
    window.event("move_threshold", value=0.3)
    above = dataset.match(F("audit_suspicion") >= 0.3)
    real = above.match(F("audit_injected") != True)  # noqa: E712
    assert 0 < len(real) < len(above) == len(window.shown_ids())
    window.event("toggle_injected")
    assert sorted(window.shown_ids()) == sorted(real.values("id"))
    assert sorted(window.queue()) == sorted(real.values("id"))
    assert window.shows(f"{len(real)} samples, injected ones hidden")
    window.event("on_load")  # the page was loaded again, with the view
    assert window.state["hide_injected"] is True
    window.event("toggle_injected")
    assert len(window.shown_ids()) == len(above) == len(window.queue())


def test_an_audit_without_injection_has_nothing_to_hide(dataset: fo.Dataset) -> None:
    assert not opened(dataset).shows("Hide injected")


def test_the_other_classes_share_what_the_likely_ones_leave() -> None:
    classes = np.array(["cat", "dog", "hare", "owl"], dtype=object)
    predicted = np.array([0.5, 0.2, 0.2, 0.1])
    (next_one,) = share_rest(classes, predicted, {"cat": 0.3, "dog": 0.4})
    assert next_one == ("hare", pytest.approx(0.2))
    both = share_rest(classes, predicted, {"cat": 0.4})
    assert both == [("dog", pytest.approx(0.24)), ("hare", pytest.approx(0.24))]
    assert share_rest(classes, predicted, {"cat": 0.7, "dog": 0.4}) == [("hare", 0.0)]
    assert share_rest(classes[:2], predicted[:2], {"cat": 0.7, "dog": 0.3}) == []
    given_elsewhere = share_rest(classes, predicted, {"wolf": 0.5, "cat": 0.1})  # a class that no sample has by now
    assert [label for label, _ in given_elsewhere] == ["dog", "hare"]
