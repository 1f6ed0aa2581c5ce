"""The check of an audit: what is drawn stays drawn, no decision is lost, and what follows can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from fiftyone import ViewField as F
from fiftyone.core.odm import get_db_conn

from audit.errors import InputError
from audit.result import AuditResult
from audit.verification.apply import apply_verification
from audit.verification.draw import draw_scores
from audit.verification.estimate import verify_scores
from audit.verification.follow import follow_scores
from integrations.fiftyone import write_result
from integrations.fiftyone.fields import MODEL_FIELDS, audit_fields, declare
from integrations.fiftyone.lock import audit_lock
from integrations.fiftyone.overview import audit_overview
from integrations.fiftyone.review import (
    accept,
    apply_corrections,
    back_to_model,
    check_progress,
    confirm,
    decide_check,
    decisions,
    decisions_to_verify,
    dismiss,
    extend_check,
    find_check,
    relabel,
    review_progress,
    start_check,
    undo_last,
    use_decisions,
)
from integrations.fiftyone.score_writing import write_recalibrated
from tests.fiftyone.made_up import made_up_result
from tests.fiftyone.test_fiftyone import everything
from tests.forking import StartedScript
from tests.sixty_digits import audited_digits

KEY = "audit"


@pytest.fixture
def dataset(dataset_name: Callable[[str], str]) -> fo.Dataset:
    """Sixty digits of three classes with a written audit, of which about a fifth is flagged."""
    return audited_digits(dataset_name("checked digits"))


def decide(dataset: fo.Dataset, ids: tuple[str, ...], wrong_every: int = 3) -> None:
    """Decide on samples: every third is wrong. All at once, which is faster than one after the other."""
    confirm(dataset, KEY, ids[::wrong_every])
    dismiss(dataset, KEY, [sample for place, sample in enumerate(ids) if place % wrong_every])


def statuses(dataset: fo.Dataset, ids: tuple[str, ...]) -> list[str]:
    return dataset.select(ids, ordered=True).values("audit_status")


# --- drawing --------------------------------------------------------------------------------------------------------


def test_a_check_is_drawn_once_and_gone_on_with(dataset: fo.Dataset) -> None:
    assert find_check(dataset, KEY) is None
    assert check_progress(dataset, KEY) is None
    drawn = start_check(dataset, KEY, size=20, seed=3)
    assert len(set(drawn.ids)) == 20
    assert set(drawn.ids) <= set(dataset.values("id"))
    decide(dataset, drawn.ids[:4])
    assert start_check(dataset, KEY, size=30, seed=4) == drawn == find_check(dataset, KEY)
    progress = check_progress(dataset, KEY)
    assert progress is not None
    assert (progress.drawn, progress.decided, progress.next) == (drawn.ids, 4, drawn.ids[4])
    flags = dict(zip(*dataset.values(["id", "audit_flag"]), strict=True))
    assert 8 <= sum(flags[sample] for sample in drawn.ids) <= 12  # a good half of the draws, of twelve flags


def test_samples_that_were_decided_before_are_not_drawn(dataset: fo.Dataset) -> None:
    known = dataset.limit(30).values("id")
    dismiss(dataset, KEY, known[:20])
    confirm(dataset, KEY, known[20:])
    drawn = start_check(dataset, KEY, size=100)
    assert set(drawn.ids) == set(dataset.skip(30).values("id"))


def test_two_processes_that_begin_at_once_draw_once_and_lose_no_decision(dataset: fo.Dataset, tmp_path: Path) -> None:
    reviewer = """
import sys
import fiftyone as fo
from integrations.fiftyone.review import decide_check, start_check
dataset = fo.load_dataset(sys.argv[1])
check = start_check(dataset, "audit", size=12, seed=int(sys.argv[2]))
for sample in check.ids:
    decide_check(dataset, "audit", sample, "wrong" if sys.argv[2] == "1" else "unsure", by=sys.argv[2])
