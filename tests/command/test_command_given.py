"""`run` with embeddings and predictions of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import fiftyone as fo
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from audit.result import AuditResult
from integrations.sources.digits import digits
from tests.command.forked_command import forked_command
from tests.one_line import error_line
from tests.predicted import softmax

pytestmark = pytest.mark.usefixtures("no_dataset_stays")
KEPT = ("3", "5", "8")


def test_predictions_of_a_file_are_audited_alone(tmp_path: Path) -> None:
    """Rows name their samples and come in another order; two known mistakes of the labels are made by the file."""
    images = list(digits(KEPT))
    true = np.array([KEPT.index(str(image.label)) for image in images])
    logits = 8.0 * np.eye(3)[true] + np.random.default_rng(0).normal(size=(len(true), 3))
    logits[[4, 40]] = np.roll(logits[[4, 40]], 1, axis=1)
    table = pd.DataFrame(softmax(logits), columns=list(KEPT))
    table.insert(0, "id", [image.source_id for image in images])
    table.sample(frac=1, random_state=0)[["id", "8", "3", "5"]].to_parquet(tmp_path / "p.parquet")
    asked = ("run", "digits", "--keep-labels", ",".join(KEPT), "--backbone", "none", "--dataset", "given-digits")
    done = forked_command(*asked, "--predictions", "p.parquet", "-o", "result", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "influence is undefined" in done.stdout
    result = AuditResult.load(tmp_path / "result")
    assert len(result.scores) == np.isin(load_digits().target, [3, 5, 8]).sum()
    dataset = fo.load_dataset("given-digits")
    found = dict(zip(dataset.values("id"), dataset.values("source_id"), strict=True))
    assert {found[sample] for sample in result.flagged.index} == {images[4].source_id, images[40].source_id}
    assert "predictions p.parquet" in (tmp_path / "result" / "report.html").read_text()


def test_what_does_not_go_together_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    for options, reason in (
        (("--backbone", "none"), "needs --predictions or --embeddings"),
        (("--predictions-in-sample",), "none were given"),
        (("--predictions", "p.npy"), "there is no such file"),
        (("--embeddings", "x.parquet"), "there is no such file"),
    ):
        done = forked_command("run", "digits", *options, cwd=tmp_path)
        assert reason in error_line(done.stderr)
        assert done.returncode == 2


def test_a_table_without_images_needs_neither_images_nor_a_database(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(3, size=200)
    labels = np.where(np.arange(200) % 20 == 0, (true + 1) % 3, true)
    pd.DataFrame({"label": np.array(["cat", "dog", "owl"])[labels]}).to_csv(tmp_path / "labels.csv", index=False)
    np.save(tmp_path / "p.npy", 5.0 * np.eye(3)[true] + rng.normal(size=(200, 3)))
    asked = ("run", "labels.csv", "--predictions", "p.npy", "-o", "result")
    closed = {"FIFTYONE_DATABASE_URI": "mongodb://localhost:9/"}
    done = forked_command(*asked, cwd=tmp_path, **closed)
    assert done.returncode == 0, done.stderr
    assert "no row of labels.csv names a picture" in done.stderr
    result = AuditResult.load(tmp_path / "result")
    assert result.flagged.index.astype(int).sort_values().tolist() == list(range(0, 200, 20))
    report = (tmp_path / "result" / "report.html").read_text()
    assert "Influence is undefined" in report
    assert "influence-audit apply RESULT_FOLDER -o corrected-labels.csv --decisions flagged.csv" in report
    done = forked_command("apply", "result", "-o", "corrected.csv", "--accept-from", "0.5", cwd=tmp_path, **closed)
    assert done.returncode == 0, done.stderr
    corrected = pd.read_csv(tmp_path / "corrected.csv")["label"].to_numpy()
    assert (corrected == np.array(["cat", "dog", "owl"])[true]).mean() > 0.99


def test_files_are_audited_without_fiftyone_and_without_a_database(tmp_path: Path) -> None:
    """Embeddings in the order of the source, predictions by its keys; four known mistakes are in the predictions."""
    images = list(digits(KEPT))
    true = np.array([KEPT.index(str(image.label)) for image in images])
    rng = np.random.default_rng(0)
    wrong = [3, 50, 200, 400]
    seen = true.copy()
    seen[wrong] = (true[wrong] + 1) % 3
    np.save(tmp_path / "e.npy", 6 * np.eye(3)[seen] + rng.normal(size=(len(true), 3)))
    table = pd.DataFrame(softmax(6 * np.eye(3)[seen] + rng.normal(size=(len(true), 3))), columns=list(KEPT))
    table.insert(0, "id", [image.source_id for image in images])
    table[::-1].to_parquet(tmp_path / "p.parquet")
    asked = ("run", "digits", "--keep-labels", ",".join(KEPT), "--no-fiftyone", "-o", "result")
    closed = {"FIFTYONE_DATABASE_URI": "mongodb://localhost:9/"}
    done = forked_command(*asked, "--embeddings", "e.npy", "--predictions", "p.parquet", cwd=tmp_path, **closed)
    assert done.returncode == 0, done.stderr
    result = AuditResult.load(tmp_path / "result")
    assert set(result.flagged.index) == {images[row].source_id for row in wrong}
    source = result.summary.source
    assert source is not None
    assert (source.embeddings, source.predictions, source.in_fiftyone) == (("e.npy",), "p.parquet", False)
    assert result.summary.backbone is None
    field = forked_command(*asked, "--embeddings", "clip", cwd=tmp_path, **closed)
    assert "--embeddings 'clip' is no .npy, .parquet or .csv file; without FiftyOne, give a file" in error_line(
        field.stderr
    )


def test_a_dry_run_of_a_table_without_images_says_what_was_understood(tmp_path: Path) -> None:
    labels = np.array(["cat", "dog", "owl"])[np.arange(90) % 3]
    pd.DataFrame({"label": labels}).to_csv(tmp_path / "labels.csv", index=False)
    np.save(tmp_path / "p.npy", 5.0 * np.eye(3)[np.arange(90) % 3] - 2)
    np.save(tmp_path / "short.npy", np.eye(3))
    asked = ("run", "labels.csv", "--dry-run", "--predictions")
    closed = {"FIFTYONE_DATABASE_URI": "mongodb://localhost:9/"}
    done = forked_command(*asked, "p.npy", "--json", cwd=tmp_path, **closed)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["layout"] == "a table of 90 labels without images; predictions in p.npy"
    assert (plan["samples"], plan["classes"], plan["fields"]) == (90, {"cat": 30, "dog": 30, "owl": 30}, [])
    assert 0 < plan["seconds"] < 600
    short = forked_command(*asked, "short.npy", cwd=tmp_path, **closed)
    assert "has 3 rows, and there are 90 samples" in error_line(short.stderr)
    assert not (tmp_path / "audit-results").exists()
