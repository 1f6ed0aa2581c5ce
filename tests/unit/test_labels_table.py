"""Tables of labels without images, audited by files of predictions or embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import audit
from integrations.labels_table import audit_table, labels_of_table
from tests.predicted import N, made_predictions, softmax

LABELS = [f"class {label}" for label in made_predictions()[1]]


def written(folder: Path, suffix: str) -> str:
    table = pd.DataFrame({"name": [f"sample {row}" for row in range(N)], "label": LABELS})
    path = folder / f"labels{suffix}"
    if suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    elif suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="\t" if suffix == ".tsv" else ",", index=False)
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_labels_are_read_from_every_usual_table(suffix: str, tmp_path: Path) -> None:
    samples = labels_of_table(written(tmp_path, suffix))
    assert samples is not None
    assert list(samples.labels) == LABELS
    assert samples.ids[:2] == ["0", "1"]


def test_a_table_is_audited_by_predictions_alone(tmp_path: Path) -> None:
    logits, labels, true = made_predictions()
    np.save(tmp_path / "p.npy", softmax(logits))
    samples = labels_of_table(written(tmp_path, ".csv"))
    assert samples is not None
    done = audit_table(samples, audit.AuditConfig(), tmp_path / "result", [], str(tmp_path / "p.npy"))
    assert done.problem is None
    assert done.report.is_file()
    flagged = done.result.scores["flag"].to_numpy()
    assert (flagged == (labels != true)).mean() > 0.95
    assert audit.AuditResult.load(tmp_path / "result").summary.source is None


def test_rows_follow_the_ids_of_the_table(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["a", "b", "c"], "y": ["x", "", "z"]}).to_csv(tmp_path / "t.csv", index=False)
    samples = labels_of_table(str(tmp_path / "t.csv"))
    assert samples is not None
    assert samples.ids == ["a", "b", "c"]
    assert samples.labels == ["x", None, "z"]


def test_tables_with_images_and_other_sources_are_left_to_others(tmp_path: Path) -> None:
    pd.DataFrame({"image": ["1.png", "2.jpg"], "label": ["a", "b"]}).to_csv(tmp_path / "images.csv", index=False)
    pd.DataFrame({"image": [b"x", b"y"], "label": ["a", "b"]}).to_parquet(tmp_path / "images.parquet")
    for source in (str(tmp_path / "images.csv"), str(tmp_path / "images.parquet"), "digits", "fiftyone:x"):
        assert labels_of_table(source) is None


def test_an_unclear_label_column_is_asked_for(tmp_path: Path) -> None:
    pd.DataFrame({"first": ["a"], "second": ["b"]}).to_csv(tmp_path / "t.csv", index=False)
    source = str(tmp_path / "t.csv")
    with pytest.raises(audit.InputError, match="--label-column, one of: first, second"):
        labels_of_table(source)
    with pytest.raises(audit.InputError, match="has no column 'third'; it has: first, second"):
        labels_of_table(source, "third")
    samples = labels_of_table(source, "second")
    assert samples is not None
    assert samples.labels == ["b"]
