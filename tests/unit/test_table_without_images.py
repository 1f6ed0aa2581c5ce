"""Tables of labels without images, audited by files of predictions or embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import audit
from audit.data.samples import Samples
from audit.summary.surroundings import AuditedDataset
from integrations.cli.batch import audit_all
from integrations.cli.job import jobs_of
from integrations.cli.terminal import Verbosity
from integrations.corrections.corrected import corrected_source
from integrations.corrections.labels_table import corrected_labels
from integrations.sources.table_files import read_columns
from integrations.table_without_images import audit_table, labels_of_table, names_no_pictures
from tests.predicted import N, made_predictions, softmax

CHOICES = ("dataset", "view", "label_field", "keep_labels", "image_column", "label_column", "images", "layout")
LABELS = [f"class {label}" for label in made_predictions()[1]]


def written(folder: Path, suffix: str) -> str:
    table = pd.DataFrame({"name": [f"sample {row}" for row in range(N)], "label": LABELS})
    path = folder / f"labels{suffix}"
    if suffix in (".jsonl", ".json"):
        table.to_json(path, orient="records", lines=suffix == ".jsonl")
    elif suffix in (".parquet", ".pq"):
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="\t" if suffix == ".tsv" else ",", index=False)
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".pq"])
def test_labels_are_read_from_every_usual_table(suffix: str, tmp_path: Path) -> None:
    samples = read(written(tmp_path, suffix))
    assert list(samples.labels) == LABELS
    assert samples.ids[:2] == ["0", "1"]


def read(source: str, label_column: str | None = None) -> Samples:
    table = labels_of_table(source, label_column)
    assert table is not None
    return table.samples


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_is_audited_by_predictions_and_written_with_other_labels(suffix: str, tmp_path: Path) -> None:
    logits, labels, true = made_predictions()
    np.save(tmp_path / "p.npy", softmax(logits))
    table = labels_of_table(written(tmp_path, suffix))
    assert table is not None
    assert (table.path.name, table.label_column) == (f"labels{suffix}", "label")
    audited = AuditedDataset(
        dataset="labels",
        slug="",
        label_field="label",
        audit_key="audit",
        source=table.description,
        label_column="label",
        predictions=str(tmp_path / "p.npy"),
        in_fiftyone=False,
        without_images=True,
    )
    done = audit_table(table.samples, audited, audit.AuditConfig(), tmp_path / "result")
    assert done.problem is None
    assert "With --fiftyone" not in done.report.read_text()
    flagged = done.result.scores["flag"].to_numpy()
    assert (flagged == (labels != true)).mean() > 0.95
    result = audit.AuditResult.load(tmp_path / "result")
    assert result.summary.source == audited
    corrected, output = corrected_source(result, audited), tmp_path / f"corrected{suffix}"
    assert list(corrected.labels.values()) == LABELS
    assert corrected.write(output, {"7": "class 1", "0": "class 2"}) == []
    changed = dict(enumerate(LABELS)) | {7: "class 1", 0: "class 2"}
    assert read_columns(output) == {"name": [f"sample {row}" for row in range(N)], "label": list(changed.values())}


def test_tables_with_one_name_have_a_result_each(tmp_path: Path) -> None:
    """The second has its folder's name before it, and audits of the first one again are where they were."""
    logits, _, _ = made_predictions()
    np.save(tmp_path / "p.npy", softmax(logits))
    for folder in ("one", "two", "one"):
        (tmp_path / folder).mkdir(exist_ok=True)
        options = dict.fromkeys(CHOICES) | {"source": written(tmp_path / folder, ".csv"), "audit_key": "audit"}
        options |= {"no_fiftyone": True, "predictions": str(tmp_path / "p.npy")}
        (job,) = jobs_of(options, {"backbone": "none"}, tmp_path / "results")
        assert audit_all([job], Verbosity(quiet=True)) == 0
    found = sorted(path.parent.parent.name for path in (tmp_path / "results").rglob("summary.json"))
    assert found == ["labels", "two-labels"]


