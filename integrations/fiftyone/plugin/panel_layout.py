"""How the panel looks: its state laid out as FiftyOne's types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fiftyone.operators import types

from integrations.fiftyone.explanations import SETTINGS
from integrations.fiftyone.fields import UNREVIEWED
from integrations.fiftyone.review import ReviewProgress

from .claims_shown import accepting, modelled_cards, too_little
from .operators.sentences import counted

if TYPE_CHECKING:
    from .panel import LabelAuditPanel

FIT = {"item": {"sx": {"width": "auto"}}}  # otherwise everything in a row is as wide as the panel
POLL_MILLISECONDS = 2000
EXPLANATION_MILLISECONDS = 500
KEYS = "*Keys: Shift + A accept, C confirm, D dismiss, U undo, N next*"
FILTERS = ("audit_key", "threshold", "threshold_of", "above", "class_label", "only_unreviewed")
PICTURE, THUMBNAIL = "120px", "84px"
TABLE = {  # only names of classes may be broken anywhere
    "minWidth": 0,
    "& th, & td": {"px": 1, "overflowWrap": "break-word"},
    "& td:nth-of-type(1), & td:nth-of-type(4)": {"overflowWrap": "anywhere"},
}
SLIDER_COLOR = "#ff6d04"  # the App's own

NO_AUDIT = """
##### No audit yet

