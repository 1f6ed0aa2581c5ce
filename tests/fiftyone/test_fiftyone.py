"""What an audit found is written into FiftyOne, survives people's decisions, and can be taken out without a trace."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import numpy as np
import pytest
from fiftyone import ViewField as F

import audit
from audit.config import AuditConfig
from audit.errors import InputError
from audit.progress import Step
from audit.summary.parts import to_json
from audit.summary.surroundings import AuditedDataset
from audit.verification.as_drawn import keeping_what_the_model_said
from integrations.fiftyone import audit_dataset, read_samples, score_writing, write_result
from integrations.fiftyone.fields import audit_fields
from integrations.sources import resolve_source
from tests.fiftyone.made_up import delete_elsewhere, made_up_result
from tests.sixty_digits import sixty_digits

if TYPE_CHECKING:
    pass

Names = Callable[[str], str]

FIELDS = {
    "audit_influence",
    "audit_self_influence",
    "audit_suspicion",
    "audit_loo_probability",
    "audit_flag",
    "audit_suggested",
    "audit_split",
    "audit_status",
    "audit_corrected",
    "audit_original",
    "audit_decisions",
    "audit_decided",
    "audit_findings",
    "audit_fits_no_class",
}
INJECTION_FIELDS = {"audit_injected", "audit_injected_label"}
VIEWS = {
    *("audit: flagged", "audit: most harmful", "audit: most helpful"),
    *("audit: to review", "audit: confirmed mistakes", "audit: dismissed", "audit: findings"),
    *("audit: unsure", "audit: removed"),
}
INJECTION_VIEWS = {"audit: injected and missed", "audit: flagged but not injected"}


@pytest.fixture
def dataset(dataset_name: Names) -> fo.Dataset:
    """Sixty digits of three classes."""
    return sixty_digits(dataset_name("written digits"))


def everything(dataset: fo.Dataset) -> dict[str, Any]:
    """All that a dataset consists of, but for times."""
    dataset.reload()
    samples = [sample.to_dict() for sample in dataset.iter_samples()]
    for sample in samples:
        sample.pop("_last_modified_at", None)
        sample.pop("last_modified_at", None)
    return {
        "samples": samples,
        "schema": {
            name: (str(field), field.description, field.info) for name, field in dataset.get_field_schema().items()
        },
        "app": dataset.app_config.to_dict(),
        "views": dataset.list_saved_views(),
        "runs": dataset.list_runs(),
        "info": dataset.info,
    }


@pytest.mark.parametrize("first", ["distributed", "pydvl.influence"])
def test_fiftyone_can_be_imported_after_the_others(first: str) -> None:
    """They bring importlib_metadata, of which versions from 8 on make FiftyOne's eta fail."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", f"import {first}; import fiftyone"], check=True)


# --- reading --------------------------------------------------------------------------------------------------------


def test_samples_are_read_with_their_ids_labels_and_splits(dataset: fo.Dataset) -> None:
    dataset.limit(3).tag_samples("train")
    dataset.skip(3).limit(1).tag_samples("val")
    dataset.skip(2).limit(1).tag_samples("test")
    first, second = dataset.limit(2).values("id")
    dataset.set_values("ground_truth", {first: None, second: fo.Classification(label=" ")}, key_field="id")
    samples = read_samples(dataset)
    assert list(samples.ids) == dataset.values("id")
    assert list(samples.images) == dataset.values("filepath")
    assert list(samples.labels) == [None, None, *dataset.values("ground_truth.label")[2:]]
    assert samples.splits is not None
    assert list(samples.splits) == ["train", "train", None, "validation", *[None] * 56]
    assert read_samples(dataset.skip(10)).splits is None


