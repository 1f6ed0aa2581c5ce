"""`run` with embeddings and predictions of the user's own."""

from __future__ import annotations

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
    asked = ("run", "labels.csv", "--backbone", "none", "--predictions", "p.npy", "-o", "result")
    done = forked_command(*asked, cwd=tmp_path, FIFTYONE_DATABASE_URI="mongodb://localhost:9/")
    assert done.returncode == 0, done.stderr
    result = AuditResult.load(tmp_path / "result")
    assert result.flagged.index.astype(int).sort_values().tolist() == list(range(0, 200, 20))
    assert "Influence is undefined" in (tmp_path / "result" / "report.html").read_text()
