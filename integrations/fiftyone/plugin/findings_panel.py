"""The panel 'Findings': what is wrong with a dataset beside single labels, one finding after the other, to decide on.

Its state is what the browser keeps: which audit, kind and finding are shown. All else is looked up at each event. A
button says which finding it was drawn for, because the browser may send a state from before the last change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from bson import ObjectId
from fiftyone.core.odm import get_db_conn
from fiftyone.operators import types

from integrations.fiftyone.fields import SPLIT
from integrations.fiftyone.findings_decide import Reviewer, decide_finding, undo_last_finding
from integrations.fiftyone.findings_store import KeptFinding, finding_ids, kept_finding, kind_counts
from integrations.fiftyone.lock import one_at_a_time
from integrations.fiftyone.runs import as_read, audit_config

from .findings_layout import FindingsLayout, ShownFinding, ShownSample
from .operators.findings import undone_finding_said
from .operators.inputs import audit_keys
from .operators.operator import MISTAKES, dataset_of
from .operators.window import FINDINGS_PANEL, PLUGIN

MOST_SAMPLES = 8  # pictures of a finding that are shown side by side
SILENT = ("apply", "open_sample")
"""Methods that change nothing of what the panel shows."""
KEPT = ("audit_key", "kind", "finding", "only_open")
HELP = """
**Findings** are faults of the dataset beside single labels: copies, leaks between splits, bad pictures, pictures that
fit no class, and faults of classes.

1. Click a kind. Its findings come one after the other, with their pictures side by side and what was seen.
2. Decide: **remove** the picture (of copies, all but the one that stays), **merge** (give copies or classes one label),
   **move** (held-out copies into training), or **keep** everything as it is. **Undo** takes the last step back.
3. **Apply** makes the decisions real, after you have read what it will do. Samples to remove are tagged, or deleted
   if you say so. Nothing else changes your labels, tags or samples.
