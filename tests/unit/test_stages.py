"""The small stages: settings, samples, split, injection, flags, measurements."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import average_precision_score, precision_score, recall_score

from audit.config import AuditConfig
from audit.data.injection import inject_mislabels, nearest_class
from audit.data.samples import Samples, auditable_classes, check_classes, decode_image
from audit.data.split import own_split, stratified_split
from audit.errors import InputError
from audit.flags.measures import detection_quality, head_quality, influence_by_class, likeliest_confusions
from audit.flags.threshold import choose_flags, suggest_labels
from audit.summary.influence import ClassInfluence
from audit.summary.noise_model import Confusion


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"inject": 0.7}, "inject is 0.7; it takes a share from 0 to 0.5"),
        ({"train_size": 0.9}, "train_size + validation_size + test_size"),
        ({"solver": "magic"}, "solver is 'magic'; it takes one of auto, cholesky, cg"),
        ({"l2": 0.0}, "l2 is 0.0; it takes a number above 0"),
        ({"trainer": "adam"}, "damping is 0.0; it takes a number above 0 with trainer 'adam'"),
        ({"threshold": 0.5, "max_review": 5}, "set only one of threshold, target_precision and max_review"),
        ({"image_size": 4}, "image_size is 4; it takes 16 to 4096"),
    ],
)
def test_a_setting_out_of_range_names_itself_and_what_it_takes(settings_: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as error:
        AuditConfig(**settings_)  # type: ignore[arg-type]
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_samples_must_match_and_be_distinct() -> None:
    with pytest.raises(InputError, match="'ids': 2"):
        Samples(["a", "b"], [b""], ["x"])
    with pytest.raises(InputError, match="'a' occurs more than once"):
        Samples(["a", "a"], [b"", b""], ["x", "y"])


def test_classes_must_be_two_or_more_with_three_samples_each() -> None:
    assert check_classes(np.array(["b", "a"] * 3)).tolist() == ["a", "b"]
    with pytest.raises(InputError, match="fewer than two classes"):
        check_classes(np.array(["a"] * 5))
    with pytest.raises(InputError, match=r"1 class\(es\) have fewer than 3 samples: 'b' \(2\)"):
        check_classes(np.array(["a"] * 5 + ["b"] * 2 + ["c"] * 3))
    assert auditable_classes(np.array(["a"] * 5 + ["b"] * 2 + ["c"] * 3)).tolist() == ["a", "c"]


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_usual_kind_of_image_decodes_to_upright_rgb(mode: str, tmp_path: Path) -> None:
    if mode == "I;16":
        image = Image.fromarray((np.arange(32 * 16).reshape(16, 32) * 128).astype(np.uint16))
    else:
        image = Image.new("RGB", (32, 16), (200, 30, 40)).convert(mode)
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image.save(path)
    decoded = decode_image(path)
    assert (decoded.mode, decoded.size) == ("RGB", (32, 16))
    assert 50 < np.asarray(decoded).mean() < 200  # 16-bit greys are scaled, not clipped to white or black


def test_a_photo_taken_sideways_is_turned_upright() -> None:
    image = Image.new("RGB", (32, 16))
    exif = image.getexif()
    exif[274] = 6  # orientation: turn by 90 degrees
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    assert decode_image(buffer.getvalue()).size == (16, 32)


@given(
    counts=st.lists(st.integers(3, 60), min_size=2, max_size=6),
    seed=st.integers(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_every_class_is_in_every_split_in_the_shares_asked_for(counts: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    split = stratified_split(labels, (0.8, 0.1, 0.1), seed)
    assert (split == stratified_split(labels, (0.8, 0.1, 0.1), seed)).all()
    for label, count in enumerate(counts):
        sizes = {name: int((split[labels == label] == name).sum()) for name in ("train", "validation", "test")}
        assert sum(sizes.values()) == count
        assert min(sizes.values()) >= 1
        assert sizes["validation"] == max(1, round(0.1 * count))


def test_own_splits_are_kept_and_a_missing_one_is_taken_from_the_training_samples() -> None:
    labels = np.array(["a", "b"] * 20)
    splits = ["train"] * 30 + ["validation"] * 10
    split = own_split(splits, labels, (0.8, 0.1, 0.1), 0)
    assert (split[30:] == "validation").all()
    assert set(split[:30]) == {"train", "test"}
    with pytest.raises(InputError, match="no train / validation / test splits of its own"):
        own_split(None, labels, (0.8, 0.1, 0.1), 0)
    with pytest.raises(InputError, match="10 of 40 samples are in no"):
        own_split([*splits[:30], *[None] * 10], labels, (0.8, 0.1, 0.1), 0)


@given(fraction=st.floats(0.01, 0.5), seed=st.integers(0, 3), strategy=st.sampled_from(["uniform", "class-pair"]))
@settings(max_examples=40, deadline=None)
def test_injection_changes_the_fraction_asked_for_and_nothing_else(fraction: float, seed: int, strategy: str) -> None:
    labels = np.repeat(np.arange(4), 25)
    embeddings = np.eye(4)[labels] + np.array([0.0, 0.1, 0.0, 0.0])
    changed = inject_mislabels(labels, 4, fraction, strategy, seed, embeddings=embeddings)
    wrong = np.flatnonzero(changed != labels)
    assert len(wrong) == min(max(1, round(fraction * 100)), 48)  # no class loses more than half of its samples
    assert set(changed) <= set(range(4))
    if strategy == "class-pair":
        assert (changed[wrong] == nearest_class(embeddings, labels, 4)[labels[wrong]]).all()


def test_the_original_recipe_corrupts_the_most_helpful_candidates() -> None:
    labels = np.repeat([0, 1], 20)
    influence = np.arange(40, dtype=float)
    changed = inject_mislabels(
        labels, 2, 0.2, "most-influential", 0, influence=influence, candidates=np.arange(0, 40, 2)
    )
    assert np.flatnonzero(changed != labels).tolist() == [32, 34, 36, 38]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_the_threshold_has_the_best_expected_f1(suspicions: list[float]) -> None:
    suspicion = np.array(suspicions)
    flags = choose_flags(suspicion)

    def expected_f1(threshold: float) -> float:
        flag = suspicion >= threshold
        return 2 * suspicion[flag].sum() / (flag.sum() + suspicion.sum())

    best = max(expected_f1(s) for s in suspicion) if suspicion.any() else 0.0
    if best >= 0.5:
        assert flags.flag.any()
        assert expected_f1(flags.threshold) >= best - 1e-12
    else:
        assert flags.threshold == 0.5
    assert (flags.flag == (suspicion >= flags.threshold)).all()
    estimates = flags.estimates
    assert estimates.mistakes_low <= estimates.mistakes <= estimates.mistakes_high + 1e-12


def test_nothing_is_flagged_where_nothing_is_likely_wrong() -> None:
    flags = choose_flags(np.full(1000, 1e-4))
    assert not flags.flag.any()
    assert flags.estimates.precision is None


def test_the_suggestion_for_a_flagged_sample_is_another_label() -> None:
    posterior = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    labels = np.array([0, 0, 1])
    assert suggest_labels(posterior, labels, np.array([True, False, True])).tolist() == [1, 0, 2]


def test_a_given_threshold_is_used_and_said_so() -> None:
    flags = choose_flags(np.array([0.1, 0.5, 0.9]), threshold=0.5)
    assert flags.flag.tolist() == [False, True, True]
    assert "The user set the threshold" in flags.rule
    assert flags.estimates.precision == pytest.approx(0.7)


@given(
    suspicions=st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8, 0.95, 1.0]), min_size=1, max_size=40),
    target=st.floats(0.05, 1),
    budget=st.integers(1, 50),
)
@example(suspicions=[0.3, 0.3, 0.3, 0.5, 0.8, 0.8], target=0.5, budget=1)  # the mean of all equals it but for rounding
@settings(max_examples=80, deadline=None)
def test_flags_keep_the_precision_or_the_budget_asked_for(suspicions: list[float], target: float, budget: int) -> None:
    suspicion = np.array(suspicions)
    precise = choose_flags(suspicion, target_precision=target)
    if precise.flag.any():
        assert suspicion[precise.flag].mean() >= target - 1e-9
    for threshold in set(suspicions):  # no lower threshold would have kept it
        if threshold < precise.threshold:
            assert suspicion[suspicion >= threshold].mean() < target + 1e-9
    within = choose_flags(suspicion, max_review=budget)
    assert within.flag.sum() <= budget
    lower = suspicion[suspicion < within.threshold]
    assert not len(lower) or (suspicion >= lower.max()).sum() > budget


def test_detection_quality_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    injected = rng.random(200) < 0.2
    suspicion = np.clip(injected * 0.4 + rng.random(200) * 0.6, 0, 1)
    flag = suspicion > 0.5
    quality = detection_quality(injected, flag, {"suspicion": suspicion, "noise": rng.random(200)})
    assert quality.precision == pytest.approx(precision_score(injected, flag))
    assert quality.recall == pytest.approx(recall_score(injected, flag))
    assert quality.average_precision == pytest.approx(average_precision_score(injected, suspicion))
    assert quality.by_score["noise"].auroc == pytest.approx(0.5, abs=0.15)
    cells = ("true_positive", "false_positive", "false_negative", "true_negative")
    assert sum(getattr(quality, name) for name in cells) == 200
    top = np.argsort(-suspicion, kind="stable")[:10]
    assert quality.precision_at_k["10"] == pytest.approx(injected[top].mean())


def test_head_quality_counts_every_class_even_one_without_samples() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1]])
    quality = head_quality(probabilities, np.array([0, 1, 0]))
    assert quality.confusion == ((0, 0, 1), (0, 1, 1), (1, 1, 1))
    assert quality.accuracy == pytest.approx(2 / 3)
    assert quality.loss == pytest.approx(-np.log([0.8, 0.6, 0.2]).mean())


def test_mean_influence_is_told_by_class_and_kind() -> None:
    scores = pd.DataFrame(
        {"label": ["a", "a", "b"], "influence": [1.0, -3.0, 2.0], "injected": [False, True, False]}, index=list("xyz")
    )
    rows = influence_by_class(scores, ["a", "b"])
    assert rows[0] == ClassInfluence(class_="a", clean=1.0, clean_count=1, corrupted=-3.0, corrupted_count=1)
    assert rows[1].corrupted is None
    assert rows[-1] == ClassInfluence(class_=None, clean=1.5, clean_count=2, corrupted=-3.0, corrupted_count=1)


def test_confusions_are_named_largest_first() -> None:
    transition = np.array([[0.9, 0.1, 0.0], [0.3, 0.7, 0.0], [0.05, 0.0, 0.95]])
    assert likeliest_confusions(transition, ["a", "b", "c"], most=2) == (
        Confusion(true="b", given="a", rate=0.3),
        Confusion(true="a", given="b", rate=0.1),
    )