def test_a_table_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(audit.InputError, match="which was audited, is gone"):
        corrected_labels(tmp_path / "labels.csv", "label")


def test_rows_that_name_pictures_by_their_numbers_are_told_from_those_without(tmp_path: Path) -> None:
    """A table of ids is without images only where no file beside it has such a name."""
    pd.DataFrame({"id": ["0001", "0002"], "label": ["a", "b"]}).to_csv(tmp_path / "train.csv", index=False)
    assert names_no_pictures(str(tmp_path / "train.csv"))
    (tmp_path / "train").mkdir()
    for name in ("0001", "0002"):
        Image.new("RGB", (8, 8)).save(tmp_path / "train" / f"{name}.png")
    assert not names_no_pictures(str(tmp_path / "train.csv"))
    assert not names_no_pictures(str(tmp_path / "train"))


def test_rows_follow_the_ids_of_the_table(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["a", "b", "c"], "y": ["x", "", "z"]}).to_csv(tmp_path / "t.csv", index=False)
    samples = read(str(tmp_path / "t.csv"))
    assert samples.ids == ["a", "b", "c"]
    assert samples.labels == ["x", None, "z"]


def test_an_index_that_pandas_named_gives_the_ids(tmp_path: Path) -> None:
    labels = pd.Series(["x", None, "z"], name="given_label", dtype="string")
    labels.to_frame().set_index(pd.Index(["a", "b", "c"], name="id")).to_parquet(tmp_path / "named.parquet")
    labels.to_frame().set_index(pd.Index(["a", "b", "c"])).to_parquet(tmp_path / "unnamed.parquet")
    named, unnamed = (read(str(tmp_path / f"{name}.parquet")) for name in ("named", "unnamed"))
    assert (named.ids, unnamed.ids) == (["a", "b", "c"], ["0", "1", "2"])
    assert named.labels == unnamed.labels == ["x", None, "z"]


def test_the_label_column_is_found_by_its_name_among_others(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": [0.5, 1.5], "y": ["a", "b"], "note": ["p", "q"]})
    table.to_csv(tmp_path / "y.csv", index=False)
    table.rename(columns={"y": "given_label", "x": "true_label"}).to_csv(tmp_path / "given.csv", sep=";", index=False)
    for name in ("y", "given"):
        assert read(str(tmp_path / f"{name}.csv")).labels == ["a", "b"]


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_a_damaged_table_is_named(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"t{suffix}").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(audit.InputError, match=rf"table '.*t{suffix}' .*check the file"):
        labels_of_table(str(tmp_path / f"t{suffix}"))


def test_tables_with_images_and_other_sources_are_left_to_others(tmp_path: Path) -> None:
    pd.DataFrame({"image": ["1.png", "2.jpg"], "label": ["a", "b"]}).to_csv(tmp_path / "images.csv", index=False)
    pd.DataFrame({"image": [b"x", b"y"], "label": ["a", "b"]}).to_parquet(tmp_path / "images.parquet")
    (tmp_path / "coco.json").write_text('{"images": [], "annotations": []}')
    (tmp_path / "list.txt").write_text("a\nb\n")
    files = [str(tmp_path / name) for name in ("images.csv", "images.parquet", "coco.json", "list.txt")]
    for source in (*files, "digits", "fiftyone:x"):
        assert labels_of_table(source) is None


def test_an_unclear_label_column_is_asked_for(tmp_path: Path) -> None:
    pd.DataFrame({"first": ["a"], "second": ["b"]}).to_csv(tmp_path / "t.csv", index=False)
    source = str(tmp_path / "t.csv")
    with pytest.raises(audit.InputError, match="--label-column: first, second"):
        labels_of_table(source)
    with pytest.raises(audit.InputError, match=r"column 'third' is not in table .*; its columns are: first, second"):
        labels_of_table(source, "third")
    assert read(source, "second").labels == ["b"]
