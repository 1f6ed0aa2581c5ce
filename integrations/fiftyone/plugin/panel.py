"""The panel 'Label audit': from a flag to a decision, beside the image grid and in the sample view."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators import types

from audit.errors import InputError
from integrations.fiftyone import review
from integrations.fiftyone.appearance import most_suspicious_first
from integrations.fiftyone.background_audit import (
    DONE,
    FAILED,
    RUNNING,
    BackgroundAudit,
    find_job,
    forget_job,
    running_jobs,
)
from integrations.fiftyone.fields import INJECTED
from integrations.fiftyone.label_fields import original_field
from integrations.fiftyone.lock import one_at_a_time
from integrations.fiftyone.map_run import EMBEDDINGS_PANEL, has_map
from integrations.fiftyone.overview import Overview, audit_overview, version_of
from integrations.fiftyone.runs import COMPLETE, as_read, audit_config

from .by_hand import look_at_hand, open_editor, resume_hand
from .check import DECIDING, EVENTS, leave, look_at_check, show_check, show_check_of_view, shown_check
from .draft import Draft
from .echoes import is_echo
from .filters import Filters, filters_of, wanted_samples
from .help_text import HELP
from .named_views import show_view
from .operators.inputs import audit_keys
from .operators.operator import ICON, MISTAKES, dataset_of
from .operators.window import FINDINGS_PANEL, PANEL, PLUGIN, show_changed_fields
from .panel_layout import PanelLayout
from .shown import CLASSES_SHOWN, class_table, figure_layout, plain_summary

_offered: set[str] = set()
"""Datasets without an audit for which the form was opened."""
SILENT = ("prompt", "open_sample", "show_findings", "show_map")
"""Methods that change nothing of what the panel shows."""


class LabelAuditPanel(foo.Panel):
    """Numbers and filters of one audit, its check, and the place of the review, which the browser draws (review/*.js).

    Its state is the little that the browser keeps (`draft.KEPT`); all else is looked up at each event, and only shown.
    """

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
        if is_echo(ctx):
            return None
        if ctx.params.get("__method__") in SILENT:
            getattr(self, ctx.params["__method__"])(ctx)
            return None
        with one_at_a_time:
            return super().execute(ctx)

    # --- what happens ---------------------------------------------------------------------------------------------

    def on_load(self, ctx: Any) -> None:
        """Show the newest audit, or the one that the panel was opened for; its filters are those of the grid."""
        self._guarded(ctx, self._load, threshold_of=None)
        self._offer_audit(ctx)

    def on_change_dataset(self, ctx: Any) -> None:
        """Start again on the new dataset."""
        ctx.panel.state.clear()
        self._guarded(ctx, self._load)

    def on_change_current_sample(self, ctx: Any) -> None:
        """A sample was opened or closed: maybe one whose label is typed in the App's editor."""
        self._guarded(ctx, lambda *_: None)

    def on_change_view(self, ctx: Any) -> None:
        """Another view is in the grid: show which of the panel's filters it is, if it is one."""
        self._guarded(ctx, self._look_at_view)

    def choose_audit(self, ctx: Any) -> None:
        """Another audit was chosen."""
        self._guarded(ctx, self._load, audit_key=ctx.params.get("value"), class_label=None, suggested=None)

    def move_threshold(self, ctx: Any) -> None:
        """The slider was moved: the grid follows."""
        self._guarded(ctx, self._move, float(ctx.params.get("value") or 0.0))

    def choose_class(self, ctx: Any) -> None:
        """A row of the table was clicked: show its class, or all of them again."""
        self._guarded(ctx, self._choose_class, ctx.params.get("row"))

    def choose_pair(self, ctx: Any) -> None:
        """A cell of the class matrix was clicked: show its samples, or those of all pairs, where it names none."""
        self._guarded(ctx, self._filter, class_label=ctx.params.get("given"), suggested=ctx.params.get("suggested"))

    def toggle_unreviewed(self, ctx: Any) -> None:
        """Show reviewed samples too, or only the others."""
        shown = (ctx.params.get("filters") or {}).get("only_unreviewed", ctx.panel.state.only_unreviewed)
        self._guarded(ctx, self._filter, only_unreviewed=not shown)

    def toggle_injected(self, ctx: Any) -> None:
        """Leave out the samples whose label the audit changed on purpose, or show them again."""
        shown = (ctx.params.get("filters") or {}).get("hide_injected", ctx.panel.state.hide_injected)
        self._guarded(ctx, self._hide_injected, not shown)

    def show_all(self, ctx: Any) -> None:
        """Take the panel's filters off the grid."""
        ctx.ops.clear_view()
        self._guarded(ctx, self._take_off_filters)

    def open_sample(self, ctx: Any) -> None:
        """Open the sample that a thumbnail shows."""
        ctx.ops.open_sample(id=ctx.params.get("sample"))

    def show_findings(self, ctx: Any) -> None:
        """Open the panel with the findings beside single labels."""
        ctx.ops.open_panel(FINDINGS_PANEL, state={"audit_key": ctx.params.get("audit_key")})

    def show_map(self, ctx: Any) -> None:
        """Show the map of the audit's pictures in FiftyOne's panel, or the form that makes it."""
        key = ctx.params["audit_key"]
        if ctx.dataset is not None and ctx.dataset.has_run(key) and has_map(ctx.dataset, key):
            ctx.ops.open_panel(EMBEDDINGS_PANEL, layout="vertical")
            return
        ctx.prompt(f"{PLUGIN}/map_pictures", params={"audit_key": key})

    def label_by_hand(self, ctx: Any) -> None:
        """Open the sample in the App's own editor of labels."""
        self._guarded(ctx, open_editor)

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
        given = {"audit_key": key} if key else {}
        if name == "audit_labels" and key:  # again: its scores are made anew, and its decisions are kept
            given |= {"label_field": original_field(dataset_of(ctx), state.label_field), "replace": True}
        if ctx.params.get("sample"):
            given["samples"] = ctx.params["sample"]
        ctx.prompt(f"{PLUGIN}/{name}", params=given, on_success=self.changed)

    def check(self, ctx: Any) -> None:
        """A button of the check of the audit: its param `do` says which."""
        self._guarded(ctx, EVENTS[ctx.params["do"]])

    def changed(self, ctx: Any) -> None:
        """An operator is done that was started from here, or that changed fields."""
        changes: dict[str, Any] = {"checking": False} if ctx.params.get("leave_check") else {}
        if key := ctx.params.get("audit_key"):
            changes |= {"audit_key": key, "class_label": None, "suggested": None}
        self._guarded(ctx, self._load, **changes)

    # --- how ------------------------------------------------------------------------------------------------------

    def _guarded(self, ctx: Any, action: Any, *arguments: Any, **changes: Any) -> None:
        """Do it, and send what it changes of the state; a mistake, or an audit that is gone, is shown in the panel."""
        # A button or timer says what it was drawn with: the browser may send a state from before the last change.
        of_sample = {"sample": ctx.params["sample"]} if ctx.params.get("sample") else {}
        shown = of_sample | (ctx.params.get("filters") or {})
        state = ctx.label_audit = Draft(ctx.panel.state, {**shown, **changes})
        was_checking, afterwards = bool(state.checking), None
        if was_checking and action not in (self._load, self._look_at_jobs, *EVENTS.values()):
            action, arguments = leave if action == self._look_at_view else look_at_check, ()
        try:
            dataset = dataset_of(ctx)
            with as_read(dataset):
                state.keys = audit_keys(dataset)
                look_at_hand(ctx, dataset, state)
                # The sample view opens a panel of its own, which may hear of things before it has been loaded. Of these
                # only decisions are the reviewer's; the App itself tells of a moved threshold, which must not filter.
                former = state.audit_key
                is_gone = former is not None and former not in state.keys  # renamed or deleted, maybe in another window
                is_loaded = bool(former and not is_gone) or action in (self._load, self._look_at_jobs)
                if not is_loaded:
                    self._load(ctx, dataset, state)
                decides = action in DECIDING
                if is_gone and decides:
                    raise InputError(f"audit {former!r} was renamed or deleted meanwhile; nothing was decided")
                if is_loaded or decides:
                    afterwards = action(ctx, dataset, state, *arguments)
                if not state.checking and action != self._load and (was_checking or action in EVENTS.values()):
                    self._load(ctx, dataset, state)
                if action != self._look_at_jobs and not state.has_changed("job"):
                    self._look_at_jobs(ctx, dataset, state, reload=False)
                if state.audit_key:
                    self._bring_up_to_date(ctx, dataset, state)
                shown_now = state.audit_key if state.checking else None
                state.send()  # before the view changes, which the App tells at once, with the state that it has
                show_check(ctx, shown_now)
                if afterwards:
                    afterwards()
        except MISTAKES as mistake:
            state.send()
            state.problem = str(mistake)

    def _offer_audit(self, ctx: Any) -> None:
        """Open the form of an audit where a dataset has none: once in the App's process, and never over a mistake."""
        state = ctx.label_audit
        if state.audit_key or state.job or state.problem or ctx.dataset.name in _offered:
            return
        _offered.add(ctx.dataset.name)
        ctx.prompt(f"{PLUGIN}/audit_labels", on_success=self.changed)

    def _bring_up_to_date(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        """Look in the dataset for what this event has not looked for.

        The state may be from before a decision or a new audit, and the browser may lose an answer: it puts what changes
        into the state that it had when the answer came in.
        """
        if state.checking:
            if not state.has_changed("check"):
                look_at_check(ctx, dataset, state)
            return
        if not state.has_changed("summary"):
            self._show_audit(ctx, dataset, state)
        if not state.has_changed("progress"):
            self._count(ctx, dataset, state)

    def _load(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        keys = state.keys
        self._look_at_jobs(ctx, dataset, state, reload=False)
        if not keys:
            state.audit_key = None
            return
        if state.audit_key not in keys:
            state.audit_key = next((key for key in keys if dataset.get_run_info(key).config.state == COMPLETE), keys[0])
        if show_check_of_view(ctx, dataset, state):
            return
        state.shown = None  # the browser has nothing of it yet, or what it had before
        state.label_field = audit_config(dataset, state.audit_key).label_field
        filters = filters_of(ctx.view, dataset, state.audit_key, state.label_field)
        self._take_filters(state, (filters or Filters(0.0))._replace(threshold=state.threshold))
        self._show_audit(ctx, dataset, state)
        if filters is not None and filters != _filters_in(state):
            self._take_filters(state, filters)
            self._show_audit(ctx, dataset, state)
        resume_hand(ctx, dataset, state)
        self._count(ctx, dataset, state)

    def _show_audit(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        """Numbers, classes and figures of the audit as the dataset has it: its key may have been audited again."""
        overview = audit_overview(dataset, state.audit_key)
        info = dataset.get_run_info(state.audit_key)
        run = f"{state.audit_key} {version_of(dataset, state.audit_key)}"
        if state.threshold_of != run:
            state.threshold, state.threshold_of = overview.threshold, run
            state.only_unreviewed = False
        self._show_numbers(ctx, dataset, state, overview)
        if state.shown != run:
            for name, figure in overview.figures.items():
                ctx.panel.set_data(name, figure["data"])
        state.shown = run
        state.label_field = info.config.label_field
        state.summary = plain_summary(info.config.summary)
        state.confused = {row.label: row.confused_with for row in overview.classes}
        state.classes = sorted(row.label for row in overview.classes)
        state.classes_left_out = max(0, len(overview.classes) - CLASSES_SHOWN)
        state.layouts = {name: figure_layout(figure["layout"]) for name, figure in overview.figures.items()}

    def _show_numbers(self, ctx: Any, dataset: fo.Dataset, state: Draft, overview: Overview) -> None:
        """The numbers at the slider's place."""
        state.suspects = review.suspects_by_class(dataset, state.audit_key, state.threshold, bool(state.hide_injected))
        if state.suggested is not None:
            hidden = bool(state.hide_injected)
            of_pair = review.suspects_by_class(dataset, state.audit_key, state.threshold, hidden, state.suggested)
            state.of_pair = of_pair.get(state.class_label)
        state.class_sizes = {row.label: row.samples for row in overview.classes}
        state.own_threshold = overview.threshold
        state.has_injected = dataset.has_field(INJECTED.name(state.audit_key))
        place = f"{state.threshold_of} {state.threshold} {bool(state.hide_injected)}"
        if state.shown is None or state.table_at != place:
            flagged = {label: found.count for label, found in state.suspects.items()}
            is_audits = state.threshold == overview.threshold and not state.hide_injected
            ctx.panel.data.classes = class_table(overview, None if is_audits else flagged)
        state.table_at = place

    def _count(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        state.progress = asdict(review.review_progress(dataset, state.audit_key))
        state.check = shown_check(dataset, state.audit_key, state.label_field)

    def _move(self, ctx: Any, dataset: fo.Dataset, state: Draft, threshold: float) -> None:
        """Filter by another threshold, unless it is one that the App tells because it was drawn: a new audit's own."""
        self._show_audit(ctx, dataset, state)
        if threshold != state.threshold:
            state.threshold = threshold
            self._show_numbers(ctx, dataset, state, audit_overview(dataset, state.audit_key))
            self._filter(ctx, dataset, state)

    def _choose_class(self, ctx: Any, dataset: fo.Dataset, state: Draft, row: int | None) -> None:
        names = [found.label for found in audit_overview(dataset, state.audit_key).classes[:CLASSES_SHOWN]]
        if row is not None and 0 <= row < len(names):
            is_shown = names[row] == state.class_label and state.suggested is None
            state.class_label, state.suggested = None if is_shown else names[row], None
            self._filter(ctx, dataset, state)

    def _filter(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        shown = dataset.match(wanted_samples(dataset, state.audit_key, state.label_field, _filters_in(state)))
        show_view(ctx, dataset, state.audit_key, _filters_in(state), most_suspicious_first(shown, state.audit_key))

    def _hide_injected(self, ctx: Any, dataset: fo.Dataset, state: Draft, hide: bool) -> None:
        state.hide_injected = hide
        self._show_audit(ctx, dataset, state)
        self._filter(ctx, dataset, state)

    def _take_off_filters(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        self._take_filters(state, Filters(state.threshold))
        self._count(ctx, dataset, state)

    def _look_at_view(self, ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
        """Take the filters from the view: the state may be from before the panel itself set it."""
        filters = filters_of(ctx.view, dataset, state.audit_key, state.label_field)
        self._take_filters(state, filters or Filters(state.threshold))

    @staticmethod
    def _take_filters(state: Draft, filters: Filters) -> None:
        for name, value in filters._asdict().items():
            setattr(state, name, value)

    def _look_at_jobs(self, ctx: Any, dataset: fo.Dataset, state: Draft, reload: bool = True) -> None:
        """Show a running audit; once it has ended, show what came of it and load it."""
        watched: BackgroundAudit | None = find_job(dataset, state.watched) if state.watched else None
        if watched is None or watched.state == RUNNING:
            running = running_jobs(dataset)
            state.job = asdict(running[0]) if running else None
            state.watched = running[0].audit_key if running else None
            if reload and not running and state.keys and not state.audit_key:  # the answer that showed it was lost
                self._load(ctx, dataset, state)
            return
        state.job = state.watched = None
        forget_job(dataset, watched.audit_key)
        if watched.state == FAILED:
            ctx.ops.notify(f"Audit {watched.audit_key!r} failed: {watched.message}", variant="error")
        elif watched.state == DONE:
            ctx.ops.notify(f"Audit {watched.audit_key!r}: {watched.message}.", variant="success")
            state.audit_key = watched.audit_key
            show_changed_fields(ctx, dataset, watched.audit_key)
            if reload:
                self._load(ctx, dataset, state)

    def render(self, ctx: Any) -> types.Property:
        """Lay out what the state says."""
        return PanelLayout(self, ctx.label_audit).whole()


def _filters_in(state: Draft) -> Filters:
    hidden = (bool(state.only_unreviewed), bool(state.hide_injected))
    return Filters(state.threshold, state.class_label, *hidden, state.suggested)
