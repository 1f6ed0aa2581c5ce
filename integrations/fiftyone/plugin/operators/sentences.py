"""Sentences that the operators and the panel share: counts, and the outcome of a decision."""

from __future__ import annotations

from integrations.fiftyone.review import Decided, Undone

VERBS = {
    "confirm": "confirmed as a mistake",
    "dismiss": "dismissed: the label is right",
    "accept": "relabelled as suggested",
    "relabel": "relabelled",
    "unsure": "left open",
    "remove": "marked for removal",
    "apply": "corrected in the label field",
}


def counted(number: int, thing: str) -> str:
    """'1 sample', '1,200 samples', '3 classes'."""
    plural = "" if number == 1 else "es" if thing.endswith("s") else "s"
    return f"{number:,} {thing}{plural}"


def said(decided: Decided) -> str:
    """The outcome of a decision, in a sentence."""
    text = f"{counted(decided.count, 'sample')} {VERBS[decided.action]}"
    if decided.unchanged:
        text += f"; {decided.unchanged:,} stay as they were" + (
            " (already so, not audited, or nothing suggested)" if decided.action == "accept" else ""
        )
    return f"{text}."


def undone_said(undone: Undone | None) -> str:
    """What was undone, in a sentence."""
    if undone is None:
        return "There is no decision to undo."
    if undone.imported_from is not None:
        return f"Undone: decisions on {counted(undone.count, 'sample')}, imported from {undone.imported_from!r}."
    return f"Undone: {counted(undone.count, 'sample')} {VERBS[undone.action]} by {undone.by}."
