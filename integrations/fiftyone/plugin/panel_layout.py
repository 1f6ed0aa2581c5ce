"""How the panel looks: its state laid out as FiftyOne's types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from integrations.fiftyone.review import this_user

from .cards import cards, slider_label
from .check_layout import CheckLayout, check_row
from .claims_shown import accepting, too_little
from .operators.sentences import counted
from .panel_parts import FIT, button, cards_row, even, plain, row

if TYPE_CHECKING:
    from .panel import LabelAuditPanel

POLL_MILLISECONDS = 2000
FILTERS = ("audit_key", "threshold", "threshold_of", "class_label", "only_unreviewed", "hide_injected", "suggested")
TABLE = {  # only names of classes may be broken anywhere
    "minWidth": 0,
    "& th, & td": {"px": 1, "overflowWrap": "break-word"},
    "& td:nth-of-type(1), & td:nth-of-type(4)": {"overflowWrap": "anywhere"},
}
LEAST_CHECKED = 10  # decisions, before the panel says how many of the flags were right
SLIDER_COLOR = "#ff6d04"  # the App's own

NO_AUDIT = """
##### No audit yet

1. *Audit labels* opens a form: choose the field with your labels.
2. The audit finds the labels that are probably wrong. It leaves your labels as they are.
3. The grid then shows these pictures, and this panel asks about one after the other.
"""


class PanelLayout:
    """The panel's layout for one state.

    Args:
        actions: the panel, whose methods the buttons call.
        state: what the browser keeps of it.
    """

    def __init__(self, actions: LabelAuditPanel, state: Any) -> None:
        self._actions = actions
        self._state = state
        # An event comes with the state that the browser had when it drew a button or a timer, but with newer params.
        self._drawn = {"filters": {name: state.get(name) for name in FILTERS}}

    def whole(self) -> types.Property:
        """Everything that the state says."""
        panel = types.Object()
        state = self._state
        is_check = bool(state.checking and state.check)
        if not is_check:
            self._header(panel)
        if state.problem:
            panel.view("problem_shown", types.AlertView(severity="warning", label=state.problem))
        if state.job:
            self._job(panel)
        if state.by_hand:
            watching = types.TimerView(
                interval=POLL_MILLISECONDS, on_interval=self._actions.poll_hand, params=self._drawn
            )
            panel.view("hand_timer", watching)
        if is_check:
            CheckLayout(self._actions, state).show(panel)
        elif not state.audit_key:
            if not state.problem and not state.job:
                panel.md(NO_AUDIT, name="nothing_yet")
        elif state.progress and state.summary is not None:
            self._cards(panel)
            self._review(panel)
            check_row(panel, self._actions, state)
            self._filters(panel)
            self._figures(panel)
        return types.Property(panel, view=types.GridView(orientation="vertical", gap=2, pad=2, componentsProps=even(1)))

    def _header(self, panel: types.Object) -> None:
        state = self._state
        bar = row(panel, "bar")
        if state.keys:
            choices = types.DropdownView(compact=True, componentsProps=FIT)
            for key in state.keys:
                choices.add_choice(key, label=key)
            bar.enum(
                "key_choice",
                state.keys,
                default=state.audit_key,
                label="Audit",
                view=choices,
                on_change=self._actions.choose_audit,
            )
        variant = "outlined" if state.keys else "contained"
        operators = [("audit_labels", "Audit again" if state.audit_key else "Audit labels", "play_arrow", variant)]
        if state.audit_key:
            operators += [
                ("apply_corrections", "Apply", "save_as", "outlined"),
                ("export_corrections", "Export", "download", "outlined"),
                ("make_report", "Report", "summarize", "outlined"),
            ]
        for name, label, icon, style in operators:
            button(bar, name, label, icon, self._actions.prompt, style, params={"operator": name})
        if state.audit_key:
            of_audit = {"audit_key": state.audit_key}
            button(bar, "show_findings", "Findings", "rule", self._actions.show_findings, params=of_audit)
            button(bar, "show_map", "Map", "scatter_plot", self._actions.show_map, params=of_audit)

    def _job(self, panel: types.Object) -> None:
        job = self._state.job
        done = "" if job["progress"] is None else f" · {job['progress']:.0%}"
        panel.view(
            "job_shown",
            types.AlertView(
                severity="info",
                label=f"Audit {job['audit_key']!r} is running: {job['stage']}{done}",
                description="It goes on when you close the App.",
            ),
        )
        panel.view("stop_job", types.View(component="LabelAuditStop", audit_key=job["audit_key"]))
        watching = types.TimerView(interval=POLL_MILLISECONDS, on_interval=self._actions.poll_job, params=self._drawn)
        panel.view("job_timer", watching)

    def _cards(self, panel: types.Object) -> None:
        state = self._state
        shown = cards(state)
        line = cards_row(panel, "cards", len(shown))
        for number, (value, label) in enumerate(shown):
            line.md(f"##### {value}\n{label}", name=f"card_{number}")
        if why := too_little(state.summary):
            panel.md(why, name="too_little")
        since = state.summary.get("since_last")
        if since:
            panel.md(
                f"Since the last audit: {since['labels_corrected']:,} labels corrected, flags "
                f"{since['flagged_before']:,} → {since['flagged_now']:,} ({since['no_longer_flagged']:,} gone, "
                f"{since['newly_flagged']:,} new).",
                name="since_last",
            )

    def _review(self, panel: types.Object) -> None:
        """The place where the browser draws the review, with what it has to know."""
        state = self._state
        view = types.View(
            component="LabelAuditReview",
            audit_key=state.audit_key,
            version=state.threshold_of,
            threshold=state.threshold,
            class_label=state.class_label,
            hide_injected=bool(state.hide_injected),
            suggested=state.suggested,
            label_field=state.label_field,
            classes=state.classes,
            user=this_user(),
            confused=state.confused,
            accepting=accepting(state.summary),
            # Decisions on drawn samples say better how far to trust the flags.
            least_checked=None if state.summary.get("verified") else LEAST_CHECKED,
        )
        panel.view("review", view)

    def _filters(self, panel: types.Object) -> None:
        state = self._state
        panel.float(
            "threshold_slider",
            min=0,
            max=1,
            default=state.threshold,
            label=slider_label(state),
            view=types.SliderView(
                label=slider_label(state),
                label_position="top",
                value_label_display="off",
                value_precision=2,
                view_multiple_of=0.01,
                componentsProps={"container": {"sx": {"mt": -2, "mb": -3}}},  # it keeps more room than it needs
            ),
            on_change=self._actions.move_threshold,
        )
        panel.plot("suspicion", layout=self._histogram_layout(), config={"displayModeBar": False})
        filters = row(panel, "filter_row")
        label = "Show reviewed too" if state.only_unreviewed else "Only unreviewed"
        button(filters, "only_unreviewed", label, "filter_alt", self._actions.toggle_unreviewed, params=self._drawn)
        if state.has_injected:
            label = "Show injected too" if state.hide_injected else "Hide injected"
            button(filters, "hide_injected", label, "science", self._actions.toggle_injected, params=self._drawn)
        button(filters, "show_all", "Show all samples", "clear_all", self._actions.show_all, params=self._drawn)
        if state.class_label is not None:
            pair = "" if state.suggested is None else f" → **{plain(state.suggested)}**"
            filters.md(f"class **{plain(state.class_label)}**{pair}", name="class_shown", componentsProps=FIT)

    def _histogram_layout(self) -> dict[str, Any] | None:
        """The report's, which marks the audit's own threshold, with a line where the slider is."""
        layout = (self._state.layouts or {}).get("suspicion")
        if not layout:
            return None
        at = self._state.threshold
        line = {"color": SLIDER_COLOR, "width": 2}
        slider = {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "y domain", "line": line}
        return {**layout, "shapes": [*layout["shapes"], slider]}

    def _figures(self, panel: types.Object) -> None:
        state = self._state
        table = types.TableView(
            on_click_row=self._actions.choose_class,
            label="Classes (click one to filter the grid)",
            componentsProps={"table": {"sx": TABLE}},
        )
        for key, label in (
            ("class", "Class"),
            ("samples", "Samples"),
            ("flagged", "Flagged"),
            ("confused", "Most confused with"),
            ("influence", "Mean influence"),
        ):
            table.add_column(key, label=label)
        panel.list("classes", types.Object(), view=table)
        if state.classes_left_out:
            panel.md(f"… and {counted(state.classes_left_out, 'class')} with fewer flags", name="classes_left_out")
        panel.plot("influence", layout=(state.layouts or {}).get("influence"), config={"displayModeBar": False})
