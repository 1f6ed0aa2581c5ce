"""Decisions of reviewers are kept whatever happens, can be taken back, and touch labels only when asked to."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest
from fiftyone import ViewField as F
from fiftyone.core.odm import get_db_conn

from audit.errors import InputError
from integrations.fiftyone import write_result
from integrations.fiftyone.fields import REVIEW_FIELDS, STATUSES, audit_fields
from integrations.fiftyone.review import (
    EXPORT_COLUMNS,
    accept,
    apply_corrections,
    confirm,
    corrections,
    decisions,
    dismiss,
    export_corrections,
    next_to_review,
    relabel,
    review_progress,
    undo_last,
)
from tests.fiftyone.made_up import delete_elsewhere, made_up_result
from tests.fiftyone.test_fiftyone import everything
from tests.forking import StartedScript
from tests.sixty_digits import audited_digits
from tests.waiting import wait_until

Names = Callable[[str], str]


@pytest.fixture
def dataset(dataset_name: Names) -> fo.Dataset:
    """Sixty digits of three classes with a written audit."""
    return audited_digits(dataset_name("reviewed digits"))


def disputed(dataset: fo.Dataset, count: int) -> list[str]:
    """Ids of samples for which the audit suggests another label than the given one."""
    return dataset.match(F("audit_suggested.label") != F("ground_truth.label")).limit(count).values("id")


def states(dataset: fo.Dataset, ids: list[str]) -> list[tuple[str, str | None]]:
    view = dataset.select(ids, ordered=True)
    return list(zip(*view.values(["audit_status", "audit_corrected.label"]), strict=True))


def counts(unreviewed: int, **others: int) -> dict[str, int]:
    return dict.fromkeys(STATUSES, 0) | {"unreviewed": unreviewed} | others


# --- deciding -------------------------------------------------------------------------------------------------------


def test_each_decision_sets_the_state_and_leaves_the_labels_alone(dataset: fo.Dataset) -> None:
    given = dataset.values("ground_truth.label")
    first, second, third, fourth = disputed(dataset, 4)
    assert confirm(dataset, "audit", [first]).count == 1
    assert dismiss(dataset, "audit", [second]).count == 1
    assert accept(dataset, "audit", [third]).count == 1
    assert relabel(dataset, "audit", [fourth], "$label of mine").count == 1
    assert states(dataset, [first, second, third, fourth]) == [
        ("confirmed", None),
        ("dismissed", None),
        ("relabelled", dataset[third].audit_suggested.label),
        ("relabelled", "$label of mine"),
    ]
    assert dataset.values("ground_truth.label") == given
    assert review_progress(dataset, "audit").statuses == {
        **{"unreviewed": 56, "confirmed": 1, "relabelled": 2, "dismissed": 1, "unsure": 0, "removed": 0}
    }


def test_a_view_is_decided_on_at_once_and_undone_at_once(dataset: fo.Dataset) -> None:
    flagged = dataset.load_saved_view("audit: flagged")
    ids = flagged.values("id")
    decided = dismiss(dataset, "audit", flagged)
    assert (decided.count, decided.unchanged) == (len(ids), 0)
    assert set(states(dataset, ids)) == {("dismissed", None)}
    assert review_progress(dataset, "audit").reviewed == len(ids)
    undone = undo_last(dataset, "audit")
    assert undone is not None
    assert (undone.action, undone.count) == ("dismiss", len(ids))
    assert set(states(dataset, ids)) == {("unreviewed", None)}


def test_deciding_the_same_again_changes_and_logs_nothing(dataset: fo.Dataset) -> None:
    ids = disputed(dataset, 3)
    accept(dataset, "audit", ids)
    again = accept(dataset, "audit", ids)
    assert (again.count, again.unchanged, again.batch) == (0, 3, None)
    assert len(decisions(dataset, "audit")) == 3
    assert confirm(dataset, "audit", ids).count == 3
    assert set(states(dataset, ids)) == {("confirmed", None)}


def test_a_suggestion_that_is_the_given_label_is_not_accepted(dataset: fo.Dataset) -> None:
    agreeing = dataset.match(F("audit_suggested.label") == F("ground_truth.label"))
    assert accept(dataset, "audit", agreeing).count == 0
    assert set(dataset.values("audit_status")) == {"unreviewed"}


def test_the_suggestion_for_an_injected_mislabel_is_compared_with_the_injected_label(dataset: fo.Dataset) -> None:
    result = made_up_result(dataset, inject=True)
    injected = result.scores.index[result.scores["injected"]]
    result.scores.loc[injected, "suggested_label"] = result.scores.loc[injected, "original_label"]
    changed = injected[result.scores.loc[injected, "original_label"] != "2"]
    write_result(dataset, result)
    dataset.reload()
    assert accept(dataset, "audit", list(changed)).count == len(changed) > 0
    assert review_progress(dataset, "audit").to_apply == 0  # the user's own labels are right


def test_samples_that_were_not_audited_are_left_alone(dataset: fo.Dataset) -> None:
    dataset.delete_run("audit")
    part = dataset.limit(10)
    write_result(part, made_up_result(part, inject=False))
    dataset.reload()
    decided = dismiss(dataset, "audit", dataset)
    assert (decided.count, decided.unchanged) == (10, 50)
    assert dataset.skip(10).values("audit_status") == [None] * 50


def test_samples_in_memory_show_the_decision(dataset: fo.Dataset) -> None:
    sample = dataset.first()
    dismiss(dataset, "audit", [sample.id])
    assert sample.audit_status == "dismissed"


# --- the log --------------------------------------------------------------------------------------------------------


def test_the_log_says_who_when_and_what_was_before_and_after(dataset: fo.Dataset) -> None:
    (sample,) = disputed(dataset, 1)
    given = dataset[sample].ground_truth.label
    confirm(dataset, "audit", [sample], by="ada")
    relabel(dataset, "audit", [sample], "2", by="$grace")
    undo_last(dataset, "audit", by="$grace")
    first, second = decisions(dataset, "audit")
    assert (first["sample"], first["action"], first["by"], first["given"]) == (sample, "confirm", "ada", given)
    assert first["before"] == {"status": "unreviewed", "corrected": None}
    assert first["after"] == second["before"] == {"status": "confirmed", "corrected": None}
    assert second["after"] == {"status": "relabelled", "corrected": "2"}
    assert first["undone_at"] is None
    assert (second["by"], second["undone_by"]) == ("$grace", "$grace")
    assert first["at"] <= second["at"] <= second["undone_at"]


def wait_for_the_clock() -> None:
    """Wait until the database's clock, which counts milliseconds, goes on."""
    database = get_db_conn()
    now = database.command("hello")["localTime"]
    wait_until(lambda: database.command("hello")["localTime"] > now)


