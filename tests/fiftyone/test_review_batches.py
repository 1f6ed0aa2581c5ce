"""What a reviewer does beside one sample after the other: leave open, look back, decide on many at once, and plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
import pytest
from fiftyone import ViewField as F
from PIL import Image

from integrations.fiftyone.plugin_install import PLUGIN
from integrations.fiftyone.review import (
    QueueFilter,
    apply_corrections,
    class_pairs,
    confirm,
    contact_sheet,
    corrections,
    decisions,
    dismiss,
    relabel,
    review_plan,
    review_progress,
    sample_cards,
    suspects_by_class,
    undo_last,
    unsure,
)
from integrations.fiftyone.review.plan import _plan
from integrations.fiftyone.small_pictures import SIDE, small_picture
from tests.fiftyone.panel_window import Window, opened
from tests.sixty_digits import audited_digits

pytestmark = pytest.mark.usefixtures("plugin_installed")


@pytest.fixture
def dataset(dataset_name: Callable[[str], str]) -> fo.Dataset:
    """Sixty digits of three classes with a written audit."""
    return audited_digits(dataset_name("digits in batches"))


def flagged(dataset: fo.Dataset) -> list[str]:
    return dataset.load_saved_view("audit: to review").values("id")


def test_unsure_is_a_decision_that_says_neither_right_nor_wrong(dataset: fo.Dataset) -> None:
    first, second, *others = flagged(dataset)
    dismiss(dataset, "audit", [second])
    assert unsure(dataset, "audit", [first, second], by="ada").count == 2
    dataset.reload()
    assert dataset.select([first, second]).values("audit_status") == ["unsure", "unsure"]
    assert flagged(dataset) == others  # it has left the queue
    assert set(dataset.load_saved_view("audit: unsure").values("id")) == {first, second}
    progress = review_progress(dataset, "audit")
    assert (progress.reviewed, progress.checked, progress.statuses["unsure"]) == (2, 0, 2)
    assert [row["status"] for row in corrections(dataset, "audit")] == ["unsure", "unsure"]
    assert unsure(dataset, "audit", [first]).unchanged == 1
    undo_last(dataset, "audit")
    dataset.reload()
    assert dataset.select([first, second]).values("audit_status") == ["unreviewed", "dismissed"]
    assert unsure(dataset, "audit", [second]).count == 1
    confirm(dataset, "audit", [second])
    undo_last(dataset, "audit")
    dataset.reload()
    assert dataset[second].audit_status == "unsure"  # what was decided before


def test_unsure_is_decided_in_the_panel_and_by_an_operator(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    first, second, *_ = window.queue()
    answer = window.ask("decide", decisions=[{"action": "unsure", "samples": [first], "seen": ""}])
    assert answer["outcomes"][0]["text"] == "1 sample left open."
    assert foo.get_operator(f"{PLUGIN}/unsure")(dataset, [second])["count"] == 1
    assert review_progress(dataset, "audit").statuses["unsure"] == 2


def test_the_history_of_a_sample_says_who_decided_what(dataset: fo.Dataset) -> None:
    sample = flagged(dataset)[0]
    (card,) = sample_cards(dataset, "audit", [sample])
    assert card.history == ()
    before = card.label
    dismiss(dataset, "audit", [sample], by="ada")
    relabel(dataset, "audit", [sample], "seven", by="bob")
    undo_last(dataset, "audit")
    relabel(dataset, "audit", [sample], "nine", by="eve")
    apply_corrections(dataset, "audit", by="eve")
    (card,) = sample_cards(dataset, "audit", [sample])
    told = [(past.by, past.action, past.before, past.after, past.undone) for past in card.history]
    assert told == [
        ("eve", "apply", before, "nine", False),
        ("eve", "relabel", before, "nine", False),
        ("bob", "relabel", before, "seven", True),
        ("ada", "dismiss", before, before, False),
    ]
    assert all(0 <= past.seconds < 60 for past in card.history)


def test_a_class_pair_is_decided_at_once_and_taken_back_at_once(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    window.event("move_threshold", value=0.3)
    window.view = None
    pairs = window.ask("pairs")["pairs"]
    above = dataset.match((F("audit_suspicion") >= 0.3) & (F("audit_suggested.label") != F("ground_truth.label")))
    assert sum(pair["count"] for pair in pairs) == len(above)
    assert [pair["count"] for pair in pairs] == sorted((pair["count"] for pair in pairs), reverse=True)
    pair = pairs[0]
    asked = {"given": pair["given"], "suggested": pair["suggested"]}
    answer = window.ask("sheet", **asked)
    ids = [card["sample"] for card in answer["cards"]]
    of_pair = above.match(
        (F("ground_truth.label") == pair["given"]) & (F("audit_suggested.label") == pair["suggested"])
    )
    assert (sorted(ids), answer["total"]) == (sorted(of_pair.values("id")), pair["count"])
    assert all(card["picture"].startswith("data:image/jpeg;base64,") for card in answer["cards"])
    exception, *others = ids
    confirm(dataset, "audit", others[:1], by="anna")  # meanwhile, in another window
    decided = window.ask("decide", decisions=[{"action": "accept", "samples": others, "seen": ""}])
    (outcome,) = decided["outcomes"]
    assert (outcome["count"], outcome["unchanged"]) == (len(others) - 1, 1)  # nothing is replaced unseen
    dataset.reload()
    assert dataset[others[0]].audit_status == "confirmed"
    assert dataset.select(others[1:]).distinct("audit_corrected.label") == [pair["suggested"]]
    assert [card["sample"] for card in window.ask("sheet", **asked)["cards"]] == [exception]
    assert f"Undone: {len(others) - 1} sample" in window.ask("undo", batch=outcome["batch"])["text"]
    dataset.reload()
    assert set(dataset.select(others[1:]).values("audit_status")) == {"unreviewed"}


def test_pairs_and_sheets_follow_the_class_and_leave_out_what_was_left_open(dataset: fo.Dataset) -> None:
    wanted = QueueFilter(0.0)
    pair = class_pairs(dataset, "audit", wanted)[0]
    assert all(found.given == pair.given for found in class_pairs(dataset, "audit", QueueFilter(0.0, pair.given)))
    total, pictures = contact_sheet(dataset, "audit", wanted, (pair.given, pair.suggested))
    unsure(dataset, "audit", [pictures[0].sample])
    assert contact_sheet(dataset, "audit", wanted, (pair.given, pair.suggested))[0] == total - 1
    assert contact_sheet(dataset, "audit", wanted, ("none", "of these")) == (0, [])
    view = dataset.select([picture.sample for picture in pictures[1:3]])
    assert contact_sheet(view, "audit", wanted, (pair.given, pair.suggested))[0] == 2


def test_the_plan_counts_what_was_found_and_what_is_left(dataset: fo.Dataset) -> None:
    first, second, third, *_ = flagged(dataset)
    confirm(dataset, "audit", [first])
    dismiss(dataset, "audit", [second])
    unsure(dataset, "audit", [third])
    plan = review_plan(dataset, "audit")
    assert (plan.left, sum(found.decided for found in plan.bins)) == (57, 2)
    assert sum(found.left for found in plan.bins) == 57
    assert 0 < plan.decisions <= 57
    assert plan.expected_left == pytest.approx(sum(found.expected_left for found in plan.bins))
    said = " ".join(opened(dataset).ask("plan")["sentences"])
    assert "First check the audit" in said
    assert f"About {plan.decisions:,} more decisions, the most suspicious labels first, find 95% of these" in said
    assert "Stop once that is fewer than your time is worth" in said


def test_a_plan_rests_on_the_suspicions_and_on_what_decisions_made_of_them() -> None:
    left = np.array([0.96] * 10 + [0.3] * 100 + [0.0] * 1000)
    nothing = np.array([], dtype=float)
    plan = _plan(nothing, nothing.astype(bool), left, verified=False)
    assert plan.expected_left == pytest.approx(10 * 0.96 + 30)
    assert plan.decisions == 104  # 9.6 + 94 * .3 = 37.8 of 39.6
    assert plan.next_wrong == pytest.approx(9.6 + 40 * 0.3)
    decided = np.full(200, 0.3)
    fewer = _plan(decided, np.arange(200) < 6, left, verified=True)  # 3 % of 200 such labels were wrong, not 30 %
    assert fewer.bins[-3].expected_left == pytest.approx(100 * 0.3 * (6 + 6) / (60 + 6))
    assert fewer.sentences[0].startswith("About")
    assert fewer.bins[0].expected_left == pytest.approx(9.6)  # of other suspicions nothing was learned
    none = _plan(decided, np.zeros(200, dtype=bool), nothing, verified=True)
    assert none.sentences == ["Every sample is decided."]


def test_suspects_are_counted_by_class_at_any_threshold(dataset: fo.Dataset) -> None:
    for threshold in (0.0, 0.3, 0.85, 1.0):
        found = suspects_by_class(dataset, "audit", threshold)
        for label in dataset.distinct("ground_truth.label"):
            above = dataset.match((F("ground_truth.label") == label) & (F("audit_suspicion") >= threshold))
            count = found[label].count if label in found else 0
            assert count == len(above)
            if count:
                assert found[label].expected_wrong == pytest.approx(above.sum("audit_suspicion"))


def test_an_audit_whose_answer_the_browser_lost_is_shown_at_the_next_look(dataset: fo.Dataset) -> None:
    window = Window(dataset)  # it still waits for an audit that has ended, and that was told once
    window.state["watched"] = "audit"
    window.event("poll_job")
    assert window.state["audit_key"] == "audit"
    assert window.shows("flagged")


def test_numbers_follow_the_slider_and_the_class(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    count = len(dataset.match(F("audit_flag") == True))  # noqa: E712
    assert window.shows(f"##### {count}\\nflagged")
    window.event("move_threshold", value=0.3)
    above = dataset.match(F("audit_suspicion") >= 0.3)
    assert window.shows(f"##### {len(above)}\\nat or above 0.30")
    assert window.shows(f"##### {above.mean('audit_suspicion'):.0%}\\nof these wrong, modelled")
    rows = window.triggered["patch_panel_data"]["data"]["classes"]
    by_class = above.count_values("ground_truth.label")
    assert {row["class"]: row["flagged"] for row in rows} == {
        label: str(by_class.get(label, 0)) for label in dataset.distinct("ground_truth.label")
    }
    window.event("choose_class", row=0)
    label = window.state["class_label"]
    of_class = above.match(F("ground_truth.label") == label)
    assert window.shows(f"samples of class {label}")
    assert window.shows(f"##### {len(of_class)}\\nat or above 0.30")
    assert window.shows(f"{len(of_class)} samples of class {label}")
    window.event("on_load")  # the page was loaded again, with the view
    assert (window.state["threshold"], window.state["class_label"]) == (0.3, label)
    window.view = None
    window.event("on_load")  # without it: the panel does not say that it filters
    assert (window.state["threshold"], window.state["class_label"]) == (0.8, None)
    assert window.shows(f"##### {count}\\nflagged")


def test_the_log_of_decisions_is_in_a_closed_group_at_the_end(dataset: fo.Dataset) -> None:
    first, *_, last = (group for group in dataset.app_config.sidebar_groups if "label audit" in group.name)
    assert "audit_suspicion" in first.paths
    assert "audit_decisions" not in first.paths
    assert (last.paths, last.expanded) == (["audit_decisions"], False)
    dataset.rename_run("audit", "second")
    dataset.reload()
    assert dataset.app_config.sidebar_groups[-1].name == "kept by label audit (second)"
    assert dataset.app_config.sidebar_groups[-1].paths == ["second_decisions"]
    dataset.delete_run("second")
    dataset.reload()
    assert not [group for group in dataset.app_config.sidebar_groups or [] if "audit" in group.name]


def test_a_small_picture_is_made_once_and_again_when_its_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("RGB", (900, 300), "red").save(path)
    first = small_picture(str(path))
    assert first is not None
    assert first.startswith("data:image/jpeg;base64,")
    Image.new("RGB", (300, 900), "blue").save(path, quality=10)
    assert small_picture(str(path)) != first
    assert SIDE == 96
    assert small_picture(str(tmp_path / "gone.jpg")) is None
    (tmp_path / "text.jpg").write_text("no picture")
    assert small_picture(str(tmp_path / "text.jpg")) is None


def test_decisions_left_open_by_a_check_leave_the_state(dataset: fo.Dataset) -> None:
    from integrations.fiftyone.review import decide_check, start_check

    sample = start_check(dataset, "audit", 5).ids[0]
    decide_check(dataset, "audit", sample, "unsure")
    dataset.reload()
    assert dataset[sample].audit_status == "unreviewed"
    assert unsure(dataset, "audit", [sample]).count == 1
    undo_last(dataset, "audit")
    undo_last(dataset, "audit")
    dataset.reload()
    assert dataset[sample].audit_status == "unreviewed"
    assert all(entry["undone_at"] is not None for entry in decisions(dataset, "audit"))