def test_what_cannot_be_audited_is_said_in_one_line(dataset: fo.Dataset, dataset_name: Names) -> None:
    dataset.add_sample_field("boxes", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    dataset.add_sample_field("predictions", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    dataset.add_sample_field("number", fo.IntField)
    video = fo.Dataset(dataset_name("film"))
    video.add_sample(fo.Sample("/tmp/film.mp4", ground_truth=fo.Classification(label="a")))
    fo.Dataset(dataset_name("empty"))
    expected = {
        "label field 'ground_truh' is not on dataset 'written digits'; it has: ground_truth, predictions": (
            dataset,
            "ground_truh",
        ),
        "is a Detections; an audit needs a Classification, and it has: ground_truth, predictions": (dataset, "boxes"),
        "field 'number' of dataset 'written digits' is a IntField": (dataset, "number"),
        "no samples to audit in the view of dataset 'written digits'": (dataset.limit(0), "ground_truth"),
        "'predictions' holds no labels in dataset 'written digits'": (dataset, "predictions"),
        "dataset 'film' holds video samples": (video, "ground_truth"),
        "it has: none": (fo.load_dataset("empty"), "ground_truth"),
        "patches": (dataset.to_patches("boxes"), "ground_truth"),
    }
    for message, (collection, field) in expected.items():
        with pytest.raises(InputError) as error:
            read_samples(collection, field)
        assert message in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(
        InputError,
        match=r"no FiftyOne dataset 'writen digits' in the database '.*' \(did you mean 'written digits'\?\)",
    ):
        audit_dataset("writen digits")


@pytest.mark.parametrize("key", ["1st", "my key", "", "_hidden", "a.b", "$x", "k" * 65])
def test_a_key_that_is_no_name_is_refused(dataset: fo.Dataset, key: str) -> None:
    with pytest.raises(InputError, match="is no valid name"):
        write_result(dataset, made_up_result(dataset), key)


def test_a_key_that_is_taken_by_something_else_is_refused_before_anything_is_written(dataset: fo.Dataset) -> None:
    dataset.set_values("mine_suspicion", list(range(60)))
    dataset.clone_sample_field("ground_truth", "audit_suggested")
    dataset.register_run("other", dataset.init_run(method="theirs"))
    dataset.save_view("Named flagged", dataset.limit(1))
    before = everything(dataset)
    for key, field, message in [
        ("mine", "ground_truth", "would overwrite field.* mine_suspicion"),
        ("audit", "audit_suggested", "is one that audit key 'audit' writes"),
        ("other", "ground_truth", "another tool's run under the key 'other'"),
        ("named", "ground_truth", "would replace the saved view 'Named flagged'"),
    ]:
        with pytest.raises(InputError, match=message):
            write_result(dataset, made_up_result(dataset), key, field)
    assert everything(dataset) == before


# --- writing --------------------------------------------------------------------------------------------------------


def test_every_score_is_in_its_field_with_its_meaning(dataset: fo.Dataset) -> None:
    result = made_up_result(dataset)
    steps: list[Step] = []
    write_result(dataset, result, progress=steps.append)
    dataset.reload()
    assert set(audit_fields(dataset, "audit")) == FIELDS | INJECTION_FIELDS
    for field in FIELDS | INJECTION_FIELDS:
        assert dataset.get_field(field).description
    scores = result.scores
    for name in ("influence", "self_influence", "suspicion", "loo_probability", "flag", "split", "injected"):
        assert dataset.values(f"audit_{name}") == scores[name].tolist()
    assert dataset.values("audit_suggested.label") == scores["suggested_label"].tolist()
    assert dataset.values("audit_suggested.confidence") == scores["suggested_probability"].tolist()
    assert dataset.values("audit_injected_label.label") == [
        label if injected else None for label, injected in zip(scores["label"], scores["injected"], strict=True)
    ]
    assert set(dataset.values("audit_status")) == {"unreviewed"}
    assert dataset.values("ground_truth.label") == dataset.values("source_label")
    assert steps[-1].done == steps[-1].total > 0
    assert all(type(value) is bool for value in dataset.values("audit_flag"))


def test_the_run_says_what_was_done_and_loads_its_view(dataset: fo.Dataset) -> None:
    view = dataset.match(F("ground_truth.label") != "2")
    write_result(view, made_up_result(view), "audit")
    dataset.reload()
    config = dataset.get_run_info("audit").config
    assert dataset.list_runs(method="influence-audit") == ["audit"]
    assert (config.label_field, config.state, config.version) == ("ground_truth", "complete", audit.__version__)
    assert config.audit_config["inject"] == 0.3
    counts = to_json(made_up_result(view).summary.counts)
    unreviewed = {"unreviewed": len(view), "confirmed": 0, "relabelled": 0, "dismissed": 0, "unsure": 0, "removed": 0}
    review = {"flagged": counts["flagged"], "reviewed": 0, "statuses": unreviewed, "to_apply": 0}
    review |= {"checked": 0, "found_wrong": 0, "expected_wrong": 0.0, "chance": 0.0}
    kept = {name: config.summary[name] for name in ("counts", "threshold", "detection", "review")}
    assert kept == {"counts": counts, "threshold": 0.8, "detection": None, "review": review}
    assert set(config.summary) - set(kept) == {"created", "threshold_rule", "estimates", "claims", "accepting", "notes"}
    assert dataset.load_run_view("audit").values("id") == view.values("id")
    assert dataset.load_run_view("audit", select_fields=True).has_field("audit_suspicion")
    assert sorted(dataset.exists("audit_suspicion").values("id")) == sorted(view.values("id"))


def test_saved_views_show_what_they_say(dataset: fo.Dataset) -> None:
    result = made_up_result(dataset)
    write_result(dataset, result)
    assert set(dataset.list_saved_views()) == VIEWS | INJECTION_VIEWS
    scores = result.scores

    def ids(title: str) -> list[str]:
        return dataset.load_saved_view(f"audit: {title}").values("id")

    assert ids("flagged") == result.flagged.index.tolist()
    assert ids("most harmful") == scores[scores["influence"] < 0].sort_values("influence").index.tolist()
    helpful = scores[scores["influence"] > 0].sort_values("influence", ascending=False)
    assert ids("most helpful") == helpful.index.tolist()
    assert set(ids("injected and missed")) == set(scores[scores["injected"] & ~scores["flag"]].index)
    assert set(ids("flagged but not injected")) == set(scores[scores["flag"] & ~scores["injected"]].index)
    assert all(view["description"] for view in dataset.list_saved_views(info=True))


def test_the_sidebar_gets_a_group_and_keeps_the_others(dataset: fo.Dataset) -> None:
    write_result(dataset, made_up_result(dataset))
    dataset.reload()
    groups = {group.name: list(group.paths) for group in dataset.app_config.sidebar_groups}
    assert list(groups)[:2] == ["tags", "label audit (audit)"]
    assert set(groups["label audit (audit)"]) == (FIELDS | INJECTION_FIELDS) - {"audit_decisions"}
    assert groups["labels"] == ["ground_truth"]
    assert "source_id" in groups["primitives"]
    active = dataset.app_config.active_fields
    shown = ["audit_suspicion", "audit_suggested", "audit_injected_label", "audit_decided"]
    assert list(active.paths) == ["ground_truth", *shown]
    active.paths = ["ground_truth"]
    dataset.save()
    write_result(dataset, made_up_result(dataset))
    dataset.reload()
    assert list(dataset.app_config.active_fields.paths) == ["ground_truth"]


def test_a_second_audit_replaces_the_first_and_keeps_the_decisions(dataset: fo.Dataset) -> None:
    write_result(dataset, made_up_result(dataset))
    decided, undecided, *_ = dataset.values("id")
    dataset.set_values("audit_status", {decided: "dismissed"}, key_field="id")
    rest = dataset.skip(2)
    result = made_up_result(rest, inject=False, seed=1)
    write_result(rest, result)
    dataset.reload()
    assert set(audit_fields(dataset, "audit")) == FIELDS
    assert set(dataset.list_saved_views()) == VIEWS
    assert dataset.values("audit_suspicion") == [None, None, *result.scores["suspicion"]]
    assert dataset.values("audit_suggested.label")[:2] == [None, None]
    assert dataset[decided].audit_status == "dismissed"
    assert dataset[undecided].audit_status is None
    write_result(dataset, made_up_result(dataset))
    assert dataset.values("audit_status") == ["dismissed", *["unreviewed"] * 59]


def test_deleting_the_run_leaves_no_trace(dataset: fo.Dataset) -> None:
    dataset.save_view("audit: my own", dataset.limit(5))
    dataset.set_values("audit_notes", ["mine"] * 60)
    before = everything(dataset)
    write_result(dataset, made_up_result(dataset))
    assert everything(dataset) != before
    dataset.delete_run("audit")
    assert everything(dataset) == before


def test_two_audits_live_side_by_side_and_one_can_go(dataset: fo.Dataset) -> None:
    write_result(dataset, made_up_result(dataset, seed=1), "first")
    alone = everything(dataset)
    write_result(dataset, made_up_result(dataset, seed=2), "second")
    dataset.delete_run("second")
    assert everything(dataset) == alone


def test_renaming_the_run_renames_all_that_it_wrote(dataset: fo.Dataset) -> None:
    result = made_up_result(dataset)
    write_result(dataset, result)
    dataset.rename_run("audit", "round_one")
    dataset.reload()
    assert audit_fields(dataset, "audit") == []
    assert set(audit_fields(dataset, "round_one")) == {
        name.replace("audit", "round_one", 1) for name in FIELDS | INJECTION_FIELDS
    }
    assert dataset.load_saved_view("round_one: flagged").values("id") == result.flagged.index.tolist()
    assert not [name for name in dataset.list_saved_views() if name.startswith("audit")]
    assert "label audit (round_one)" in [group.name for group in dataset.app_config.sidebar_groups]
    write_result(dataset, result, "round_one")
    dataset.delete_run("round_one")
    assert dataset.list_saved_views() == []
    assert set(dataset.get_field_schema()) == {
        *("id", "filepath", "tags", "metadata", "created_at", "last_modified_at"),
        *("ground_truth", "source_id", "source_label"),
    }


def test_an_interrupted_write_shows_and_is_repaired_by_the_next(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_writing, "SAMPLES_AT_ONCE", 20)
    result = made_up_result(dataset)

    def stop(step: Step) -> None:
        if step.done == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_result(dataset, result, progress=stop)
    dataset.reload()
    assert dataset.get_run_info("audit").config.state == "writing"
    assert len(dataset.exists("audit_split")) == len(dataset.exists("audit_status")) == 0
    half = made_up_result(dataset.limit(10))
    write_result(dataset.limit(10), half)
    assert dataset.get_run_info("audit").config.state == "complete"
    assert dataset.values("audit_influence") == [*half.scores["influence"], *[None] * 50]
    with pytest.raises(KeyboardInterrupt):
        write_result(dataset, result, "again", progress=stop)
    dataset.delete_run("again")
    assert audit_fields(dataset, "again") == []


def test_scores_that_are_no_numbers_are_left_empty(dataset: fo.Dataset) -> None:
    result = made_up_result(dataset)
    result.scores.iloc[0, result.scores.columns.get_loc("influence")] = np.nan
    result.scores.iloc[0, result.scores.columns.get_loc("suggested_label")] = None
    write_result(dataset, result)
    assert dataset.first().audit_influence is None
    assert dataset.first().audit_suggested is None


def test_a_dataset_deleted_meanwhile_is_said(dataset: fo.Dataset) -> None:
    result = made_up_result(dataset)
    delete_elsewhere(dataset)
    with pytest.raises(InputError, match="dataset 'written digits' was deleted"):
        write_result(dataset, result)


def test_a_result_that_follows_decisions_brings_what_the_model_said(dataset: fo.Dataset) -> None:
    result = made_up_result(dataset)
    said = result.scores["suspicion"].copy()
    followed = keeping_what_the_model_said(result.scores).assign(suspicion=said / 2)
    write_result(dataset, replace(result, scores=followed))
    suspicion, model = dataset.values(["audit_suspicion", "audit_model_suspicion"])
    assert model == pytest.approx(said[dataset.values("id")].tolist())
    assert suspicion == pytest.approx((said / 2)[dataset.values("id")].tolist())
    write_result(dataset, result)
    assert not dataset.has_field("audit_model_suspicion")


# --- the whole way --------------------------------------------------------------------------------------------------


def test_an_audit_goes_from_parquet_to_fields_of_fiftyone(parquet_folder: Path, dataset_name: Names) -> None:
    source = resolve_source(str(parquet_folder / "valid.parquet"), dataset=dataset_name("the whole way"))
    view = source.open()
    config = AuditConfig(inject=0.1, weights="bundled", device="cpu", image_size=64)
    result = audit_dataset(view, source.label_field, "audit", config)
    dataset = fo.load_dataset("the whole way")
    assert result.summary.source == AuditedDataset(
        dataset="the whole way",
        slug="the-whole-way",
        label_field="ground_truth",
        audit_key="audit",
        source=source.description,
        part={},
        label_column="label",
        options={"dataset": "the whole way"},
    )
    assert dataset.values("audit_suspicion") == result.scores["suspicion"].tolist()
    assert len(dataset.load_saved_view("audit: flagged")) == result.summary.counts.flagged
    assert dataset.values("ground_truth.label") == dataset.values("source_label")
    assert dataset.get_run_info("audit").config.summary["counts"] == to_json(result.summary.counts)
    changed = dataset.match(F("audit_injected") == True)  # noqa: E712
    assert len(changed) == result.summary.counts.injected
    assert all(row.audit_injected_label.label != row.ground_truth.label for row in changed)
