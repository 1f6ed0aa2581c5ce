"""The check of an audit in the panel: blind until decided, by buttons, in two windows, and back to the review."""

from __future__ import annotations

import json
from collections.abc import Callable

import fiftyone as fo
import pytest

from integrations.fiftyone import write_result
from integrations.fiftyone.review import check_progress, decisions, find_check, start_check
from tests.fiftyone.made_up import made_up_result
from tests.fiftyone.panel_window import Window, opened
from tests.sixty_digits import audited_digits

pytestmark = pytest.mark.usefixtures("plugin_installed")

TELLING = ("suspicion", "suggested", "flagged", "influence", "neighbour", "status")
"""Words of the review that a reviewer does not see before a decision."""


@pytest.fixture
def dataset(dataset_name: Callable[[str], str]) -> fo.Dataset:
    """Sixty digits of three classes with a written audit."""
    return audited_digits(dataset_name("digits checked in the panel"))


def press(window: Window, what: str, **params: str) -> None:
    """Press a button of the check, as it was drawn."""
    if what in ("right", "wrong", "unsure"):
        params = {"sample": window.state["sample"]}
    window.event("check", do=what, **params)


def is_blind(window: Window) -> bool:
    """Whether neither the panel nor the grid says anything of what the audit thinks."""
    said = json.dumps(window.output).lower().replace("influence-audit", "")
    assert window.view is not None
    view = fo.DatasetView._build(window.dataset, window.view)
    hidden = not any(name.startswith("audit_") for name in view.get_field_schema())
    assert [word for word in TELLING if word in said] == []
    return hidden and "LabelAuditReview" not in json.dumps(window.output)


