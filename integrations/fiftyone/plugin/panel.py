"""The panel 'Label audit': from a flag to a decision, beside the image grid and in the sample view."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone import ViewField as F
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types

from audit.errors import InputError
from integrations.fiftyone import review
from integrations.fiftyone.appearance import make_editable, most_suspicious_first
from integrations.fiftyone.background_audit import (
    DONE,
    FAILED,
    RUNNING,
    BackgroundAudit,
    find_job,
    forget_job,
    running_jobs,
)
from integrations.fiftyone.explanations import explain_in_background, is_being_explained
from integrations.fiftyone.fields import UNREVIEWED
from integrations.fiftyone.lock import one_at_a_time
from integrations.fiftyone.overview import Overview, audit_overview
from integrations.fiftyone.runs import COMPLETE, as_read

from .operators.inputs import audit_keys
from .operators.operator import ICON, MISTAKES, dataset_of
from .operators.sentences import said, undone_said
from .operators.window import PANEL, PLUGIN, show_changed_fields
from .panel_layout import PanelLayout

HELP = """
**Label audit** finds labels that are probably wrong and lets you decide on them.

1. Choose an audit, or start one.
2. Move the threshold: the grid shows the samples at or above it, the most suspicious first. A click on a class shows
   that class.
3. Look at the next sample here, or select or open one: *given* is its label, *suggested* what the audit would give it,
   and the thumbnails are the training samples that speak for the given label and against it.
4. **Accept** the suggestion, **confirm** that the label is wrong, or **dismiss** the flag. **Undo** takes the last
   decision back. Keys: Shift with A, C, D or U, and N for the next sample. To give another label, choose *Relabel*, or
   *Label by hand* in the App's own editor, which writes into the label field at once.
5. **Apply corrections** writes the corrected labels into the label field; the old ones are kept.

