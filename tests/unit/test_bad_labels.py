"""Labels that are missing, odd, too rare or contradict each other: left out with a reason, or reported as findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.datasets import load_digits

import audit
from audit.data.left_out import label_array
from audit.findings.kinds import CLASS_NAMES, DUPLICATE_LABELS, NEAR_DUPLICATES, NO_VALIDATION, SPLIT_LEAK
from audit.flags.measures import influence_by_class
from integrations.sources.digits import digits
from tests.waiting import within


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    """Two hundred digits 3 and 8 as pixels."""
    data = load_digits()
    rows = np.flatnonzero(np.isin(data.target, [3, 8]))[:200]
    return data.data[rows], np.array(["three" if target == 3 else "eight" for target in data.target[rows]])


def by_kind(result: audit.AuditResult, kind: str) -> pd.DataFrame:
    return result.findings[result.findings["kind"] == kind]


@pytest.mark.parametrize(
    ("labels", "values", "missing"),
    [
        ([3, None, 5], [3, 0, 5], [1]),
        (pd.Series([3.0, np.nan, 5.0]), [3, 0, 5], [1]),
        (np.array([3.0, np.nan, 5.0]), [3, 0, 5], [1]),
        (["cat", float("nan"), "dog"], ["cat", "", "dog"], [1]),
        (["cat", "", " \t"], ["cat", "", " \t"], [1, 2]),
        (pd.Series(["cat", pd.NA, None]), ["cat", "", ""], [1, 2]),
        (np.array([b"cat", b"dog"]), ["cat", "dog"], []),
        (np.array([True, False]), [True, False], []),
        (pd.array([3, pd.NA, 5], dtype="Int64"), [3, 0, 5], [1]),
        (pd.Series(["cat", pd.NA, "dog"], dtype="string"), ["cat", "", "dog"], [1]),
        (pd.array([True, pd.NA, False], dtype="boolean"), [True, False, False], [1]),
        (pd.Categorical(["cat", None, "dog"]), ["cat", "", "dog"], [1]),
        (["cat", pd.NA, pd.NaT, np.ma.masked], ["cat", "", "", ""], [1, 2, 3]),
        (np.ma.masked_array([3, 4, 5], mask=[False, True, False]), [3, 0, 5], [1]),
        (pa.array(["cat", None, "dog"]), ["cat", "", "dog"], [1]),
        (pa.chunked_array([[3, None], [5]]), [3, 0, 5], [1]),
        ([True, False, True], [True, False, True], []),
        ([np.bool_(True), None], [True, False], [1]),
        ([torch.tensor(3), np.array(5), np.int8(7)], [3, 5, 7], []),
        (torch.tensor([3.0, 5.0]).bfloat16(), [3, 5], []),
        (np.array([3, 5]).astype(">i4")[::-1], [5, 3], []),
        (np.array(["cat", "dog"])[::-1], ["dog", "cat"], []),
        ([np.str_("cat"), b"dog"], ["cat", "dog"], []),
        ([3, 5.0, np.float16(7)], [3, 5, 7], []),
        (pd.Series(["cat", "dog"], dtype="category"), ["cat", "dog"], []),
    ],
)
def test_missing_labels_are_seen_in_whatever_form_they_come(labels: Any, values: list[Any], missing: list[int]) -> None:
    found, gone = label_array(labels)
    assert np.flatnonzero(gone).tolist() == missing
    kept = [value for row, value in enumerate(found.tolist()) if row not in missing]
    assert kept == [value for row, value in enumerate(values) if row not in missing]


def test_samples_without_a_label_are_left_out_and_the_others_keep_their_row(
    arrays: tuple[np.ndarray, np.ndarray],
) -> None:
    x, labels = arrays
    given = [
        None if row == 4 else float("nan") if row == 7 else "  " if row == 9 else y for row, y in enumerate(labels)
    ]
    result = audit.audit_embeddings(x, given)
    assert result.summary.counts.samples == 197
    assert result.summary.counts.without_label == 3
    assert result.skipped["id"].tolist() == ["4", "7", "9"]
    assert set(result.skipped["reason"]) == {"no label"}
    assert result.scores.loc["10", "label"] == labels[10]
    assert not {"4", "7", "9"} & set(result.scores.index)
    with pytest.raises(audit.InputError, match=r"3 of 200 samples cannot be audited, the first '4' \(no label\)"):
        audit.audit_embeddings(x, given, config=audit.AuditConfig(strict=True))


def test_a_few_rare_classes_do_not_stop_an_audit(arrays: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    x, labels = arrays
    given = labels.astype(object)
    given[:3] = ["once", "twice", "twice"]
    result = audit.audit_embeddings(x, given)
    assert (result.summary.counts.rare_class, result.summary.counts.classes) == (3, 2)
    assert result.skipped.set_index("id")["reason"].to_dict() == {
        "0": "class 'once' has fewer than 3 samples (1)",
        "1": "class 'twice' has fewer than 3 samples (2)",
        "2": "class 'twice' has fewer than 3 samples (2)",
    }
    assert any("3 samples of 2 class(es) with fewer than 3" in note for note in result.summary.notes)
    with pytest.raises(audit.InputError, match="class 'once' has fewer than 3 samples"):
        audit.audit_embeddings(x, given, config=audit.AuditConfig(strict=True))


def test_what_no_audit_can_be_made_of_is_said_in_one_line(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    x, _ = arrays
    for labels, message in (
        (["cat"] * 200, "fewer than two classes"),
        ([f"{row}" for row in range(200)], "fewer than two classes have 3 samples or more"),
        ([None] * 200, "fewer than two classes"),
    ):
        with pytest.raises(audit.InputError, match=message) as error:
            audit.audit_embeddings(x, labels)
        assert "\n" not in str(error.value)


def test_class_names_that_are_probably_one_are_found_and_not_merged(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    x, labels = arrays
    given = labels.astype(object)
    given[np.flatnonzero(labels == "three")[:20]] = "Three "
    given[np.flatnonzero(labels == "eight")[:5]] = "nan"
    given[np.flatnonzero(labels == "eight")[5]] = "EIGHT"
    result = audit.audit_embeddings(x, given)
    assert by_kind(result, CLASS_NAMES)["detail"].tolist() == [
        "'EIGHT' and 'eight' are probably one class",
        "'Three ' and 'three' are probably one class",
        "'nan' reads like a missing label",
    ]
    assert set(result.scores["label"]) == {"three", "Three ", "eight", "nan"}
    (summary,) = (found for found in result.summary.findings if found.kind == CLASS_NAMES)
    assert (summary.kind, summary.findings, summary.samples) == (CLASS_NAMES, 3, 0)


def test_duplicates_that_disagree_and_leaks_between_splits_are_findings_of_their_own(tmp_path: Path) -> None:
    from reports.html import render_report

    images = list(digits(["3", "8"]))[:100]
    contents = [image.image for image in images]
    labels = [image.label for image in images]
    splits = ["train"] * 70 + ["validation"] * 15 + ["test"] * 15
    other = "8" if labels[0] == "3" else "3"
    contents += [contents[0], contents[1], contents[2], contents[2]]
    labels += [other, labels[1], labels[2], labels[2]]
    splits += ["train", "validation", "test", "train"]
    ids = [f"id-{row}" for row in range(104)]
    samples = audit.Samples(ids, contents, labels, splits)  # type: ignore[arg-type]
    result = audit.audit_images(samples, audit.AuditConfig(weights="bundled", device="cpu", use_splits=True))
    disagreeing = by_kind(result, DUPLICATE_LABELS)
    assert disagreeing["id"].tolist() == ["id-0", "id-100"]
    assert set(disagreeing["detail"]) == {f"2 identical images are labelled {labels[0]!r} (1), {other!r} (1)"}
    leaks = by_kind(result, SPLIT_LEAK)
    assert leaks.groupby("finding")["id"].apply(list).tolist() == [["id-1", "id-101"], ["id-2", "id-102", "id-103"]]
    assert leaks["detail"].iloc[-1] == "2 of 3 identical images are in train, 1 in test"
    kinds = {found.kind: (found.findings, found.samples) for found in result.summary.findings}
    assert kinds == {DUPLICATE_LABELS: (1, 2), SPLIT_LEAK: (2, 5), NEAR_DUPLICATES: (2, 5)}
    loaded = audit.AuditResult.load(result.save(tmp_path / "result"))
    pd.testing.assert_frame_equal(loaded.findings, result.findings)
    page = render_report(loaded)
    assert "2 of 3 identical images are in train, 1 in test" in page
    assert "2 identical images are labelled" in page


def test_a_class_absent_from_validation_is_said(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    x, labels = arrays
    given = labels.astype(object)
    given[100:110] = "absent"
    held_out = slice(0, 60)
    result = audit.audit_embeddings(x[60:], given[60:], validation=(x[held_out], given[held_out]))
    assert by_kind(result, NO_VALIDATION)["detail"].tolist() == ["class 'absent' has no validation sample"]
    assert np.isfinite(result.scores["influence"]).all()


def test_ten_thousand_classes_are_screened_split_and_weighed_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit of so many needs C × C numbers several times; where they do not fit, that is said at once."""
    import audit.compute.memory

    monkeypatch.setattr(audit.compute.memory, "free_memory", lambda device: 2 << 30)
    labels = np.array([f"class {number % 10_000:05}" for number in range(40_000)] + ["rare"])
    x = np.random.default_rng(0).normal(size=(40_001, 4)).astype(np.float32)
    said: list[str] = []
    with within(20), pytest.raises(audit.InputError) as error:
        audit.audit_embeddings(x, labels, progress=lambda step: said.append(step.note))
    assert any("an audit of 10000 classes takes long" in note for note in said)
    assert "40000 samples of 10000 classes need more than 3.7 GiB of memory, and only 2.0 GiB are free" in str(
        error.value
    )
    table = pd.DataFrame({"label": labels[:-1], "influence": x[:-1, 0]})
    with within(10):
        rows = influence_by_class(table, sorted(set(labels[:-1])))
    assert len(rows) == 10_001
    assert rows[0].clean == pytest.approx(float(x[:40_000:10_000, 0].mean()))


def test_a_clean_dataset_has_no_findings(arrays: tuple[np.ndarray, np.ndarray]) -> None:
    result = audit.audit_embeddings(*arrays)
    assert result.summary.findings == ()
    assert len(result.findings) == 0
    assert len(result.skipped) == 0