"""
    both = [StartedScript(tmp_path / seed, reviewer, dataset.name, seed) for seed in ("1", "2")]
    assert [one.wait() for one in both] == [0, 0]
    check = find_check(dataset, KEY)
    assert check is not None
    made = decisions(dataset, KEY)
    for seed in ("1", "2"):
        assert sorted(entry["sample"] for entry in made if entry["by"] == seed) == sorted(check.ids)
    assert statuses(dataset, check.ids) == ["confirmed"] * 12  # 'unsure' leaves it so
    progress = check_progress(dataset, KEY)
    assert progress is not None
    assert progress.decided == progress.wrong + progress.unsure == 12


def test_a_check_is_renamed_and_deleted_with_its_audit_and_ends_with_the_next(dataset: fo.Dataset) -> None:
    drawn = start_check(dataset, KEY, size=12).ids
    decide(dataset, drawn[:3])
    dataset.rename_run(KEY, "renamed")
    dataset.reload()
    progress = check_progress(dataset, "renamed")
    assert progress is not None
    assert (progress.drawn, progress.decided) == (drawn, 3)
    decide_check(dataset, "renamed", drawn[3], "unsure")
    use_decisions(dataset, "renamed")
    dataset.rename_run("renamed", KEY)
    dataset.reload()
    write_result(dataset, made_up_result(dataset, inject=False, seed=1))  # the same key again
    assert check_progress(dataset, KEY) is None
    assert not [field for field in MODEL_FIELDS if dataset.has_field(field.name(KEY))]
    assert "verified" not in dataset.get_run_info(KEY).config.summary
    assert decisions_to_verify(dataset, KEY)["order"].isna().all()
    assert set(start_check(dataset, KEY, size=60).ids) == set(dataset.values("id")) - set(drawn[:3])
    dataset.delete_run(KEY)
    dataset.reload()
    assert audit_fields(dataset, KEY) == []


def test_more_is_drawn_once_everything_is_decided(dataset: fo.Dataset) -> None:
    first = start_check(dataset, KEY, size=10).ids
    assert extend_check(dataset, KEY, more=10).ids == first  # it is under way
    decide(dataset, first)
    left_of_review = [sample for sample in dataset.values("id") if sample not in first]
    dismiss(dataset, KEY, left_of_review[:3])
    longer = extend_check(dataset, KEY, more=10).ids
    assert len(set(longer)) == 20
    assert longer[:10] == first
    at_once = draw_scores(made_up_result(dataset, inject=False).scores, size=20)
    assert longer == tuple(at_once.table.index)
    decide(dataset, tuple(sample for sample in longer if sample not in first))
    assert set(extend_check(dataset, KEY, more=100).ids) == set(dataset.values("id"))
    progress = check_progress(dataset, KEY)
    assert progress is not None
    decide(dataset, progress.drawn[progress.decided :])
    with pytest.raises(InputError, match="every sample is decided already"):
        extend_check(dataset, KEY)


# --- deciding -------------------------------------------------------------------------------------------------------


def test_decisions_are_ordinary_ones_and_unsure_leaves_the_status(dataset: fo.Dataset) -> None:
    first, second, third, fourth = start_check(dataset, KEY, size=4).ids
    assert decide_check(dataset, KEY, first, "wrong", by="ada").count == 1
    assert decide_check(dataset, KEY, second, "right").count == 1
    assert decide_check(dataset, KEY, third, "unsure").count == 1
    assert decide_check(dataset, KEY, third, "unsure").count == 0  # the same again
    assert statuses(dataset, (first, second, third, fourth)) == ["confirmed", "dismissed", "unreviewed", "unreviewed"]
    assert review_progress(dataset, KEY).statuses["unreviewed"] == 58
    made = decisions(dataset, KEY)
    assert [(entry["sample"], entry["action"]) for entry in made] == [
        *[(first, "confirm"), (second, "dismiss"), (third, "unsure")]
    ]
    assert made[0]["by"] == "ada"
    assert made[2]["before"] == made[2]["after"] == {"status": "unreviewed", "corrected": None}
    progress = check_progress(dataset, KEY)
    assert progress is not None
    assert (progress.wrong, progress.right, progress.unsure, progress.next) == (1, 1, 1, fourth)
    assert dataset.load_saved_view("audit: confirmed mistakes").values("id") == [first]


def test_every_decision_of_a_check_can_be_undone(dataset: fo.Dataset) -> None:
    drawn = start_check(dataset, KEY, size=3).ids
    for sample, decision in zip(drawn, ("wrong", "unsure", "right"), strict=True):
        decide_check(dataset, KEY, sample, decision)  # type: ignore[arg-type]
    for left in (2, 1, 0):
        undone = undo_last(dataset, KEY)
        assert undone is not None
        assert undone.sample == drawn[left]
        progress = check_progress(dataset, KEY)
        assert progress is not None
        assert (progress.decided, progress.next) == (left, drawn[left])
    assert statuses(dataset, drawn) == ["unreviewed"] * 3
    decide_check(dataset, KEY, drawn[0], "unsure")
    decide_check(dataset, KEY, drawn[0], "wrong")  # the reviewer can say after all
    assert decisions_to_verify(dataset, KEY)["decision"].tolist() == ["wrong"]
    undo_last(dataset, KEY)
    assert statuses(dataset, drawn[:1]) == ["unreviewed"]
    assert decisions_to_verify(dataset, KEY)["decision"].tolist() == ["unsure"]


def test_what_cannot_be_checked_is_said_in_one_line(dataset: fo.Dataset) -> None:
    (sample,) = dataset.take(1, seed=1).values("id")
    with pytest.raises(InputError, match="no check of audit 'audit' was begun"):
        decide_check(dataset, KEY, sample, "wrong")
    with pytest.raises(InputError, match="no check of audit 'audit' was begun"):
        extend_check(dataset, KEY)
    with pytest.raises(InputError, match="size 0"):
        start_check(dataset, KEY, size=0)
    with pytest.raises(InputError, match="has no label audit 'other'"):
        start_check(dataset, "other")
    drawn = start_check(dataset, KEY, size=5).ids
    other = next(one for one in dataset.values("id") if one not in drawn)
    with pytest.raises(InputError, match="was not drawn for the check of audit 'audit'"):
        decide_check(dataset, KEY, other, "wrong")
    with pytest.raises(InputError, match="decision 'maybe' is none of wrong, right, unsure"):
        decide_check(dataset, KEY, drawn[0], "maybe")  # type: ignore[arg-type]
    before = everything(dataset)
    with pytest.raises(InputError, match="no drawn sample is decided"):
        use_decisions(dataset, KEY)
    back_to_model(dataset, KEY)  # nothing was used
    assert everything(dataset) == before
    dismiss(dataset, KEY, dataset)
    dataset.delete_run(KEY)
    write_result(dataset, made_up_result(dataset, inject=False))
    dismiss(dataset, KEY, dataset)
    with pytest.raises(InputError, match="every sample is known already"):
        start_check(dataset, KEY)


def test_a_deleted_sample_is_no_longer_asked_for(dataset: fo.Dataset) -> None:
    drawn = start_check(dataset, KEY, size=5).ids
    decide_check(dataset, KEY, drawn[0], "right")
    dataset.delete_samples([drawn[0], drawn[1]])
    progress = check_progress(dataset, KEY)
    assert progress is not None
    assert (progress.drawn, progress.decided, progress.next) == (drawn[2:], 0, drawn[2])


# --- what the decisions say -----------------------------------------------------------------------------------------


def test_the_table_tells_drawn_samples_from_ordinary_review_and_has_true_labels(dataset: fo.Dataset) -> None:
    disputed = dataset.match(F("audit_suggested.label") != F("ground_truth.label")).values("id")
    accept(dataset, KEY, disputed[:1])
    drawn = start_check(dataset, KEY, size=20).ids
    decide_check(dataset, KEY, drawn[0], "wrong")
    relabel(dataset, KEY, [drawn[0]], "another")
    decide_check(dataset, KEY, drawn[1], "unsure")
    decide_check(dataset, KEY, drawn[2], "right")
    dismiss(dataset, KEY, [drawn[4]])  # in the review, before the check has come to it
    table = decisions_to_verify(dataset, KEY)
    assert table.index.tolist()[:3] == list(drawn[:3])
    assert table["order"].tolist()[:3] == [0, 1, 2]
    assert table.loc[[disputed[0], drawn[4]], "order"].isna().all()
    assert table["decision"].to_dict() == {
        **{drawn[0]: "wrong", drawn[1]: "unsure", drawn[2]: "right", drawn[4]: "right", disputed[0]: "wrong"}
    }
    assert table["true_label"].dropna().to_dict() == {
        **{drawn[0]: "another", disputed[0]: dataset[disputed[0]].audit_suggested.label}
    }
    decide_check(dataset, KEY, drawn[3], "right")
    progress = check_progress(dataset, KEY)
    assert progress is not None
    assert (progress.decided, progress.next) == (5, drawn[5])  # the one of the review is drawn by now
    assert decisions_to_verify(dataset, KEY)["order"].notna().sum() == 5


def test_decisions_are_on_the_label_that_the_audit_saw(dataset: fo.Dataset) -> None:
    """Labels that were corrected, and audited again, are another matter than those that were decided on."""
    fixed, kept, open_, edited = dataset.match(F("ground_truth.label") == "0").limit(4).values("id")
    relabel(dataset, KEY, [fixed, kept], "2")
    confirm(dataset, KEY, [open_])
    dismiss(dataset, KEY, [edited])
    assert decisions_to_verify(dataset, KEY)["decision"].value_counts().to_dict() == {"wrong": 3, "right": 1}
    apply_corrections(dataset, KEY)
    assert decisions_to_verify(dataset, KEY)["decision"].value_counts().to_dict() == {"wrong": 3, "right": 1}
    for sample, label in ((kept, "0"), (open_, "2"), (edited, "2")):
        dataset.select([sample]).set_values("ground_truth.label", [label])
    write_result(dataset, made_up_result(dataset, inject=False))
    table = decisions_to_verify(dataset, KEY)
    assert table["decision"].to_dict() == {fixed: "right", kept: "wrong", edited: "wrong"}
    assert table["true_label"].dropna().to_dict() == {kept: "2", edited: "0"}
    check = start_check(dataset, KEY, size=60)
    assert open_ in check.ids
    assert decide_check(dataset, KEY, open_, "wrong").count == 1  # the same word, on another label
    assert decisions_to_verify(dataset, KEY)["decision"][open_] == "wrong"


def test_decisions_on_injected_mislabels_are_on_the_injected_label(dataset: fo.Dataset) -> None:
    result = made_up_result(dataset, inject=True)
    write_result(dataset, result)
    drawn = start_check(dataset, KEY, size=60).ids
    injected = result.scores["injected"] & (result.scores["original_label"] != result.scores["label"])
    confirm(dataset, KEY, [sample for sample in drawn if injected[sample]])
    dismiss(dataset, KEY, [sample for sample in drawn if not injected[sample]])
    table = decisions_to_verify(dataset, KEY)
    assert (table["decision"] == "wrong").sum() == injected.sum() > 5
    verified = verify_scores(result.scores, table)
    assert verified.mistakes.low == verified.mistakes.high == injected.sum()
    assert use_decisions(dataset, KEY).verification == verified


def test_estimates_are_shown_after_every_ten_decisions_and_at_the_end(dataset: fo.Dataset) -> None:
    drawn = start_check(dataset, KEY, size=15).ids
    scores = made_up_result(dataset, inject=False).scores
    for decided, sample in enumerate(drawn, 1):
        decide_check(dataset, KEY, sample, "right" if decided % 4 else "wrong")
        progress = check_progress(dataset, KEY)
        assert progress is not None
        looked = 15 if decided == 15 else 10 * (decided >= 10)
        assert progress.looked == looked
        assert (progress.verification is not None) == (looked > 0)
        if progress.verification is not None:
            table = decisions_to_verify(dataset, KEY).iloc[:looked]
            assert progress.verification == verify_scores(scores, table)
            assert progress.verification.decided == looked
            assert progress.enough == (
                progress.verification.precision is not None
                and progress.verification.precision.anytime_high - progress.verification.precision.anytime_low < 0.25
            )
    undo_last(dataset, KEY)
    progress = check_progress(dataset, KEY)
    assert progress is not None
    assert progress.looked == 10


# --- following the decisions, and back -------------------------------------------------------------------------------


def test_suspicions_flags_views_and_numbers_follow_the_decisions_and_go_back(dataset: fo.Dataset) -> None:
    scores = made_up_result(dataset, inject=False).scores
    drawn = start_check(dataset, KEY, size=20).ids
    decide(dataset, drawn, wrong_every=7)
    summary = dataset.get_run_info(KEY).config.summary
    before, figures = everything(dataset), audit_overview(dataset, KEY).figures
    expected = follow_scores(scores, decisions_to_verify(dataset, KEY))
    followed = use_decisions(dataset, KEY)
    assert followed.threshold == expected.threshold
    dataset.reload()
    ids, suspicion, flag, suggested = dataset.values(["id", "audit_suspicion", "audit_flag", "audit_suggested.label"])
    assert np.allclose(suspicion, expected.scores["suspicion"].loc[ids])
    assert flag == expected.scores["flag"].loc[ids].tolist() != scores["flag"].loc[ids].tolist()
    labels = expected.scores["suggested_label"].loc[ids]
    assert suggested == [label if isinstance(label, str) else None for label in labels]
    assert dataset.values("audit_model_suspicion") == scores["suspicion"].loc[ids].tolist()
    assert dataset.values("audit_model_flag") == scores["flag"].loc[ids].tolist()
    now = dataset.get_run_info(KEY).config.summary
    flags = int(expected.scores["flag"].sum())
    assert (now["threshold"], now["counts"]["flagged"]) == (expected.threshold, flags)
    assert now["verified"]["decided"] == 20
    assert now["verified"]["mistakes"]["value"] == expected.verification.mistakes.value
    assert len(dataset.load_saved_view("audit: flagged")) == flags == review_progress(dataset, KEY).flagged
    assert audit_overview(dataset, KEY).threshold == expected.threshold
    assert audit_overview(dataset, KEY).figures != figures
    paths = dataset.app_config.active_fields.paths
    assert not {field.name(KEY) for field in MODEL_FIELDS}.intersection(paths)  # hidden on the images
    progress = check_progress(dataset, KEY)
    assert progress is not None
    assert (progress.used, progress.unused, progress.interrupted) == (True, False, False)

    back_to_model(dataset, KEY)
    assert everything(dataset) == before
    assert dataset.get_run_info(KEY).config.summary == {**summary, "verified": None}
    assert audit_overview(dataset, KEY).figures == figures
    progress = check_progress(dataset, KEY)
    assert progress is not None
    assert (progress.decided, progress.used, progress.unused) == (20, False, True)


def test_more_decisions_start_again_from_what_the_model_said(dataset: fo.Dataset) -> None:
    scores = made_up_result(dataset, inject=False).scores
    drawn = start_check(dataset, KEY, size=10).ids
    decide(dataset, drawn, wrong_every=2)
    use_decisions(dataset, KEY)
    model = everything(dataset)
    use_decisions(dataset, KEY)  # the same again
    assert [without_ids(sample) for sample in everything(dataset)["samples"]] == [
        without_ids(sample) for sample in model["samples"]
    ]
    longer = extend_check(dataset, KEY, more=10).ids
    decide(dataset, longer[10:], wrong_every=20)
    progress = check_progress(dataset, KEY)
    assert progress is not None
    assert progress.unused
    use_decisions(dataset, KEY)
    expected = follow_scores(scores, decisions_to_verify(dataset, KEY))
    ids, suspicion = dataset.values(["id", "audit_suspicion"])
    assert np.allclose(suspicion, expected.scores["suspicion"].loc[ids])
    back_to_model(dataset, KEY)
    assert dataset.values("audit_suspicion") == scores["suspicion"].loc[ids].tolist()


def without_ids(sample: dict[str, object]) -> dict[str, object]:
    """A sample but for the ids of the labels in it, which are new each time that they are written."""
    return {
        name: {key: one for key, one in value.items() if key != "_id"} if isinstance(value, dict) else value
        for name, value in sample.items()
    }


def test_an_interrupted_write_is_seen_and_mended(dataset: fo.Dataset) -> None:
    """A process that was killed while it wrote has written some samples, and has said so before."""
    scores = made_up_result(dataset, inject=False).scores
    drawn = start_check(dataset, KEY, size=10).ids
    decide(dataset, drawn)
    before = everything(dataset)["samples"]
    expected = use_decisions(dataset, KEY)
    whole = everything(dataset)["samples"]
    back_to_model(dataset, KEY)

    def interrupt() -> None:
        config = dataset.get_run_info(KEY).config
        model = {"threshold": config.summary["threshold"], "threshold_rule": "", "flagged": 12}
        declare(dataset, KEY, MODEL_FIELDS)
        get_db_conn()["runs"].update_one(
            {"_id": dataset._doc.runs[KEY].id}, {"$set": {"config.check.model": model, "config.check.writing": True}}
        )
        write_recalibrated(dataset, KEY, expected.scores.iloc[:25])
        progress = check_progress(dataset, KEY)
        assert progress is not None
        assert progress.interrupted

    interrupt()
    back_to_model(dataset, KEY)
    assert everything(dataset)["samples"] == before
    interrupt()
    use_decisions(dataset, KEY)
    mended = everything(dataset)["samples"]
    assert [without_ids(sample) for sample in mended] == [without_ids(sample) for sample in whole]
    progress = check_progress(dataset, KEY)
    assert progress is not None
    assert not progress.interrupted
    assert dataset.values("audit_model_suspicion") == scores["suspicion"].loc[dataset.values("id")].tolist()


def test_decisions_are_not_used_while_an_audit_writes_under_the_key(dataset: fo.Dataset) -> None:
    decide(dataset, start_check(dataset, KEY, size=10).ids)
    with audit_lock(dataset, KEY), pytest.raises(InputError, match="is being audited under 'audit' already"):
        use_decisions(dataset, KEY)


def test_the_dataset_says_what_the_command_would_say_of_the_saved_result(dataset: fo.Dataset, tmp_path: Path) -> None:
    """For newly flagged samples, too: the fields suggest their given labels, and the saved result has others."""
    result = made_up_result(dataset, inject=False)
    scores = result.scores
    scores["other_label"] = [{"0": "1", "1": "2", "2": "0"}[label] for label in scores["label"]]
    scores["other_probability"] = scores["suspicion"] * 0.9
    scores["suggested_label"] = scores["other_label"].where(scores["flag"], scores["label"])
    folder = tmp_path / "result"
    replace(result, scores=scores).save(folder)
    write_result(dataset, result, saved_to=folder)
    drawn = start_check(dataset, KEY, size=30).ids
    confirm(dataset, KEY, drawn)
    followed = use_decisions(dataset, KEY)
    in_folder = apply_verification(AuditResult.load(folder), decisions_to_verify(dataset, KEY))
    assert in_folder.summary.threshold == followed.threshold
    ids, suspicion, flag, probability = dataset.values(
        ["id", "audit_suspicion", "audit_flag", "audit_suggested.confidence"]
    )
    assert np.allclose(suspicion, in_folder.scores["suspicion"].loc[ids])
    assert flag == in_folder.scores["flag"].loc[ids].tolist()
    assert np.allclose(probability, in_folder.scores["suggested_probability"].loc[ids])
    fresh = followed.scores[followed.scores["flag"] & ~followed.scores["model_flag"]]
    undecided = fresh.index.difference(drawn)
    assert len(undecided) > 5
    suggested = dict(zip(*dataset.values(["id", "audit_suggested.label"]), strict=True))
    assert [suggested[sample] for sample in undecided] == scores["other_label"].loc[undecided].tolist()
