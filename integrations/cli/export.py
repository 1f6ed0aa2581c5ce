"""The subcommand `export`: flagged samples, cleaned labels and review decisions as a table for other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.errors import InputError
from integrations.cli.exit_codes import say
from integrations.cli.first_line import FirstLine, Quiet
from integrations.cli.outputs import check_file, is_export, is_tasks
from integrations.cli.root import cli, quieten_fiftyone
from integrations.cli.standard_streams import write_bytes
from integrations.corrections.output import check_new_folder, write_file
from integrations.fiftyone.database import connect

if TYPE_CHECKING:
    import pandas as pd

    from audit.result import AuditResult

NEW_LABEL = "new_label"
"""An empty column, for the labels that a person decides for; `influence-audit apply --decisions` reads it."""

CLEANLAB = "cleanlab"
LABEL_STUDIO, CVAT = "label-studio", "cvat"
TOOLS = (LABEL_STUDIO, CVAT)
FORMATS = ("csv", "json", "parquet", CLEANLAB)
FIFTYONE_PREFIX = "fiftyone:"
FIRST_COLUMNS = (
    *("id", "filepath", "split", "key", "label", "suggested_label", "suggested_probability", "suspicion", "flag"),
)


@cli.command()
def export(
    what: Annotated[
        str,
        typer.Argument(
            help="A result folder, to export its flagged samples with the labels that the audit suggests; or a "
            "FiftyOne dataset, to export the decisions of its review.",
            metavar="RESULT_OR_DATASET",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file to write; it may replace an earlier export, but no other file. Default: standard output.",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="csv, json, parquet, or cleanlab (a CSV like Datalab's get_issues('label'), of all samples); "
            "default: by the suffix of --output, and csv for standard output.",
        ),
    ] = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Export all samples of a result, not only the flagged ones, with the column cleaned_label, which "
            "accepts every suggestion unseen.",
        ),
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            help="Make tasks of the flagged samples, with the suggestions as pre-annotations: label-studio (--output "
            "is the JSON of the tasks; the labelling configuration goes beside it) or cvat (--output is a new folder)."
        ),
    ] = None,
    push_column: Annotated[
        bool,
        typer.Option(
            "--push-column",
            help="Save the audited Hugging Face dataset again, with suspicion, flag and suggested label as columns; "
            "--output is a new folder.",
        ),
    ] = False,
    audit_key: Annotated[
        str, typer.Option(help="For a FiftyOne dataset: the audit whose review is exported.")
    ] = "audit",
    quiet: Quiet = False,
) -> None:
    """Write flagged samples or review decisions as a table."""
    begin = FirstLine(f"exporting from {what!r}", quiet)
    if push_column:
        _push_columns(what, output, bool(kind or every or to), begin)
    elif to is not None:
        _make_tasks(what, to, output, bool(kind or every), begin)
    else:
        _write_table(what, output, _checked_format(kind, output), every, audit_key, begin)


def _checked_format(kind: str | None, output: Path | None) -> str:
    """The format of the table, by --format or the file's suffix.

    Raises:
        InputError: if there is no such format, or it or the file cannot be written.
    """
    chosen = kind or (output.suffix.lower().removeprefix(".") if output is not None else "csv")
    if chosen not in FORMATS:
        raise InputError(f"format {chosen!r} is unknown; give --format with one of {', '.join(FORMATS)}")
    if chosen == "parquet" and output is None:
        raise InputError("parquet cannot be written to standard output; name a file with --output")
    if output is not None:
        check_file(output, lambda start: is_export(start, output), "export")
    return chosen


def _write_table(
    what: str, output: Path | None, kind: str, every: bool, audit_key: str, begin: Callable[[], None]
) -> None:
    """Flagged samples or review decisions as a table; `begin` is called before what takes time."""
    table = _table_of(what, kind, every, audit_key, begin)
    content = _writer(kind)(table)
    if output is None:
        write_bytes(content)
        return
    write_file(output, content)
    say(f"{len(table)} samples: {output.resolve()}")


def _table_of(what: str, kind: str, every: bool, audit_key: str, begin: Callable[[], None]) -> pd.DataFrame:
    """The table of a result folder, or of a dataset's review."""
    if not Path(what).is_dir():
        if every or kind == CLEANLAB:
            raise InputError(f"{what!r} is no result folder, which --all and --format cleanlab need; leave them out")
        begin()
        return _of_review(what.removeprefix(FIFTYONE_PREFIX), audit_key)
    begin()
    from audit.result import AuditResult
    from reports.acceptance import acceptance_sentences

    result = AuditResult.load(what)
    table = _of_result(result, every, kind == CLEANLAB)
    if every and kind != CLEANLAB:
        for sentence in acceptance_sentences(result.summary):
            say(sentence)
    return table


