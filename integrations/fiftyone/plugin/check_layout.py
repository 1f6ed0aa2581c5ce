"""How the check of an audit looks in the panel: one picture, its label, three answers, and what they say so far."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from integrations.fiftyone.review import CHECK_SIZE, DECISIONS_BETWEEN_LOOKS

from .operators.sentences import counted
from .panel_parts import FIT, button, picture, plain, row

if TYPE_CHECKING:
    from .panel import LabelAuditPanel

KEYS = "*Keys: Shift + R right, W wrong, U cannot say, Z take back*"
PICTURE, THUMBNAIL = "320px", "64px"
INTERVAL = "90 % intervals. They hold whenever you stop."
WHY = (
    f"*Decisions on {CHECK_SIZE} pictures drawn by chance say how many labels are wrong and how far to trust the "
    "flags, whatever the mistakes are like.*"
)


class CheckLayout:
    """The panel while a check is under way. Before a decision it shows the picture and its given label only.

    Args:
        actions: the panel, whose methods the buttons call.
        state: what the browser keeps of it.
    """

    def __init__(self, actions: LabelAuditPanel, state: Any) -> None:
        self._actions = actions
        self._state = state
        self._check: dict[str, Any] = state.check

    def show(self, panel: types.Object) -> None:
        """Everything that the state says of the check."""
        check = self._check
        line = row(panel, "check_bar", gap=2)
        line.md(f"##### Check of '{plain(self._state.audit_key)}'", name="check_title", componentsProps=FIT)
        self._button(line, "leave", "Back to the review", "arrow_back")
        answers = f"{check['right']} right, {check['wrong']} wrong, {check['unsure']} cannot say"
        panel.md(f"**{check['decided']} of {check['drawn']}** · {answers}", name="check_progress")
        box = panel.v_stack("check_box", gap=1.5, pad=2, variant="outline")
        if check["next"]:
            self._question(box)
        else:
            box.md(f"**All {counted(check['drawn'], 'picture')} are decided.**", name="check_done")
            buttons = row(box, "check_over")
            self._button(buttons, "more", f"Check {CHECK_SIZE} more", "add")
            self._button(buttons, "take_back", "Take back", "undo")
        if check["last"]:
            self._true_label(panel)
        self._estimates(panel)

    def _question(self, box: types.Object) -> None:
        upcoming = self._check["next"]
        of_sample = {"sample": upcoming["sample"]}
        picture(box, "check_picture", upcoming["filepath"], "picture", PICTURE, self._actions.open_sample, of_sample)
        box.md(f"given: **{plain(upcoming['given'])}**\n\nIs this label right?", name="check_label")
        buttons = row(box, "check_answers")
        self._button(buttons, "right", "Right", "check_circle", "contained", **of_sample)
        self._button(buttons, "wrong", "Wrong", "report", "contained", **of_sample)
        self._button(buttons, "unsure", "Cannot say", "help", **of_sample)
        self._button(buttons, "take_back", "Take back", "undo")
        box.md(KEYS, name="check_keys")

    def _true_label(self, panel: types.Object) -> None:
        """After 'wrong': which label is right, if the reviewer likes to say."""
        last = self._check["last"]
        box = panel.v_stack("check_last", gap=1, pad=1, variant="outline")
        line = row(box, "check_last_row", gap=2)
        shown = {"sample": last["sample"]}
        picture(
            line, "check_last_picture", last["filepath"], "last picture", THUMBNAIL, self._actions.open_sample, shown
        )
        if last["corrected"]:
            text = f"The last one is **{plain(last['corrected'])}**, not {plain(last['given'])}."
        else:
            text = f"The last label, {plain(last['given'])}, is wrong. Which one is right? You need not say."
        line.md(text, name="check_last_text", componentsProps=FIT)
        if last["suggested"] and last["suggested"] not in (last["given"], last["corrected"]):
            label = f"It is {last['suggested']}"
            self._button(line, "true_label", label, "auto_fix_high", true_label=last["suggested"], **shown)
        params = {"operator": "relabel", **shown}
        button(line, "check_relabel", "Another label", "edit", self._actions.prompt, params=params)

    def _estimates(self, panel: types.Object) -> None:
        check = self._check
        if not check["estimates"]:
            left = "An interval follows after ten decisions." if check["next"] else "No decision says anything."
            panel.md(f"*{left}*", name="check_estimates")
            return
        sentence = said_so_far(check["estimates"])
        if check["enough"]:
            panel.view("check_enough", types.AlertView(severity="success", label=f"Enough: {sentence}"))
        else:
            panel.md(f"{sentence[0].upper()}{sentence[1:]}", name="check_estimates")
        note = (
            f" The next look is after {DECISIONS_BETWEEN_LOOKS} more." if check["next"] and not check["enough"] else ""
        )
        panel.md(f"*{INTERVAL}{note}*", name="check_interval")
        variant = "contained" if check["enough"] or not check["next"] else "outlined"
        self._button(panel, "use", "Use these decisions", "done_all", variant)

    def _button(
        self, box: types.Object, event: str, label: str, icon: str, variant: str = "outlined", **params: Any
    ) -> None:
        check_button(box, self._actions.check, event, label, icon, variant, **params)


def check_row(panel: types.Object, actions: LabelAuditPanel, state: Any) -> None:
    """In the overview: begin a check or go on with it, use its decisions, or go back to what the model said."""
    check = state.check
    if check and check["interrupted"]:
        label = "Writing the decisions into the dataset was interrupted: use them again, or go back to the model."
        panel.view("check_interrupted", types.AlertView(severity="warning", label=label))
    elif not check:
        panel.md(WHY, name="check_why")
    line = row(panel, "check_row")
    if not check:
        size = min(CHECK_SIZE, state.summary.get("counts", {}).get("samples", CHECK_SIZE))
        check_button(
            line, actions.check, "start", f"Check the audit: {counted(size, 'picture')}", "fact_check", "contained"
        )
        return
    if check["next"]:
        label = f"Go on with the check: {check['decided']} of {check['drawn']}"
        check_button(line, actions.check, "start", label, "fact_check")
    else:
        check_button(line, actions.check, "more", f"Check {CHECK_SIZE} more", "fact_check")
    if check["interrupted"] or (check["estimates"] and check["unused"]):
        check_button(line, actions.check, "use", "Use these decisions", "done_all")
    if check["interrupted"] or check["used"]:
        check_button(line, actions.check, "back", "Back to what the model said", "undo")


def check_button(
    box: types.Object, action: Any, event: str, label: str, icon: str, variant: str = "outlined", **params: Any
) -> None:
    """A button for an event of the check (`check.EVENTS`)."""
    button(box, f"check_{event}", label, icon, action, variant, params={"do": event, **params})


def verified_cards(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Numbers of the overview, each with what it is; none where no decisions are used."""
    verified = summary.get("verified")
    if not verified:
        return []
    mistakes, precision = verified["mistakes"], verified["precision"]
    cards = [(count_range(mistakes["anytime_low"], mistakes["anytime_high"]), "wrong labels, verified")]
    if precision is not None:
        share = percent_range(precision["anytime_low"], precision["anytime_high"])
        cards.append((share, "of the flags right, verified"))
    return cards


def said_so_far(estimates: dict[str, Any]) -> str:
    """What the decisions say, in a sentence."""
    verb = "says" if estimates["decided"] == 1 else "say"
    wrong = f"{count_range(*estimates['mistakes'])} of the {estimates['samples']:,} labels are wrong"
    text = f"{counted(estimates['decided'], 'decision')} {verb} that "
    if estimates["precision"] is not None:
        text += f"{percent_range(*estimates['precision'])} of the flags are right, and that "
    return f"{text}{wrong}."


def count_range(low: float, high: float) -> str:
    """'12 to 61', rounded outwards."""
    return _range(math.floor(round(low, 6)), math.ceil(round(high, 6)))


def percent_range(low: float, high: float) -> str:
    """'2 to 9 %' of shares from 0 to 1, rounded outwards."""
    return f"{count_range(100 * low, 100 * high)}\u00a0%"


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
