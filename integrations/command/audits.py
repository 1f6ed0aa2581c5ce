"""The subcommands that audit: `run` and `demo`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit.config import AuditConfig
from audit.errors import InputError
from integrations.command.cli import cli, quieten_fiftyone
from integrations.command.ending import ABOVE_LIMIT, say
from integrations.command.options import WHERE, Output, Quiet, takes_settings

if TYPE_CHECKING:
    from audit.result import AuditResult
    from integrations.sources import Source

DEMO_DATASET = "influence-audit-demo"
RESULTS_FOLDER = "audit-results"
REPORT_FILE = "report.html"
MARKDOWN_FILE = "summary.md"


@cli.command()
@takes_settings()
def run(
    source: Annotated[
        str,
        typer.Argument(
            help="A FiftyOne dataset, a folder with one folder a class, parquet files, a dataset saved to disk, a "
            "Hugging Face name such as Maysee/tiny-imagenet, or 'digits'. Prefixes fiftyone:, hf:, folder: and "
            "parquet: take it at its word.",
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Name of the FiftyOne dataset that other sources become; default: from theirs.", rich_help_panel=WHERE
        ),
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="A saved view of the FiftyOne dataset to audit.", rich_help_panel=WHERE)
    ] = None,
    label_field: Annotated[
        str | None,
        typer.Option(help="Field with the labels; default: ground_truth.", rich_help_panel=WHERE),
    ] = None,
    keep_labels: Annotated[
        str | None,
        typer.Option(help="Classes to keep, by name or by their number in the source: 90,100.", rich_help_panel=WHERE),
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Image column of a Hugging Face or parquet source.", rich_help_panel=WHERE)
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Label column of a Hugging Face or parquet source.", rich_help_panel=WHERE)
    ] = None,
    output: Output = None,
    audit_key: Annotated[
        str,
        typer.Option(help="Name under which FiftyOne keeps this audit's fields.", rich_help_panel=WHERE),
    ] = "audit",
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print the summary as JSON on standard output, all else on standard error.",
            rich_help_panel=WHERE,
        ),
    ] = False,
    fail_above: Annotated[
        float | None,
        typer.Option(
            help="Exit with code 3 when the estimated share of wrong labels is above this.", rich_help_panel=WHERE
        ),
    ] = None,
    quiet: Quiet = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Audit the labels of SOURCE: scores and flags into FiftyOne, and an HTML report."""
    config = AuditConfig(**settings)
    _check_audit_key(audit_key)
    if fail_above is not None and config.inject:
        raise InputError("--fail-above asks about your own labels, and --inject makes some wrong; leave one out")
    from integrations.sources import resolve_source

    resolved = resolve_source(
        source,
        dataset=dataset,
        view=view,
        label_field=label_field,
        image_column=image_column,
        label_column=label_column,
        keep_labels=[part.strip() for part in keep_labels.split(",")] if keep_labels else None,
    )
    result = _audit(resolved, config, audit_key, output, quiet, as_json)
    wrong = result.summary["estimates"]["mistakes"] / result.summary["counts"]["samples"]
    if fail_above is not None and wrong > fail_above:
        say(f"about {wrong:.1%} of the labels look wrong, above the limit of {fail_above:.1%}")
        raise typer.Exit(ABOVE_LIMIT)


@cli.command()
@takes_settings("seed", "inject", "weights", "device", "cache_dir", inject=0.1)
def demo(output: Output = None, quiet: Quiet = False, *, settings: dict[str, Any]) -> None:
    """Audit scikit-learn's handwritten digits with a tenth of the labels made wrong on purpose. Needs no network."""
    config = AuditConfig(**settings)
    from integrations.sources import resolve_source

    _audit(resolve_source("digits", dataset=DEMO_DATASET), config, "audit", output, quiet)


def _audit(
    source: Source, config: AuditConfig, audit_key: str, output: Path | None, quiet: bool, as_json: bool = False
) -> AuditResult:
    """Open the source, audit it, write FiftyOne and the report, and say where they are."""
    from rich.console import Console

    from integrations.command.summary_tables import show_summary
    from integrations.terminal import StageDisplay

    quieten_fiftyone()
    with StageDisplay(Console(stderr=True), quiet) as display:
        from audit.progress import Step
        from integrations.fiftyone import audit_dataset

        collection = source.open(display)
        dataset = collection._root_dataset.name
        folder = output or Path(RESULTS_FOLDER) / _folder_name(dataset) / audit_key
        result = audit_dataset(collection, source.label_field, audit_key, config, display, save_to=folder)
        display(Step("report"))
        from reports.html import write_report
        from reports.markdown import write_markdown

        path = write_report(result, folder / REPORT_FILE)
        write_markdown(result, folder / MARKDOWN_FILE)
        display(Step("report", 1, 1))
    show_summary(Console(stderr=as_json), result, dataset, path)
    if as_json:
        typer.echo(json.dumps(result.summary, ensure_ascii=False))
    return result


def _check_audit_key(key: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", key):
        raise InputError(f"audit key {key!r} is no identifier; use letters, digits and underscores, a letter first")


def _folder_name(dataset: str) -> str:
    """The dataset's name with what a folder name cannot hold made into '-'."""
    return re.sub(r"[^\w.-]+", "-", dataset).strip(".-") or "dataset"
