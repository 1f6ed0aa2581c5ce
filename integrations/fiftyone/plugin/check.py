"""The check of an audit in the panel: what its events do with the dataset and with the panel's state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import fiftyone as fo

from audit.errors import InputError
from integrations.fiftyone import review
from integrations.fiftyone.fields import SUSPICION, owner
from integrations.fiftyone.runs import audit_config

from .draft import Draft
from .operators.sentences import counted, undone_said
from .operators.window import show_changed_fields
from .shown import sample_facts

if TYPE_CHECKING:
    from integrations.fiftyone.review import CheckProgress


def look_at_check(ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
    """Show how far the check is, and the next picture, with nothing in panel and grid that tells what the audit thinks.

    The check ends where there is none any more: the audit was replaced, say.
    """
    state.label_field = audit_config(dataset, state.audit_key).label_field
    check = shown_check(dataset, state.audit_key, state.label_field, state.check_last)
    if check is None:
        leave(ctx, dataset, state)
        return
    state.check = check
    state.sample = check["next"] and check["next"]["sample"]


def start(ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
    """Begin a check, or go on with it."""
    review.start_check(dataset, state.audit_key)
    state.checking, state.check_last = True, None
    look_at_check(ctx, dataset, state)


def more(ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
    """Draw more pictures."""
    review.extend_check(dataset, state.audit_key)
    start(ctx, dataset, state)


def right(ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
    """The label is right."""
    _decide(ctx, dataset, state, "right")


def wrong(ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
    """The label is wrong."""
    _decide(ctx, dataset, state, "wrong")


def unsure(ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
    """The reviewer cannot say."""
    _decide(ctx, dataset, state, "unsure")


def true_label(ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
    """The suggestion for the last picture is right, whose label was said to be wrong."""
    review.relabel(dataset, state.audit_key, [ctx.params["sample"]], ctx.params["true_label"])
    state.check_last = ctx.params["sample"]
    look_at_check(ctx, dataset, state)


def take_back(ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
    """Take the last decision back, and ask again."""
    ctx.ops.notify(undone_said(review.undo_last(dataset, state.audit_key)), variant="info")
    state.check_last = None
    look_at_check(ctx, dataset, state)


def use(ctx: Any, dataset: fo.Dataset, state: Draft) -> Callable[[], Any]:
    """Let suspicions, flags and suggestions follow the decisions."""
    before = dataset.get_run_info(state.audit_key).config
    followed = review.use_decisions(dataset, state.audit_key)
    flagged = int(followed.scores["flag"].sum())
    text = f"{counted(followed.verification.decided, 'decision')} used: {counted(flagged, 'flag')}, "
    text += f"{before.summary.get('counts', {}).get('flagged', 0):,} before."
    if before.result_folder:
        text += (
            f" The result in {before.result_folder} is as it was; "
            f"`influence-audit verify {before.result_folder} --fiftyone` does the same for it."
        )
    ctx.ops.notify(text, variant="success")
    leave(ctx, dataset, state)
    return partial(show_changed_fields, ctx, dataset, state.audit_key, leave_check=True)


def back(ctx: Any, dataset: fo.Dataset, state: Draft) -> Callable[[], Any]:
    """Back to what the model said."""
    review.back_to_model(dataset, state.audit_key)
    ctx.ops.notify(
        "Suspicions, flags and suggestions are what the model said. Your decisions are kept.", variant="info"
    )
    leave(ctx, dataset, state)
    return partial(show_changed_fields, ctx, dataset, state.audit_key, leave_check=True)


def leave(ctx: Any, dataset: fo.Dataset, state: Draft) -> None:
    """Back to the review; the check can go on later."""
    state.checking, state.check, state.check_last, state.sample = False, None, None, None


EVENTS: dict[str, Callable[[Any, fo.Dataset, Draft], Callable[[], Any] | None]] = {
    event.__name__: event for event in (start, more, right, wrong, unsure, true_label, take_back, use, back, leave)
}
"""What the buttons of the check do, by name. What they return is done once the panel's state is sent."""

DECIDING = (right, wrong, unsure, true_label)


