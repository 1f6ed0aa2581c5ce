"""What the review in the browser asks the server: the next samples, decisions, undo, explanations.

The browser keeps the queue (review/*.js). It shows the next sample at once and sends the decision behind it, so every
answer here is data only: nothing in it changes the panel, the view or the page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import fiftyone as fo
from fiftyone.core.json import stringify
from fiftyone.operators import types

from audit.errors import InputError
from integrations.fiftyone import review
from integrations.fiftyone.explanations import Neighbour, explain_in_background
from integrations.fiftyone.fields import UNREVIEWED
from integrations.fiftyone.lock import one_at_a_time
from integrations.fiftyone.runs import as_read, audit_config
from integrations.fiftyone.small_pictures import small_picture

from ..filters import queue_of
from .operator import MISTAKES, AuditOperator, dataset_of
from .sentences import said, undone_said

AT_ONCE = 50  # samples in one answer
DECISIONS: dict[str, Callable[..., review.Decided]] = {
    "accept": review.accept,
    "confirm": review.confirm,
    "dismiss": review.dismiss,
    "relabel": review.relabel,
    "unsure": review.unsure,
}


class ReviewSamples(AuditOperator):
    """Answer the review in the browser. Its param `do` says what it asks."""

    name_ = "review_samples"
    label = "Review samples"
    description = "Answers the review in the browser"
    unlisted = True
    dynamic = False

    def resolve_input(self, ctx: Any) -> types.Property:
        """No form: FiftyOne asks for it at each request, which is not to read the dataset twice."""
        return types.Property(types.Object())

    def execute(self, ctx: Any) -> dict[str, Any]:
        """The answer, or `{"error": ...}` for a mistake, an audit that is gone for example."""
        try:
            dataset = dataset_of(ctx)
            if ctx.params.get("do") == "explain":  # it takes a while, and changes nothing
                return explain(ctx, dataset, ctx.params["audit_key"])
            with one_at_a_time, as_read(dataset):
                return ANSWERS[ctx.params["do"]](ctx, dataset, ctx.params["audit_key"])
        except MISTAKES as mistake:
            return {"error": str(mistake)}


def queue(ctx: Any, dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """The next samples to review: those of `samples` first, then as many as `count` says after the sample `after`."""
    params = ctx.params
    known = params.get("without") or []
    named = params.get("samples") or []
    wanted = _filter(ctx, tuple(dict.fromkeys([*known, *named])))
    count = min(AT_ONCE, int(params.get("count") or 0))
    limits = queue_of(ctx.view, dataset, key, audit_config(dataset, key).label_field)
    found = review.upcoming(limits, key, wanted, params.get("after"), count) if count else []
    cards = _cards(dataset, key, [*named, *found], wanted.team)
    return {"cards": cards, "complete": count > len(found), **_progress(dataset, key)}


def decide(ctx: Any, dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """Make the decisions of `decisions`, in their order, each on the samples that it names.

    A decision on one sample says which decision the reviewer saw on it. Where another one was made meanwhile, nothing
    changes, and the answer has the sample's card.
    """
    outcomes, team = [], _team(ctx)
    for wanted in ctx.params["decisions"]:
        samples, seen = wanted["samples"], wanted.get("seen")
        try:
            decided = _decide(dataset, key, wanted, team)
        except InputError as mistake:
            outcomes.append({"error": str(mistake)})
            continue
        outcome = asdict(decided) | {"text": said(decided)}
        if seen is not None and not decided.count and len(samples) == 1:
            (card,) = review.sample_cards(dataset, key, samples)
            if (card.decision.batch if card.decision else "") != seen:
                outcome["conflict"] = asdict(card)
        outcomes.append(outcome)
    changed = [sample for wanted in ctx.params["decisions"] for sample in wanted["samples"]]
    return {"outcomes": outcomes, "documents": _documents(dataset, changed), **_kept_progress(dataset, key)}


def _decide(dataset: fo.Dataset, key: str, wanted: dict[str, Any], team: review.Team | None) -> review.Decided:
    by, action = None if team is None else team.reviewer, wanted["action"]
    if wanted.get("second_opinion") and by is not None:
        (sample,) = wanted["samples"]
        return review.give_second_opinion(dataset, key, sample, (action, wanted.get("label")), by, wanted.get("seen"))
    label = {"label": wanted.get("label") or ""} if action == "relabel" else {}
    return DECISIONS[action](dataset, key, wanted["samples"], by=by, seen=wanted.get("seen"), **label)


def undo(ctx: Any, dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """Take back the decision `batch`, or else the last one of the person who runs the App."""
    batch = ctx.params.get("batch")
    team = _team(ctx)
    by = review.this_user() if team is None else team.reviewer
    undone = review.undo_last(dataset, key, None if batch else by, batch=batch)
    return {
        "text": undone_said(undone),
        "cards": _cards(dataset, key, [undone.sample], team) if undone else [],
        "documents": _documents(dataset, [undone.sample] if undone else []),
        **_kept_progress(dataset, key),
    }


def explain(ctx: Any, dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """What speaks for and against the labels of `samples`, and the pictures nearest to those of the samples `nearest`,
    as far as these are known by now."""
    found = _influence(dataset, key, ctx.params.get("samples") or [])
    return {"explanations": found, "nearest": _nearest(dataset, key, ctx.params.get("nearest") or [])}


def _nearest(dataset: fo.Dataset, key: str, samples: list[str]) -> dict[str, Any]:
    samples = samples[:AT_ONCE]
    if not samples:
        return {}
    try:
        with one_at_a_time, as_read(dataset):
            found = review.nearest_pictures(dataset, key, samples)
    except InputError as mistake:
        return {sample: {"error": str(mistake)} for sample in samples}
    if found is None:  # the embeddings are being read
        return {}
    gone = {"error": "its embedding is not known; its file may be gone, or was not audited"}
    return {sample: asdict(found[sample]) if sample in found else gone for sample in samples}


def _influence(dataset: fo.Dataset, key: str, samples: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for sample in samples[:AT_ONCE]:
        try:
            with one_at_a_time, as_read(dataset):
                explanation = explain_in_background(dataset, key, sample, wait_seconds=0.0)
        except InputError as mistake:
            found[sample] = {"error": str(mistake)}
            continue
        if explanation is not None:
            sides = {kind: [_shown(near) for near in getattr(explanation, kind)] for kind in ("helpful", "harmful")}
            found[sample] = {"label": explanation.label, **sides}
    return found


def _shown(near: Neighbour) -> dict[str, Any]:
    return asdict(near) | {"picture": small_picture(near.filepath), "flagged": False}


def pairs(ctx: Any, dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """The class pairs of the samples that are left to review."""
    limits = queue_of(ctx.view, dataset, key, audit_config(dataset, key).label_field)
    return {"pairs": [asdict(pair) for pair in review.class_pairs(limits, key, _filter(ctx))]}


def sheet(ctx: Any, dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """The samples of the class pair `given` and `suggested`, those that are alike side by side."""
    limits = queue_of(ctx.view, dataset, key, audit_config(dataset, key).label_field)
    pair = (ctx.params["given"], ctx.params["suggested"])
    total, pictures = review.contact_sheet(limits, key, _filter(ctx), pair)
    return {"total": total, "cards": [asdict(picture) for picture in pictures]}


def matrix(ctx: Any, dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """The samples that view and filters leave, without those of the matrix itself, by given and suggested class."""
    limits = queue_of(ctx.view, dataset, key, audit_config(dataset, key).label_field)
    wanted = replace(_filter(ctx), label=None, suggested=None)
    return asdict(review.class_matrix(limits, key, wanted))


def agreement(ctx: Any, dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """How often reviewers agreed, with the view of the samples on which they did not."""
    found = review.agreement(dataset, key)
    return asdict(found) | {"view": dataset.select(list(found.differing))._serialize()}


def plan(ctx: Any, dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """What is left of the review, in words and by suspicion."""
    found = review.review_plan(dataset, key)
    return asdict(found) | {"sentences": found.sentences}


def _filter(ctx: Any, without: tuple[str, ...] = ()) -> review.QueueFilter:
    params = ctx.params
    threshold, hide_injected = float(params.get("threshold") or 0.0), bool(params.get("hide_injected"))
    suggested, team = params.get("suggested"), _team(ctx)
    return review.QueueFilter(threshold, params.get("class_label"), without, hide_injected, suggested, team)


def _team(ctx: Any) -> review.Team | None:
    """The reviewer's place among several, where one was given."""
    given = ctx.params.get("team")
    if not given:
        return None
    reviewer = str(given.get("reviewer") or "").strip() or review.this_user()
    number, reviewers = int(given.get("number") or 1), int(given.get("reviewers") or 1)
    return review.Team(reviewer, number, reviewers, float(given.get("second") or 0.0))


