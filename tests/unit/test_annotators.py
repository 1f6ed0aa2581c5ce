"""Several annotators of the same samples: their consensus, how good each one is, and the audit of the consensus."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import audit
from audit.annotators.confusion import estimate_confusions
from audit.annotators.labels import AnnotatorLabels, Votes
from audit.errors import InputError
from audit.result import AuditResult
from audit.summary.parts import to_json
from integrations.cli.batch import audit_all
from integrations.cli.job import AuditJob, jobs_of
from integrations.cli.terminal import Verbosity
from integrations.corrections.corrected import corrected_source
from tests.annotators import made_up_annotators

OPTIONS = dict.fromkeys(
    ("dataset", "view", "label_field", "keep_labels", "image_column", "label_column", "images", "layout")
)
RATES = {"ann": 0.2, "bob": 0.3, "eve": 0.4}


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 64) and true labels (n,) of a quarter of scikit-learn's digits."""
    found = load_digits()
    return found.data[::4].astype(np.float32), found.target[::4]


def labelled(missing: float = 0.3, lazy: bool = False, adversary: bool = False) -> pd.DataFrame:
    """The digits' labels by three annotators, and perhaps a lazy one and an adversary."""
    true = digits()[1]
    table = made_up_annotators(true, RATES, missing, seed=0)
    if lazy:
        table["lazy"] = 0.0
    if adversary:
        table["adversary"] = (true + 1.0) % 10
    return table


def quality_of(table: pd.DataFrame) -> pd.Series:
    """The real share of right labels of each annotator."""
    true = digits()[1]
    return pd.Series({name: (table[name].dropna() == true[table[name].notna()]).mean() for name in table})


@cache
def of_pictures() -> audit.Consensus:
    """The consensus by the digits' pixels, with a lazy annotator."""
    return audit.consensus_labels(labelled(lazy=True), embeddings=digits()[0])


def right(consensus: audit.Consensus) -> float:
    return float((consensus.labels["consensus_label"] == digits()[1]).mean())


def test_pictures_make_the_consensus_better_and_labels_alone_beat_the_majority() -> None:
    table = labelled()
    majority = (AnnotatorLabels.read(table).majority() == digits()[1]).mean()
    alone = right(audit.consensus_labels(table))
    assert alone > majority
    assert right(of_pictures()) > alone + 0.05
    assert right(of_pictures()) > 0.97


def test_the_probability_of_the_consensus_is_about_how_often_it_is_right() -> None:
    found = audit.consensus_labels(labelled())
    assert found.labels["consensus_probability"].mean() == pytest.approx(right(found), abs=0.03)


def test_quality_is_near_the_real_one_and_a_lazy_annotator_is_the_worst() -> None:
    found = of_pictures().annotators
    assert found["annotator_quality"].to_dict() == pytest.approx(quality_of(labelled(lazy=True)).to_dict(), abs=0.02)
    assert list(found.index) == ["lazy", "eve", "bob", "ann"]
    assert (found.loc[["ann", "bob", "eve"], "num_examples_labeled"] < len(digits()[1])).all()


def test_an_annotator_who_is_always_wrong_in_the_same_way_helps() -> None:
    with_adversary = audit.consensus_labels(labelled(adversary=True))
    assert right(with_adversary) > 0.9
    assert with_adversary.annotators["annotator_quality"]["adversary"] < 0.05


def test_confusions_are_those_that_annotators_make() -> None:
    table, true = labelled(missing=0.0), digits()[1]
    found = audit.consensus_labels(table, embeddings=digits()[0])
    for name in table:
        counted = pd.crosstab(true, table[name].astype(int), normalize="index").to_numpy()
        assert np.abs(found.confusion_of(name) - counted).mean() < 0.02
    rows = found.confusions.groupby(["annotator", "true_class"])["probability"].sum()
    np.testing.assert_allclose(rows, 1.0)


def test_predictions_help_too_whatever_the_order_of_a_tables_columns() -> None:
    table, true = labelled(missing=0.5), digits()[1]
    predicted = np.full((len(true), 10), 0.02)
    predicted[np.arange(len(true)), np.where(np.arange(len(true)) % 5, true, (true + 3) % 10)] = 0.82
    named = pd.DataFrame(predicted, columns=range(10))[[3, 1, 2, 0, 9, 8, 7, 4, 5, 6]]
    by_order, by_name = (audit.consensus_labels(table, predictions=given) for given in (predicted, named))
    pd.testing.assert_frame_equal(by_order.labels, by_name.labels)
    assert right(by_order) > right(audit.consensus_labels(table)) + 0.05


def test_the_same_labels_in_other_forms_have_the_same_consensus() -> None:
    table = labelled()
    array = table.to_numpy()
    with_gaps = np.where(np.isnan(array), -1, array).astype(int)
    rows = [[None if np.isnan(value) else int(value) for value in row] for row in array]
    expected = audit.consensus_labels(table).labels["consensus_label"].tolist()
    for given in (array, with_gaps, rows, torch.from_numpy(with_gaps), np.ma.masked_equal(with_gaps, -1)):
        assert audit.consensus_labels(given).labels["consensus_label"].tolist() == expected
    texts = table.map(lambda value: "" if np.isnan(value) else f"digit {int(value)}")
    assert audit.consensus_labels(texts).labels["consensus_label"].tolist() == [f"digit {label}" for label in expected]