def test_undo_goes_back_step_by_step_to_the_beginning(dataset: fo.Dataset) -> None:
    ids = disputed(dataset, 2)
    confirm(dataset, "audit", ids)
    wait_for_the_clock()
    accept(dataset, "audit", ids[:1])
    wait_for_the_clock()
    dismiss(dataset, "audit", ids[1:])
    suggested = dataset[ids[0]].audit_suggested.label
    assert states(dataset, ids) == [("relabelled", suggested), ("dismissed", None)]
    undo_last(dataset, "audit")
    assert states(dataset, ids) == [("relabelled", suggested), ("confirmed", None)]
    undo_last(dataset, "audit")
    assert states(dataset, ids) == [("confirmed", None), ("confirmed", None)]
    undo_last(dataset, "audit")
    assert states(dataset, ids) == [("unreviewed", None), ("unreviewed", None)]
    assert undo_last(dataset, "audit") is None


def test_undoing_my_decision_keeps_a_later_one_of_someone_else(dataset: fo.Dataset) -> None:
    ids = disputed(dataset, 2)
    dismiss(dataset, "audit", ids, by="ada")
    confirm(dataset, "audit", ids[1:], by="grace")
    undone = undo_last(dataset, "audit", by="ada")
    assert undone is not None
    assert undone.count == 2
    assert states(dataset, ids) == [("unreviewed", None), ("confirmed", None)]
    undo_last(dataset, "audit", by="grace")
    assert states(dataset, ids) == [("unreviewed", None), ("unreviewed", None)]


