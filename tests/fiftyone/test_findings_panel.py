"""Findings beside single labels in FiftyOne: kept in the database, decided in their panel, applied and undone."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from fiftyone.operators.executor import ExecutionError

from audit.errors import InputError
from audit.findings import Finding
from integrations.fiftyone import write_result
from integrations.fiftyone.findings_apply import apply_findings, plan_of_findings
from integrations.fiftyone.findings_decide import Reviewer, decide_finding, finding_decisions, undo_last_finding
from integrations.fiftyone.findings_store import KeptFinding, findings_collection, kept_findings, kind_counts
from integrations.fiftyone.plugin_install import PLUGIN
from tests.digits_with_findings import FOUND, digits_with_findings, result_with
from tests.fiftyone.panel_window import Window

pytestmark = pytest.mark.usefixtures("plugin_installed")

PANEL = f"{PLUGIN}/label_audit_findings"
LEAK, DUPLICATES, OTHER_LABELS, DARK, ALIKE = (
    "near-leak",
    "near-duplicates",
    "near-duplicate-labels",
    "dark",
    "classes-alike",
)


@pytest.fixture
def dataset(dataset_name: Callable[[str], str]) -> fo.Dataset:
    """Sixty digits of three classes with findings."""
    return digits_with_findings(dataset_name("digits with findings"))


def opened(dataset: fo.Dataset) -> Window:
    window = Window(dataset, panel=PANEL)
    window.event("on_load")
    return window


def press(window: Window, action: str, kept: str | None = None, seen: str = "") -> None:
    """Press a button that decides, as it was drawn."""
    drawn = {name: window.state[name] for name in ("audit_key", "kind", "finding")}
    window.event("decide", **drawn, action=action, seen=seen, **({"kept": kept} if kept else {}))


def found_of(dataset: fo.Dataset, kind: str) -> list[KeptFinding]:
    return kept_findings(dataset, "audit", kind)


def test_the_panel_lists_kinds_and_goes_from_finding_to_finding(dataset: fo.Dataset) -> None:
    window = opened(dataset)
    assert window.shows("6 findings")
    assert window.state["kind"] == LEAK
    assert window.shows("A tenth of test")
    kinds = [count.kind for count in kind_counts(dataset, "audit")]
    window.event("choose_kind", row=kinds.index(DUPLICATES))
    assert window.shows("Near\\\\-duplicates in one class: 1 of 2")
    ids = dataset.values("id")
    assert [window.shows(f'"sample": "{sample}"') for sample in ids[:5]] == [False, True, True, True, False]
    press(window, "remove", kept=ids[2])
    assert window.shows("Near\\\\-duplicates in one class: 2 of 2")  # the next one
    window.event("step", finding=found_of(dataset, DUPLICATES)[0].id)
    assert window.shows("keep one, remove the others (not applied yet)")
    window.event("show_in_grid")
    assert window.shown_ids() == ids[1:4]
    window.event("toggle_open", only_open=False)
    assert window.shows("1 of 1")
    window.event("apply", audit_key="audit")
    assert window.triggered["prompt_user_for_operation"]["operator_uri"] == f"{PLUGIN}/apply_findings"
    window.event("open_sample", sample=ids[4])
    assert window.triggered["open_sample"]["id"] == ids[4]


def test_decisions_change_nothing_until_they_are_applied_and_all_is_undone(dataset: fo.Dataset) -> None:
    ids = dataset.values("id")
    before = (dataset.values("tags"), dataset.values("ground_truth.label"))
    for kind, action, kept in (
        (LEAK, "move", None),
        (DUPLICATES, "remove", ids[2]),
        (OTHER_LABELS, "merge", ids[6]),
        (DARK, "remove", None),
        (ALIKE, "merge", "1"),
    ):
        assert decide_finding(dataset, "audit", found_of(dataset, kind)[0].id, action, kept) == 1
    decide_finding(dataset, "audit", found_of(dataset, DUPLICATES)[1].id, "keep")
    dataset.reload()
    assert (dataset.values("tags"), dataset.values("ground_truth.label")) == before
    plan = plan_of_findings(dataset, "audit")
    assert set(plan.remove) == {ids[1], ids[3], ids[7]}
    assert plan.move == (ids[10],)
    assert plan.relabel[ids[25]] == before[1][6]
    operator = foo.get_operator(f"{PLUGIN}/apply_findings")
    outcome = operator(dataset, audit_key="audit")
    assert (outcome["findings"], outcome["tagged"], outcome["moved"]) == (5, 3, 1)
    dataset.reload()
    assert set(dataset.match_tags("audit_remove").values("id")) == {ids[1], ids[3], ids[7]}
    assert dataset[ids[10]].tags == ["train"]
    assert dataset[ids[25]].ground_truth.label == before[1][6]
    assert dataset[ids[25]].audit_original.label == before[1][25]
    assert set(dataset.distinct("ground_truth.label")) == {"0", "1"}
    with pytest.raises(InputError, match=r"was applied .* undo that first"):
        decide_finding(dataset, "audit", found_of(dataset, DARK)[0].id, "keep")
    undone = undo_last_finding(dataset, "audit")
    assert undone is not None
    assert (undone.action, undone.count) == ("apply", 5)
    dataset.reload()
    assert (dataset.values("tags"), dataset.values("ground_truth.label")) == before
    assert dataset[ids[25]].audit_original is None
    actions = []
    while (undone := undo_last_finding(dataset, "audit")) is not None:
        actions.append(undone.action)
    assert actions == ["keep", "merge", "remove", "merge", "remove", "move"]
    assert sum(count.decided for count in kind_counts(dataset, "audit")) == 0
    assert len(finding_decisions(dataset, "audit")) == 6  # undone ones stay in the log


def test_deleting_needs_a_confirmation_and_says_what_cannot_come_back(dataset: fo.Dataset) -> None:
    ids = dataset.values("id")
    decide_finding(dataset, "audit", found_of(dataset, DARK)[0].id, "remove")
    with pytest.raises(ExecutionError, match="tick the box to delete samples, or tag them"):
        foo.execute_operator(f"{PLUGIN}/apply_findings", {"dataset": dataset}, params={"removal": "delete"})
    dataset.reload()
    assert len(dataset) == 60
    foo.get_operator(f"{PLUGIN}/apply_findings")(dataset, removal="delete")
    dataset.reload()
    assert ids[7] not in dataset.values("id")
    undone = undo_last_finding(dataset, "audit")
    assert undone is not None
    assert undone.deleted == 1
    window = opened(dataset)
    window.event("step", kind=DARK, finding=found_of(dataset, DARK)[0].id)
    assert window.shows("All its samples were deleted.")


def test_two_windows_that_decide_at_once_lose_nothing(dataset: fo.Dataset) -> None:
    one, two = opened(dataset), opened(dataset)
    press(one, "move")
    press(two, "keep")
    assert two.said[-1].startswith("Somebody else decided")
    assert [entry["action"] for entry in finding_decisions(dataset, "audit")] == ["move"]
    one.event("undo")
    assert one.state["kind"] == LEAK
    assert found_of(dataset, LEAK)[0].decision is None


def test_a_group_whose_kept_sample_goes_elsewhere_is_left_out(dataset: fo.Dataset) -> None:
    ids = dataset.values("id")
    write_result(
        dataset,
        result_with(
            dataset,
            Finding(kind=DUPLICATES, evidence="2 images are nearly the same", samples=(7, 8)),
            Finding(kind=DARK, evidence="dark", samples=(7,)),
        ),
    )
    decide_finding(dataset, "audit", found_of(dataset, DUPLICATES)[0].id, "remove", ids[7])
    decide_finding(dataset, "audit", found_of(dataset, DARK)[0].id, "remove")
    plan = plan_of_findings(dataset, "audit")
    assert (plan.remove, plan.contradicted) == ((ids[7],), 1)


def test_only_what_fits_the_kind_can_be_decided(dataset: fo.Dataset) -> None:
    dark, alike = found_of(dataset, DARK)[0].id, found_of(dataset, ALIKE)[0].id
    with pytest.raises(InputError, match="dark pictures cannot be decided by 'merge'; it takes remove, keep"):
        decide_finding(dataset, "audit", dark, "merge")
    with pytest.raises(InputError, match="'3' is no part of that finding; it has 1, 2"):
        decide_finding(dataset, "audit", alike, "merge", "3")
    with pytest.raises(InputError, match="is no id of a finding"):
        decide_finding(dataset, "audit", "dark", "keep")
    with pytest.raises(InputError, match="removal='burn' is unknown; it takes 'tag' or 'delete'"):
        apply_findings(dataset, "audit", "burn")  # type: ignore[arg-type]


def test_decisions_survive_the_next_audit_and_follow_the_audits_name(dataset: fo.Dataset) -> None:
    decide_finding(dataset, "audit", found_of(dataset, DARK)[0].id, "keep", reviewer=Reviewer("ana"))
    write_result(dataset, result_with(dataset))  # finds nothing
    dataset.reload()
    assert kind_counts(dataset, "audit") == []
    assert opened(dataset).shows("found nothing beside single labels")
    write_result(dataset, result_with(dataset, *FOUND))
    dataset.reload()
    (dark,) = found_of(dataset, DARK)
    assert dark.decision is not None
    assert (dark.decision.action, dark.decision.by) == ("keep", "ana")
    dataset.rename_run("audit", "renamed")
    dataset.reload()
    assert [count.decided for count in kind_counts(dataset, "renamed") if count.kind == DARK] == [1]
    dataset.delete_run("renamed")
    assert findings_collection().count_documents({"dataset": dataset._doc.id}) == 0


def test_a_finding_about_a_class_is_known_again_by_other_examples(dataset: fo.Dataset) -> None:
    """Where a kind has several findings about one class, as a check of the user's may, each is known by its samples."""

    def two_of(*samples: int) -> list[Finding]:
        about = {"evidence": "the border gives it away", "classes": ("1",)}
        return [Finding(kind="background", samples=(sample,), **about) for sample in samples]

    for samples, decided in (((3,), True), ((8,), True), ((8, 9), False), ((9, 8, 7), False)):
        write_result(dataset, result_with(dataset, *two_of(*samples)))
        dataset.reload()
        found = found_of(dataset, "background")
        assert len(found) == len(samples)
        if samples == (3,):
            decide_finding(dataset, "audit", found[0].id, "keep")
        elif decided:
            assert found[0].decision is not None
