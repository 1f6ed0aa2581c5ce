"""The check of an audit: decisions on samples that were drawn by chance, one after the other and unseen before.

The run of the audit keeps the drawn ids in the order to decide them, so a check survives the App and the database, is
renamed with its audit, and goes with it. 'Wrong' and 'right' are ordinary decisions of the log: they count as review
and can be undone. 'Unsure' is an entry of its own, which leaves the status as it is.

Every part of the list from its start is a stratified random sample. A decision therefore counts as drawn once all
samples before it are decided, and as ordinary review until then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, get_args

import fiftyone as fo

from audit.errors import InputError
from integrations.fiftyone.fields import CONFIRMED, DISMISSED
from integrations.fiftyone.review.judgements import Judgement, judgements, model_scores
from integrations.fiftyone.review.log import Action, Change, Decided, DecisionLog, object_ids
from integrations.fiftyone.review.progress import bring_up_to_date
from integrations.fiftyone.runs import COMPLETE, audit_config

if TYPE_CHECKING:
    import pandas as pd

CheckDecision = Literal["wrong", "right", "unsure"]
CHECK_SIZE = 40  # pictures

_ACTIONS: dict[str, tuple[Action, str | None, tuple[Action, ...]]] = {
    "wrong": ("confirm", CONFIRMED, ("confirm", "accept", "relabel")),
    "right": ("dismiss", DISMISSED, ("dismiss",)),
    "unsure": ("unsure", None, ("unsure",)),
}
"""The action of a decision, the status that it sets, and the actions that say as much already."""


@dataclass(frozen=True)
class Check:
    """The samples that were drawn to check an audit.

    Attributes:
        ids: in the order to decide them, those that were deleted since included.
        seed: of the draw.
        started: when they were drawn first (UTC, by the database's clock).
    """

    ids: tuple[str, ...]
    seed: int
    started: datetime


def start_check(dataset: fo.Dataset, audit_key: str, size: int = CHECK_SIZE, seed: int = 0) -> Check:
    """Draw samples to check an audit, or go on with the check that was begun.

    Samples that were decided before are not drawn. A check that was begun stays as it is, whatever size and seed are
    given; `extend_check` draws more.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        size: samples to draw, 1 or more; all samples where there are fewer.
        seed: of the draw, 0 or more.

    Raises:
        InputError: if there is no such audit, it is not complete, size or seed is out of its range, or every sample is
            decided already.
    """
    from audit.verification.draw import draw_scores

    begun = find_check(dataset, audit_key)
    if begun is not None:
        return begun
    log = _log_of_complete(dataset, audit_key)
    known = _known(judgements(log))
    ids = list(draw_scores(model_scores(log), size, seed, known).table.index)
    # Another window may begin a check at the same time: the database lets one of them.
    values = {"drawn": {"$literal": ids}, "seed": {"$literal": seed}, "started": {"$dateToString": {"date": "$$NOW"}}}
    log.runs.update_one({"_id": log.run, "config.check.drawn": None}, [{"$set": {"config.check": values}}])
    log.tell_samples_in_memory()
    return _existing(dataset, audit_key)


def extend_check(dataset: fo.Dataset, audit_key: str, more: int = CHECK_SIZE) -> Check:
    """Draw more samples, once all samples of a check are decided; the estimates then rest on all of them.

    A check that is under way stays as it is, so that two windows that ask at once draw once.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        more: samples to draw, 1 or more; all that are left where there are fewer.

    Raises:
        InputError: if no check was begun, or every sample is decided already.
    """
    from audit.verification.draw import draw_scores

    check = _existing(dataset, audit_key)
    log = _log_of_complete(dataset, audit_key)
    drawn, decided = drawn_and_decided(log, check, judgements(log, check.ids))
    if decided < len(drawn):
        return check
    scores = model_scores(log)
    known = _known(judgements(log, until=check.started)).intersection(scores.index)
    size = len(check.ids) + more
    longer = draw_scores(scores, size, check.seed, known.difference(drawn)).table.index
    left = [sample for sample in longer if sample not in set(check.ids)]
    if not left:
        raise InputError("every sample is decided already; there is nothing more to draw")
    before = list(check.ids)
    log.runs.update_one(
        {"_id": log.run, "config.check.drawn": before}, {"$set": {"config.check.drawn": before + left[:more]}}
    )
    log.tell_samples_in_memory()
    return _existing(dataset, audit_key)


def find_check(dataset: fo.Dataset, audit_key: str) -> Check | None:
    """The check of an audit; None where none was begun.

    Raises:
        InputError: if there is no such audit.
    """
    kept = audit_config(dataset, audit_key).check
    if not kept.get("drawn"):
        return None
    return Check(tuple(kept["drawn"]), kept["seed"], datetime.fromisoformat(kept["started"].removesuffix("Z")))


def decide_check(
    dataset: fo.Dataset, audit_key: str, sample: str, decision: CheckDecision, by: str | None = None
) -> Decided:
    """Decide on a drawn sample.

    'wrong' and 'right' do what `confirm` and `dismiss` do. 'unsure' leaves the sample's status as it is. A sample for
    which the same was decided since the check began does not change.

    Args:
        dataset: the audited dataset.
        audit_key: of the audit.
        sample: id of a drawn sample.
        decision: 'wrong', 'right' or 'unsure'.
        by: who decides; by default the user who runs this process.

    Raises:
        InputError: if there is no such audit or check, the sample was not drawn, or the decision is another word.
    """
    if decision not in get_args(CheckDecision):
        raise InputError(f"decision {decision!r} is none of {', '.join(get_args(CheckDecision))}; give one of them")
    check = _existing(dataset, audit_key)
    if sample not in check.ids:
        raise InputError(
            f"sample {sample!r} was not drawn for the check of audit {audit_key!r}; decide it in the review"
        )
    log = DecisionLog(dataset, audit_key)
    action, status, same = _ACTIONS[decision]
    latest = {"$let": {"vars": {"latest": log.latest_judgement}, "in": "$$latest.action"}}
    moment = {"$let": {"vars": {"latest": log.latest_judgement}, "in": "$$latest.at"}}
    already = {"$and": [{"$in": [latest, list(same)]}, {"$gte": [moment, check.started]}]}
    decided = log.decide(Change(action, status, {"$expr": {"$not": [already]}}), [sample], by)
    bring_up_to_date(log)
    return decided


def decisions_to_verify(dataset: fo.Dataset, audit_key: str) -> pd.DataFrame:
    """All decisions on the labels that the audit saw, as `audit.verify` takes them.

    Returns:
        By sample id: `order` (place in the check, from 0; NaN for decisions of ordinary review), `decision` ('wrong',
        'right' or, on drawn samples only, 'unsure') and `true_label` (of wrong labels, where it is known; else None).
        Drawn samples come first, in their order.

    Raises:
        InputError: if there is no such audit.
    """
    log = DecisionLog(dataset, audit_key)
    check = find_check(dataset, audit_key)
    made = judgements(log, () if check is None else check.ids)
    drawn, decided = ((), 0) if check is None else drawn_and_decided(log, check, made)
    return table_of(made, drawn[:decided])


def table_of(made: dict[str, Judgement], drawn: tuple[str, ...], with_others: bool = True) -> pd.DataFrame:
    """The table of `decisions_to_verify`.

    Args:
        made: the judgements, by sample id.
        drawn: decided samples of a check, in order.
        with_others: whether decisions of ordinary review are in it.
    """
    import pandas as pd

    rows: dict[str, tuple[float, str, str | None]] = {
        sample: (float(place), made[sample].decision, made[sample].true_label) for place, sample in enumerate(drawn)
    }
    if with_others:
        for sample, judgement in made.items():
            if sample not in rows and judgement.decision != "unsure":
                rows[sample] = (float("nan"), judgement.decision, judgement.true_label)
    columns = list(zip(*rows.values(), strict=True)) if rows else [(), (), ()]
    return pd.DataFrame(
        {
            "order": pd.Series(columns[0], dtype=float),
            "decision": pd.Series(columns[1], dtype=object),
            "true_label": pd.Series(columns[2], dtype=object),
        }
    ).set_axis(pd.Index(list(rows), name="id", dtype=object), axis=0)


def drawn_and_decided(log: DecisionLog, check: Check, made: dict[str, Judgement]) -> tuple[tuple[str, ...], int]:
    """The drawn samples that the dataset still has, in order, and how many of them from the first are decided."""
    there = {"_id": {"$in": object_ids(check.ids)}, log.suspicion: {"$ne": None}}
    present = {str(found["_id"]) for found in log.samples.find(there, ["_id"])}
    drawn = tuple(sample for sample in check.ids if sample in present)
    decided = 0
    for sample in drawn:
        judgement = made.get(sample)
        if judgement is None or (judgement.decision == "unsure" and judgement.at < check.started):
            break
        decided += 1
    return drawn, decided


def _known(made: dict[str, Judgement]) -> set[str]:
    return {sample for sample, judgement in made.items() if judgement.decision != "unsure"}


def _existing(dataset: fo.Dataset, audit_key: str) -> Check:
    check = find_check(dataset, audit_key)
    if check is None:
        raise InputError(f"no check of audit {audit_key!r} was begun; begin one")
    return check


def _log_of_complete(dataset: fo.Dataset, audit_key: str) -> DecisionLog:
    if audit_config(dataset, audit_key).state != COMPLETE:
        raise InputError(f"audit {audit_key!r} is not complete; run it again before you check it")
    return DecisionLog(dataset, audit_key)