def test_a_sample_without_any_label_has_no_consensus_and_an_index_is_kept() -> None:
    table = labelled(missing=0.0)
    table.index = pd.Index([f"image-{row}" for row in range(len(table))])
    table.iloc[4] = None
    found = audit.consensus_labels(table).labels
    assert found.index.equals(table.index)
    assert found.loc["image-4", "consensus_label"] is None
    assert np.isnan(found.loc["image-4", "consensus_probability"])
    assert found.loc["image-4", "num_annotations"] == 0
    assert found["consensus_probability"].drop("image-4").between(0, 1).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[0], [1]], "1 column"),
        ([0, 1, 2], "give (n, A)"),
        (pd.DataFrame({"a": [0, 1], "b": [None, None]}), "annotator 'b' gave no label"),
        (pd.DataFrame({"a": [0, 1], "b": ["x", "y"]}), "as one type"),
        (pd.DataFrame({"a": [0.5, 1], "b": [1, 2]}), "labels of annotator 'a'"),
        (pd.DataFrame([[0, 1], [1, 0]], columns=["a", "a"]), "two annotators have the same name"),
        ([[1, 1], [1, 1]], "the same label (1)"),
    ],
)
def test_labels_that_are_no_annotations_are_refused_in_one_line(labels: Any, message: str) -> None:
    with pytest.raises(InputError) as refused:
        audit.consensus_labels(labels)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_embeddings_of_another_number_of_rows_are_refused() -> None:
    with pytest.raises(InputError, match="embeddings have 5 rows"):
        audit.consensus_labels(labelled(), embeddings=np.ones((5, 2)))


def test_confusions_of_few_labels_are_shrunk_to_those_of_all_annotators() -> None:
    counts = torch.zeros(3, 4, 4, dtype=torch.float64)
    counts[:2] = torch.eye(4) * 80 + torch.tensor([0.0, 20.0, 0.0, 0.0])  # everybody takes the others for class 1
    found = estimate_confusions(counts)
    assert torch.isfinite(found).all()
    assert (found > 0).all()
    torch.testing.assert_close(found.sum(2), torch.ones(3, 4, dtype=torch.float64))
    assert found[2, 0, 1] > found[2, 0, 2]  # the third annotator labelled nothing


def test_exchanged_votes_change_only_who_gave_one_of_the_two_classes() -> None:
    annotated = AnnotatorLabels.read([[0, 1, 2], [1, 1, 0]])
    votes = Votes.of(annotated, annotated.classes)
    exchanged = votes.with_exchanged(torch.tensor([0, 1]), torch.tensor([1, 1]))
    assert exchanged.label.tolist() == [1, 0, 2, 1, 1, 0]


@cache
def audited(inject: float = 0.0) -> AuditResult:
    table = labelled(lazy=True)
    return audit.audit_embeddings(digits()[0], None, annotators=table, config=audit.AuditConfig(inject=inject))


def test_an_audit_of_annotators_audits_their_consensus() -> None:
    result, expected = audited(), of_pictures().labels
    scores = result.scores
    assert scores["label"].tolist() == expected["consensus_label"].tolist()
    np.testing.assert_allclose(scores["consensus_probability"], expected["consensus_probability"], atol=1e-6)
    np.testing.assert_allclose(scores["suspicion"], 1 - scores["consensus_probability"], atol=1e-6)
    assert any("the consensus of 4 annotators" in note for note in result.summary.notes)


def test_the_range_of_wrong_consensus_labels_holds_their_number() -> None:
    table, true = labelled(missing=0.5), digits()[1]
    predicted = np.full((len(true), 10), 0.02)
    predicted[np.arange(len(true)), np.where(np.arange(len(true)) % 5, true, (true + 3) % 10)] = 0.82
    result = audit.audit_embeddings(None, None, predictions=predicted, annotators=table)
    wrong, estimates = int((result.scores["label"] != true).sum()), result.summary.estimates
    assert estimates.mistakes_low <= wrong <= estimates.mistakes_high
    assert estimates.mistakes == pytest.approx(result.scores["suspicion"].sum(), abs=1e-4)
    assert [model.model for model in estimates.models] == ["noise model"]


def test_the_summary_lists_annotators_from_the_worst_to_the_best(tmp_path: Path) -> None:
    saved = AuditResult.load(audited().save(tmp_path / "result")).summary
    assert [found.name for found in saved.annotators] == ["lazy", "eve", "bob", "ann"]
    assert saved.annotators[0].confusions[0].given == 0
    assert to_json(saved)["annotators"][0]["quality"] < 0.2


def test_mislabels_injected_into_a_consensus_are_found() -> None:
    detection = audited(inject=0.1).summary.detection
    assert detection is not None
    assert detection.average_precision > 0.9