def test_two_processes_that_review_at_once_lose_no_decision(dataset: fo.Dataset, tmp_path: Path) -> None:
    ids = dataset.values("id")
    review = """
import sys
import fiftyone as fo
from integrations.fiftyone.review import confirm, dismiss
dataset = fo.load_dataset(sys.argv[1])
for sample in dataset.values("id"):
    (confirm if sys.argv[2] == "ada" else dismiss)(dataset, "audit", [sample], by=sys.argv[2])
"""
    reviewers = [StartedScript(tmp_path / name, review, dataset.name, name) for name in ("ada", "bob")]
    assert [reviewer.wait() for reviewer in reviewers] == [0, 0]
    dataset.reload()
    log = decisions(dataset, "audit")
    for name in ("ada", "bob"):
        assert sorted(entry["sample"] for entry in log if entry["by"] == name) == sorted(ids)
    last = {entry["sample"]: entry["after"]["status"] for entry in log}
    for sample in ids:  # each decision took the state that the one before it had left
        of_sample = dataset[sample].audit_decisions
        assert of_sample[0]["after"] == of_sample[1]["before"]
        assert of_sample[1]["after"]["status"] == dataset[sample].audit_status
    assert set(last) == set(ids)
    kept = dataset.get_run_info("audit").config.summary["review"]["statuses"]
    assert kept == dict.fromkeys(STATUSES, 0) | dataset.count_values("audit_status")


def test_the_run_says_how_far_the_review_is(dataset: fo.Dataset) -> None:
    def kept() -> dict[str, Any]:
        return dataset.get_run_info("audit").config.summary["review"]

    first, second, third = disputed(dataset, 3)
    dismiss(dataset, "audit", [first])
    accept(dataset, "audit", [second, third])
    assert kept() == asdict(review_progress(dataset, "audit"))
    assert kept()["statuses"] == counts(57, relabelled=2, dismissed=1)
    assert kept()["to_apply"] == 2
    apply_corrections(dataset, "audit")
    assert kept()["to_apply"] == 0
    undo_last(dataset, "audit")
    undo_last(dataset, "audit")
    assert kept()["statuses"] == counts(59, dismissed=1)
    write_result(dataset, made_up_result(dataset, inject=False, seed=1))
    assert kept() == asdict(review_progress(dataset, "audit"))
    assert kept()["statuses"]["dismissed"] == 1


def test_a_review_says_how_many_flags_were_right_and_what_the_audit_expected(dataset: fo.Dataset) -> None:
    flagged = dataset.match(F("audit_flag")).values("id")
    wrong, right = flagged[:2], flagged[2:5]
    relabel(dataset, "audit", wrong[:1], "another")
    confirm(dataset, "audit", wrong[1:])
    dismiss(dataset, "audit", right)
    dismiss(dataset, "audit", dataset.match(~F("audit_flag")).limit(1))  # no flag, so it says nothing of flags
    suspicions = dataset.select(flagged[:5]).values("audit_suspicion")
    progress = review_progress(dataset, "audit")
    assert (progress.checked, progress.found_wrong) == (5, 2)
    assert progress.expected_wrong == pytest.approx(sum(suspicions), abs=1e-3)
    assert progress.chance == pytest.approx(sum(s * (1 - s) for s in suspicions) ** 0.5, abs=1e-3)
    assert progress.unexpected == (sum(suspicions) - 2 > 1.96 * progress.chance + 0.5)
    undo_last(dataset, "audit")
    undo_last(dataset, "audit")
    assert review_progress(dataset, "audit").checked == 2
    write_result(dataset, made_up_result(dataset, inject=False, seed=1))
    again = review_progress(dataset, "audit")  # decided on before this audit, whose suspicions are others
    assert (again.checked, again.found_wrong, again.expected_wrong) == (0, 0, 0.0)
    assert again.statuses["relabelled"] == again.statuses["confirmed"] == 1


# --- applying -------------------------------------------------------------------------------------------------------


def test_applying_writes_the_labels_keeps_the_old_ones_and_can_be_undone(dataset: fo.Dataset) -> None:
    dataset.tag_labels("checked", label_fields="ground_truth")
    before = dataset.values("ground_truth")
    ids = disputed(dataset, 3)
    accept(dataset, "audit", ids)
    assert review_progress(dataset, "audit").to_apply == 3
    assert apply_corrections(dataset, "audit").count == 3
    for sample in dataset.select(ids):
        assert sample.ground_truth.label == sample.audit_suggested.label == sample.audit_corrected.label
        assert sample.ground_truth.tags == ["checked"]
        assert sample.audit_original.label != sample.ground_truth.label
    assert dataset.exists("audit_original").values("id") == ids
    again = apply_corrections(dataset, "audit")
    assert (again.count, again.unchanged) == (0, 3)
    undone = undo_last(dataset, "audit")
    assert undone is not None
    assert (undone.action, undone.count) == ("apply", 3)
    assert [label.to_dict() for label in dataset.values("ground_truth")] == [label.to_dict() for label in before]
    assert len(dataset.exists("audit_original")) == 0
    assert {status for status, _ in states(dataset, ids)} == {"relabelled"}