def test_a_check_is_blind_until_decided_and_names_the_true_label_after_a_wrong_one(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    assert window.shows("Check the audit: 40 pictures")
    press(window, "start")
    drawn = find_check(dataset, "audit")
    assert drawn is not None
    assert window.state["sample"] == drawn.ids[0]
    assert window.shows("**0 of 40**")
    assert is_blind(window)
    assert set(window.shown_ids()) == set(drawn.ids)
    assert window.shown_ids() == [sample for sample in dataset.values("id") if sample in drawn.ids]
    press(window, "right")
    assert window.shows("1 right, 0 wrong, 0 cannot say")
    assert is_blind(window)
    press(window, "wrong")
    wrong = dataset[drawn.ids[1]]
    assert window.state["sample"] == drawn.ids[2]
    assert window.shows("Which one is right?")
    other = next(label for label in ("0", "1", "2") if label != wrong.ground_truth.label)
    press(window, "true_label", sample=wrong.id, true_label=other)
    assert window.shows(f"The last one is **{other}**")
    assert window.state["sample"] == drawn.ids[2]
    press(window, "unsure")
    assert window.shows("1 right, 1 wrong, 1 cannot say")
    assert is_blind(window)  # nothing of the last picture is shown any more
    assert [entry["action"] for entry in decisions(dataset, "audit")] == ["dismiss", "confirm", "relabel", "unsure"]
    press(window, "take_back")
    assert window.state["sample"] == drawn.ids[2]
    assert window.said[-1].startswith("Undone: 1 sample left open")


def test_events_of_the_grid_do_not_end_the_blindness_and_the_sample_view_is_blind_too(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    press(window, "start")
    shown = window.view
    (flagged,) = dataset.load_saved_view("audit: flagged").limit(1).values("id")
    window.event("on_change_current_sample", current_sample=flagged)
    assert is_blind(window)
    in_the_sample_view = Window(dataset)
    in_the_sample_view.view = shown
    in_the_sample_view.event("on_load", current_sample=flagged)
    assert is_blind(in_the_sample_view)
    window.event("on_change_view")
    assert window.triggered == {}  # the echo of the panel's own view
    window.view = dataset.limit(5)._serialize()  # the reviewer takes another view
    window.event("on_change_view")
    assert "set_view" not in window.triggered
    assert window.shows("Go on with the check: 0 of 40")


def test_a_late_event_with_the_state_of_the_check_does_not_bring_it_back(dataset: fo.Dataset) -> None:
    start_check(dataset, "audit", size=10)
    window = opened(dataset)
    press(window, "start")
    for _ in range(10):
        press(window, "right")
    stale = dict(window.state)
    press(window, "use")
    newest = dict(window.state)
    assert newest["checking"] is False
    window.state = dict(stale)
    window.event("on_change_view")  # that the check's view is gone
    assert window.shows("Back to what the model said")
    window.state = dict(stale)
    window.event("changed", audit_key="audit", leave_check=True)
    assert window.shows("Back to what the model said")
    assert window.state["checking"] is False


def test_the_interval_comes_after_ten_decisions_and_the_decisions_are_used_and_taken_back(dataset: fo.Dataset) -> None:
    start_check(dataset, "audit", size=20)
    flagged = dataset.get_run_info("audit").config.summary["counts"]["flagged"]
    window = opened(dataset)
    assert window.shows("Go on with the check: 0 of 20")
    press(window, "start")
    for number in range(10):
        assert not window.shows("of the flags are right")
        press(window, "right" if number % 5 else "wrong")
    assert window.shows("10 decisions say that")
    assert window.shows("of the flags are right, and that")
    progress = check_progress(dataset, "audit")
    assert progress is not None
    press(window, "use")
    assert window.view is None
    assert window.said[-1].startswith("10 decisions used: ")
    dataset.reload()
    config = dataset.get_run_info("audit").config
    assert config.summary["counts"]["flagged"] != flagged
    assert window.shows("wrong labels, verified")
    assert window.shows(f"##### {config.summary['counts']['flagged']}\\nflagged")
    assert window.state["threshold"] == config.summary["threshold"]
    assert window.shows("Go on with the check: 10 of 20")
    assert not window.shows("Use these decisions")
    assert window.shows("LabelAuditReview")  # the review goes on
    press(window, "back")
    assert window.shows(f"##### {flagged}\\nflagged")
    assert not window.shows("verified")
    assert window.shows("Use these decisions")


def test_two_windows_check_at_once_and_lose_nothing(dataset: fo.Dataset) -> None:
    one, two = opened(dataset), opened(dataset)
    press(one, "start")
    press(two, "start")
    ids = find_check(dataset, "audit").ids  # type: ignore[union-attr]
    press(one, "right")
    press(two, "right")  # the same picture, which says nothing new
    assert one.state["sample"] == two.state["sample"] == ids[1]
    press(one, "wrong")
    press(two, "right")  # of another opinion: both are in the log, and the later one counts
    made = [(entry["sample"], entry["action"]) for entry in decisions(dataset, "audit")]
    assert made == [(ids[0], "dismiss"), (ids[1], "confirm"), (ids[1], "dismiss")]
    one.event("poll_hand")
    assert one.shows("2 right, 0 wrong")


def test_a_check_ends_with_its_audit_and_goes_on_after_the_panel_was_closed(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    press(window, "start")
    press(window, "right")
    press(window, "leave")
    assert window.view is None
    assert window.shows("Most confused with")
    again = opened(dataset)
    assert again.shows("Go on with the check: 1 of 40")
    press(again, "start")
    assert again.shows("**1 of 40**")
    dataset.rename_run("audit", "renamed")
    dataset.reload()
    press(again, "right")
    assert again.shows("was renamed or deleted meanwhile; nothing was decided")
    assert len(decisions(dataset, "renamed")) == 1
    write_result(dataset, made_up_result(dataset, inject=False, seed=1), "renamed")
    again.event("changed", audit_key="renamed")
    assert again.shows("Check the audit: 40 pictures")
    assert again.view is None


def test_names_of_classes_are_shown_as_they_are(dataset: fo.Dataset) -> None:
    dataset.set_values("ground_truth.label", ["*<b>1.*"] * len(dataset))
    write_result(dataset, made_up_result(dataset, inject=False))
    window = opened(dataset)
    press(window, "start")
    assert window.shows("given: **\\\\*\\\\<b\\\\>1\\\\.\\\\***")
