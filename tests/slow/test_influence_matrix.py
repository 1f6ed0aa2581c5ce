"""`audit.influence_matrix`: validation samples × training samples, in memory and in a file, for arrays and images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import audit
from audit import AuditConfig, AuditResult, InputError
from audit.data.samples import Samples
from audit.explain.matrix_path import ID_COLUMNS, ids_path


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    x, labels = load_digits(return_X_y=True)
    return x[:600] / 16, labels[:600]


@pytest.fixture(scope="module")
def result(digits: tuple[np.ndarray, np.ndarray]) -> AuditResult:
    return audit.audit_embeddings(*digits)


def mean_and_scored(matrix: np.ndarray, result: AuditResult) -> tuple[Any, Any]:
    """The mean over rows, and what the audit found for the training samples, whose shapes agree."""
    scored = result.scores["influence"][result.scores["split"] == "train"].to_numpy()
    assert matrix.shape == ((result.scores["split"] == "validation").sum(), len(scored))
    return matrix.mean(0), pytest.approx(scored, rel=1e-6, abs=1e-9 * np.abs(scored).max())


@pytest.mark.parametrize(
    "settings",
    [{}, {"inject": 0.1}, {"validation_trusted": True}, {"trainer": "adam", "damping": 1e-2}, {"solver": "cg"}],
    ids=str,
)
def test_its_mean_over_rows_is_the_averaged_influence(
    settings: dict[str, Any], digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    found = audit.audit_embeddings(*digits, config=AuditConfig(**settings))
    mean, scored = mean_and_scored(audit.influence_matrix(found, digits[0]), found)
    assert mean == scored
    loaded = AuditResult.load(found.save(tmp_path / "result"))
    mean, scored = mean_and_scored(audit.influence_matrix(loaded, digits[0]), found)
    assert mean == scored


def test_validation_samples_of_their_own_and_samples_that_were_left_out(digits: tuple[np.ndarray, np.ndarray]) -> None:
    x, labels = digits
    given = [None if row % 7 == 0 else str(label) for row, label in enumerate(labels[:400])]
    held_out = (x[400:], [str(label) for label in labels[400:]])
    found = audit.audit_embeddings(pd.DataFrame(x[:400]), given, validation=held_out)
    mean, scored = mean_and_scored(audit.influence_matrix(found, pd.DataFrame(x[:400]), held_out), found)
    assert mean == scored
    with pytest.raises(InputError, match="give them as validation="):
        audit.influence_matrix(found, x[:400])
    with pytest.raises(InputError, match="give all that were audited"):
        audit.influence_matrix(found, x[:100], held_out)


def test_a_file_holds_what_memory_does_with_ids_beside_it(
    digits: tuple[np.ndarray, np.ndarray], result: AuditResult, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", digits[0])
    path, expected = tmp_path / "new" / "matrix.npy", audit.influence_matrix(result, digits[0])
    heard: list[int] = []
    found = audit.influence_matrix(
        result,
        tmp_path / "x.npy",
        to=path,
        memory=129 << 20,  # for a few rows at a time
        progress=lambda step: heard.append(step.done),
    )
    assert len(heard) > 3
    assert isinstance(found, np.memmap)
    np.testing.assert_allclose(np.load(path), expected, rtol=1e-6, atol=1e-8)
    ids = pd.read_parquet(ids_path(path))
    assert tuple(ids.columns) == ID_COLUMNS
    for axis in ("validation", "train"):
        names = ids[ids["axis"] == axis]
        scored = result.scores[result.scores["split"] == axis]
        assert names["id"].tolist() == scored.index.tolist()
        assert names["label"].tolist() == scored["label"].tolist()
        assert names["position"].tolist() == list(range(len(scored)))
    audit.influence_matrix(result, digits[0], to=path)  # an earlier one is replaced
    assert {file.name for file in path.parent.iterdir()} == {"matrix.npy", "matrix.parquet"}


def test_files_of_others_are_not_replaced(
    digits: tuple[np.ndarray, np.ndarray], result: AuditResult, tmp_path: Path
) -> None:
    np.save(tmp_path / "embeddings.npy", digits[0])
    before = (tmp_path / "embeddings.npy").read_bytes()
    pd.DataFrame({"mine": [1]}).to_parquet(tmp_path / "table.parquet")
    (tmp_path / "folder.npy").mkdir()
    for name, problem in (
        ("embeddings.npy", "no influence matrix"),
        ("table.npy", "table.parquet.*no influence matrix"),
        ("folder.npy", "no influence matrix"),
        ("matrix.csv", "a name that ends with .npy"),
    ):
        with pytest.raises(InputError, match=problem):
            audit.influence_matrix(result, digits[0], to=tmp_path / name)
    assert (tmp_path / "embeddings.npy").read_bytes() == before
    assert pd.read_parquet(tmp_path / "table.parquet").columns.tolist() == ["mine"]


def test_what_cannot_be_done_is_refused_with_its_reason(
    digits: tuple[np.ndarray, np.ndarray], result: AuditResult
) -> None:
    x, labels = digits
    with pytest.raises(InputError, match="made from embeddings, which a result does not contain"):
        audit.influence_matrix(result)
    with pytest.raises(InputError, match="the influence of the training samples differs from the audit's"):
        audit.influence_matrix(result, x[::-1])
    with pytest.raises(InputError, match="have 63 features, and those that were audited had 64"):
        audit.influence_matrix(result, x[:, 1:])
    with pytest.raises(InputError, match="write it to a file"):
        audit.influence_matrix(result, x, memory=400_000)
    with pytest.raises(InputError, match="are not enough for one row"):
        audit.influence_matrix(result, x, memory=2**20)
    other = audit.audit_embeddings(x[:200], labels[:200], config=AuditConfig(engine="pydvl-direct"))
    with pytest.raises(InputError, match="the influence matrix needs engine 'exact', and this audit used pydvl-direct"):
        audit.influence_matrix(other, x[:200])
    few = AuditResult(**{**vars(result), "heads": {"given": dict(result.heads["given"])}})
    del few.heads["given"]["validation_targets"]
    with pytest.raises(InputError, match="does not contain the validation labels"):
        audit.influence_matrix(few, x)


def test_an_audit_of_images_needs_no_embeddings(tmp_path: Path) -> None:
    from integrations.sources.digits import digits

    images = list(digits(["3", "8"]))[:60]
    paths = [tmp_path / f"{number}.png" for number in range(60)]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image.image)
    samples = Samples([f"s{number}" for number in range(60)], paths, [image.label for image in images])
    config = AuditConfig(weights="bundled", device="cpu", cache_dir=str(tmp_path / "cache"))
    result = audit.audit_images(samples, config)
    mean, scored = mean_and_scored(audit.influence_matrix(result), result)
    assert mean == scored
    with pytest.raises(InputError, match="leave out x and validation"):
        audit.influence_matrix(result, np.zeros((60, 512)))
    gone = result.scores.index[result.scores["split"] == "train"][0]
    Path(result.scores.at[gone, "filepath"]).unlink()
    with pytest.raises(InputError, match=f"1 of .* images can no longer be read, the first one of sample {gone} "):
        audit.influence_matrix(result)
