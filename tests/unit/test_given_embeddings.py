"""Audits of images by embeddings that the user gives, in place of a backbone's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import audit
from audit.data.embeddings import GivenEmbeddings
from audit.data.samples import Samples
from tests.noise_problems import N, pictures, with_slips
from tests.predicted import softmax


def unreadable_samples(labels: np.ndarray) -> Samples:
    """Samples whose images do not exist: an audit that reads one of them fails to."""
    ids = [f"sample {row}" for row in range(len(labels))]
    return Samples(ids, [f"nowhere/{row}.png" for row in range(len(labels))], [f"class {label}" for label in labels])


def test_no_image_is_read_if_embeddings_are_given() -> None:
    x, true = pictures(0)
    labels = with_slips(true, 0.1, 1)
    result = audit.audit_images(unreadable_samples(labels), embeddings=x)
    assert len(result.scores) == N
    assert result.scores.index[0] == "sample 0"
    assert result.scores["filepath"].iloc[0] == "nowhere/0.png"
    assert result.summary.backbone is None
    assert result.summary.counts.unreadable == 0
    same = audit.audit_embeddings(x, [f"class {label}" for label in labels])
    np.testing.assert_allclose(result.scores["suspicion"], same.scores["suspicion"], atol=1e-6)


def test_samples_without_an_embedding_are_left_out_and_counted() -> None:
    x, true = pictures(0)
    x[[4, 9]] = np.nan
    result = audit.audit_images(unreadable_samples(with_slips(true, 0.1, 1)), embeddings=x)
    assert result.summary.counts.without_input == 2
    assert result.skipped["id"].tolist() == ["sample 4", "sample 9"]
    assert set(result.skipped["reason"]) == {"no embedding was given"}


def test_backbone_none_audits_images_by_predictions_alone() -> None:
    _, true = pictures(0)
    labels = with_slips(true, 0.1, 1)
    logits = 3.0 * np.eye(true.max() + 1)[true] + np.random.default_rng(0).normal(size=(N, true.max() + 1))
    config = audit.AuditConfig(backbone="none")
    result = audit.audit_images(unreadable_samples(labels), config, predictions=softmax(logits))
    assert result.summary.predictions is not None
    assert result.summary.predictions.alone
    assert result.scores["flag"].sum() > 50
    with pytest.raises(audit.InputError, match="backbone 'none' embeds no images"):
        audit.audit_images(unreadable_samples(labels), config)


def test_several_embeddings_count_alike_whatever_their_scale_and_length(tmp_path: Path) -> None:
    x, true = pictures(0)
    labels = with_slips(true, 0.15, 1)
    np.save(tmp_path / "a.npy", x[:, :8])
    table = pd.DataFrame({"vector": list(1000 * x[:, 8:])})
    table.to_parquet(tmp_path / "b.parquet")
    both = audit.audit_images(unreadable_samples(labels), embeddings=[tmp_path / "a.npy", tmp_path / "b.parquet"])
    arrays = audit.audit_images(unreadable_samples(labels), embeddings=[x[:, :8], 1e-3 * x[:, 8:]])
    np.testing.assert_allclose(both.scores["suspicion"], arrays.scores["suspicion"], atol=1e-4)
    one = audit.audit_images(unreadable_samples(labels), embeddings=x[:, :8])
    found = [((result.scores["suspicion"] > 0.5) == (labels != true)).mean() for result in (both, one)]
    assert found[0] > found[1]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (np.zeros((N - 1, 3)), f"{N - 1} rows, and there are {N} samples"),
        ([np.zeros((N, 3)), np.zeros((N + 1, 3))], "different numbers of rows"),
        ([np.zeros((N, 3)), "missing.npy"], "cannot be read"),
        ("missing.parquet", "cannot be read"),
        (np.full((N, 3), np.nan), "no sample can be audited"),
    ],
    ids=["rows", "lengths", "file", "parquet", "nothing"],
)
def test_embeddings_that_do_not_fit_are_refused(given: object, reason: str) -> None:
    with pytest.raises(audit.InputError, match=reason):
        audit.audit_images(unreadable_samples(pictures(0)[1]), embeddings=given)


def test_one_matrix_stays_as_it_is() -> None:
    x = np.arange(12.0).reshape(4, 3)
    assert GivenEmbeddings.read(x).values is x
    assert GivenEmbeddings.read([x]).values is x


def test_predictions_stay_with_their_images_where_some_cannot_be_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images: list[np.ndarray | bytes] = [rng.integers(256, size=(8, 8, 3), dtype=np.uint8) for _ in range(80)]
    images[3] = b"no image"
    true = np.arange(80) % 2
    labels = true.copy()
    labels[[20, 41]] = 1 - labels[[20, 41]]
    given = softmax(8.0 * np.eye(2)[true] + rng.normal(size=(80, 2)))
    given[5] = np.nan
    samples = Samples([str(row) for row in range(80)], images, [str(label) for label in labels])
    config = audit.AuditConfig(weights="bundled", cache_dir=str(tmp_path))
    result = audit.audit_images(samples, config, predictions=given)
    assert dict(zip(result.skipped["id"], result.skipped["reason"], strict=True))["5"] == "no prediction was given"
    assert result.skipped["id"].tolist() == ["3", "5"]
    assert result.scores["suspicion"].nlargest(2).index.sort_values().tolist() == ["20", "41"]
    assert result.summary.predictions is not None
    assert not result.summary.predictions.alone
