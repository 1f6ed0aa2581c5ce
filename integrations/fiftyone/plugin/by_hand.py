"""Labels that a reviewer types in the App's own editor, which tells nobody: the panel looks for them."""

from __future__ import annotations

from typing import Any

import fiftyone as fo

from audit.errors import InputError
from integrations.fiftyone import review
from integrations.fiftyone.appearance import make_editable

from .draft import Draft
from .operators.sentences import said
from .operators.window import PLUGIN

HAND_STORE = "influence_audit_by_hand"  # in the dataset's execution store: the sample whose label is being typed


def open_editor(ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
    """Open the sample that is shown in the App's own editor of labels."""
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


def look_at_hand(ctx: Any, dataset: fo.Dataset, state: Draft) -> bool:
    """Count a label that was typed in the App's editor since it was opened from here; whether there was one."""
    if not state.by_hand or not state.audit_key:
        return False
    sample, before = state.by_hand["sample"], state.by_hand["label"]
    decided = review.note_label_by_hand(dataset, state.audit_key, sample, before)
    if decided.count:
        ctx.ops.notify(said(decided), variant="success")
        state.by_hand = {**state.by_hand, "label": review.label_of(dataset, state.audit_key, sample)}
        ctx.trigger(f"{PLUGIN}/look_again")
    if ctx.current_sample == sample:
        state.by_hand = {**state.by_hand, "seen": True}
    elif state.by_hand["seen"]:  # closed again
        state.by_hand = None
        ctx.store(HAND_STORE).delete(state.audit_key)
    return bool(decided.count)


def resume_hand(ctx: Any, dataset: fo.Dataset, state: Draft) -> bool:
    """Go on with what a panel that was closed meanwhile was looking at, in this window or in an earlier one.

    Returns:
        Whether a label was typed meanwhile.
    """
    kept = None if state.by_hand else ctx.store(HAND_STORE).get(state.audit_key)
    if not kept:
        return False
    state.by_hand = {**kept, "seen": True}
    return look_at_hand(ctx, dataset, state)