def _cards(dataset: fo.Dataset, key: str, samples: list[str], team: review.Team | None) -> list[dict[str, Any]]:
    """What is known of samples. Of one that waits for a second opinion, it does not say what the first one was."""
    second = set() if team is None else review.second_opinions(dataset, key, samples, team)
    cards = []
    for card in review.sample_cards(dataset, key, samples):
        is_second = card.sample in second
        blind = replace(card, status=UNREVIEWED, corrected=None, history=()) if is_second else card
        cards.append(asdict(blind) | {"second_opinion": is_second})
    return cards


def _documents(dataset: fo.Dataset, samples: list[str]) -> list[dict[str, Any]]:
    """Samples as the App's grid has them, so that it can show what changed without being loaded again."""
    found = dataset.select(samples[:AT_ONCE])._aggregate() if samples else []
    return [stringify(document) for document in found]


def _progress(dataset: fo.Dataset, key: str) -> dict[str, Any]:
    return _told(review.review_progress(dataset, key))


def _kept_progress(dataset: fo.Dataset, key: str) -> dict[str, Any]:
    """After a decision, which has counted."""
    return _told(review.kept_progress(dataset, key))


def _told(progress: review.ReviewProgress) -> dict[str, Any]:
    return {"progress": asdict(progress) | {"unexpected": progress.unexpected}}


ANSWERS: dict[str, Callable[[Any, fo.Dataset, str], dict[str, Any]]] = {
    answer.__name__: answer for answer in (queue, decide, undo, pairs, sheet, matrix, agreement, plan)
}
"""What the browser asks, by the name in its param `do`."""
