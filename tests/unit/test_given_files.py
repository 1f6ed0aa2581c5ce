"""Embeddings and predictions in files, for samples that are not in FiftyOne."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import audit
from audit.data.samples import Samples
from integrations.given_files import given_in_files
from integrations.sources import ImportedSource, resolve_source

N = 6
SAMPLES = Samples([f"train/{row:06d}" for row in range(N)], [f"pictures/{row}.png" for row in range(N)], ["a", "b"] * 3)
X = np.arange(2.0 * N).reshape(N, 2)


def saved(folder: Path, table: pd.DataFrame) -> str:
    table.to_parquet(folder / "x.parquet")
    return str(folder / "x.parquet")


def read(file: str) -> np.ndarray:
    given = given_in_files(SAMPLES, [file], None).embeddings
    assert given is not None
    return given.values


@pytest.mark.parametrize(
    "names",
    [
        SAMPLES.ids,
        SAMPLES.images,
        [f"{row}.png" for row in range(N)],
        [f"elsewhere/pictures/{row}.png" for row in range(N)],
    ],
    ids=["ids", "paths", "file names", "ends of paths"],
)
def test_rows_name_their_samples_in_any_usual_way(tmp_path: Path, names: list[str]) -> None:
    order = [3, 1, 5, 0, 2, 4]
    table = pd.DataFrame({"file_name": [names[row] for row in order], "a": X[order, 0], "b": X[order, 1]})
    np.testing.assert_array_equal(read(saved(tmp_path, table)), X)


def test_a_csv_file_is_a_table_and_keeps_names_that_look_like_numbers(tmp_path: Path) -> None:
    samples = Samples([f"00{row}" for row in range(N)], SAMPLES.images, ["a", "b"] * 3)
    table = pd.DataFrame({"id": samples.ids, "a": X[:, 0], "b": X[:, 1]})[::-1]
    table.to_csv(tmp_path / "x.csv", index=False)
    found = given_in_files(samples, [str(tmp_path / "x.csv")], None).embeddings
    assert found is not None
    np.testing.assert_array_equal(found.values, X)


def test_row_numbers_an_index_and_vectors_in_a_column_are_read(tmp_path: Path) -> None:
    order = [3, 1, 5, 0, 2]
    numbered = pd.DataFrame({"id": order, "vector": [X[row] for row in order]})
    found = read(saved(tmp_path, numbered))
    np.testing.assert_array_equal(found[order], X[order])
    assert np.isnan(found[4]).all()
    indexed = pd.DataFrame(X[order], columns=["a", "b"], index=pd.Index([SAMPLES.ids[row] for row in order], name="id"))
    np.testing.assert_array_equal(read(saved(tmp_path, indexed)), found)


def test_files_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X[:4])
    pd.DataFrame({"id": ["train/000001"] * 2, "a": [1.0, 2.0]}).to_parquet(tmp_path / "twice.parquet")
    pd.DataFrame({"id": ["x", "y"], "a": [1.0, 2.0]}).to_parquet(tmp_path / "others.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name, reason in {
        "x.npy": "has 4 rows, and there are 6 samples",
        "twice.parquet": "names sample 'train/000001' more than once",
        "others.parquet": "names no sample",
        "broken.parquet": "cannot be read",
        "pickled.npy": "cannot be read",
        "none.npy": "there is no such file",
        "field": "without FiftyOne, give a file",
    }.items():
        with pytest.raises(audit.InputError, match=reason) as error:
            read(str(tmp_path / name))
        assert "\n" not in str(error.value)


def test_predictions_are_read_by_class_names(tmp_path: Path) -> None:
    table = pd.DataFrame({"b": np.linspace(0, 1, N), "a": np.linspace(1, 0, N)})
    given = given_in_files(SAMPLES, [], saved(tmp_path, table)).predictions
    assert given is not None
    classes = np.array(["a", "b"])
    np.testing.assert_allclose(given.of_classes(classes, classes)[:, 0], np.linspace(1, 0, N), atol=1e-6)


@pytest.mark.parametrize("form", ["array", "row numbers"])
def test_rows_are_those_of_the_source_where_pictures_are_missing(form: str, tmp_path: Path) -> None:
    """A file has a row for each row of the source, and two of its pictures are not there."""
    there = [0, 1, 3, 5]
    samples = Samples([SAMPLES.ids[row] for row in there], [SAMPLES.images[row] for row in there], ["a", "b", "a", "b"])
    np.save(tmp_path / "x.npy", X)
    table = pd.DataFrame({"id": range(N), "a": X[:, 0], "b": X[:, 1]})
    file = str(tmp_path / "x.npy") if form == "array" else saved(tmp_path, table)
    found = given_in_files(samples, [file], None, SAMPLES.ids).embeddings
    assert found is not None
    np.testing.assert_array_equal(found.values, X[there])
    np.save(tmp_path / "audited.npy", X[there])
    found = given_in_files(samples, [str(tmp_path / "audited.npy")], None, SAMPLES.ids).embeddings
    assert found is not None
    np.testing.assert_array_equal(found.values, X[there])


def test_a_source_knows_the_order_of_all_its_rows(tmp_path: Path) -> None:
    pictures = [f"{row}.png" for row in range(5)]
    for name in (*pictures[:2], *pictures[3:]):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    table = pd.DataFrame({"file": [*pictures, ""], "label": ["a", "b", "a", "b", "a", "b"]})
    table.to_csv(tmp_path / "labels.csv", index=False)
    found = resolve_source(f"table:{tmp_path / 'labels.csv'}")
    assert isinstance(found, ImportedSource)
    assert found.images.order == [*pictures, ""]
    assert len(found.images) == 4
    chosen = resolve_source(f"table:{tmp_path / 'labels.csv'}", keep_labels=["a"])
    assert isinstance(chosen, ImportedSource)
    assert chosen.images.order == [*pictures, ""]
