"""The subcommand `export`: flagged samples, cleaned labels and review decisions as a table for other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.errors import InputError
from integrations.cli.exit_codes import say
from integrations.cli.outputs import check_file, is_export, write_file
from integrations.cli.root import cli, quieten_fiftyone
from integrations.cli.standard_streams import write_bytes
from integrations.fiftyone.database import connect

if TYPE_CHECKING:
    import pandas as pd

    from audit.result import AuditResult

CLEANLAB = "cleanlab"
FORMATS = ("csv", "json", "parquet", CLEANLAB)
FIFTYONE_PREFIX = "fiftyone:"
FIRST_COLUMNS = ("id", "filepath", "split", "label", "suggested_label", "suggested_probability", "suspicion", "flag")


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
    audit_key: Annotated[
        str, typer.Option(help="For a FiftyOne dataset: the audit whose review is exported.")
    ] = "audit",
) -> None:
    """Write flagged samples or review decisions as a table."""
    chosen = kind or (output.suffix.lower().removeprefix(".") if output is not None else "csv")
    if chosen not in FORMATS:
        raise InputError(f"format {chosen!r} is unknown; give --format with one of {', '.join(FORMATS)}")
    if chosen == "parquet" and output is None:
        raise InputError("parquet cannot be written to standard output; name a file with --output")
    if output is not None:
        check_file(output, lambda start: is_export(start, output), "export")
    if Path(what).is_dir():
        from audit.result import AuditResult
        from reports.acceptance import acceptance_sentences

        result = AuditResult.load(what)
        table = _of_result(result, every, chosen == CLEANLAB)
        if every and chosen != CLEANLAB:
            for sentence in acceptance_sentences(result.summary):
                say(sentence)
    elif every or chosen == CLEANLAB:
        raise InputError(f"{what!r} is no result folder, which --all and --format cleanlab need; leave them out")
    else:
        table = _of_review(what.removeprefix(FIFTYONE_PREFIX), audit_key)
    content = _writer(chosen)(table)
    if output is None:
        write_bytes(content)
        return
    write_file(output, content)
    say(f"{len(table)} samples: {output.resolve()}")


def _of_result(result: AuditResult, every: bool, as_issues: bool) -> pd.DataFrame:
    scores = result.scores.reset_index()
    flagged = scores["flag"].astype(bool)
    if as_issues:
        issues = scores[["id"]].assign(is_label_issue=flagged, label_score=1 - scores["suspicion"])
        return issues.assign(given_label=scores["label"], predicted_label=scores["suggested_label"])
    table = scores[[*FIRST_COLUMNS, *(name for name in scores if name not in FIRST_COLUMNS)]]
    if every:
        cleaned = table["suggested_label"].where(flagged, table["label"])
        if "injected" in table:  # what the audit changed on purpose is known
            cleaned = cleaned.where(~table["injected"].astype(bool), table["original_label"])
        table.insert(4, "cleaned_label", cleaned)
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
