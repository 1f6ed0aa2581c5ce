"""The audit from the Python side: arrays in, images in, and the result that comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.datasets import load_digits

import audit
from audit.images.embedding import default_cache_dir
from audit.progress import Step
from integrations.sources.digits import digits

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    """Digits 3, 5 and 8 as pixels: 64 features, three classes that are easily confused."""
    data = load_digits()
    rows = np.isin(data.target, [3, 5, 8])
    return data.data[rows], data.target[rows]


@pytest.fixture(scope="module")
def injected(arrays: Arrays) -> audit.AuditResult:
    return audit.audit_embeddings(*arrays, config=audit.AuditConfig(inject=0.1))


def test_every_sample_gets_every_score_in_its_range(injected: audit.AuditResult, arrays: Arrays) -> None:
    scores = injected.scores
    assert scores.index.tolist() == [str(row) for row in range(len(arrays[1]))]
    assert set(scores["split"]) == {"train", "validation", "test"}
    assert np.isfinite(scores["influence"]).all()
    assert (scores["self_influence"] >= 0).all()
    for name in ("loo_probability", "suspicion", "suggested_probability"):
        assert scores[name].between(0, 1).all()
    assert (scores["flag"] == (scores["suspicion"] >= injected.summary.threshold)).all()
    assert set(scores["label"]) == {3, 5, 8}  # the user's own label values
    assert (scores["original_label"] == arrays[1]).all()
    assert ((scores["label"] != scores["original_label"]) == scores["injected"]).all()


def test_injected_mislabels_are_found_and_their_labels_suggested(injected: audit.AuditResult) -> None:
    detection = injected.summary.detection
    assert detection.injected == round(0.1 * len(injected.scores))
    assert detection.precision >= 0.85
    assert detection.recall >= 0.85
    found = injected.scores[injected.scores["flag"] & injected.scores["injected"]]
    assert (found["suggested_label"] == found["original_label"]).mean() >= 0.9


def test_influence_tells_corrupted_from_clean_though_validation_labels_are_corrupted_too(
    injected: audit.AuditResult,
) -> None:
    assert injected.scores.loc[injected.scores["split"] == "validation", "injected"].any()
    overall = injected.summary.influence_by_class[-1]
    assert overall.corrupted < 0 < overall.clean
    by_hand = injected.scores.groupby("injected")["influence"].mean()
    assert overall.clean == pytest.approx(by_hand[False])
    assert overall.corrupted == pytest.approx(by_hand[True])


def test_the_same_seed_gives_the_same_result_and_another_seed_another(
    injected: audit.AuditResult, arrays: Arrays
) -> None:
    again = audit.audit_embeddings(*arrays, config=audit.AuditConfig(inject=0.1))
    pd.testing.assert_frame_equal(injected.scores, again.scores)
    changing = {"timings": {}, "created": ""}
    assert replace(again.summary, **changing) == replace(injected.summary, **changing)
    other = audit.audit_embeddings(*arrays, config=audit.AuditConfig(inject=0.1, seed=1))
    assert (other.scores["injected"] != injected.scores["injected"]).any()


def test_a_saved_result_loads_as_it_was(injected: audit.AuditResult, tmp_path: Path) -> None:
    loaded = audit.AuditResult.load(injected.save(tmp_path / "result"))
    pd.testing.assert_frame_equal(loaded.scores, injected.scores)
    pd.testing.assert_frame_equal(loaded.curves, injected.curves)
    assert loaded.summary == injected.summary
    for name, arrays in injected.heads.items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(loaded.heads[name][key], array)
    assert not list((tmp_path / "result").glob("*.tmp"))


def test_scores_are_written_a_shard_at_a_time(
    injected: audit.AuditResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.result.SHARD_ROWS", 100)
    folder = injected.save(tmp_path / "result")
    written = pq.ParquetFile(folder / "scores.parquet")
    assert written.metadata.num_row_groups == -(-len(injected.scores) // 100) > 1
    part = written.read_row_group(1).to_pandas()
    pd.testing.assert_frame_equal(part, injected.scores[100:200])
    pd.testing.assert_frame_equal(audit.AuditResult.load(folder).scores, injected.scores)


def test_an_incomplete_or_damaged_result_is_refused(injected: audit.AuditResult, tmp_path: Path) -> None:
    folder = injected.save(tmp_path / "result")
    (folder / "scores.parquet").write_bytes(b"no parquet")
    with pytest.raises(audit.InputError, match="is damaged"):
        audit.AuditResult.load(folder)
    (folder / "summary.json").unlink()
    with pytest.raises(audit.InputError, match="no complete audit result"):
        audit.AuditResult.load(folder)


def test_validation_data_of_ones_own_are_used_and_scored(arrays: Arrays) -> None:
    x, labels = arrays[0], arrays[1].copy()
    mislabelled = np.arange(100, 400, 15)
    labels[mislabelled] = np.where(labels[mislabelled] == 3, 5, 3)
    result = audit.audit_embeddings(
        torch.from_numpy(x[100:]),
        [str(label) for label in labels[100:]],
        validation=(x[:100], labels[:100].astype(str)),
        config=audit.AuditConfig(validation_trusted=True),
    )
    assert len(result.scores) == len(x)
    assert result.scores.index[-1] == "validation-99"
    assert (result.scores["split"] == "validation").sum() == 100
    assert result.summary.influence.validation_labels == "given"
    assert not result.summary.notes
    trusted = result.scores[result.scores["split"] == "validation"]
    assert (trusted["suspicion"] == 0).all()
    assert (trusted["suggested_label"] == trusted["label"]).all()
    assert not trusted["flag"].any()
    assert result.scores.loc[list(map(str, mislabelled - 100)), "flag"].mean() >= 0.9
    assert not set(result.controls.index) & set(trusted.index)
    assert result.summary.detection is None
    assert "injected" not in result.scores


def test_trust_in_validation_samples_that_nobody_chose_is_said(arrays: Arrays) -> None:
    drawn = audit.audit_embeddings(*arrays, config=audit.AuditConfig(validation_trusted=True))
    count = (drawn.scores["split"] == "validation").sum()
    assert [note for note in drawn.summary.notes if f"labels of {count} randomly drawn validation samples" in note]


def test_the_original_recipe_can_be_repeated(arrays: Arrays) -> None:
    config = audit.AuditConfig(
        trainer="adam", damping=1e-3, inject=0.1, inject_strategy="most-influential", inject_into="train"
    )
    result = audit.audit_embeddings(*arrays, config=config)
    head = result.summary.heads.given
    assert (head.trainer, head.steps, head.converged, head.l2) == ("adam", 50, False, 0.0)
    assert (result.curves["head"] == "given").sum() == 50
    assert (result.scores.loc[result.scores["injected"], "split"] == "train").all()


@pytest.mark.parametrize("strategy", ["uniform", "class-pair"])
def test_the_head_is_trained_to_convergence_on_given_and_on_corrupted_labels(arrays: Arrays, strategy: str) -> None:
    result = audit.audit_embeddings(*arrays, config=audit.AuditConfig(inject=0.2, inject_strategy=strategy))
    for head in result.summary.heads.by_name.values():
        assert head.gradient_norm <= 1e-6
        assert head.test.samples == result.summary.counts.test
        # The strongest penalty whose summed validation loss is within half a nat of the smallest.
        allowed = min(tried.validation_loss for tried in head.l2_path) + 0.5 / head.validation.samples
        assert head.l2 == max(tried.l2 for tried in head.l2_path if tried.validation_loss <= allowed)
    last = result.curves.groupby("head").last()
    assert last.loc["given", "train_loss"] < last.loc["corrupted", "train_loss"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:5], y), r"embeddings have shape \(5, 64\), labels"),
        (lambda x, y: (np.where(np.arange(len(x))[:, None] == 3, np.nan, x), y), "NaN or infinity, the first in row 3"),
        (lambda x, y: (x, np.zeros_like(y)), "fewer than two classes"),
        (lambda x, y: (x[:5], np.array([1, 1, 1, 2, 2])), r"too small: 2 \(2\)"),
        (lambda x, y: (x, y + 0.5), "labels are numbers, but not whole ones"),
        (lambda x, y: (x, [{}, *y.tolist()[1:]]), "a label is of type dict"),
    ],
)
def test_arrays_that_cannot_be_audited_are_refused_in_one_line(arrays: Arrays, change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(audit.InputError, match=message) as error:
        audit.audit_embeddings(*change(*arrays))
    assert "\n" not in str(error.value)


def test_images_are_audited_without_the_unlabelled_and_the_unreadable(tmp_path: Path) -> None:
    images = list(digits(["3", "8"]))[:120]
    samples = audit.Samples(
        [f"id-{row}" for row in range(120)],
        [b"no image" if row == 5 else image.image for row, image in enumerate(images)],
        [None if row in (7, 9) else image.label for row, image in enumerate(images)],
    )
    steps: list[Step] = []
    result = audit.audit_images(samples, audit.AuditConfig(weights="bundled", inject=0.1), steps.append)
    counts = result.summary.counts
    assert (counts.samples, counts.without_label, counts.unreadable) == (117, 2, 1)
    assert result.skipped.set_index("id")["reason"].to_dict() == {
        "id-5": "not an image that Pillow can read",
        "id-7": "no label",
        "id-9": "no label",
    }
    assert not {"id-5", "id-7", "id-9"} & set(result.scores.index)
    assert any("2 of 120 samples have no label" in note for note in result.summary.notes)
    assert [step.stage for step in steps if step.note] == ["samples", "embedding"]
    assert result.thumbnails["image"].map(lambda content: content[8:12] == b"WEBP").all()
    assert set(result.explanations["target"]) | set(result.explanations["neighbour"]) <= set(result.thumbnails.index)
    assert len(result.nearest)
    assert set(result.nearest["neighbour"]) <= set(result.thumbnails.index)
    loaded = audit.AuditResult.load(result.save(tmp_path / "result"))
    pd.testing.assert_frame_equal(loaded.thumbnails, result.thumbnails)
    assert default_cache_dir().is_dir()


def test_a_detector_of_ones_own_has_a_name_of_its_own() -> None:
    from audit.flags.detectors import register

    with pytest.raises(audit.InputError, match="'suspicion' is registered already"):
        register("suspicion")
