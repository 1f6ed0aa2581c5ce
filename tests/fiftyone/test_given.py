"""Audits of FiftyOne datasets by embeddings and predictions from fields, brain runs and files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.brain as fob
import fiftyone.operators as foo
import numpy as np
import pandas as pd
import pytest
from fiftyone.operators.executor import ExecutionContext
from PIL import Image

import audit
from audit.data.given import Given
from integrations.fiftyone import audit_dataset
from integrations.fiftyone.background_audit import find_job, results_home
from integrations.fiftyone.given import GivenInputs
from integrations.fiftyone.given_choices import embedding_choices, prediction_choices
from integrations.fiftyone.plugin_install import PLUGIN, install_plugin
from reports.next_steps import run_again
from tests.predicted import softmax
from tests.waiting import wait_until

N, CLASSES = 90, ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fo.Dataset]:
    """Pictures of three classes, with vectors, a similarity run and logits; sample 5 lacks all three."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    true = np.arange(N) % 3
    x = 3 * np.eye(3)[true] @ rng.normal(size=(3, 6)) + rng.normal(size=(N, 6))
    logits = 3 * np.eye(3)[true] + rng.normal(size=(N, 3))
    samples = []
    for row in range(N):
        path = folder / f"{row:03d}.png"
        Image.new("RGB", (8, 8), (row, 0, 0)).save(path)
        label = CLASSES[(true[row] + (row % 15 == 0)) % 3]
        sample = fo.Sample(filepath=str(path), ground_truth=fo.Classification(label=label))
        if row != 5:
            sample["vectors"] = x[row]
            sample["probabilities"] = softmax(logits[row : row + 1])[0]
            sample["predicted"] = fo.Classification(label=CLASSES[int(logits[row].argmax())], logits=logits[row])
        samples.append(sample)
    made = fo.Dataset()
    made.add_samples(samples, progress=False)
    have = made.exists("vectors")
    fob.compute_similarity(have, embeddings="vectors", brain_key="similar", backend="sklearn", progress=False)
    yield made
    made.delete()


def read(dataset: fo.SampleCollection, embeddings: object = None, predictions: object = None) -> Given:
    return GivenInputs.of(embeddings, predictions).read(dataset, "ground_truth")


def test_a_field_and_a_brain_run_give_the_same_embeddings(dataset: fo.Dataset) -> None:
    field, run = (read(dataset, name).embeddings for name in ("vectors", "similar"))
    assert field is not None
    assert run is not None
    assert field.missing.nonzero()[0].tolist() == [5]
    np.testing.assert_allclose(field.values, run.values, rtol=1e-6)


def test_logits_and_probabilities_give_the_same_predictions(dataset: fo.Dataset) -> None:
    logits, probabilities = (read(dataset, None, name).predictions for name in ("predicted", "probabilities"))
    assert logits is not None
    assert probabilities is not None
    assert logits.missing.nonzero()[0].tolist() == [5]
    np.testing.assert_allclose(logits.probabilities, probabilities.probabilities, atol=1e-5)


def test_files_follow_the_dataset_or_name_their_samples(dataset: fo.Dataset, tmp_path: Path) -> None:
    values = np.arange(2.0 * N).reshape(N, 2)
    np.save(tmp_path / "x.npy", values)
    view = dataset[10:40]
    in_order = read(view, tmp_path / "x.npy").embeddings
    assert in_order is not None
    np.testing.assert_array_equal(in_order.values, values[10:40])
    order = np.random.default_rng(0).permutation(N)[:-3]
    ids, paths = (np.array(dataset.values(name)) for name in ("id", "filepath"))
    names = {"id": ids, "filepath": paths, "file_name": [Path(path).name for path in paths]}
    for column, named in names.items():
        table = pd.DataFrame({column: np.array(named)[order], "a": values[order, 0], "b": values[order, 1]})
        table.to_parquet(tmp_path / "x.parquet")
        found = read(dataset, str(tmp_path / "x.parquet")).embeddings
        assert found is not None
        np.testing.assert_array_equal(found.values[order], values[order])
        assert found.missing.sum() == 3


def test_rows_of_a_file_may_have_the_order_of_the_source(dataset: fo.Dataset, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(N + 1.0)[:, None])
    names = [f"train/{row:06d}" for row in range(N)]
    dataset.set_values("source_id", names)
    order = ["train/left-out", *reversed(names)]
    found = GivenInputs.of(tmp_path / "x.npy", None, order).read(dataset, "ground_truth").embeddings
    dataset.delete_sample_field("source_id")
    assert found is not None
    assert found.values[:, 0].tolist() == list(range(N, 0, -1))