*Audit labels* finds labels that are probably wrong. It leaves your labels as they are.
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
        self._drawn = {"sample": state.sample, "filters": {name: state.get(name) for name in FILTERS}}

    def whole(self) -> types.Property:
        """Everything that the state says."""
        panel = types.Object()
        state = self._state
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
        if not state.audit_key:
            if not state.problem and not state.job:
                panel.md(NO_AUDIT, name="nothing_yet")
        elif state.progress and state.summary is not None:
            self._cards(panel)
            self._sample(panel)
            self._filters(panel)
            self._figures(panel)
        return types.Property(
            panel, view=types.GridView(orientation="vertical", gap=2, pad=2, componentsProps=_even(1))
        )

    def _header(self, panel: types.Object) -> None:
        state = self._state
        bar = _row(panel, "bar")
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
        operators = [("audit_labels", "Audit labels", "play_arrow", variant)]
        if state.audit_key:
            operators += [
                ("apply_corrections", "Apply", "save_as", "outlined"),
                ("export_corrections", "Export", "download", "outlined"),
                ("make_report", "Report", "summarize", "outlined"),
            ]
        for name, label, icon, style in operators:
            _button(bar, name, label, icon, self._actions.prompt, style, params={"operator": name})

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
        watching = types.TimerView(interval=POLL_MILLISECONDS, on_interval=self._actions.poll_job, params=self._drawn)
        panel.view("job_timer", watching)

    def _cards(self, panel: types.Object) -> None:
        state = self._state
        counts = state.summary.get("counts", {})
        progress = state.progress
        cards = [(f"{counts.get('samples', 0):,}", "samples"), (f"{progress['flagged']:,}", "flagged")]
        cards += modelled_cards(state.summary)
        share = progress["reviewed"] / progress["flagged"] if progress["flagged"] else 1.0
        cards.append((f"{progress['reviewed']:,} / {progress['flagged']:,}", f"reviewed ({share:.0%})"))
        row = _columns(panel, "cards", len(cards))
        for number, (value, label) in enumerate(cards):
            row.md(f"##### {value}\n{label}", name=f"card_{number}")
        if why := too_little(state.summary):
            panel.md(why, name="too_little")
        if progress["checked"]:
            panel.md(_checked_text(ReviewProgress(**progress)), name="checked")
        since = state.summary.get("since_last")
        if since:
            panel.md(
                f"Since the last audit: {since['labels_corrected']:,} labels corrected, flags "
                f"{since['flagged_before']:,} → {since['flagged_now']:,} ({since['no_longer_flagged']:,} gone, "
                f"{since['newly_flagged']:,} new).",
                name="since_last",
            )
        if progress["to_apply"]:
            panel.view(
                "to_apply",
                types.AlertView(
                    severity="info",
                    label=f"{counted(progress['to_apply'], 'corrected label')} not in {state.label_field!r} yet: "
                    "choose 'Apply'.",
                ),
            )

    def _sample(self, panel: types.Object) -> None:
        state = self._state
        box = panel.v_stack("sample_box", gap=1.5, pad=2, variant="outline")
        facts = state.facts
        many = state.selected or 0
        if not facts:
            text = "Every flagged sample that filters and view leave is reviewed." if state.audit_key else ""
            box.md(f"**Review**\n\n{text}", name="review_done")
        elif facts["suspicion"] is None:
            box.md("**Review**\n\nThis sample is not part of the audit.", name="not_audited")
        else:
            line = _row(box, "facts", gap=2)
            self._picture(line, "picture", facts["filepath"], facts["given"], state.sample, PICTURE)
            line.md(_facts_text(facts), name="facts_text", componentsProps=FIT)
        row = _row(box, "decisions")
        suffix = f" ({many})" if many > 1 else ""
        undecidable = not many and (not facts or facts["suspicion"] is None)
        actions, shown = self._actions, self._drawn
        for name, label, icon, action, variant in (
            ("accept", "Accept suggestion", "auto_fix_high", actions.accept, "contained"),
            ("confirm", "Confirm mistake", "report", actions.confirm, "outlined"),
            ("dismiss", "Dismiss", "check_circle", actions.dismiss, "outlined"),
        ):
            _button(row, name, label + suffix, icon, action, variant, undecidable, shown)
        if not undecidable:
            _button(row, "relabel", "Relabel", "edit", actions.prompt, params={"operator": "relabel", **shown})
            if many <= 1:
                _button(row, "by_hand", "Label by hand", "draw", actions.label_by_hand, params=shown)
        _button(row, "undo", "Undo last", "undo", actions.undo, params=shown)
        _button(row, "next", "Next", "skip_next", actions.next_sample, params={"skip": True, **shown})
        if many > 1:
            unseen = f"*Accepting {many:,} suggestions without looking at each?* {accepting(state.summary)}"
            box.md(unseen, name="accepting")
        box.md(KEYS, name="keys")
        if facts and facts["suspicion"] is not None:
            self._neighbours(box)

    def _neighbours(self, box: types.Object) -> None:
        state = self._state
        if state.explaining:
            box.md("*Looking for the training samples that speak for and against the label …*", name="explaining")
            again = types.TimerView(
                interval=EXPLANATION_MILLISECONDS, on_interval=self._actions.explain, params=self._drawn
            )
            box.view("explained", again)
            return
        if not state.neighbours or state.neighbours["sample"] != state.sample:
            _button(
                box,
                "explain",
                "Why is it suspect?",
                "psychology",
                self._actions.explain,
                params=self._drawn,
            )
            return
        audited = plain(state.neighbours["label"])  # the sample may have another one by now
        for kind, side in (("helpful", "for"), ("harmful", "against")):
            box.md(f"Training samples that speak **{side}** '{audited}'", name=f"{kind}_title")
            row = _columns(box, f"{kind}_row", SETTINGS.neighbours)
            for rank, near in enumerate(state.neighbours[kind]):
                tile = row.v_stack(f"{kind}_{rank}", gap=0)
                self._picture(tile, "picture", near["filepath"], near["label"], near["id"], THUMBNAIL)
                tile.md(plain(near["label"]), name="label")

    def _picture(self, box: types.Object, name: str, filepath: str, alt: str, sample: str, height: str) -> None:
        """An image of the dataset that opens its sample when it is clicked."""
        view = types.ImageView(
            height=height,
            alt=alt,
            operator=self._actions.open_sample,
            params={"sample": sample},
            cursor=True,
            componentsProps=FIT,
        )
        box.str(name, default=f"/media?filepath={quote(filepath)}", view=view)

    def _filters(self, panel: types.Object) -> None:
        state = self._state
        panel.float(
            "threshold_slider",
            min=0,
            max=1,
            default=state.threshold,
            label=f"Show suspicion of at least {state.threshold:.2f}: {counted(state.above or 0, 'sample')}",
            view=types.SliderView(
                label=f"Show suspicion of at least {state.threshold:.2f}: {counted(state.above or 0, 'sample')}",
                label_position="top",
                value_label_display="off",
                value_precision=2,
                view_multiple_of=0.01,
                componentsProps={"container": {"sx": {"mt": -2, "mb": -3}}},  # it keeps more room than it needs
            ),
            on_change=self._actions.move_threshold,
        )
        panel.plot("suspicion", layout=self._histogram_layout(), config={"displayModeBar": False})
        row = _row(panel, "filter_row")
        label = "Show reviewed too" if state.only_unreviewed else "Only unreviewed"
        _button(row, "only_unreviewed", label, "filter_alt", self._actions.toggle_unreviewed, params=self._drawn)
        _button(row, "show_all", "Show all samples", "clear_all", self._actions.show_all, params=self._drawn)
        if state.class_label is not None:
            row.md(f"class **{plain(state.class_label)}**", name="class_shown", componentsProps=FIT)

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