def _decide(ctx: Any, dataset: fo.Dataset, state: Draft, decision: review.CheckDecision) -> None:
    sample = ctx.params.get("sample") or state.sample
    if not sample:
        raise InputError("no picture is shown; choose 'Go on with the check'")
    review.decide_check(dataset, state.audit_key, sample, decision)
    state.checking = True
    state.check_last = sample if decision == "wrong" else None
    look_at_check(ctx, dataset, state)


def is_blind(view: fo.DatasetView | None, audit_key: str) -> bool:
    """Whether a view hides what the audit says, as `blind_view` does."""
    return SUSPICION.name(audit_key) in _hidden(view)


def show_check_of_view(ctx: Any, dataset: fo.Dataset, state: Draft) -> bool:
    """Show the check if the grid shows one and the panel has not just left it; whether it is shown.

    The panel of the sample view, or of a page that was loaded again, has no state yet and tells it by the view.
    """
    state.checking = state.checking is not False and is_blind(ctx.view, state.audit_key)
    if state.checking:
        look_at_check(ctx, dataset, state)
    return bool(state.checking)


def show_check(ctx: Any, audit_key: str | None) -> None:
    """Show the drawn samples in the grid while the panel shows the check of an audit (None: it shows none)."""
    if audit_key is None:
        if _is_check(ctx.view):
            ctx.ops.clear_view()
    elif not is_blind(ctx.view, audit_key):
        progress = review.check_progress(ctx.dataset, audit_key)
        if progress is not None:
            ctx.ops.set_view(view=blind_view(ctx.dataset, progress))


def _is_check(view: fo.DatasetView | None) -> bool:
    """Whether a view is that of a check, of this audit or of one that was renamed or deleted."""
    return any(name.endswith(SUSPICION.name("")) for name in _hidden(view))


def _hidden(view: fo.DatasetView | None) -> list[str]:
    """The fields that a view excludes by name."""
    stages = [] if view is None else view._stages
    return [name for stage in stages if isinstance(stage, fo.ExcludeFields) for name in stage.field_names or ()]


def blind_view(dataset: fo.Dataset, progress: CheckProgress) -> fo.DatasetView:
    """The drawn samples in the order of the dataset, which tells nothing, without what any audit wrote."""
    hidden = [name for name, field in dataset.get_field_schema().items() if owner(field) is not None]
    # A window keeps the view when another one renames the audit.
    return dataset.select(progress.drawn).add_stage(fo.ExcludeFields(hidden, _allow_missing=True))


def shown_check(
    dataset: fo.Dataset, audit_key: str, label_field: str, last: str | None = None
) -> dict[str, Any] | None:
    """The progress of a check as JSON values, with the picture and the given label of the next sample only.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        label_field: that was audited.
        last: id of the sample that was decided last, if the panel shows it: with its suggestion.

    Returns:
        None where no check was begun.
    """
    progress = review.check_progress(dataset, audit_key)
    if progress is None:
        return None
    verification = progress.verification
    estimates = None
    if verification is not None:
        precision = verification.precision
        estimates = {
            "decided": verification.decided,
            "samples": progress.samples,
            "mistakes": [verification.mistakes.anytime_low, verification.mistakes.anytime_high],
            "precision": precision and [precision.anytime_low, precision.anytime_high],
        }
    upcoming = progress.next and sample_facts(dataset, audit_key, label_field, progress.next)
    judged = last and sample_facts(dataset, audit_key, label_field, last)
    return {
        "drawn": len(progress.drawn),
        "decided": progress.decided,
        "right": progress.right,
        "wrong": progress.wrong,
        "unsure": progress.unsure,
        "next": upcoming and {"sample": progress.next, "filepath": upcoming["filepath"], "given": upcoming["given"]},
        "last": judged
        and {"sample": last, **{name: judged[name] for name in ("filepath", "given", "suggested", "corrected")}},
        "estimates": estimates,
        "enough": progress.enough,
        "used": progress.used,
        "unused": progress.unused,
        "interrupted": progress.interrupted,
    }
