"""The subcommand `apply`: the source of an audit with the labels that were decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit.errors import InputError
from integrations.cli.exit_codes import say
from integrations.cli.first_line import FirstLine, Quiet
from integrations.cli.result_place import RESULT_HELP, RESULT_NAME, result_folder
from integrations.cli.root import cli, quieten_fiftyone

if TYPE_CHECKING:
    from audit.result import AuditResult
    from integrations.corrections.decisions import Decided, Decision


@cli.command()
def apply(
    what: Annotated[str, typer.Argument(help=RESULT_HELP, metavar=RESULT_NAME)],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Where the corrected labels go, in the source's own form: a file with the same suffix, or a new "
            "folder. The source itself is never written.",
        ),
    ],
    decisions: Annotated[
        Path | None,
        typer.Option(
            help="A table with the column new_label filled in, as `influence-audit export` writes it; default: the "
            "decisions of the review in FiftyOne."
        ),
    ] = None,
    accept_from: Annotated[
        float | None,
        typer.Option(
            help="Also accept the suggested labels of all undecided samples from this suspicion on, unseen; some of "
            "them are wrong, and the command says how many are expected to be right."
        ),
    ] = None,
    hard_link: Annotated[
        bool, typer.Option("--hard-link", help="For a folder of images: link the files, and do not copy them.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write the corrected labels in the source's own form, with a log of what changed (OUTPUT.log.csv)."""
    quieten_fiftyone()
    begin = FirstLine(f"applying decisions on {what!r}", quiet)
    result = result_folder(what, begin)
    begin()
    from audit.result import AuditResult
    from integrations.corrections.corrected import corrected_source
    from integrations.corrections.output import check_output
    from integrations.sources.table_files import LOG_END

    loaded = AuditResult.load(result)
    if loaded.summary.source is None:
        raise InputError(f"the result in {str(result)!r} is of arrays, and has no source; correct them in Python")
    source = corrected_source(loaded, loaded.summary.source, hard_link)
    log = output.with_name(f"{output.name if source.suffix is None else output.stem}{LOG_END}")
    check_output(output, log, source)
    wanted = _wanted(loaded, decisions, accept_from)
    if not wanted and not loaded.summary.source.annotators:  # their consensus is new to the source by itself
        raise InputError(
            f"nothing to apply: no sample of {str(result)!r} has a new label; decide in the App, fill in a table "
            "(--decisions), or accept suggestions unseen (--accept-from)"
        )
    changes, rows = _changes(loaded, source.labels, wanted)
    _tell_new_classes(changes, [str(name) for name in loaded.summary.classes], source.labels)
    for remark in source.write(output, changes):
        say(f"note: {remark}")
    _write_log(log, rows)
    left = len(wanted) - len(changes)
    said = f" ({left} decisions change nothing; the log says why)" if left else ""
    labels = "consensus labels" if loaded.summary.source.annotators else "labels"
    say(f"{len(changes)} of {len(source.labels)} {labels} changed{said}: {output.resolve()}")
    say(f"what changed: {log.resolve()}")


def _tell_new_classes(changes: Mapping[str, str], classes: Sequence[str], current: Any) -> None:
    """Say which new labels are classes that neither the audit nor the source had, and what they may be meant for."""
    from difflib import get_close_matches

    known = {*classes, *filter(None, current.values())}
    for label, count in Counter(label for label in changes.values() if label not in known).items():
        meant = get_close_matches(label, classes, 1)
        hint = f"; did you mean {meant[0]!r}?" if meant else ""
        say(f"note: {label!r} is a new class, of {count} label(s){hint}")


def _wanted(result: AuditResult, decisions: Path | None, accept_from: float | None) -> list[Decision]:
    """The decisions that name a new label, and the suggestions that are accepted unseen."""
    decided = _decided(result, decisions, accept_from)
    if accept_from is None:
        return list(decided.changes)
    from integrations.corrections.decisions import accepted_from

    accepted, expected = accepted_from(result, accept_from, decided)
    say(
        f"{len(accepted)} suggestions accepted unseen at suspicion {accept_from:g} or above; the audit expects "
        f"about {expected:.0f} of them to be right"
    )
    return [*decided.changes, *accepted]


def _decided(result: AuditResult, decisions: Path | None, accept_from: float | None) -> Decided:
    """The decisions of the given table, or else of FiftyOne; none where there is no FiftyOne to ask, nor need."""
    from integrations.corrections.decisions import Decided, decided_in_fiftyone, decided_in_file

    if decisions is not None:
        return decided_in_file(decisions, result)
    source = result.summary.source
    if source is not None and not source.in_fiftyone and (accept_from is not None or source.annotators):
        return Decided()
    return decided_in_fiftyone(result)


def _changes(
    result: AuditResult, current: Any, wanted: Sequence[Decision]
) -> tuple[dict[str, str], list[dict[str, object]]]:
    """The labels that change, by key, and a row of the log for each decision."""
    from integrations.corrections.decisions import keys_of
    from integrations.sources.table_files import LOG_COLUMNS

    scores = result.scores
    audited = dict(zip(keys_of(result), scores["original_label" if "injected" in scores else "label"], strict=True))
    facts = dict(zip(keys_of(result), zip(scores["filepath"], scores["suspicion"], strict=True), strict=True))
    changes: dict[str, str] = {}
    rows: list[dict[str, object]] = []
    for decision in wanted:
        key, label = decision.key, current.get(decision.key)
        path, suspicion = facts.get(key, (None, None))
        why = decision.why
        if key not in current:
            why = "not applied: the source has no such sample now"
        elif label == decision.label:
            why = "not applied: the source has this label already"
        elif key in audited and label != str(audited[key]):
            why = f"not applied: the source's label has changed since the audit (then {audited[key]!r})"
        else:
            changes[key] = decision.label
        values = (key, path, label, decision.label, key in changes, why, suspicion, decision.by, decision.at)
        rows.append(dict(zip(LOG_COLUMNS, values, strict=True)))
    return changes, rows


def _write_log(path: Path, rows: Sequence[dict[str, object]]) -> None:
    import pandas as pd

    from integrations.corrections.output import write_table
    from integrations.sources.table_files import LOG_COLUMNS

    write_table(path, pd.DataFrame(list(rows), columns=list(LOG_COLUMNS)))