def _push_columns(what: str, output: Path | None, other_form: bool, begin: Callable[[], None]) -> None:
    """The audited dataset with scores as columns."""
    if other_form or output is None or not Path(what).is_dir():
        raise InputError("--push-column stands alone; give `influence-audit export RESULT --push-column -o FOLDER`")
    begin()
    from audit.result import AuditResult
    from integrations.corrections.saved import save_with_scores

    columns = save_with_scores(AuditResult.load(what), output)
    say(f"dataset with {', '.join(columns)}: {output.resolve()}")


def _make_tasks(what: str, tool: str, output: Path | None, other_form: bool, begin: Callable[[], None]) -> None:
    """Tasks for an annotation tool."""
    if tool not in TOOLS:
        raise InputError(f"tool {tool!r} is unknown; give --to with one of {', '.join(TOOLS)}")
    if other_form:
        raise InputError("--to makes tasks of the flagged samples; leave --format and --all out")
    if not Path(what).is_dir() or output is None:
        lacks = "an --output" if Path(what).is_dir() else f"a result folder, and {what!r} is none"
        raise InputError(f"--to {tool} needs {lacks}; give `influence-audit export RESULT --to {tool} -o OUTPUT`")
    if tool == CVAT:
        check_new_folder(output)
    else:
        check_file(output, is_tasks, "tasks")
    begin()
    from audit.result import AuditResult

    result = AuditResult.load(what)
    if tool == CVAT:
        from integrations.annotation.cvat import write_cvat
        from integrations.corrections.output import whole_folder

        with whole_folder(output) as folder:
            count = write_cvat(result, folder)
        say(f"{count} pictures and their annotations (CVAT for images 1.1): {output.resolve()}")
        return
    from integrations.annotation.label_studio import as_json, label_studio_configuration, label_studio_tasks

    tasks = label_studio_tasks(result)
    write_file(output, as_json(tasks))
    configuration = output.with_name(f"{output.stem}-configuration.xml")
    write_file(configuration, label_studio_configuration(result.summary.classes).encode())
    say(f"{len(tasks)} tasks: {output.resolve()}")
    say(f"labelling configuration: {configuration.resolve()}")


def _of_result(result: AuditResult, every: bool, as_issues: bool) -> pd.DataFrame:
    scores = result.scores.reset_index()
    flagged = scores["flag"].astype(bool)
    if as_issues:
        issues = scores[["id"]].assign(is_label_issue=flagged, label_score=1 - scores["suspicion"])
        return issues.assign(given_label=scores["label"], predicted_label=scores["suggested_label"])
    first = [name for name in FIRST_COLUMNS if name in scores]
    table = scores[[*first, *(name for name in scores if name not in first)]]
    table.insert(list(table).index("suggested_label"), NEW_LABEL, None)
    if every:
        cleaned = table["suggested_label"].where(flagged, table["label"])
        if "injected" in table:  # what the audit changed on purpose is known
            cleaned = cleaned.where(~table["injected"].astype(bool), table["original_label"])
        table.insert(list(table).index("label"), "cleaned_label", cleaned)
        return table
    return table[flagged].sort_values("suspicion", ascending=False, kind="stable")


def _of_review(dataset: str, audit_key: str) -> pd.DataFrame:
    import pandas as pd

    quieten_fiftyone()
    connect()
    from integrations.fiftyone.read import load_collection
    from integrations.fiftyone.review import EXPORT_COLUMNS, corrections

    loaded = load_collection(dataset)
    return pd.DataFrame(list(corrections(loaded, audit_key)), columns=list(EXPORT_COLUMNS))


def _writer(kind: str) -> Callable[[pd.DataFrame], bytes]:
    match kind:
        case "json":
            return _json
        case "parquet":
            return lambda table: table.to_parquet(index=False)
        case _:
            from audit.files.spreadsheet import write_csv

            return lambda table: write_csv(table, index=False).encode("utf-8", errors="replace")


def _json(table: pd.DataFrame) -> bytes:
    text = table.to_json(orient="records", indent=2, force_ascii=False, double_precision=15)
    return text.encode("utf-8", errors="replace") + b"\n"
