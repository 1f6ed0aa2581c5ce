"""Decisions that were made in the report are taken into the review: by whom, undone at once, and nothing else."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionContext, Executor

from audit.errors import InputError
from integrations.corrections.decisions import decided_in_file
from integrations.fiftyone.plugin_install import PLUGIN, install_plugin
from integrations.fiftyone.review import (
    apply_corrections,
    corrections,
    decisions,
    dismiss,
    export_corrections,
    import_decisions,
    relabel,
    review_progress,
    undo_last,
)
from reports.page_texts import DECISION_COLUMNS, DECISION_STATUSES
from tests.fiftyone.made_up import made_up_result
from tests.sixty_digits import audited_digits

Names = Callable[[str], str]
OPERATOR = f"{PLUGIN}/import_decisions"


@pytest.fixture
def dataset(dataset_name: Names) -> fo.Dataset:
    """Sixty digits of three classes with a written audit."""
    return audited_digits(dataset_name("imported decisions"))


def saved_by_the_page(folder: Path, dataset: fo.Dataset, chosen: Mapping[str, str], **more: Any) -> Path:
    """The file that the report saves: what was decided ('keep', 'remove', or a new label) by sample id."""
    rows = [",".join(DECISION_COLUMNS)]
    for sample, choice in chosen.items():
        action = choice if choice in ("keep", "remove") else "relabel"
        values = {
            "id": sample,
            "key": dataset[sample].source_id,
            "filepath": dataset[sample].filepath,
            "status": DECISION_STATUSES[action],
            "old_label": dataset[sample].ground_truth.label,
            "new_label": choice if action == "relabel" else "",
            "suspicion": "0.9",
            "at": "2026-01-02T03:04:05.000Z",
        } | more
        rows.append(",".join(values[column] for column in DECISION_COLUMNS))
    path = folder / "decisions.csv"
    path.write_text("\ufeff" + "\r\n".join([*rows, ""]), encoding="utf-8", newline="")
    return path


def states(dataset: fo.Dataset, ids: list[str]) -> list[tuple[str, str | None]]:
    dataset.reload()
    return list(zip(*dataset.select(ids, ordered=True).values(["audit_status", "audit_corrected.label"]), strict=True))


def context(request: dict[str, Any]) -> ExecutionContext:
    return ExecutionContext(request, Executor())


def other_label(dataset: fo.Dataset, sample: str) -> str:
    return next(label for label in ("0", "1", "2") if label != dataset[sample].ground_truth.label)


def test_the_reports_decisions_become_those_of_the_review_and_are_undone_at_once(
    dataset: fo.Dataset, tmp_path: Path
) -> None:
    first, second, third, fourth = ids = dataset.limit(4).values("id")
    before = dataset.values("ground_truth.label")
    new, newer = (other_label(dataset, sample) for sample in (second, fourth))
    path = saved_by_the_page(tmp_path, dataset, {first: "keep", second: new, third: "remove", fourth: newer})
    planned = import_decisions(dataset, "audit", path, "ada", write=False)
    assert (planned.count, planned.batch, decisions(dataset, "audit")) == (4, None, [])
    imported = import_decisions(dataset, "audit", path, "ada")
    assert imported.counts == planned.counts == {"dismiss": 1, "relabel": 2, "remove": 1}
    wanted = [("dismissed", None), ("relabelled", new), ("removed", None), ("relabelled", newer)]
    assert states(dataset, ids) == wanted
    assert dataset.values("ground_truth.label") == before
    logged = decisions(dataset, "audit")
    assert {(entry["by"], entry["batch"], entry["imported_from"]) for entry in logged} == {
        ("ada", imported.batch, "decisions.csv")
    }
    assert dataset.load_saved_view("audit: removed").values("id") == [third]
    progress = review_progress(dataset, "audit")
    assert (progress.statuses["removed"], progress.to_apply) == (1, 2)
    flags = dataset.select([first, second, fourth]).count_values("audit_flag").get(True, 0)
    assert progress.checked == flags  # a removed picture says nothing of its label

    again = import_decisions(dataset, "audit", path, "ada")
    assert (again.count, again.unchanged, again.batch) == (0, 4, None)
    assert apply_corrections(dataset, "audit").count == 2
    assert import_decisions(dataset, "audit", path, "ada").unchanged == 4
    undo_last(dataset, "audit")  # the application
    undone = undo_last(dataset, "audit")
    assert undone is not None
    assert (undone.count, undone.by, undone.imported_from) == (4, "ada", "decisions.csv")
    assert states(dataset, ids) == [("unreviewed", None)] * 4
    assert undo_last(dataset, "audit") is None


def test_nobody_elses_decision_is_replaced_and_ones_own_is(dataset: fo.Dataset, tmp_path: Path) -> None:
    theirs, mine, free = dataset.limit(3).values("id")
    dismiss(dataset, "audit", [theirs], by="bob")
    dismiss(dataset, "audit", [mine], by="ada")
    path = saved_by_the_page(tmp_path, dataset, dict.fromkeys((theirs, mine, free), "remove"))
    imported = import_decisions(dataset, "audit", path, "ada")
    assert (imported.counts, imported.disputed) == ({"remove": 2}, (theirs,))
    assert f"1 decided otherwise by somebody else ({theirs!r})" in imported.left_out
    assert [status for status, _ in states(dataset, [theirs, mine, free])] == ["dismissed", "removed", "removed"]
    undo_last(dataset, "audit")
    assert [status for status, _ in states(dataset, [theirs, mine, free])] == ["dismissed", "dismissed", "unreviewed"]


def test_samples_of_another_audit_and_labels_that_changed_are_named_and_left_alone(
    dataset: fo.Dataset, tmp_path: Path, dataset_name: Names
) -> None:
    first, second = ids = dataset.limit(2).values("id")
    path = saved_by_the_page(tmp_path, dataset, dict.fromkeys(ids, "keep"))
    sample = dataset[second]
    sample.ground_truth.label = other_label(dataset, second)
    sample.save()
    text = path.read_text(encoding="utf-8-sig")
    path.write_text(text + "elsewhere,elsewhere.png,/x.png,removed,0,,0.9,\r\n", encoding="utf-8")
    imported = import_decisions(dataset, "audit", path)
    assert (imported.counts, imported.relabelled_since, imported.unknown) == ({"dismiss": 1}, (second,), ("elsewhere",))
    assert imported.left_out == (
        f"Left as they are: 1 labelled otherwise since ({second!r}); 1 not part of this audit ('elsewhere')."
    )
    assert [status for status, _ in states(dataset, [first, second])] == ["dismissed", "unreviewed"]
    others = audited_digits(dataset_name("others")).limit(1).values("id")[0]
    for name in (others, "f" * 24, "no id"):
        path.write_text(f"id,status\n{name},removed\n", encoding="utf-8")
        with pytest.raises(InputError, match=f"name no sample of audit 'audit' of dataset .*{name}") as error:
            import_decisions(dataset, "audit", path)
        assert "\n" not in str(error.value)
    path.write_text(f"id,status\n{second},removed\n{second},dismissed\n", encoding="utf-8")
    with pytest.raises(InputError, match="in two ways, in rows 1 and 2; leave one"):
        import_decisions(dataset, "audit", path)
    with pytest.raises(InputError, match=r"gone\.csv"):
        import_decisions(dataset, "audit", tmp_path / "gone.csv")


def test_samples_are_known_by_key_and_file_and_an_export_is_read_back(
    dataset: fo.Dataset, tmp_path: Path, dataset_name: Names
) -> None:
    first, second, third = ids = dataset.limit(3).values("id")
    relabel(dataset, "audit", [first], "new, label", by="bob")
    dismiss(dataset, "audit", [second], by="cleo")
    for name in ("exported.csv", "exported.json"):
        export_corrections(dataset, "audit", tmp_path / name)
        twin = audited_digits(dataset_name(f"twin {name[-4:]}"))  # the same pictures, with other ids
        imported = import_decisions(twin, "audit", tmp_path / name)
        assert imported.counts == {"relabel": 1, "dismiss": 1}
        exported, taken = (list(corrections(one, "audit")) for one in (dataset, twin))
        assert {(row["key"], row["status"], row["new_label"], row["by"]) for row in taken} == {
            (row["key"], row["status"], row["new_label"], row["by"]) for row in exported
        }
    by_file = tmp_path / "files.csv"
    by_file.write_text(f"filepath,status\n{dataset[third].filepath},unsure\n", encoding="utf-8")
    assert import_decisions(dataset, "audit", by_file).counts == {"unsure": 1}
    assert states(dataset, ids)[2][0] == "unsure"


def test_the_command_and_the_app_read_the_same_file(dataset: fo.Dataset, tmp_path: Path) -> None:
    first, second = dataset.limit(2).values("id")
    new = other_label(dataset, first)
    path = saved_by_the_page(tmp_path, dataset, {first: new, second: "remove"})
    decided = decided_in_file(path, made_up_result(dataset, inject=False))
    import_decisions(dataset, "audit", path)
    assert [change.label for change in decided.changes] == [new]
    assert len(decided.keys) == 2


def test_the_operator_takes_an_uploaded_file_and_says_what_it_does(dataset: fo.Dataset, tmp_path: Path) -> None:
    first, second = ids = dataset.limit(2).values("id")
    path = saved_by_the_page(tmp_path, dataset, {first: "keep", second: "remove"})
    install_plugin()
    operator = foo.get_operator(OPERATOR)
    content = "data:text/csv;base64," + base64.b64encode(path.read_bytes()).decode()
    uploaded = {"name": "../mine.csv", "type": "text/csv", "content": content}
    request = {
        "operator_uri": OPERATOR,
        "dataset_name": dataset.name,
        "params": {"file": uploaded, "by": "ada", "audit_key": "audit"},
    }
    form = operator.resolve_input(context(request)).type.properties
    assert "Decisions on 2 samples would be imported" in form["planned"].view.label
    assert states(dataset, ids) == [("unreviewed", None)] * 2
    done = operator.execute(context(request))
    assert done["counts"] == {"dismiss": 1, "remove": 1}
    assert {(entry["by"], entry["imported_from"]) for entry in decisions(dataset, "audit")} == {("ada", "mine.csv")}
    undo_last(dataset, "audit")
    assert operator(dataset, str(path), by="bob")["counts"] == {"dismiss": 1, "remove": 1}

    broken = {**request, "params": {"file": {**uploaded, "content": base64.b64encode(b"a,b\n1,2\n").decode()}}}
    assert operator.execute(context(broken))["error"].startswith("decisions 'mine.csv' have no column 'id'")
    outside = {**request, "params": {"path": str(path)}}
    assert "is outside of" in operator.execute(context(outside))["error"]
    for params, message in (({}, "no file was given"), ({"path": str(tmp_path / "gone.csv")}, "gone.csv")):
        with pytest.raises(InputError, match=message):
            operator(dataset, **params)