def test_the_first_original_label_is_kept_over_several_corrections(dataset: fo.Dataset) -> None:
    (sample,) = disputed(dataset, 1)
    given = dataset[sample].ground_truth.label
    for label in ("five", "six"):
        relabel(dataset, "audit", [sample], label)
        apply_corrections(dataset, "audit")
    assert (dataset[sample].ground_truth.label, dataset[sample].audit_original.label) == ("six", given)
    undo_last(dataset, "audit")
    assert (dataset[sample].ground_truth.label, dataset[sample].audit_original.label) == ("five", given)


def test_undoing_an_application_keeps_a_label_that_was_edited_since(dataset: fo.Dataset) -> None:
    kept, edited = disputed(dataset, 2)
    given = dataset[kept].ground_truth.label
    accept(dataset, "audit", [kept, edited])
    apply_corrections(dataset, "audit")
    dataset.set_values("ground_truth.label", {edited: "by hand"}, key_field="id")
    undo_last(dataset, "audit")
    dataset.reload()
    assert (dataset[kept].ground_truth.label, dataset[edited].ground_truth.label) == (given, "by hand")


def test_applying_into_another_field_leaves_the_audited_one_alone(dataset: fo.Dataset) -> None:
    before = dataset.values("ground_truth.label")
    ids = disputed(dataset, 3)
    relabel(dataset, "audit", ids, "2")
    assert apply_corrections(dataset, "audit", into="fixed").count > 0
    assert dataset.values("ground_truth.label") == before
    expected = {
        sample: "2" if sample in ids else label for sample, label in zip(dataset.values("id"), before, strict=True)
    }
    assert dict(zip(*dataset.values(["id", "fixed.label"]), strict=True)) == expected
    undo_last(dataset, "audit")
    assert dataset.values("fixed.label") == before
    for field in ("filepath", "audit_suggested"):
        with pytest.raises(InputError, match="holds something else than labels"):
            apply_corrections(dataset, "audit", into=field)
    with pytest.raises(InputError, match="cannot be made"):
        apply_corrections(dataset, "audit", into="a.b.c")


def test_a_second_audit_starts_from_the_decisions_and_says_what_changed(dataset: fo.Dataset) -> None:
    flagged = dataset.load_saved_view("audit: flagged").values("id")
    wrong = [sample for sample in disputed(dataset, 60) if sample in flagged]
    accept(dataset, "audit", wrong)
    apply_corrections(dataset, "audit")
    second = made_up_result(dataset, inject=False)
    second.scores.loc[wrong, "flag"] = False
    counts = replace(second.summary.counts, flagged=int(second.scores["flag"].sum()))
    second.summary = replace(second.summary, counts=counts)
    write_result(dataset, second)
    dataset.reload()
    assert {status for status, _ in states(dataset, wrong)} == {"relabelled"}
    summary = dataset.get_run_info("audit").config.summary
    assert summary["since_last"] == {
        "flagged_before": len(flagged),
        "flagged_now": len(flagged) - len(wrong),
        "no_longer_flagged": len(wrong),
        "newly_flagged": 0,
        "labels_corrected": len(wrong),
    }


# --- exporting ------------------------------------------------------------------------------------------------------


