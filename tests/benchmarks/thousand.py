"""A scripted reviewer who knows the truth decides 1,000 flags in the real App, with keys only.

`python -m tests.benchmarks.app thousand` runs it. It needs Chromium, and the machine should be idle otherwise.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import fiftyone as fo

from integrations.fiftyone.review import decisions, undo_last
from integrations.sources.digits import digits
from tests.benchmarks.review import FLAGS, audited_digits, in_the_app

if TYPE_CHECKING:
    from tests.browser.app_window import AppWindow

MOST_MINUTES = 10
UNSURE_EVERY, TAKEN_BACK_EVERY = 40, 100
STATUS_OF = {"accept": "relabelled", "relabel": "relabelled", "dismiss": "dismissed", "unsure": "unsure"}
CARD = """() => {
    const { state } = window.reviewQueue, card = state.current;
    return card && window.reviewQueue.isOnScreen()
        && { sample: card.sample, given: card.given, suggested: card.suggested,
             shown: document.querySelector("[data-cy=review] img").getAttribute("src") };
}"""
KEPT = """async () => {
    const file = performance.getEntriesByType("resource").find(({ name }) => name.includes("review/queue.js"));
    window.reviewQueue = (await import(file.name)).queue;
}"""


@dataclass(frozen=True)
class Decision:
    """What the script decided on one sample."""

    sample: str
    action: str
    label: str | None


def thousand() -> dict[str, Any]:
    """A scripted reviewer decides 1,000 flags with keys only; then dataset and log are compared with the script."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = audited_digits("bench thousand", Path(folder))
        try:
            return decided(dataset, Path(folder))
        finally:
            fo.delete_dataset(dataset.name)


def decided(dataset: fo.Dataset, folder: Path, count: int = FLAGS) -> dict[str, Any]:
    """The figures of a dataset of noisy digits (`many_digits`) that has an audit."""
    while undo_last(dataset, "audit"):
        continue
    dataset.reload()
    ids, filepaths, keys = dataset.values(["id", "filepath", "source_id"])
    paths = dict(zip(ids, filepaths, strict=True))
    originals = [one.label for one in digits()]
    numbers = [int(key.rpartition("/")[2]) for key in keys]  # of the digits that the samples were made from
    truth = {sample: originals[number % len(originals)] for sample, number in zip(ids, numbers, strict=True)}
    with in_the_app(dataset, folder) as window:
        window.page.evaluate(KEPT)
        began = time.perf_counter()
        script, unseen = review_by_keys(window, count, paths, truth)
        window.page.wait_for_function("!window.reviewQueue.waiting.length && !window.reviewQueue.sending")
        seconds = time.perf_counter() - began
    standing = [entry for entry in decisions(dataset, "audit") if entry["undone_at"] is None]
    dataset.reload()
    statuses = dict(zip(*dataset.values(["id", "audit_status"]), strict=True))
    return {
        "decisions": len(script),
        "minutes": seconds / 60,
        "target": f"below {MOST_MINUTES} minutes",
        "seconds_per_decision": seconds / len(script),
        "decided_on_another_picture_than_shown": unseen,
        "log_equals_the_script": [(entry["sample"], entry["action"], _label(entry)) for entry in standing]
        == [(one.sample, one.action, one.label) for one in script],
        "dataset_equals_the_script": {sample: status for sample, status in statuses.items() if status != "unreviewed"}
        == {one.sample: STATUS_OF[one.action] for one in script},
    }


def review_by_keys(
    window: AppWindow, count: int, paths: dict[str, str], truth: dict[str, str | None]
) -> tuple[list[Decision], int]:
    """Decide on so many samples; what was decided, and how often the picture on screen was not the sample's."""
    script: list[Decision] = []
    unseen, keyboard = 0, window.page.keyboard
    while len(script) < count:
        card = window.page.wait_for_function(CARD).json_value()
        unseen += unquote(card["shown"].split("filepath=", 1)[1]) != paths[card["sample"]]
        right = truth[card["sample"]]
        script.append(_decide(keyboard, card, right, len(script)))
        if len(script) % TAKEN_BACK_EVERY == 0:
            window.page.wait_for_function(f"window.reviewQueue.state.current?.sample != '{card['sample']}'")
            keyboard.press("Shift+U")
            script.pop()
            window.page.wait_for_function(f"window.reviewQueue.state.current?.sample == '{card['sample']}'")
            window.page.wait_for_function(CARD)
            script.append(_decide(keyboard, card, right, len(script)))
        window.page.wait_for_function(f"window.reviewQueue.state.current?.sample != '{card['sample']}'")
    return script, unseen


def _decide(keyboard: Any, card: dict[str, Any], right: str | None, number: int) -> Decision:
    if number % UNSURE_EVERY == UNSURE_EVERY - 1:
        keyboard.press("Shift+S")
        return Decision(card["sample"], "unsure", None)
    if right == card["given"]:
        keyboard.press("Shift+D")
        return Decision(card["sample"], "dismiss", None)
    if right == card["suggested"]:
        keyboard.press("Shift+A")
        return Decision(card["sample"], "accept", right)
    keyboard.press("Shift+L")
    keyboard.type(str(right))
    keyboard.press("Enter")
    return Decision(card["sample"], "relabel", right)


def _label(entry: dict[str, Any]) -> str | None:
    return (entry.get("after") or {}).get("corrected")
