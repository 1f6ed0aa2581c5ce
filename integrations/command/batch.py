"""Auditing what was ordered: one audit, or several, of which a failing one does not stop the others."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from audit.errors import InputError
from audit.progress import Step
from integrations.command.ending import (
    ABOVE_LIMIT,
    DONE,
    FAILED,
    MISTAKEN,
    SOME_FAILED,
    is_mistake,
    one_line,
    print_json,
    say,
)
from integrations.command.orders import INDEX_FILE, Order
from integrations.command.summary_tables import show_batch, show_summary
from integrations.pipeline import Audited, audit_and_report
from integrations.terminal import Manner, StageDisplay
from reports.index import IndexEntry, write_index

if TYPE_CHECKING:
    from audit.images.embedding import Workers


def audit_one(order: Order, manner: Manner, scheduler: str | None = None) -> dict[str, Any]:
    """Audit, and say what was found and where it is; the summary."""
    audited = _perform(order, manner, set(), scheduler)
    show_summary(Console(stderr=manner.json), audited.result, audited.report)
    if manner.json:
        print_json(audited.result.summary)
    if audited.problem is not None:
        raise audited.problem
    return audited.result.summary


def audit_all(
    orders: Sequence[Order], manner: Manner, fail_above: float | None = None, scheduler: str | None = None
) -> int:
    """Audit one after the other, whatever becomes of each, with one page over their reports; the exit code.

    The page is written before the first audit and after each, so that an interrupted call leaves one that says what is
    done and what is not.
    """
    root = orders[0].root
    taken: set[Path] = set()
    entries = [IndexEntry(order.source, order.label_field, order.audit_key, None) for order in orders]
    path = write_index(entries, root / INDEX_FILE, fail_above)
    for number, order in enumerate(orders, 1):
        if not manner.quiet:
            say(f"audit {number} of {len(orders)}: {order.source}")
        try:
            audited = _perform(order, manner, taken, scheduler)
        except Exception as error:
            if manner.verbose:
                traceback.print_exc()
            say(one_line(error))
            code = MISTAKEN if is_mistake(error) else FAILED
            ended = replace(entries[number - 1], exit_code=code, error=one_line(error))
        else:
            code = ABOVE_LIMIT if is_above(audited.result.summary, fail_above) else DONE
            ended = replace(entries[number - 1], exit_code=code, summary=audited.result.summary, report=audited.report)
            if audited.problem is not None:
                say(one_line(audited.problem))
                ended = replace(ended, exit_code=FAILED, error=one_line(audited.problem))
        entries[number - 1] = ended
        write_index(entries, path, fail_above)
    show_batch(Console(stderr=manner.json), entries, path)
    if manner.json:
        print_json({"audits": [entry.to_dict() for entry in entries]})
    codes = {entry.exit_code for entry in entries}
    if codes & {FAILED, MISTAKEN}:
        return SOME_FAILED
    return ABOVE_LIMIT if ABOVE_LIMIT in codes else DONE


def is_above(summary: dict[str, Any], limit: float | None) -> bool:
    """Whether the estimated share of wrong labels is above a limit, and say so."""
    wrong = summary["estimates"]["mistakes"] / summary["counts"]["samples"]
    if limit is None or wrong <= limit:
        return False
    say(f"about {wrong:.1%} of the labels look wrong, above the limit of {limit:.1%}")
    return True


@contextmanager
def _workers(scheduler: str | None, display: StageDisplay) -> Iterator[Workers | None]:
    """The Dask workers of the scheduler that was asked for, None without."""
    if scheduler is None:
        yield None
        return
    # First, since importlib_metadata, which Dask imports, keeps FiftyOne's eta from reading its own metadata.
    import integrations.fiftyone.dataset  # noqa: F401
    from integrations.dask import workers_at

    display(Step("workers"))
    with workers_at(scheduler, lambda text: display(Step("workers", note=text))) as workers:
        yield workers


def _perform(order: Order, manner: Manner, taken: set[Path], scheduler: str | None) -> Audited:
    """Open the source, audit it, write FiftyOne and the report; the folder of the result becomes taken."""
    with ExitStack() as opened:
        display = opened.enter_context(StageDisplay(Console(stderr=True), manner))
        workers = opened.enter_context(_workers(scheduler, display))
        order.check_writable()
        source = order.resolve()
        opened.enter_context(source.removed_if_refused())
        collection = source.open(display)
        dataset = collection._root_dataset.name
        folder = order.folder_for(dataset)
        order.refuse_others_files(folder)
        if folder in taken:
            raise InputError(
                f"dataset {dataset!r} was audited under {order.audit_key!r} already in this call; "
                "give one of the two another audit_key"
            )
        taken.add(folder)
        return audit_and_report(
            collection,
            source.label_field,
            order.audit_key,
            order.config,
            folder,
            display,
            workers,
            source.part,
            source.left_out,
        )
