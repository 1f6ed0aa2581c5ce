"""How the panel 'Findings' looks: kinds with counts, and one finding with its pictures side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from audit.findings.contract import KEEP, MERGE, MOVE, REMOVE
from audit.findings.registry import kind_of
from integrations.fiftyone.findings_store import KeptFinding

from .operators.sentences import counted
from .panel_parts import FIT, button, even, picture, plain, row

if TYPE_CHECKING:
    from .findings_panel import FindingsPanel

PICTURE = "150px"
MOST_COLUMNS = 4
MOST_CLASSES = 60
TABLE = {"minWidth": 0, "& th, & td": {"px": 1, "overflowWrap": "break-word"}}
ICONS = {REMOVE: "delete", KEEP: "check_circle", MERGE: "merge", MOVE: "drive_file_move"}
NOTHING = """
##### No findings

This audit found nothing beside single labels, or it was made with `--findings none` or by an earlier version. Audit
again to look for copies, leaks, bad pictures and pictures that fit no class.
"""
NO_AUDIT = """
##### No audit yet

*Audit labels* looks for copies, leaks, bad pictures and pictures that fit no class, beside wrong labels.
"""


@dataclass(frozen=True)
class ShownSample:
    """A sample of a finding: its id, file, label, split as the audit used it, and tags."""

    id: str
    filepath: str
    label: str | None
    split: str | None
    tags: tuple[str, ...]


@dataclass(frozen=True)
class ShownFinding(KeptFinding):
    """A finding as the panel shows it, with its first samples, and how many of all are still there."""

    cards: tuple[ShownSample, ...]
    there: int

    @property
    def is_group(self) -> bool:
        """Whether it is about several samples that belong together."""
        return len(self.samples) > 1


class FindingsLayout:
    """The panel's layout.

    Args:
        actions: the panel, whose methods the buttons call.
        state: which audit, kind and finding are shown.
        shown: what was looked up: problem, keys, kinds, finding, place.
    """

    def __init__(self, actions: FindingsPanel, state: dict[str, Any], shown: dict[str, Any]) -> None:
        self._actions, self._state, self._shown = actions, state, shown
        self._finding: ShownFinding | None = shown["finding"]

    def whole(self) -> types.Property:
        """Everything that there is to show."""
        panel = types.Object()
        self._header(panel)
        if self._shown["problem"]:
            panel.view("problem_shown", types.AlertView(severity="warning", label=self._shown["problem"]))
        if not self._shown["keys"]:
            panel.md(NO_AUDIT, name="no_audit")
        elif not self._shown["kinds"]:
            panel.md(NOTHING, name="no_findings")
        else:
            self._kinds(panel)
            if self._finding is not None:
                self._show_finding(panel, self._finding)
        return types.Property(panel, view=types.GridView(orientation="vertical", gap=2, pad=2, componentsProps=even(1)))

    def _header(self, panel: types.Object) -> None:
        bar = row(panel, "findings_bar")
        if not self._shown["keys"]:
            return
        choices = types.DropdownView(compact=True, componentsProps=FIT)
        for key in self._shown["keys"]:
            choices.add_choice(key, label=key)
        bar.enum(
            "findings_audit",
            self._shown["keys"],
            default=self._state["audit_key"],
            label="Audit",
            view=choices,
            on_change=self._actions.choose_audit,
        )
        waiting = sum(kind.waiting for kind in self._shown["kinds"])
        of_audit = {"audit_key": self._state["audit_key"]}
        label = f"Apply {counted(waiting, 'decision')}" if waiting else "Apply"
        variant = "contained" if waiting else "outlined"
        button(bar, "apply_decisions", label, "done_all", self._actions.apply, variant, not waiting, of_audit)
        button(bar, "undo_finding", "Undo", "undo", self._actions.undo, params=self._drawn())
        if self._shown["kinds"]:
            only_open = bool(self._state["only_open"])
            label = "Show decided too" if only_open else "Only undecided"
            params = self._drawn() | {"only_open": only_open}
            button(bar, "only_undecided", label, "filter_alt", self._actions.toggle_open, params=params)

    def _drawn(self) -> dict[str, Any]:
        """What a button says of what was shown when it was drawn."""
        return {name: self._state[name] for name in ("audit_key", "kind", "finding")}

    def _kinds(self, panel: types.Object) -> None:
        kinds = self._shown["kinds"]
        findings, decided = sum(kind.findings for kind in kinds), sum(kind.decided for kind in kinds)
        panel.md(f"**{counted(findings, 'finding')}**, {decided:,} decided", name="findings_total")
        table = types.TableView(
            on_click_row=self._actions.choose_kind,
            label="Kinds (click one to see its findings)",
            componentsProps={"table": {"sx": TABLE}},
        )
        for name, label in (("kind", "Kind"), ("findings", "Found"), ("decided", "Decided"), ("waiting", "To apply")):
            table.add_column(name, label=label)
        panel.list("kinds", types.Object(), view=table)

    def _show_finding(self, panel: types.Object, finding: ShownFinding) -> None:
        kind, place = kind_of(finding.kind), self._shown["place"]
        box = panel.v_stack("finding_box", gap=1.5, pad=2, variant="outline")
        box.md(f"##### {plain(kind.title)}: {place['number']:,} of {place['of']:,}", name="finding_title")
        self._pictures(box, finding)
        box.md(f"{plain(finding.detail)}.", name="finding_detail")
        if len(finding.classes) > 2:
            more = len(finding.classes) - MOST_CLASSES
            listed = ", ".join(map(plain, finding.classes[:MOST_CLASSES]))
            box.md(f"Classes: {listed}{f' and {more:,} more' if more > 0 else ''}.", name="finding_classes")
        facts = [part for part in (plain(finding.worth) if finding.worth else "", plain(kind.advice)) if part]
        facts.append(f"Score {finding.score:.2f}.")
        box.md(" ".join(f"{fact[:1].upper()}{fact[1:].rstrip('.')}." for fact in facts), name="finding_facts")
        self._decision(box, finding)
        self._steps(box, place)

    def _pictures(self, box: types.Object, finding: ShownFinding) -> None:
        if not finding.samples:
            return
        if not finding.cards:
            box.md("*All its samples were deleted.*", name="finding_gone")
            return
        count = min(MOST_COLUMNS, max(2, len(finding.cards)))
        line = box.grid("finding_pictures", orientation="horizontal", columns=count, gap=2, componentsProps=even(count))
        for number, card in enumerate(finding.cards):
            cell = line.v_stack(f"finding_sample_{number}", gap=0.5)
            picture(
                cell,
                f"picture_{number}",
                card.filepath,
                "sample",
                PICTURE,
                self._actions.open_sample,
                {"sample": card.id},
            )
            about = [f"**{plain(card.label)}**", *([plain(card.split)] if card.split else []), *map(plain, card.tags)]
            cell.md(" · ".join(dict.fromkeys(about)), name=f"about_{number}")
            if finding.is_group and not finding.applied:
                self._keep_this(cell, finding, card, number)
        if finding.there > len(finding.cards):
            box.md(f"… and {counted(finding.there - len(finding.cards), 'sample')} more", name="finding_more")

    def _keep_this(self, cell: types.Object, finding: ShownFinding, card: ShownSample, number: int) -> None:
        """Which copy stays, and whose label all get."""
        decisions = kind_of(finding.kind).decisions
        if REMOVE in decisions:
            self._button(cell, f"stay_{number}", "Keep only this", "filter_1", finding, REMOVE, card.id)
        if MERGE in decisions:
            self._button(cell, f"label_{number}", f"All are {card.label}", ICONS[MERGE], finding, MERGE, card.id)

    def _decision(self, box: types.Object, finding: ShownFinding) -> None:
        if finding.decision is not None:
            state = "applied" if finding.applied else "not applied yet"
            said = decision_said(finding)
            said = said if finding.decision.action == KEEP else f"{said} ({state})"
            label = f"Decided by {finding.decision.by}: {said}."
            box.view("finding_decided", types.AlertView(severity="info", label=label))
        if finding.applied:
            return
        line = row(box, "finding_answers")
        for action in kind_of(finding.kind).decisions:
            if action == REMOVE and not finding.is_group:
                self._button(line, action, "Remove", ICONS[action], finding, action)
            elif action == MERGE and finding.classes:
                for number, label in enumerate(finding.classes):
                    self._button(line, f"merge_{number}", f"Merge into {label}", ICONS[action], finding, action, label)
            elif action == MOVE:
                self._button(line, action, "Move copies to train", ICONS[action], finding, action)
            elif action == KEEP:
                label = "Keep all" if finding.is_group else "Keep"
                self._button(line, action, label, ICONS[action], finding, action)
        if finding.samples:
            button(line, "in_grid", "Show in grid", "grid_view", self._actions.show_in_grid, params=self._drawn())

    def _button(
        self,
        box: types.Object,
        name: str,
        label: str,
        icon: str,
        finding: ShownFinding,
        *decision: str,
    ) -> None:
        """A button that decides: `decision` is the action, and what is kept."""
        action, kept = decision[0], decision[1] if len(decision) > 1 else None
        params = self._drawn() | {"action": action, "seen": finding.decision.batch if finding.decision else ""}
        if kept is not None:
            params["kept"] = kept
        button(box, f"decide_{name}", label, icon, self._actions.decide, params=params)

    def _steps(self, box: types.Object, place: dict[str, Any]) -> None:
        line = row(box, "finding_steps")
        for name, label, icon in (("previous", "Previous", "chevron_left"), ("next", "Next", "chevron_right")):
            params = self._drawn() | ({"finding": place[name]} if place[name] else {})
            button(line, f"go_{name}", label, icon, self._actions.step, disabled=not place[name], params=params)


def decision_said(finding: ShownFinding) -> str:
    """What was decided on a finding, in a few words."""
    decision = finding.decision
    assert decision is not None
    if decision.action == MERGE and not finding.classes:
        label = next((card.label for card in finding.cards if card.id == decision.kept), None)
        return f"all get the label {label}" if label else "all get the label of one of them"
    if decision.action == REMOVE and finding.is_group:
        return "keep one, remove the others"
    words = {
        KEEP: "keep as it is",
        REMOVE: "remove",
        MERGE: f"merge into {decision.kept}",
        MOVE: "move the held-out copies to train",
    }
    return words.get(decision.action, decision.action)
