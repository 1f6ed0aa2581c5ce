"""Suspicions, flags and suggestions follow the decisions on a verification sample, and can be restored."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import audit
from audit.config import AuditConfig
from audit.errors import InputError
from audit.result import AuditResult
from audit.summary.parts import to_json
from audit.verification.apply import contradicted_samples
from audit.verification.as_drawn import RECALIBRATED, as_model_said
from audit.verification.draw import draw_scores
from audit.verification.estimate import verify_scores
from audit.verification.follow import follow_scores, verified_part
from reports.changes import compare, sentences
from reports.html import render_report
from reports.markdown import render_markdown

SAMPLES = 1200


def made_scores(seed: int = 0) -> pd.DataFrame:
    """Scores of which one in ten is suspected; sample i is named s<i> and labelled by its class of four."""
    rng = np.random.default_rng(seed)
    suspicion = np.where(rng.random(SAMPLES) < 0.1, rng.beta(4, 2, SAMPLES), rng.beta(0.3, 8, SAMPLES))
    label = np.array([f"class {place % 4}" for place in range(SAMPLES)], dtype=object)
    other, flag = np.roll(label, -1), suspicion >= 0.5
    return pd.DataFrame(
        {
            "label": label,
            "suspicion": suspicion,
            "flag": flag,
            "suggested_label": np.where(flag, other, label),
            "suggested_probability": np.where(flag, suspicion * 0.9, 1 - suspicion),
            "other_label": other,
            "other_probability": suspicion * 0.9,
        },
        index=pd.Index([f"s{place}" for place in range(SAMPLES)], name="id"),
    )


def decided(scores: pd.DataFrame, wrong: np.ndarray, size: int = 60, seed: int = 0) -> pd.DataFrame:
    """A drawn sample with decisions on which labels are wrong, bool (n,)."""
    drawn = draw_scores(scores, size, seed).table
    truth = pd.Series(wrong, index=scores.index)[drawn.index]
    return drawn.assign(decision=np.where(truth, "wrong", "right"))


def few_wrong(scores: pd.DataFrame, share: float = 0.1) -> np.ndarray:
    """Labels that are wrong far more seldom than suspected."""
    return np.random.default_rng(3).random(len(scores)) < scores["suspicion"] * share


def test_flags_and_expected_precision_follow_the_decisions() -> None:
    scores = made_scores()
    wrong = few_wrong(scores)
    followed = follow_scores(scores, decided(scores, wrong))
    before = scores["flag"].to_numpy()
    assert scores["suspicion"][before].mean() > 0.6
    assert wrong[before].mean() < 0.1
    assert followed.scores["flag"].sum() < before.sum() / 4
    assert abs(followed.scores["suspicion"][before].mean() - wrong[before].mean()) < 0.1
    assert followed.flags.flags == followed.scores["flag"].sum()
    assert (followed.scores["flag"] == (followed.scores["suspicion"] >= followed.threshold)).all()
    assert followed.rule.startswith("60 decisions recalibrated the suspicions. ")


def test_mistakes_that_the_audit_did_not_suspect_are_flagged_once_decisions_show_them() -> None:
    scores = made_scores()
    scores["suspicion"] *= 0.3  # nothing is flagged, as where mislabels lie together
    scores["flag"] = False
    wrong = scores["suspicion"].to_numpy() > 0.12
    followed = follow_scores(scores, decided(scores, wrong, 60))
    flag = followed.scores["flag"].to_numpy()
    assert wrong[flag].mean() > 0.8
    assert flag[wrong].mean() > 0.8
    assert followed.flags.precision is not None
    assert followed.flags.precision.anytime_low <= wrong[flag].mean() <= followed.flags.precision.anytime_high
    assert followed.flags.recall is not None
    assert followed.flags.recall.anytime_low <= flag[wrong].mean() <= followed.flags.recall.anytime_high
    assert followed.verification.precision is None


def test_decided_labels_are_known_and_true_labels_are_suggested() -> None:
    scores = made_scores()
    wrong = scores["suspicion"].to_numpy() > 0.4
    table = decided(scores, wrong)
    found = table.index[table["decision"] == "wrong"]
    table["true_label"] = None
    table.loc[found[0], "true_label"] = "class " + str((int(scores["label"][found[0]][-1]) + 2) % 4)
    table.loc[found[1], "true_label"] = "a new class"
    table.iloc[5, table.columns.get_loc("decision")] = "unsure"
    followed = follow_scores(scores, table).scores
    assert (followed["suspicion"][table.index[table["decision"] == "right"]] == 0).all()
    clear = table.index[table["decision"] == "wrong"]
    assert (followed["suspicion"][clear] == 1).all()
    assert followed["flag"][clear].all()
    assert 0 < followed["suspicion"][table.index[5]] < 1
    assert followed["suggested_label"][found[0]] == table["true_label"][found[0]]
    assert followed["suggested_probability"][found[0]] == 1
    assert followed["suggested_label"][found[1]] == scores["other_label"][found[1]]


def test_suggestions_fit_the_flags_and_the_suspicions() -> None:
    scores = made_scores()
    followed = follow_scores(scores, decided(scores, few_wrong(scores))).scores
    flag = followed["flag"]
    assert (followed["suggested_label"][flag] == scores["other_label"][flag]).all()
    likelier = followed["other_probability"] > 1 - followed["suspicion"]
    assert (followed["suggested_label"][~flag & ~likelier] == scores["label"][~flag & ~likelier]).all()
    assert followed["suggested_probability"].between(0, 1).all()
    undecided = followed["suspicion"].between(0.001, 0.999)
    np.testing.assert_allclose((followed["other_probability"] / followed["suspicion"])[undecided], 0.9)


def test_a_second_verification_starts_from_what_the_model_said() -> None:
    scores = made_scores()
    wrong = few_wrong(scores, 0.5)
    first = follow_scores(scores, decided(scores, wrong, 30)).scores
    again = follow_scores(first, decided(first, wrong, 60))
    at_once = follow_scores(scores, decided(scores, wrong, 60))
    pd.testing.assert_frame_equal(again.scores, at_once.scores)
    assert again.verification == at_once.verification
    assert list(draw_scores(first, 60, 4).table.index) == list(draw_scores(scores, 60, 4).table.index)
    assert verify_scores(first, decided(scores, wrong, 60)) == at_once.verification
    pd.testing.assert_frame_equal(as_model_said(first), scores)


def test_a_table_with_the_four_columns_is_enough() -> None:
    scores = made_scores()[["label", "suggested_label", "suspicion", "flag"]]
    wrong = np.random.default_rng(1).random(SAMPLES) < scores["suspicion"] ** 0.3
    followed = follow_scores(scores, decided(scores, wrong))
    assert {f"model_{name}" for name in RECALIBRATED} & set(followed.scores) == {
        *("model_suspicion", "model_flag", "model_suggested_label")
    }
    new = followed.scores["flag"] & ~scores["flag"]
    assert new.any()
    assert followed.scores["suggested_label"][new].isna().all()  # what else they may be is not known
    pd.testing.assert_frame_equal(as_model_said(followed.scores), scores)


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ({"threshold": 0.3}, "The user set the threshold."),
        ({"target_precision": 0.7}, "The threshold keeps the expected precision at 0.7 or higher."),
        ({"max_review": 20}, "The most suspicious samples are flagged, at most 20."),
    ],
)
def test_the_settings_of_the_audit_choose_the_flags_again(setting: dict[str, float], rule: str) -> None:
    scores = made_scores()
    table = decided(scores, np.random.default_rng(2).random(SAMPLES) < scores["suspicion"])
    followed = follow_scores(scores, table, AuditConfig(**setting))
    left = followed.scores.drop(table.index)
    flagged = left[left["flag"]]
    assert followed.rule.endswith(rule)
    if "threshold" in setting:
        assert followed.threshold == setting["threshold"]
    elif "target_precision" in setting:
        assert flagged["suspicion"].mean() >= 0.7 - 1e-9
    else:  # pictures that are decided take nothing of the budget
        assert 0 < len(flagged) <= 20
    assert followed.scores["flag"][table.index[table["decision"] == "wrong"]].all()


def test_everything_decided_flags_what_is_wrong() -> None:
    scores = made_scores().iloc[:40]
    wrong = np.arange(40) % 5 == 0
    followed = follow_scores(scores, decided(scores, wrong, 40))
    np.testing.assert_array_equal(followed.scores["flag"], wrong)
    assert followed.flags.precision is not None
    assert followed.flags.precision.low == followed.flags.precision.high == 1


def test_wrong_labels_without_a_true_one_leave_suggestions_open() -> None:
    scores = made_scores()
    wrong = scores["suspicion"].to_numpy() > 0.4
    table = decided(scores, wrong, 80)
    clear = table.index[table["decision"] == "wrong"]
    table["true_label"] = None
    none = verify_scores(scores, table)
    assert none.suggestions_right is None
    table.loc[clear[:5], "true_label"] = scores["other_label"][clear[:5]]
    some = verify_scores(scores, table).suggestions_right
    table.loc[clear, "true_label"] = scores["other_label"][clear]
    every = verify_scores(scores, table).suggestions_right
    assert some is not None
    assert every is not None
    assert some.low < 0.3
    assert some.high > 0.9
    assert some.value > 0.8
    assert every.low > 0.8


@pytest.fixture(scope="module")
def digits() -> AuditResult:
    """An audit of four hundred digits, a tenth of them with injected mislabels."""
    images, numbers = load_digits(return_X_y=True)
    rows = np.flatnonzero(numbers < 4)[:400]
    labels = np.array([f"digit {number}" for number in numbers[rows]], dtype=object)
    return audit.audit_embeddings(images[rows], labels, config=AuditConfig(inject=0.1, device="cpu"))


def by_the_truth(result: AuditResult, size: int, seed: int = 0) -> pd.DataFrame:
    """Decisions of a reviewer who knows what was injected."""
    drawn = audit.draw_verification(result, size, seed).table
    scores = result.scores.loc[drawn.index]
    return drawn.assign(
        decision=np.where(scores["injected"], "wrong", "right"),
        true_label=scores["original_label"].where(scores["injected"], None),
    )


def test_the_whole_way_on_digits(digits: AuditResult, tmp_path: Path) -> None:
    decisions = by_the_truth(digits, 40)
    verified = audit.apply_verification(digits, decisions)
    summary, part = verified.summary, verified.summary.verified
    injected = verified.scores["injected"].to_numpy()
    assert part is not None
    assert part.decided == 40
    assert part.mistakes.low <= injected.sum() <= part.mistakes.high
    flag = verified.scores["flag"].to_numpy()
    assert part.precision is not None
    assert part.precision.low <= injected[flag].mean() <= part.precision.high
    assert part.recall is not None
    assert part.recall.low <= flag[injected].mean() <= part.recall.high
    assert summary.counts.flagged == flag.sum()
    assert summary.threshold_rule.startswith("40 decisions recalibrated the suspicions.")
    assert summary.detection is not None
    assert summary.detection.flagged == flag.sum()
    assert summary.detection.true_positive == (flag & injected).sum()
    assert summary.estimates.mistakes == digits.summary.estimates.mistakes  # modelled, and not by the decisions
    assert summary.estimates.precision == pytest.approx(part.precision.value)
    assert summary.acceptance is None
    assert "40 decisions" in summary.notes[-1] or "40 decisions" in " ".join(summary.notes)
    assert verified.scores["decision"].notna().sum() == 40

    loaded = AuditResult.load(verified.save(tmp_path / "result"))
    assert loaded.summary == summary
    pd.testing.assert_frame_equal(loaded.scores, verified.scores)
    page = render_report(loaded)
    assert f"and flagged {digits.summary.counts.flagged} samples, of which, by the decisions" in page
    assert f"now {flag.sum()} samples are flagged" in page
    assert render_markdown(loaded)


def test_reset_restores_the_result(digits: AuditResult) -> None:
    verified = audit.apply_verification(digits, by_the_truth(digits, 30))
    restored = audit.reset_verification(verified)
    assert restored.summary == digits.summary
    pd.testing.assert_frame_equal(restored.scores, digits.scores)
    pd.testing.assert_frame_equal(restored.controls, digits.controls)
    with pytest.raises(InputError, match="nothing to reset"):
        audit.reset_verification(restored)


def test_applying_twice_is_applying_the_last(digits: AuditResult) -> None:
    first = audit.apply_verification(digits, by_the_truth(digits, 20))
    again = audit.apply_verification(first, by_the_truth(first, 50))
    at_once = audit.apply_verification(digits, by_the_truth(digits, 50))
    assert again.summary == at_once.summary
    pd.testing.assert_frame_equal(again.scores, at_once.scores)
    pd.testing.assert_frame_equal(again.controls, at_once.controls)


def test_the_correction_stays_only_while_the_flags_stay(digits: AuditResult) -> None:
    assert digits.summary.correction is not None
    verified = audit.apply_verification(digits, by_the_truth(digits, 30))
    same = (verified.scores["flag"] == digits.scores["flag"]).all()
    assert (verified.summary.correction is not None) == same
    nothing = by_the_truth(digits, 60).assign(decision="right", true_label=None)
    without = audit.apply_verification(digits, nothing)
    assert without.summary.counts.flagged < digits.summary.counts.flagged
    assert without.summary.correction is None
    assert "correcting is worth" in without.summary.notes[-1]
    assert render_report(without)


def test_controls_are_compared_on_the_new_scale() -> None:
    config = AuditConfig(device="cpu")
    images, numbers = load_digits(return_X_y=True)
    rows = np.flatnonzero(numbers < 3)[:300]
    result = audit.audit_embeddings(images[rows], numbers[rows], config=config)
    drawn = audit.draw_verification(result, 40).table
    verified = audit.apply_verification(result, drawn.assign(decision="right"))
    ranked = verified.controls.sort_values("model_suspicion")
    assert (np.diff(ranked["suspicion"]) >= 0).all()
    assert not np.allclose(ranked["suspicion"], ranked["model_suspicion"])
    measured = verified.summary.controls.detection
    assert measured is not None
    assert measured.flagged == (verified.controls["suspicion"] >= verified.summary.threshold).sum()
    assert verified.summary.detection is None
    assert render_report(verified)


def test_labels_that_identical_pictures_contradict_stay_flagged() -> None:
    images, numbers = load_digits(return_X_y=True)
    rows = np.flatnonzero(numbers < 3)[:200]
    x, labels = np.concatenate([images[rows], images[rows[:3]]]), np.concatenate([numbers[rows], numbers[rows[:3]]])
    labels[-3:] = (labels[-3:] + 1) % 3
    result = audit.audit_embeddings(x, labels, config=AuditConfig(device="cpu"))
    proven = contradicted_samples(result)
    assert proven.sum() == 3
    drawn = audit.draw_verification(result, 40, known=list(result.scores.index[proven])).table
    verified = audit.apply_verification(result, drawn.assign(decision="right"))
    assert verified.scores["flag"][proven].all()


def test_the_part_of_the_summary_says_what_the_verification_says(digits: AuditResult) -> None:
    found = audit.verify(digits, by_the_truth(digits, 40))
    part = verified_part(found)
    assert part.mistakes.value == found.mistakes.value
    assert part.precision is not None
    assert found.precision is not None
    assert part.precision.anytime_high == found.precision.anytime_high
    assert [row.label for row in part.by_class] == [row.label for row in found.by_class]
    assert [row.threshold for row in part.by_threshold] == [row.threshold for row in found.by_threshold]
    assert part.before is None
    assert json.dumps(to_json(part))


def test_a_comparison_states_verified_numbers(digits: AuditResult) -> None:
    verified = audit.apply_verification(digits, by_the_truth(digits, 40))
    changes = compare(digits, verified)
    assert changes.first.verified is None
    assert changes.second.verified is not None
    assert changes.second.verified.decided == 40
    assert any("40 decisions" in sentence for sentence in sentences(changes))
    assert not any("decisions" in sentence for sentence in sentences(compare(digits, digits)))
    assert json.dumps(to_json(changes))


def test_the_result_given_is_not_changed(digits: AuditResult) -> None:
    before = dataclasses.replace(digits, scores=digits.scores.copy(), controls=digits.controls.copy())
    audit.apply_verification(digits, by_the_truth(digits, 20))
    pd.testing.assert_frame_equal(digits.scores, before.scores)
    pd.testing.assert_frame_equal(digits.controls, before.controls)