"""


class FindingsPanel(foo.Panel):
    """The kinds of findings of one audit, and one finding with its pictures and the buttons to decide."""

    @property
    def config(self) -> foo.PanelConfig:
        """What FiftyOne asks of a panel."""
        return foo.PanelConfig(
            name=FINDINGS_PANEL,
            label="Findings",
            icon="rule",
            category=foo.Categories.CURATE,
            help_markdown=HELP,
            surfaces="grid",
        )

    def execute(self, ctx: Any) -> Any:
        """Deal with an event and draw, unless it changes nothing of what the panel shows."""
        if ctx.params.get("__method__") in SILENT:
            getattr(self, ctx.params["__method__"])(ctx)
            return None
        return super().execute(ctx)

    # --- what happens ---------------------------------------------------------------------------------------------

    def on_load(self, ctx: Any) -> None:
        """Show the newest audit, or the one that the panel was opened for."""
        self._do(ctx, lambda *_: None)

    def on_change_dataset(self, ctx: Any) -> None:
        """Start again on the new dataset."""
        ctx.panel.state.clear()
        self._do(ctx, lambda *_: None)

    def choose_audit(self, ctx: Any) -> None:
        """Another audit was chosen."""
        self._do(ctx, lambda *_: None, audit_key=ctx.params.get("value"), kind=None, finding=None)

    def choose_kind(self, ctx: Any) -> None:
        """A row of the table of kinds was clicked."""
        self._do(ctx, _choose_kind)

    def step(self, ctx: Any) -> None:
        """Go to another finding of the kind: the param `to` says which."""
        self._do(ctx, lambda *_: None)

    def toggle_open(self, ctx: Any) -> None:
        """Show decided findings too, or only the others."""
        self._do(ctx, lambda *_: None, only_open=not ctx.params.get("only_open"), finding=None)

    def decide(self, ctx: Any) -> None:
        """Decide on the finding that the button was drawn for, and show the next one."""
        self._do(ctx, _decide)

    def undo(self, ctx: Any) -> None:
        """Take back what was decided or applied last, and show it."""
        self._do(ctx, _undo)

    def open_sample(self, ctx: Any) -> None:
        """Open the sample that a picture shows."""
        ctx.ops.open_sample(id=ctx.params.get("sample"))

    def show_in_grid(self, ctx: Any) -> None:
        """Show the samples of the finding in the grid."""
        self._do(ctx, _show_in_grid)

    def apply(self, ctx: Any) -> None:
        """Open the form that says what applying the decisions does."""
        ctx.prompt(f"{PLUGIN}/apply_findings", params={"audit_key": ctx.params["audit_key"]}, on_success=self.changed)

    def changed(self, ctx: Any) -> None:
        """The decisions were applied."""
        self._do(ctx, lambda *_: None)

    # --- how ------------------------------------------------------------------------------------------------------

    def _do(self, ctx: Any, action: Callable[[Any, fo.Dataset, dict[str, Any]], None], **changes: Any) -> None:
        """Do it, look up what is to be shown, and send the state; a mistake is shown in the panel."""
        state = {name: ctx.panel.state.get(name) for name in KEPT}
        state |= {name: ctx.params[name] for name in KEPT if name in ctx.params} | changes
        shown: dict[str, Any] = {"problem": None, "keys": [], "kinds": [], "finding": None, "place": None}
        ctx.findings_shown = shown
        with one_at_a_time:
            try:
                dataset = dataset_of(ctx)
                with as_read(dataset):
                    shown["keys"] = keys = audit_keys(dataset)
                    if state["audit_key"] not in keys:
                        state |= {"audit_key": keys[0] if keys else None, "kind": None, "finding": None}
                    if keys:
                        try:
                            action(ctx, dataset, state)
                        finally:
                            _look(dataset, state, shown)
            except MISTAKES as mistake:
                shown["problem"] = str(mistake)
        ctx.findings_state = state
        kept = {name: value for name, value in state.items() if ctx.panel.state.get(name) != value}
        if kept:
            ctx.panel.state.set(kept)
        ctx.panel.data.kinds = [
            {
                "kind": kind.title,
                "findings": f"{kind.findings:,}",
                "decided": f"{kind.decided:,}",
                "waiting": f"{kind.waiting:,}" if kind.waiting else "",
            }
            for kind in shown["kinds"]
        ]

    def render(self, ctx: Any) -> types.Property:
        """Lay out what was looked up."""
        return FindingsLayout(self, ctx.findings_state, ctx.findings_shown).whole()


def _look(dataset: fo.Dataset, state: dict[str, Any], shown: dict[str, Any]) -> None:
    """Look up the kinds, and the finding that is to be shown: the one that the state names, or the first open one."""
    key = state["audit_key"]
    shown["kinds"] = kinds = kind_counts(dataset, key)
    names = [kind.kind for kind in kinds]
    if state["kind"] not in names:
        state |= {"kind": names[0] if names else None, "finding": None}
    if state["kind"] is None:
        return
    found = finding_ids(dataset, key, state["kind"])
    ids = [name for name, is_decided in found if not (state["only_open"] and is_decided) or name == state["finding"]]
    if state["finding"] not in ids:
        undecided = [name for name, is_decided in found if not is_decided]
        state["finding"] = next(iter(undecided or ids), None)
    if state["finding"] is None:
        return
    place = ids.index(state["finding"])
    shown["place"] = {
        "number": place + 1,
        "of": len(ids),
        "previous": ids[place - 1] if place else None,
        "next": ids[place + 1] if place + 1 < len(ids) else None,
    }
    shown["finding"] = shown_finding(dataset, key, kept_finding(dataset, key, state["finding"]))


def shown_finding(dataset: fo.Dataset, audit_key: str, finding: KeptFinding) -> ShownFinding:
    """A finding with what is known of its first samples; those that were deleted meanwhile are left out."""
    field = audit_config(dataset, audit_key).label_field
    split = SPLIT.name(audit_key)
    wanted = [ObjectId(sample) for sample in finding.samples]
    samples = get_db_conn()[dataset._sample_collection_name]
    there = {one["_id"] for one in samples.find({"_id": {"$in": wanted}}, ["_id"])}
    first = [sample for sample in wanted if sample in there][:MOST_SAMPLES]
    found = {
        one["_id"]: one for one in samples.find({"_id": {"$in": first}}, ["filepath", "tags", f"{field}.label", split])
    }
    cards = tuple(
        ShownSample(
            str(sample),
            found[sample]["filepath"],
            (found[sample].get(field) or {}).get("label"),
            found[sample].get(split),
            tuple(found[sample].get("tags") or ()),
        )
        for sample in first
    )
    return ShownFinding(**vars(finding), cards=cards, there=len(there))


def _choose_kind(ctx: Any, dataset: fo.Dataset, state: dict[str, Any]) -> None:
    kinds, row = kind_counts(dataset, state["audit_key"]), ctx.params.get("row")
    if row is not None and 0 <= row < len(kinds):
        state |= {"kind": kinds[row].kind, "finding": None}


def _decide(ctx: Any, dataset: fo.Dataset, state: dict[str, Any]) -> None:
    finding, params = state["finding"], ctx.params
    reviewer = Reviewer(seen=params.get("seen"))
    changed = decide_finding(dataset, state["audit_key"], finding, params["action"], params.get("kept"), reviewer)
    if not changed:
        ctx.ops.notify("Somebody else decided on this finding meanwhile; look at it again.", variant="warning")
        return
    found = finding_ids(dataset, state["audit_key"], state["kind"])
    place = [name for name, _ in found].index(finding)
    following = [name for name, is_decided in found[place + 1 :] + found[:place] if not is_decided]
    if following:
        state["finding"] = following[0]


def _undo(ctx: Any, dataset: fo.Dataset, state: dict[str, Any]) -> None:
    undone = undo_last_finding(dataset, state["audit_key"])
    ctx.ops.notify(undone_finding_said(undone), variant="info")
    if undone is None:
        return
    if undone.finding is not None:
        finding = kept_finding(dataset, state["audit_key"], undone.finding)
        state |= {"kind": finding.kind, "finding": finding.id}
    else:
        ctx.ops.reload_dataset()


def _show_in_grid(ctx: Any, dataset: fo.Dataset, state: dict[str, Any]) -> None:
    finding = kept_finding(dataset, state["audit_key"], state["finding"])
    if finding.samples:
        ctx.ops.set_view(view=dataset.select(list(finding.samples), ordered=True))