def test_settings_that_do_not_go_with_annotators_are_refused() -> None:
    x, table = digits()[0], labelled()
    with pytest.raises(InputError, match="validation_trusted"):
        audit.audit_embeddings(x, None, annotators=table, config=audit.AuditConfig(validation_trusted=True))
    with pytest.raises(InputError, match="takes the place of labels"):
        audit.audit_embeddings(x, digits()[1], annotators=table)


def job(source: Path, root: Path, **given: object) -> AuditJob:
    """What the command makes of `--annotators` without FiftyOne."""
    options = OPTIONS | {"source": str(source), "audit_key": "audit", "no_fiftyone": True, "annotators": True} | given
    (made,) = jobs_of(options, {"backbone": "none"}, root)
    return made


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs two label columns or more, and 0"),
        ({"label_field": "ann"}, "needs two label columns or more, and 1"),
        ({"label_field": ["ann,bob", "bob", "bob"]}, "names an annotator twice"),
        ({"label_field": "ann,bob", "label_column": "ann,bob"}, "use one of them"),
        ({"label_field": "ann,bob", "keep_labels": "cat"}, "--keep-labels"),
    ],
)
def test_options_that_name_no_annotators_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        job(Path("labels.csv"), Path(), **given)


def test_a_column_whose_name_holds_a_comma_is_named_by_itself() -> None:
    assert job(Path("labels.csv"), Path(), label_field=["Ann, Bob", "eve"]).annotators == ("Ann, Bob", "eve")
    assert job(Path("labels.csv"), Path(), label_column="ann, eve").annotators == ("ann", "eve")


def test_label_columns_of_a_table_without_images_are_audited_by_predictions(tmp_path: Path) -> None:
    table, true = labelled(missing=0.5), digits()[1]
    table.map(lambda value: "" if np.isnan(value) else f"digit {int(value)}").to_csv(tmp_path / "labels.csv")
    predicted = np.full((len(true), 10), 0.05)
    predicted[np.arange(len(true)), true] = 0.55
    np.save(tmp_path / "p.npy", predicted)
    one = job(
        tmp_path / "labels.csv", tmp_path / "results", label_field="ann,bob,eve", predictions=str(tmp_path / "p.npy")
    )
    assert audit_all([one], Verbosity(quiet=True)) == 0
    (folder,) = (path.parent for path in (tmp_path / "results").rglob("summary.json"))
    result = AuditResult.load(folder)
    assert {annotator.name for annotator in result.summary.annotators} == set(RATES)
    assert (result.scores["label"] == [f"digit {label}" for label in true]).mean() > 0.9
    source = result.summary.source
    assert source is not None
    corrected_source(result, source).write(tmp_path / "corrected.csv", {"3": "digit 7"})
    written = pd.read_csv(tmp_path / "corrected.csv", index_col=0)
    assert written["consensus_label"].tolist() == [*result.scores["label"][:3], "digit 7", *result.scores["label"][4:]]
    assert 'id="annotators"' in (folder / "report.html").read_text()
    assert "the consensus of 3 annotators" in (folder / "summary.md").read_text()


def test_label_columns_of_a_table_of_images_are_audited_without_fiftyone(tmp_path: Path) -> None:
    x, true = digits()
    table = labelled(lazy=True).map(lambda value: "" if np.isnan(value) else f"digit {int(value)}")
    names = [f"{row:03d}.png" for row in range(len(true))]
    for name, pixels in zip(names, x.reshape(-1, 8, 8), strict=True):
        Image.fromarray((pixels * 15).astype(np.uint8)).save(tmp_path / name)
    table.insert(0, "file", names)
    table.to_csv(tmp_path / "labels.csv", index=False)
    np.save(tmp_path / "x.npy", x)
    one = job(
        tmp_path / "labels.csv",
        tmp_path / "results",
        label_column="ann,bob,eve,lazy",
        embeddings=str(tmp_path / "x.npy"),
    )
    assert audit_all([one], Verbosity(quiet=True)) == 0
    (folder,) = (path.parent for path in (tmp_path / "results").rglob("summary.json"))
    result = AuditResult.load(folder)
    assert result.scores["key"].tolist() == names
    assert result.scores["label"].tolist() == [
        f"digit {label}" for label in of_pictures().labels["consensus_label"].astype(int)
    ]
    source = result.summary.source
    assert source is not None
    assert (source.annotators, source.label_column) == (("ann", "bob", "eve", "lazy"), "ann,bob,eve,lazy")
    corrected, output = corrected_source(result, source), tmp_path / "corrected.csv"
    assert corrected.write(output, {"001.png": "digit 7"}) == ["the consensus is the new column consensus_label"]
    read = pd.read_csv(output)
    assert read.drop(columns="consensus_label").equals(pd.read_csv(tmp_path / "labels.csv"))
    expected = result.scores["label"].tolist()
    expected[1] = "digit 7"
    assert read["consensus_label"].tolist() == expected
    (tmp_path / "labels.csv").write_bytes(output.read_bytes())
    with pytest.raises(InputError, match="has a column 'consensus_label' already; rename it"):
        corrected.write(output, {})