def test_corrections_are_exported_with_who_when_old_and_new(dataset: fo.Dataset, tmp_path: Path) -> None:
    first, second, third = disputed(dataset, 3)
    old = dataset[first].ground_truth.label
    relabel(dataset, "audit", [first], 'neü, "quoted"', by="ada")
    confirm(dataset, "audit", [second], by="ada")
    dismiss(dataset, "audit", [third], by="bob")
    assert export_corrections(dataset, "audit", tmp_path / "made" / "corrections.csv") == 3
    assert export_corrections(dataset, "audit", tmp_path / "corrections.json") == 3
    with (tmp_path / "made" / "corrections.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    listed = json.loads((tmp_path / "corrections.json").read_text(encoding="utf-8"))
    assert [tuple(row) for row in rows] == [EXPORT_COLUMNS] * 3
    assert [row["id"] for row in rows] == [row["id"] for row in listed] == [first, second, third]
    assert listed == list(corrections(dataset, "audit"))
    assert (listed[0]["old_label"], listed[0]["new_label"], listed[0]["by"]) == (old, 'neü, "quoted"', "ada")
    assert [row["status"] for row in listed] == ["relabelled", "confirmed", "dismissed"]
    assert [row["applied"] for row in listed] == [False] * 3
    apply_corrections(dataset, "audit")
    assert [row["applied"] for row in corrections(dataset, "audit")] == [True, False, False]
    assert next(iter(corrections(dataset, "audit")))["old_label"] == old
    with pytest.raises(InputError, match=r"neither \.csv nor \.json"):
        export_corrections(dataset, "audit", tmp_path / "corrections.xls")
    with pytest.raises(InputError, match="cannot be written"):
        export_corrections(dataset, "audit", tmp_path / "corrections.json" / "x.csv")


# --- the queue ------------------------------------------------------------------------------------------------------


def test_the_queue_goes_by_suspicion_and_starts_again_at_its_end(dataset: fo.Dataset) -> None:
    queue = dataset.match(F("audit_suspicion") >= 0.5).sort_by("audit_suspicion", reverse=True).values("id")
    seen = [next_to_review(dataset, "audit", 0.5)]
    for _ in range(len(queue)):
        seen.append(next_to_review(dataset, "audit", 0.5, after=seen[-1]))
    assert seen == [*queue, queue[0]]
    dismiss(dataset, "audit", queue[:1])
    assert next_to_review(dataset, "audit", 0.5) == queue[1]
    of_class = dataset.select(queue, ordered=True).match(F("ground_truth.label") == "1").values("id")
    assert next_to_review(dataset, "audit", 0.5, "1") == next(sample for sample in of_class if sample != queue[0])
    dismiss(dataset, "audit", dataset.view())
    assert next_to_review(dataset, "audit", after=queue[0]) is None


# --- views, runs, bad input -----------------------------------------------------------------------------------------


def test_saved_views_follow_the_decisions(dataset: fo.Dataset) -> None:
    flagged = dataset.load_saved_view("audit: flagged").values("id")
    confirm(dataset, "audit", flagged[:1])
    relabel(dataset, "audit", flagged[1:2], "2")
    dismiss(dataset, "audit", flagged[2:3])
    views = {
        title: dataset.load_saved_view(f"audit: {title}").values("id")
        for title in ("to review", "confirmed mistakes", "dismissed")
    }
    assert views == {
        "to review": flagged[3:],
        "confirmed mistakes": flagged[:2],
        "dismissed": flagged[2:3],
    }


def test_deleting_the_run_deletes_the_review_and_renaming_renames_it(dataset: fo.Dataset) -> None:
    indexes = [name for name in dataset.list_indexes() if not name.startswith("audit_")]
    ids = disputed(dataset, 2)
    accept(dataset, "audit", ids, by="ada")
    dataset.rename_run("audit", "round_one")
    dataset.reload()
    assert [entry["by"] for entry in decisions(dataset, "round_one")] == ["ada", "ada"]
    assert undo_last(dataset, "round_one") is not None
    accept(dataset, "round_one", ids)
    assert dataset.load_saved_view("round_one: confirmed mistakes").values("id")
    dataset.delete_run("round_one")
    dataset.reload()
    assert audit_fields(dataset, "round_one") == []
    assert dataset.list_indexes() == indexes
    assert dataset.list_saved_views() == []
    stored = dataset.first().to_dict()
    assert not [name for name in stored if "round_one" in name or name.startswith("audit")]


def test_an_audit_of_an_older_version_gets_what_a_review_needs(dataset: fo.Dataset) -> None:
    dataset.delete_sample_fields(["audit_corrected", "audit_original", "audit_decisions"])
    for title in ("to review", "confirmed mistakes", "dismissed"):
        dataset.delete_saved_view(f"audit: {title}")
    (sample,) = disputed(dataset, 1)
    assert accept(dataset, "audit", [sample]).count == 1
    assert {field.name("audit") for field in REVIEW_FIELDS} <= set(audit_fields(dataset, "audit"))
    assert dataset.load_saved_view("audit: confirmed mistakes").values("id") == [sample]


def test_what_cannot_be_reviewed_is_said_in_one_line(dataset: fo.Dataset) -> None:
    before = everything(dataset)
    with pytest.raises(InputError, match="has no label audit 'other'; it has: audit"):
        dismiss(dataset, "other", [])
    with pytest.raises(InputError, match="new label is blank"):
        relabel(dataset, "audit", [], " ")
    with pytest.raises(InputError, match="sample id is not valid"):
        dismiss(dataset, "audit", ["nonsense"])
    assert dismiss(dataset, "audit", ["0" * 24]).count == 0
    assert everything(dataset) == before
    delete_elsewhere(dataset)
    with pytest.raises(InputError, match="dataset 'reviewed digits' was deleted"):
        dismiss(dataset, "audit", [])
