"""What the review in the browser is answered: the queue, decisions, undo, explanations, and two windows at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone import ViewField as F

from integrations.fiftyone.plugin_install import PLUGIN
from integrations.fiftyone.review import confirm, decisions
from tests.fiftyone.panel_window import Window, opened
from tests.sixty_digits import audited_digits

pytestmark = pytest.mark.usefixtures("plugin_installed")


@pytest.fixture
def dataset(dataset_name: Callable[[str], str]) -> fo.Dataset:
    """Sixty digits of three classes with a written audit."""
    return audited_digits(dataset_name("digits to decide on"))


def decide(window: Window, action: str, sample: str, seen: str = "", **more: str) -> dict[str, Any]:
    (outcome,) = window.ask("decide", decisions=[{"action": action, "samples": [sample], "seen": seen, **more}])[
        "outcomes"
    ]
    return outcome


def test_the_queue_goes_from_the_most_suspicious_sample_to_the_last_and_begins_again(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    expected = dataset.load_saved_view("audit: to review").values("id")
    answer = window.ask("queue", count=50)
    assert [card["sample"] for card in answer["cards"]] == expected
    assert answer["complete"]
    assert window.queue(3) == expected[:3]
    assert window.queue(3, after=expected[-2]) == [expected[-1], *expected[:2]]
    assert window.queue(2, without=expected[:1]) == expected[1:3]
    first = answer["cards"][0]
    sample = dataset[expected[0]]
    assert (first["filepath"], first["given"], first["status"]) == (
        sample.filepath,
        sample.ground_truth.label,
        "unreviewed",
    )
    assert first["decision"] is None
    decided = dataset.match(F("audit_suspicion") < 0.8).first().id
    assert window.queue(1, samples=[decided]) == [decided, expected[0]]  # one that was opened comes first


def test_the_queue_follows_filters_and_the_reviewers_own_view(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    window.event("move_threshold", value=0.3)
    above = dataset.match(F("audit_suspicion") >= 0.3).sort_by("audit_suspicion", reverse=True)
    assert window.queue() == above.values("id")
    window.event("choose_class", row=0)
    of_class = above.match(F("ground_truth.label") == window.state["class_label"])
    assert window.queue() == of_class.values("id")
    own = of_class.skip(1).limit(2)
    window.view = dataset.select(own.values("id"))._serialize()
    assert window.queue() == own.values("id")


def test_decisions_are_made_in_order_and_each_is_taken_back_by_its_window(dataset: fo.Dataset) -> None:
    window, other = opened(dataset), opened(dataset)
    first, second, third, *_ = window.queue()
    made = [
        {"action": "dismiss", "samples": [first], "seen": ""},
        {"action": "relabel", "label": "7", "samples": [second], "seen": ""},
    ]
    answer = window.ask("decide", decisions=made)
    assert [outcome["count"] for outcome in answer["outcomes"]] == [1, 1]
    assert answer["progress"]["reviewed"] == 2
    assert [document["audit_status"] for document in answer["documents"]] == ["dismissed", "relabelled"]
    assert window.queue(1) == [third]
    decide(other, "confirm", third)
    undone = window.ask("undo", batch=answer["outcomes"][1]["batch"])  # not the other window's later decision
    assert [card["sample"] for card in undone["cards"]] == [second]
    assert undone["cards"][0]["status"] == "unreviewed"
    assert [entry["action"] for entry in decisions(dataset, "audit") if entry["undone_at"] is None] == [
        "dismiss",
        "confirm",
    ]
    assert window.ask("undo")["cards"][0]["sample"] == third  # after a reload of the page: the person's last one


def test_a_decision_of_somebody_else_is_not_replaced_unseen(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    sample = window.queue(1)[0]
    confirm(dataset, "audit", [sample], by="anna")
    outcome = decide(window, "dismiss", sample)
    assert outcome["count"] == 0
    decision = outcome["conflict"]["decision"]
    assert (decision["by"], decision["action"]) == ("anna", "confirm")
    assert 0 <= decision["seconds"] < 60
    dataset.reload()
    assert dataset[sample].audit_status == "confirmed"
    assert decide(window, "dismiss", sample, seen=decision["batch"])["count"] == 1  # seen, and replaced
    dataset.reload()
    assert dataset[sample].audit_status == "dismissed"
    again = decide(window, "dismiss", sample, seen=decisions(dataset, "audit")[-1]["batch"])
    assert (again["count"], "conflict" in again) == (0, False)  # it says nothing new


def test_mistakes_are_answered_and_stop_nothing_else(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    first, second, *_ = window.queue()
    made = [
        {"action": "relabel", "label": " ", "samples": [first], "seen": ""},
        {"action": "confirm", "samples": [second], "seen": ""},
    ]
    blank, confirmed = window.ask("decide", decisions=made)["outcomes"]
    assert blank["error"] == "the new label is blank; give the name of a class"
    assert confirmed["count"] == 1
    assert "was not saved with the run" in window.ask("explain", samples=[first])["explanations"][first]["error"]
    dataset.rename_run("audit", "renamed")
    assert "has no label audit 'audit'; it has: renamed" in window.ask("decide", decisions=made)["error"]
    found = foo.get_operator(f"{PLUGIN}/review_samples")
    assert found.config.unlisted
