"""Several annotators in FiftyOne: label fields of a dataset, and label columns of a table that is imported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fiftyone as fo
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from audit.errors import InputError
from audit.result import AuditResult
from integrations.cli.batch import audit_all
from integrations.cli.job import jobs_of
from integrations.cli.terminal import Verbosity
from integrations.fiftyone import audit_dataset
from integrations.fiftyone.annotators import consensus_key
from integrations.fiftyone.columns import audit_key_for
from reports.next_steps import run_again
from tests.annotators import made_up_annotators

N, CLASSES = 120, np.array(["cat", "dog", "owl"])
TRUE = np.arange(N) % 3
NAMES = ("ann", "bob", "eve")
OPTIONS = dict.fromkeys(
    ("dataset", "view", "label_field", "keep_labels", "image_column", "label_column", "images", "layout")
)


def labels() -> pd.DataFrame:
    """Labels by three annotators, None where one is missing."""
    numbers = made_up_annotators(TRUE, dict(zip(NAMES, (0.1, 0.2, 0.4), strict=True)), missing=0.2, seed=1)
    texts = {name: [None if np.isnan(k) else str(CLASSES[int(k)]) for k in numbers[name]] for name in numbers}
    return pd.DataFrame(texts, dtype=object)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for row in range(N):
        colour = (np.eye(3)[TRUE[row]] * 160 + rng.normal(50, 15, size=(8, 8, 3))).clip(0, 255)
        Image.fromarray(colour.astype(np.uint8)).save(folder / f"{row:03d}.png")
    return folder


@pytest.fixture(scope="module")
def dataset(pictures: Path) -> Iterator[fo.Dataset]:
    """The labels in fields of three kinds, and a vector for each picture."""
    x = 2 * np.eye(3)[TRUE] + np.random.default_rng(0).normal(size=(N, 3))
    made = fo.Dataset()
    made.add_samples(
        [
            fo.Sample(
                filepath=str(pictures / f"{row:03d}.png"),
                vectors=x[row],
                ann=None if ann is None else fo.Classification(label=ann),
                bob=bob,
                eve=None if eve is None else fo.Classifications(classifications=[fo.Classification(label=eve)]),
            )
            for row, (ann, bob, eve) in enumerate(labels().itertuples(index=False))
        ],
        progress=False,
    )
    yield made
    made.delete()


def test_the_consensus_of_label_fields_is_a_field_that_is_audited(dataset: fo.Dataset, tmp_path: Path) -> None:
    result = audit_dataset(dataset, annotators=NAMES, embeddings="vectors", save_to=tmp_path / "result")
    consensus = dataset.values("consensus_audit.label")
    assert (np.array(consensus) == CLASSES[TRUE]).mean() > 0.95
    assert dataset.values("consensus_audit.confidence") == result.scores["consensus_probability"].tolist()
    assert dataset.get_run_info("audit").config.label_field == "consensus_audit"
    assert {annotator.name for annotator in result.summary.annotators} == set(NAMES)
    assert run_again(result.summary).endswith("--embeddings vectors --annotators --label-field ann,bob,eve")
    again = audit_dataset(dataset, annotators=NAMES, embeddings="vectors")
    assert again.scores["label"].tolist() == consensus


def test_a_consensus_does_not_replace_the_audit_of_one_annotator(dataset: fo.Dataset) -> None:
    audit_dataset(dataset, "ann", audit_key="one", embeddings="vectors")
    assert consensus_key(dataset, "one") == "one_consensus"
    assert consensus_key(dataset, "free") == "free"


def test_an_audit_does_not_replace_that_of_another_field_and_its_decisions(dataset: fo.Dataset) -> None:
    audit_dataset(dataset, "bob", audit_key="first", embeddings="vectors")
    assert audit_key_for(dataset, "first", "bob") == "first"
    assert audit_key_for(dataset, "first", "ann") == "first_ann"
    with pytest.raises(InputError, match=r"is of the field 'bob', .*such as audit_key='first_ann'"):
        audit_dataset(dataset, "ann", audit_key="first", embeddings="vectors")
    with pytest.raises(InputError, match="is of the field 'bob'"):
        audit_dataset(dataset, annotators=NAMES, audit_key="first", embeddings="vectors")
    assert not dataset.has_field("consensus_first")


def test_fields_that_hold_no_labels_are_refused_before_anything_is_made(dataset: fo.Dataset) -> None:
    with pytest.raises(InputError, match=r"'vectors' is no label field .* its label fields are: "):
        audit_dataset(dataset, audit_key="other", annotators=["ann", "vectors"], embeddings="vectors")
    assert not dataset.has_field("consensus_other")


def test_columns_of_a_table_are_imported_each_into_its_field(pictures: Path, tmp_path: Path) -> None:
    table = labels().fillna("")
    table.insert(0, "file", [f"{pictures.name}/{row:03d}.png" for row in range(N)])
    table["lazy"] = "cat"
    path = pictures.parent / "labels_by_annotators.csv"
    table.to_csv(path, index=False)
    options = OPTIONS | {"source": str(path), "audit_key": "audit", "no_fiftyone": False}
    columns = {"label_field": "ann,bob,eve,lazy", "annotators": True}
    jobs = jobs_of(options | columns, {"weights": "bundled", "device": "cpu"}, tmp_path)
    assert audit_all(jobs, Verbosity(quiet=True)) == 0
    made = fo.load_dataset("labels_by_annotators")
    try:
        assert {"ground_truth", "bob", "eve", "lazy"} <= set(made.get_field_schema())
        result = AuditResult.load(tmp_path / made.name / "audit")
        assert [annotator.name for annotator in result.summary.annotators] == ["lazy", "eve", "bob", "ann"]
        assert made.values("consensus_audit.label") == result.scores["label"].tolist()
        assert "--annotators --label-field ann,bob,eve,lazy" in run_again(result.summary)
    finally:
        made.delete()