def test_what_does_not_fit_is_refused_and_names_what_there_is(dataset: fo.Dataset, tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", np.zeros((7, 2)))
    pd.DataFrame({"id": ["a", "b"], "x": [1.0, 2.0], "y": [0.0, 1.0]}).to_parquet(tmp_path / "others.parquet")
    refused = {
        ("vector", None): "it has vector fields: vectors, probabilities; brain runs: similar",
        ("ground_truth", None): "holds no vectors",
        (str(tmp_path / "short.npy"), None): "has 7 rows, and there are 90 samples",
        (str(tmp_path / "others.parquet"), None): "names no sample of the dataset",
        (str(tmp_path / "none.npy"), None): "there is no such file",
        (None, "ground_truth"): "has no logits",
        (None, "prediction"): "is no field",
    }
    for (embeddings, predictions), reason in refused.items():
        with pytest.raises(audit.InputError, match=reason) as error:
            read(dataset, embeddings, predictions)
        assert "\n" not in str(error.value)
    dataset.default_classes = ["owl", "cat", "dog"]
    with pytest.raises(audit.InputError, match=r"by the class names \('owl', 'cat', ...\), and its label is"):
        read(dataset, None, "predicted")
    dataset.default_classes = []


def test_an_audit_by_predictions_alone_is_written_into_the_dataset(dataset: fo.Dataset, tmp_path: Path) -> None:
    config = audit.AuditConfig(backbone="none")
    result = audit_dataset(dataset, audit_key="alone", config=config, predictions="predicted", save_to=tmp_path / "r")
    assert result.summary.counts.without_input == 1
    assert dataset.values("alone_influence") == [None] * N
    suspicion = dataset.values("alone_suspicion")
    assert suspicion[5] is None
    assert all(suspicion[row] > 0.5 for row in (0, 15, 30))
    assert dataset.load_saved_view("alone: flagged").values("id") == result.flagged.index.tolist()
    assert run_again(result.summary).endswith("--predictions predicted --audit-key alone --backbone none")


def test_an_audit_by_embeddings_and_predictions_says_what_they_were(dataset: fo.Dataset) -> None:
    result = audit_dataset(dataset, audit_key="both", embeddings=["vectors", "similar"], predictions="probabilities")
    source = result.summary.source
    assert source is not None
    assert source.embeddings == ("vectors", "similar")
    assert source.predictions == "probabilities"
    assert "--embeddings vectors --embeddings similar --predictions probabilities" in run_again(result.summary)
    assert len(result.thumbnails) > 0


# --- in the App -----------------------------------------------------------------------------------------------------


def form(dataset: fo.Dataset, **params: Any) -> dict[str, Any]:
    """The properties of the form of 'Audit labels', as FiftyOne resolves it for the App."""
    install_plugin()
    operator = foo.get_operator(f"{PLUGIN}/audit_labels")
    context = ExecutionContext(
        operator_uri=operator.uri, request_params={"dataset_name": dataset.name, "params": params, "target": "audit"}
    )
    return operator.resolve_input(context).to_json()["type"]["properties"]


def choices_of(prop: dict[str, Any]) -> list[str]:
    return [choice["value"] for choice in prop["view"]["choices"]]


def test_the_form_offers_what_the_dataset_has(dataset: fo.Dataset) -> None:
    assert list(embedding_choices(dataset)) == ["vectors", "probabilities", "similar"]
    assert list(prediction_choices(dataset, "ground_truth")) == ["predicted", "probabilities"]
    shown = form(dataset)
    assert choices_of(shown["embeddings"]) == ["vectors", "probabilities", "similar"]
    assert choices_of(shown["predictions"]) == ["predicted", "probabilities"]
    assert "predictions_in_sample" not in shown
    chosen = form(dataset, predictions="predicted")
    assert {"predictions_in_sample", "predictions_alone"} <= set(chosen)
    assert not any(prop["invalid"] for prop in chosen.values())
    wrong = form(dataset, embeddings=["vectors", "no such"], predictions="similar")
    assert wrong["embeddings"]["error_message"] == (
        "embeddings 'no such' is not on the dataset; it has: vectors, probabilities, similar"
    )
    assert wrong["predictions"]["invalid"]
    plain = fo.Dataset()
    plain.add_sample(fo.Sample(filepath="1.png", ground_truth=fo.Classification(label="cat")))
    assert not {"embeddings", "predictions"} & set(form(plain))
    plain.delete()


def test_what_the_form_chose_is_what_the_audit_takes(dataset: fo.Dataset) -> None:
    install_plugin()
    operator = foo.get_operator(f"{PLUGIN}/audit_labels")
    operator(dataset, audit_key="in_app", embeddings="vectors", predictions="predicted")
    summary = audit.AuditResult.load(results_home(dataset, "in_app")).summary
    assert summary.source is not None
    assert (summary.source.embeddings, summary.source.predictions) == (("vectors",), "predicted")
    operator(dataset, audit_key="in_app_alone", predictions="predicted", predictions_alone=True, own_process=True)
    wait_until(lambda: find_job(dataset, "in_app_alone").state != "running", 120)  # type: ignore[union-attr]
    job = find_job(dataset, "in_app_alone")
    assert job is not None
    assert job.state == "done", job.message
    summary = audit.AuditResult.load(results_home(dataset, "in_app_alone")).summary
    assert (summary.config.backbone, summary.heads) == ("none", None)