def _facts_text(facts: dict[str, Any]) -> str:
    score = "" if facts["probability"] is None else f" (score {facts['probability']:.2f})"
    given = f"**{plain(facts['given'])}**"
    if facts.get("injected"):
        given += f" (changed on purpose; your label is {plain(facts['label'])})"
    lines = [
        f"given: {given}",
        f"suggested: **{plain(facts['suggested'])}**{score}",
        f"suspicion: **{facts['suspicion']:.3f}**",
    ]
    if facts["influence"] is not None:
        effect = "harms" if facts["influence"] < 0 else "helps"
        lines.append(f"influence: **{facts['influence']:+.3g}** ({effect})")
    status = facts["status"] or UNREVIEWED
    lines.append(f"status: **{status}**" + (f" to **{plain(facts['corrected'])}**" if facts["corrected"] else ""))
    return "\n\n".join(lines)


def plain(text: str | None) -> str:
    """Text that Markdown is to show as it is: `<unknown>` and `*` are names of classes, too."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text or "–")


def _checked_text(progress: ReviewProgress) -> str:
    """What the review says of the audit: labels that were found wrong, and how many of these it expected to be."""
    checked, wrong, expected = progress.checked, progress.found_wrong, progress.expected_wrong
    text = (
        f"Of {counted(checked, 'flag')} decided on since the audit, **{wrong:,} ({wrong / checked:.0%})** had a wrong "
        f"label; the audit expected {expected / checked:.0%}."
    )
    if progress.unexpected:
        more = "more" if wrong > expected else "fewer"
        text += f" Chance alone rarely does that: the other flags may hold {more} wrong labels than expected, too."
    return text


def _row(box: types.Object, name: str, gap: float = 1) -> types.Object:
    """A row that wraps where the panel is narrow; what is in it says `componentsProps=FIT`."""
    return box.grid(name, orientation="2d", gap=gap, align_y="center")


def _button(
    box: types.Object,
    name: str,
    label: str,
    icon: str,
    action: Any,
    variant: str = "outlined",
    disabled: bool = False,
    params: dict[str, Any] | None = None,
) -> None:
    box.btn(
        name,
        label=label,
        icon=icon,
        variant=variant,
        on_click=action,
        disabled=disabled,
        params=params,
        componentsProps=FIT,
    )


def _columns(box: types.Object, name: str, count: int) -> types.Object:
    """Columns of the same width."""
    return box.grid(name, orientation="horizontal", columns=count, gap=2, componentsProps=_even(count))


def _even(columns: int) -> dict[str, Any]:
    """Columns that long words in them do not widen: the panel would be wider than its place."""
    return {"grid": {"sx": {"gridTemplateColumns": f"repeat({columns}, minmax(0, 1fr))", "overflowWrap": "anywhere"}}}
