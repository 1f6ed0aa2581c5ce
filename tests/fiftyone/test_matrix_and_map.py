"""The matrix of classes and the map of pictures, which are linked with the grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
import pytest
from fiftyone import ViewField as F

from audit.config import AuditConfig
from audit.errors import InputError
from integrations.fiftyone.background_audit import audit_in_app, results_home
from integrations.fiftyone.embedding_map import make_map, principal_plane
from integrations.fiftyone.plugin_install import PLUGIN
from integrations.fiftyone.review import QueueFilter, class_matrix, dismiss
from integrations.fiftyone.review.class_matrix import CLASSES_SHOWN
from tests.fiftyone.panel_window import opened
from tests.sixty_digits import audited_digits, sixty_digits

pytestmark = pytest.mark.usefixtures("plugin_installed")

Names = Callable[[str], str]


@pytest.fixture
def dataset(dataset_name: Names) -> fo.Dataset:
    """Sixty digits of three classes with a written audit."""
    return audited_digits(dataset_name("digits by class"))


def of_pair(dataset: fo.Dataset, given: str, suggested: str) -> fo.DatasetView:
    return dataset.match((F("ground_truth.label") == given) & (F("audit_suggested.label") == suggested))


def test_the_matrix_counts_what_waits_by_given_and_suggested_class(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    window.event("move_threshold", value=0.3)
    found = window.ask("matrix")
    above = dataset.match(F("audit_suspicion") >= 0.3)
    assert found["classes"] == ["0", "1", "2"]
    for given, row in zip(found["classes"], found["counts"], strict=True):
        for suggested, count in zip(found["classes"], row, strict=True):
            assert count == (0 if given == suggested else len(of_pair(above, given, suggested)))
    decided = of_pair(above, "0", "1").first().id
    dismiss(dataset, "audit", [decided])
    assert window.ask("matrix")["counts"][0][1] == found["counts"][0][1] - 1
    window.view = above.limit(7)._serialize()  # a view of the grid limits it
    assert sum(map(sum, window.ask("matrix")["counts"])) <= 7


def test_a_cell_shows_its_samples_in_the_grid_and_the_grid_marks_its_cell(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    window.event("move_threshold", value=0.3)
    before = window.ask("matrix")
    window.event("choose_pair", given="0", suggested="1")
    pair = of_pair(dataset.match(F("audit_suspicion") >= 0.3), "0", "1").values("id")
    assert sorted(window.shown_ids()) == sorted(pair) == sorted(window.queue())
    assert window.shows("class **0** \\u2192 **1**")
    assert window.shows(f"at least 0.30: {len(pair)} samples of class 0 with 1 suggested")
    assert window.shows(f"##### {len(pair)}\\nat or above 0.30, 1 suggested")
    assert window.ask("matrix") == before  # the other cells can still be chosen
    window.event("on_load")  # the page was loaded again, with the view
    assert (window.state["class_label"], window.state["suggested"]) == ("0", "1")
    window.event("choose_pair")
    assert window.state["suggested"] is None
    assert len(window.shown_ids()) == len(dataset.match(F("audit_suspicion") >= 0.3))


def test_a_matrix_of_many_classes_shows_those_with_most_samples_and_says_what_is_left_out(
    dataset_name: Names,
) -> None:
    dataset = audited_digits(dataset_name("digits of many classes"))
    labels = [f"class {number:02}" for number in range(60)]
    dataset.set_values("ground_truth.label", labels)
    dataset.set_values("audit_suggested.label", [labels[(number + 1) % 60] for number in range(60)])
    found = class_matrix(dataset, "audit", QueueFilter())
    assert len(found.classes) == CLASSES_SHOWN
    assert found.classes_left_out == 60 - CLASSES_SHOWN
    assert sum(map(sum, found.counts)) + found.left_out == 60


# --- the map --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def audited() -> Iterator[fo.Dataset]:
    """Sixty digits with a real audit whose result is saved."""
    dataset = sixty_digits("digits on a map")
    config = AuditConfig(weights="bundled", device="cpu", image_size=32)
    audit_in_app(dataset, "ground_truth", "audit", config)
    dataset.reload()
    yield dataset
    fo.delete_dataset(dataset.name)


def test_the_map_is_a_brain_run_that_the_panel_embeddings_shows(audited: fo.Dataset) -> None:
    window = opened(audited)
    window.event("show_map", audit_key="audit")
    assert "prompt_user_for_operation" in window.triggered  # there is none yet: its form
    made = foo.get_operator(f"{PLUGIN}/map_pictures")(audited)
    assert made == {"brain_key": "audit_map"}
    audited.reload()
    results = audited.load_brain_results("audit_map")
    assert results.points.shape == (60, 2)
    assert set(results.sample_ids) == set(audited.values("id"))
    for label in audited.distinct("ground_truth.label"):  # alike pictures lie together
        own = results.points[[sample == label for sample in audited.values("ground_truth.label")]]
        assert np.linalg.norm(own.std(axis=0)) < np.linalg.norm(results.points.std(axis=0)) * 1.05
    window.event("show_map", audit_key="audit")
    assert window.triggered["open_panel"]["name"] == "Embeddings"
    assert make_map(audited, "audit") == "audit_map"  # again: it is replaced


def test_the_map_is_renamed_and_deleted_with_its_audit(audited: fo.Dataset, tmp_path: Path) -> None:
    make_map(audited, "audit")
    audited.rename_run("audit", "second")
    audited.reload()
    assert audited.list_brain_runs() == ["second_map"]
    results_home(audited, "audit").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="any more; run the audit again"):
        make_map(audited, "second")
    audited.delete_run("second")
    audited.reload()
    assert audited.list_brain_runs() == []


def test_the_plane_has_the_two_directions_of_most_difference() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 5)) * [1, 9, 1, 4, 1] + 3
    plane = principal_plane(x)
    assert abs(np.corrcoef(plane[:, 0], x[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(plane[:, 1], x[:, 3])[0, 1]) > 0.99
    assert plane.mean(axis=0) == pytest.approx([0, 0], abs=1e-4)
    assert principal_plane(x[:, :1])[:, 1].tolist() == [0.0] * 400
    assert principal_plane(np.zeros((0, 5))).shape == (0, 2)
