"""Several reviewers of one audit: each has a part of the samples, some get a second opinion; agreement is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import fiftyone as fo
import pytest

from audit.errors import InputError
from integrations.fiftyone.review import QueueFilter, Team, agreement, confirm, decisions, dismiss, undo_last, upcoming
from tests.fiftyone.panel_window import Window, opened
from tests.sixty_digits import audited_digits

pytestmark = pytest.mark.usefixtures("plugin_installed")


@pytest.fixture
def dataset(dataset_name: Callable[[str], str]) -> fo.Dataset:
    """Sixty digits of three classes with a written audit."""
    return audited_digits(dataset_name("digits of a team"))


def part(dataset: fo.Dataset, team: Team) -> list[str]:
    return upcoming(dataset, "audit", QueueFilter(team=team), count=100)


@pytest.mark.parametrize("reviewers", [1, 2, 3, 5])
def test_reviewers_share_all_samples_evenly_and_none_twice(dataset: fo.Dataset, reviewers: int) -> None:
    parts = [part(dataset, Team("ada", number, reviewers)) for number in range(1, reviewers + 1)]
    assert sorted(sample for one in parts for sample in one) == sorted(dataset.values("id"))
    assert max(map(len, parts)) - min(map(len, parts)) <= len(dataset) // (2 * reviewers)
    everything = upcoming(dataset, "audit", QueueFilter(), count=100)
    for one in parts:
        assert one == [sample for sample in everything if sample in one]  # in the order of suspicion


def team(reviewer: str, number: int = 1, reviewers: int = 1, second: float = 0.0) -> dict[str, Any]:
    """As the browser sends it."""
    return {"reviewer": reviewer, "number": number, "reviewers": reviewers, "second": second}


def decide(window: Window, card: dict[str, Any], action: str, who: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The outcome of a decision, as the browser makes it on a card."""
    seen = (card["decision"] or {}).get("batch", "")
    names = {"samples": [card["sample"]], "seen": seen, "second_opinion": card["second_opinion"]}
    answer = window.ask("decide", team=who, decisions=[{"action": action, **names, **more}])
    return answer["outcomes"][0]


def test_a_second_opinion_is_blind_counts_also_where_it_agrees_and_is_given_once(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    ada, bob = team("ada", 1, 2, 1.0), team("bob", 2, 2, 1.0)
    first, other = window.ask("queue", count=2, team=ada)["cards"]
    assert decide(window, first, "dismiss", ada)["count"] == 1
    assert decide(window, other, "dismiss", ada)["count"] == 1
    assert first["sample"] not in window.queue(team=ada)
    cards = {card["sample"]: card for card in window.ask("queue", count=50, team=bob)["cards"]}
    asked = [cards[card["sample"]] for card in (first, other)]
    for card in asked:
        assert card["second_opinion"] is True
        assert (card["status"], card["corrected"], card["history"]) == ("unreviewed", None, [])
    assert decide(window, asked[0], "dismiss", bob)["count"] == 1  # the same again is an opinion, too
    assert decide(window, asked[1], "relabel", bob, label="seven")["count"] == 1
    assert not {first["sample"], other["sample"]} & set(window.queue(team=bob))
    assert not {first["sample"], other["sample"]} & set(window.queue(team=ada))
    assert [(entry["by"], entry["action"]) for entry in decisions(dataset, "audit")] == [
        ("ada", "dismiss"),
        ("ada", "dismiss"),
        ("bob", "dismiss"),
        ("bob", "relabel"),
    ]
    found = agreement(dataset, "audit")
    assert (found.both, found.agreed, found.differing) == (2, 1, (other["sample"],))
    answer = window.ask("agreement", team=bob)
    assert (answer["both"], answer["agreed"]) == (2, 1)
    assert other["sample"] in json.dumps(answer["view"])
    dataset.reload()
    assert dataset[other["sample"]].audit_status == "relabelled"
    window.ask("undo", team=bob)  # the second opinion alone: the first one stands again
    dataset.reload()
    assert dataset[other["sample"]].audit_status == "dismissed"
    assert agreement(dataset, "audit").both == 1


def test_a_second_opinion_on_a_decision_that_was_replaced_changes_nothing(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    (card,) = window.ask("queue", count=1)["cards"]
    dismiss(dataset, "audit", [card["sample"]], by="ada")
    bob = team("bob", second=1.0)
    (seen,) = [one for one in window.ask("queue", count=50, team=bob)["cards"] if one["sample"] == card["sample"]]
    confirm(dataset, "audit", [card["sample"]], by="ada")
    outcome = decide(window, seen, "dismiss", bob)
    assert (outcome["count"], "conflict" in outcome) == (0, True)
    undo_last(dataset, "audit", by="ada")
    assert decide(window, seen, "accept", bob)["count"] in (0, 1)


def test_only_a_share_gets_a_second_opinion_and_nobody_is_asked_twice(dataset: fo.Dataset) -> None:
    dismiss(dataset, "audit", dataset, by="ada")
    counts = [len(part(dataset, Team("bob", second=share))) for share in (0.0, 0.2, 0.5, 1.0)]
    assert counts[0] == 0
    assert counts[-1] == len(dataset)
    assert counts == sorted(counts)
    assert 0 < counts[1] < counts[2] < len(dataset)
    assert part(dataset, Team("ada", second=1.0)) == []


def test_decisions_carry_the_name_of_the_reviewer(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    (card,) = window.ask("queue", count=1)["cards"]
    decide(window, card, "confirm", team("  Grace Hopper "))
    assert decisions(dataset, "audit")[-1]["by"] == "Grace Hopper"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reviewer": " "}, "the reviewer has no name"),
        ({"reviewer": "ada", "number": 3, "reviewers": 2}, "reviewer 3 of 2 is not possible"),
        ({"reviewer": "ada", "number": 1, "reviewers": 99}, "of whom there may be 16"),
        ({"reviewer": "ada", "second": 2.0}, "the share of second opinions is 2.0"),
    ],
)
def test_a_team_that_is_not_possible_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Team(**values)