Suspicion is the model's probability that the label is wrong, 0 to 1. Influence is what the sample does for the mean
validation loss: positive helps, negative harms.
"""
CLASSES_SHOWN = 50
_SHOWN = ("counts", "estimates", "claims", "accepting", "verified", "since_last")  # parts of the run's summary
HAND_STORE = "influence_audit_by_hand"  # in the dataset's execution store: the sample whose label is being typed
NEUTRAL = "#8b95a5"  # reads well on dark and on light


class Draft:
    """The panel's state while an event is dealt with: what changes is sent to the browser at once.

    The App starts the next event with what it has got so far, and would meet half of a change otherwise.

    Args:
        state: FiftyOne's.
        changes: what is known to change.
    """

    def __init__(self, state: Any, changes: dict[str, Any]) -> None:
        self.__dict__.update(_state=state, _changes=changes)

    def __getattr__(self, name: str) -> Any:
        return self._changes[name] if name in self._changes else self._state.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._changes[name] = value

    def has_changed(self, name: str) -> bool:
        """Whether it was set since the last time that something was sent."""
        return name in self._changes

    def send(self) -> None:
        """Send what has changed since it was last sent."""
        if self._changes:
            self._state.set(self._changes)
            self.__dict__["_changes"] = {}


class LabelAuditPanel(foo.Panel):
    """Numbers, filters and decisions of one audit; its state is what the browser keeps, its data what it only shows."""

    @property
    def config(self) -> foo.PanelConfig:
        """What FiftyOne asks of a panel."""
        return foo.PanelConfig(
            name=PANEL,
            label="Label audit",
            icon=ICON,
            category=foo.Categories.CURATE,
            help_markdown=HELP,
            surfaces="grid modal",
        )

    def execute(self, ctx: Any) -> Any:
        """Deal with an event and draw, unless the event says what the panel knows.

        The App sends such echoes of its own changes, with the state from before them: drawing would bring it back.
        """
        if _is_echo(ctx):
            return None
        with one_at_a_time:
            return super().execute(ctx)

    # --- what happens ---------------------------------------------------------------------------------------------

    def on_load(self, ctx: Any) -> None:
        """Show the newest audit, or the one that the panel was opened for."""
        self._guarded(ctx, self._load)

    def on_change_dataset(self, ctx: Any) -> None:
        """Start again on the new dataset."""
        ctx.panel.state.clear()
        self._guarded(ctx, self._load)

    def on_change_current_sample(self, ctx: Any) -> None:
        """Show the sample that was opened; once it is closed, what became of it in the sample view's own panel."""
        if ctx.current_sample:
            self._guarded(ctx, self._show_sample, ctx.current_sample, opened=True)
        else:
            self._guarded(ctx, self._look_at_decisions, opened=False)

    def on_change_selected(self, ctx: Any) -> None:
        """Show the sample that was selected last; decisions are on all that are selected."""
        if ctx.selected:
            self._guarded(ctx, self._show_sample, ctx.selected[-1], selected=len(ctx.selected))
        else:
            self._guarded(ctx, self._look_at_decisions, selected=0)

    def on_change_view(self, ctx: Any) -> None:
        """Another view is in the grid: show which of the panel's filters it is, if it is one."""
        self._guarded(ctx, self._look_at_view)

    def choose_audit(self, ctx: Any) -> None:
        """Another audit was chosen."""
        self._guarded(ctx, self._load, audit_key=ctx.params.get("value"), class_label=None, sample=None)

    def move_threshold(self, ctx: Any) -> None:
        """The slider was moved: the grid follows."""
        self._guarded(ctx, self._move, float(ctx.params.get("value") or 0.0))

    def choose_class(self, ctx: Any) -> None:
        """A row of the table was clicked: show its class, or all of them again."""
        rows = ctx.panel.state.class_names or []
        row = ctx.params.get("row")
        if row is None or not 0 <= row < len(rows):
            return
        chosen = rows[row]
        self._guarded(ctx, self._filter, class_label=None if chosen == ctx.panel.state.class_label else chosen)

    def toggle_unreviewed(self, ctx: Any) -> None:
        """Show reviewed samples too, or only the others."""
        shown = (ctx.params.get("filters") or {}).get("only_unreviewed", ctx.panel.state.only_unreviewed)
        self._guarded(ctx, self._filter, only_unreviewed=not shown)

    def show_all(self, ctx: Any) -> None:
        """Take the panel's filters off the grid."""
        ctx.ops.clear_view()
        self._guarded(ctx, self._count, class_label=None, only_unreviewed=False)

    def confirm(self, ctx: Any) -> None:
        """The label is wrong."""
        self._guarded(ctx, self._decide, review.confirm)

    def accept(self, ctx: Any) -> None:
        """The suggestion is right."""
        self._guarded(ctx, self._decide, review.accept)

    def dismiss(self, ctx: Any) -> None:
        """The label is right."""
        self._guarded(ctx, self._decide, review.dismiss)

    def undo(self, ctx: Any) -> None:
        """Take the last decision back."""
        self._guarded(ctx, self._undo)

    def next_sample(self, ctx: Any) -> None:
        """Go to the next sample to review, leaving this one undecided."""
        self._guarded(ctx, self._advance)

    def open_sample(self, ctx: Any) -> None:
        """Open the sample that a thumbnail shows."""
        ctx.ops.open_sample(id=ctx.params.get("sample"))

    def explain(self, ctx: Any) -> None:
        """Show what speaks for and against the label, or see whether it is known by now."""
        self._guarded(ctx, self._explain)

    def label_by_hand(self, ctx: Any) -> None:
        """Open the sample in the App's own editor of labels."""
        self._guarded(ctx, self._edit)

    def poll_hand(self, ctx: Any) -> None:
        """See whether a label was typed in the App's editor, which tells nobody."""
        self._guarded(ctx, lambda *_: None)

    def poll_job(self, ctx: Any) -> None:
        """See how far an audit in its own process is."""
        self._guarded(ctx, self._look_at_jobs)

    def prompt(self, ctx: Any) -> None:
        """Open the form of an operator, for the audit and the samples that are shown."""
        state, name = ctx.panel.state, ctx.params["operator"]
        key = ctx.params.get("audit_key") or state.audit_key
        given = {"audit_key": key} if name != "audit_labels" else {}
        if name == "relabel" and not ctx.selected:
            given["samples"] = ctx.params.get("sample") or state.sample
        ctx.prompt(f"{PLUGIN}/{name}", params=given, on_success=self.changed)

    def look(self, ctx: Any) -> None:
        """Decisions were made elsewhere."""
        self._guarded(ctx, self._look_at_decisions)

    def changed(self, ctx: Any) -> None:
        """An operator is done that was started from here, or that changed fields."""
        key = ctx.params.get("audit_key")
        self._guarded(ctx, self._load, **({"audit_key": key, "class_label": None} if key else {}))

    # --- how ------------------------------------------------------------------------------------------------------

    def _guarded(self, ctx: Any, action: Any, *arguments: Any, **changes: Any) -> None:
        """Do it, and send what it changes of the state; a mistake, or an audit that is gone, is shown in the panel."""
        # A button or timer says what it was drawn with: the browser may send a state from before the last change.
        shown = {"sample": ctx.params["sample"]} if ctx.params.get("sample") else {}
        shown |= ctx.params.get("filters") or {}
        state = Draft(ctx.panel.state, {"problem": None, **shown, **changes})
        try:
            dataset = dataset_of(ctx)
            with as_read(dataset):
                state.keys = audit_keys(dataset)
                self._look_at_hand(ctx, dataset, state)
                # The sample view opens a panel of its own, which may hear of things before it has been loaded. Of these
                # only decisions are the reviewer's; the App itself tells of a moved threshold, which must not filter.
                former = state.audit_key
                is_gone = former is not None and former not in state.keys  # renamed or deleted, maybe in another window
                is_loaded = bool(former and not is_gone) or action in (self._load, self._look_at_jobs)
                if not is_loaded:
                    self._load(ctx, dataset, state)
                if is_gone and action == self._decide:
                    raise InputError(f"audit {former!r} was renamed or deleted meanwhile; nothing was decided")
                if is_loaded or action == self._decide:
                    action(ctx, dataset, state, *arguments)
                if state.audit_key:
                    self._bring_up_to_date(ctx, dataset, state)
        except MISTAKES as mistake:
            state.problem = str(mistake)
        state.send()

    def _bring_up_to_date(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        """Look in the dataset for what this event has not looked for.

        The state may be from before a decision or a new audit, and the browser may lose an answer: it puts what changes
        into the state that it had when the answer came in.
        """
        if not state.has_changed("summary"):
            self._show_audit(ctx, dataset, state)
        if not state.has_changed("progress"):
            self._count(ctx, dataset, state)
        if state.sample and not state.has_changed("facts"):
            state.facts = _facts(dataset, state.audit_key, state.label_field, state.sample)

    def _load(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        keys = state.keys
        self._look_at_jobs(ctx, dataset, state, reload=False)
        if not keys:
            state.audit_key = None
            return
        if state.audit_key not in keys:
            state.audit_key = next((key for key in keys if dataset.get_run_info(key).config.state == COMPLETE), keys[0])
        state.shown = None  # the browser has nothing of it yet, or what it had before
        self._show_audit(ctx, dataset, state)
        self._count(ctx, dataset, state)
        self._resume_hand(ctx, dataset, state)
        if ctx.current_sample or ctx.selected:
            self._show_sample(ctx, dataset, state, ctx.current_sample or ctx.selected[-1])
            return
        if state.sample:
            self._show_sample(ctx, dataset, state, state.sample)
        if not state.sample or not state.facts or state.facts["status"] != UNREVIEWED:
            self._advance(ctx, dataset, state)

    def _show_audit(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        """Numbers, classes and figures of the audit as the dataset has it: its key may have been audited again."""
        overview = audit_overview(dataset, state.audit_key)
        info = dataset.get_run_info(state.audit_key)
        run = f"{state.audit_key} {info.timestamp}"
        if state.threshold_of != run:
            state.threshold, state.threshold_of = overview.threshold, run
            state.only_unreviewed = False
            state.above = review.count_suspects(dataset, state.audit_key, state.threshold)
        if state.shown != run:
            ctx.panel.data.classes = _class_table(overview)
            for name, figure in overview.figures.items():
                ctx.panel.set_data(name, figure["data"])
        state.shown = run
        state.label_field = info.config.label_field
        state.summary = _plain(info.config.summary)
        state.class_names = [row.label for row in overview.classes[:CLASSES_SHOWN]]
        state.classes_left_out = max(0, len(overview.classes) - CLASSES_SHOWN)
        state.layouts = {name: _panel_layout(figure["layout"]) for name, figure in overview.figures.items()}

    def _count(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        state.progress = asdict(review.review_progress(dataset, state.audit_key))

    def _move(self, ctx: Any, dataset: fo.Dataset, state: Draft, threshold: float) -> None:
        """Filter by another threshold, unless it is one that the App tells because it was drawn: a new audit's own."""
        self._show_audit(ctx, dataset, state)
        if threshold != state.threshold:
            state.threshold = threshold
            self._filter(ctx, dataset, state)

    def _filter(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        state.above = review.count_suspects(dataset, state.audit_key, state.threshold)
        filters = (state.threshold, state.class_label, bool(state.only_unreviewed))
        shown = dataset.match(_wanted(dataset, state.audit_key, state.label_field, *filters))
        ctx.ops.set_view(view=most_suspicious_first(shown, state.audit_key))

    def _look_at_view(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        """Take the filters from the view: the state may be from before the panel itself set it."""
        filters = _filters_of(ctx.view, dataset, state.audit_key, state.label_field)
        if filters is None:
            state.class_label, state.only_unreviewed = None, False
            return
        state.threshold, state.class_label, state.only_unreviewed = filters
        self._show_audit(ctx, dataset, state)
        state.above = review.count_suspects(dataset, state.audit_key, state.threshold)

    def _advance(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        """Show the most suspicious sample that nobody decided on, after the one that is shown."""
        after = state.sample if ctx.params.get("skip") else None
        queue = _queue(ctx.view, dataset, state.audit_key, state.label_field)
        upcoming = review.next_to_review(queue, state.audit_key, state.threshold, state.class_label, after)
        if upcoming is not None:
            self._show_sample(ctx, dataset, state, upcoming)
        else:
            state.sample = state.facts = None

    def _show_sample(self, ctx: Any, dataset: fo.Dataset, state: Draft, sample_id: str) -> None:
        state.sample = sample_id
        state.facts = _facts(dataset, state.audit_key, state.label_field, sample_id)
        state.neighbours, state.explaining = None, False
        if state.facts and state.facts["suspicion"] is not None and is_being_explained(dataset, state.audit_key):
            self._explain(ctx, dataset, state)

    def _explain(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        explanation = explain_in_background(dataset, state.audit_key, state.sample)
        state.explaining = explanation is None
        state.neighbours = explanation and {
            "sample": explanation.sample,
            "label": explanation.label,
            **{kind: [asdict(near) for near in getattr(explanation, kind)] for kind in ("helpful", "harmful")},
        }

    def _decide(self, ctx: Any, dataset: fo.Dataset, state: Draft, decision: Any) -> None:
        several = list(ctx.selected)
        samples = several or ([state.sample] if state.sample else [])
        if not samples:
            raise InputError("no sample is selected; select one, or choose 'Next'")
        decided = decision(dataset, state.audit_key, samples)
        ctx.ops.notify(said(decided), variant="success" if decided.count else "warning")
        ctx.ops.reload_samples()
        state.selected = 0
        self._count(ctx, dataset, state)
        if ctx.current_sample:
            self._show_sample(ctx, dataset, state, ctx.current_sample)
        elif decided.count:
            self._advance(ctx, dataset, state)
        if several:
            state.send()  # first, because the App tells at once that nothing is selected, with the state that it has
            ctx.ops.clear_selected_samples()

    def _look_at_decisions(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        """Count again, and go on from a sample that was decided on meanwhile.

        The App says that nothing is selected any more after a decision, too, maybe with the state from before it.
        """
        former = state.facts and state.facts["status"]
        self._count(ctx, dataset, state)
        if state.sample:
            state.facts = _facts(dataset, state.audit_key, state.label_field, state.sample)
            if state.facts and former == UNREVIEWED != state.facts["status"]:
                self._advance(ctx, dataset, state)

    def _edit(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        if not state.sample:
            raise InputError("no sample is shown; select one, or choose 'Next'")
        is_new = make_editable(dataset, state.label_field)
        is_open = bool(ctx.current_sample)
        if is_open and is_new:  # an open sample view does not look again for what can be edited
            ctx.ops.close_sample()
        before = review.label_of(dataset, state.audit_key, state.sample)
        state.by_hand = {"sample": state.sample, "label": before, "seen": is_open and not is_new}
        ctx.store(HAND_STORE).set(state.audit_key, state.by_hand)
        ctx.trigger("open_sample", {"id": state.sample, "mode": "annotate"})

    def _look_at_hand(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        """Count a label that was typed in the App's editor since it was opened from here."""
        if not state.by_hand or not state.audit_key:
            return
        sample, before = state.by_hand["sample"], state.by_hand["label"]
        decided = review.note_label_by_hand(dataset, state.audit_key, sample, before)
        if decided.count:
            ctx.ops.notify(said(decided), variant="success")
            self._count(ctx, dataset, state)
            state.by_hand = {**state.by_hand, "label": review.label_of(dataset, state.audit_key, sample)}
            if state.sample == sample:
                state.facts = _facts(dataset, state.audit_key, state.label_field, sample)
        if ctx.current_sample == sample:
            state.by_hand = {**state.by_hand, "seen": True}
        elif state.by_hand["seen"]:  # closed again
            state.by_hand = None
            ctx.store(HAND_STORE).delete(state.audit_key)

    def _resume_hand(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        """Go on with what a panel that was closed meanwhile was looking at, in this window or in an earlier one."""
        kept = None if state.by_hand else ctx.store(HAND_STORE).get(state.audit_key)
        if kept:
            state.by_hand = {**kept, "seen": True}
            self._look_at_hand(ctx, dataset, state)

    def _undo(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        undone = review.undo_last(dataset, state.audit_key)
        ctx.ops.notify(undone_said(undone), variant="info")
        ctx.ops.reload_samples()
        self._count(ctx, dataset, state)
        if undone is not None:
            self._show_sample(ctx, dataset, state, undone.sample)

    def _look_at_jobs(self, ctx: Any, dataset: fo.Dataset, state: Draft, reload: bool = True) -> None:
        """Show a running audit; once it has ended, show what came of it and load it."""
        watched: BackgroundAudit | None = find_job(dataset, state.job["audit_key"]) if state.job else None
        if watched is None or watched.state == RUNNING:
            running = running_jobs(dataset)
            state.job = asdict(running[0]) if running else None
            return
        state.job = None
        forget_job(dataset, watched.audit_key)
        if watched.state == FAILED:
            ctx.ops.notify(f"Audit {watched.audit_key!r} failed: {watched.message}", variant="error")
        elif watched.state == DONE:
            ctx.ops.notify(f"Audit {watched.audit_key!r}: {watched.message}.", variant="success")
            state.audit_key, state.sample = watched.audit_key, None
            show_changed_fields(ctx, dataset, watched.audit_key)
            if reload:
                self._load(ctx, dataset, state)

    def render(self, ctx: Any) -> types.Property:
        """Lay out what the state says."""
        return PanelLayout(self, ctx.panel.state).whole()


def _is_echo(ctx: Any) -> bool:
    """Whether an event tells nothing new."""
    state, value = ctx.panel_state or {}, ctx.params.get("value")
    match ctx.params.get("__method__"):
        case "on_change_selected":
            return not ctx.selected and not state.get("selected")
        case "on_change_current_sample":
            return not ctx.current_sample and not state.get("by_hand") and not state.get("opened")
        case "choose_audit":
            return value == state.get("audit_key")
        case "move_threshold":
            return value == state.get("threshold")
        case "on_change_view":
            return not state.get("audit_key") or _shows_what_is(ctx, state)
    return False


def _shows_what_is(ctx: Any, state: dict[str, Any]) -> bool:
    """Whether the audit that the state says is there, and the view in the grid has the filters that it says.

    The App may lose the answer that tells of a renamed audit while it shows the dataset's new fields.
    """
    try:
        dataset = dataset_of(ctx)
    except InputError:
        return False
    if not dataset.has_run(state["audit_key"]):
        return False
    now = (state.get("threshold"), state.get("class_label"), bool(state.get("only_unreviewed")))
    filters = _filters_of(ctx.view, dataset, state["audit_key"], state.get("label_field") or "")
    return now[1:] == (None, False) if filters is None else filters == now


def _wanted(
    dataset: fo.Dataset, key: str, label_field: str, threshold: float, class_label: str | None, only_unreviewed: bool
) -> fo.ViewExpression:
    """Which samples threshold, class and status leave."""
    wanted = F(f"{key}_suspicion") >= threshold
    if class_label is not None:
        given = F(f"{label_field}.label")
        if dataset.has_field(f"{key}_injected_label"):
            given = F(f"{key}_injected_label.label").if_else(F(f"{key}_injected_label.label"), given)
        wanted &= given == class_label
    if only_unreviewed:
        wanted &= F(f"{key}_status") == UNREVIEWED
    return wanted


def _filters_of(
    view: fo.DatasetView, dataset: fo.Dataset, key: str, label_field: str
) -> tuple[float, str | None, bool] | None:
    """Threshold, class and whether only unreviewed samples are shown, of a view that the panel made; else None."""
    first = _first_match(view)
    expression = first.filter.get("$expr") if first is not None and isinstance(first.filter, dict) else None
    operands = [value for condition in _conditions(expression) for value in condition.values()]
    values = [operand[1] for operand in operands if isinstance(operand, list) and len(operand) == 2]
    if not values or not isinstance(values[0], int | float):
        return None
    only_unreviewed = len(values) > 1 and values[-1] == UNREVIEWED
    others = values[1 : len(values) - only_unreviewed]
    filters = (float(values[0]), others[0] if others else None, only_unreviewed)
    return filters if _wanted(dataset, key, label_field, *filters).to_mongo() == expression else None


def _first_match(view: fo.DatasetView) -> fo.Match | None:
    return next((stage for stage in view._stages if isinstance(stage, fo.Match)), None)


def _queue(view: fo.DatasetView, dataset: fo.Dataset, key: str, label_field: str) -> SampleCollection:
    """Among what the next sample is looked for: what the reviewer's own view and sidebar leave of the dataset.

    The panel's own filter is left out: where the grid has it from before the last change, the state knows better.
    """
    if view._is_generated:  # patches, frames: not the samples that were audited
        return dataset
    own = [] if _filters_of(view, dataset, key, label_field) is None else [_first_match(view)]
    own += [stage for stage in view._stages if isinstance(stage, fo.SortBy)][:1] if own else []
    queue: SampleCollection = dataset
    for stage in view._stages:
        if stage not in own:
            queue = queue.add_stage(stage)
    return queue


def _conditions(expression: Any) -> list[dict[str, Any]]:
    """The parts of a filter that all have to hold."""
    if not isinstance(expression, dict):
        return []
    parts = expression.get("$and")
    return [expression] if parts is None else [condition for part in parts for condition in _conditions(part)]


def _facts(dataset: fo.Dataset, key: str, label_field: str, sample_id: str) -> dict[str, Any] | None:
    """What the panel says about a sample, or None where it is gone."""
    with_injection = dataset.has_field(f"{key}_injected_label")
    names = {
        "filepath": "filepath",
        "label": f"{label_field}.label",
        "suggested": f"{key}_suggested.label",
        "probability": f"{key}_suggested.confidence",
        "suspicion": f"{key}_suspicion",
        "influence": f"{key}_influence",
        "status": f"{key}_status",
        "corrected": f"{key}_corrected.label",
        **({"injected": f"{key}_injected_label.label"} if with_injection else {}),
    }
    found = dataset.select([sample_id]).values(list(names.values()))
    if not found[0]:
        return None
    facts = {name: values[0] for name, values in zip(names, found, strict=True)}
    facts["given"] = facts.get("injected") or facts["label"]
    return facts


def _class_table(overview: Overview) -> list[dict[str, str]]:
    return [
        {
            "class": row.label,
            "samples": f"{row.samples:,}",
            "flagged": f"{row.flagged:,}",
            "confused": "–" if row.confused_with is None else f"{row.confused_with} ({row.confusions:,})",
            "influence": "–" if row.mean_influence is None else f"{row.mean_influence:+.3g}",
        }
        for row in overview.classes[:CLASSES_SHOWN]
    ]


def _panel_layout(layout: dict[str, Any]) -> dict[str, Any]:
    """A figure's layout without its page's colors: the App sets its own, for the theme that the browser shows."""
    layout = {name: value for name, value in layout.items() if name != "template"}
    layout["annotations"] = [{**mark, "font": {"color": NEUTRAL}} for mark in layout.get("annotations", [])]
    layout["shapes"] = [
        {**shape, "line": {**shape.get("line", {}), "color": NEUTRAL}} for shape in layout.get("shapes", [])
    ]
    legend = {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"}
    axes = {name: {**layout.get(name, {}), "fixedrange": True, "zeroline": False} for name in ("xaxis", "yaxis")}
    margin = {"l": 8, "r": 12, "t": 36, "b": 8}
    return {**layout, **axes, "margin": margin, "showlegend": True, "legend": legend, "autosize": True}


def _plain(summary: Any) -> dict[str, Any]:
    """The parts of a run's summary that the panel shows, as JSON values."""
    return {name: _as_json(summary[name]) for name in _SHOWN if summary.get(name)}


def _as_json(value: Any) -> Any:
    """A list or dictionary of the database as Python's own, down to its values."""
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list) else value
