"""The subcommands that read saved results: `report` and `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from integrations.command.cli import cli
from integrations.command.ending import print_json, standard_output_for_json
from integrations.command.orders import COMPARISON_FILE, FIGURES_FOLDER
from integrations.command.outputs import check_figures, check_page
from integrations.pipeline import REPORT_FILE


@cli.command()
def report(
    result_folder: Annotated[Path, typer.Argument(help="The folder that `influence-audit run` named.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The HTML file to write; default: report.html in the result's folder."),
    ] = None,
    figures: Annotated[
        str | None,
        typer.Option(help="Write the figures too, as svg or png, into the folder figures beside the report."),
    ] = None,
) -> None:
    """Write the HTML report of a saved result again; it needs nothing but the folder."""
    from audit.result import AuditResult
    from reports.html import write_report

    result = AuditResult.load(result_folder)
    path = output or result_folder / REPORT_FILE
    check_page(path)
    if figures is not None:
        check_figures(path.parent / FIGURES_FOLDER, path)
        from reports.images import write_figures

        written = write_figures(result, path.parent / FIGURES_FOLDER, figures)
        print(f"{len(written)} figures: {written[0].parent.resolve()}")
    print(f"report: {write_report(result, path).resolve()}")


@cli.command()
def compare(
    first: Annotated[Path, typer.Argument(help="The folder of a result.")],
    second: Annotated[Path, typer.Argument(help="The folder of another result of the same dataset.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The HTML file to write; default: compare.html in the second's folder."),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the comparison as JSON on standard output, all else on standard error."),
    ] = False,
) -> None:
    """Write an HTML page about what changed between two results: after corrections, with another backbone or seed."""
    from audit.result import AuditResult
    from reports.compare import compare as compared
    from reports.compare import headline, sentences, write_comparison

    results = AuditResult.load(first), AuditResult.load(second)
    path = output or second / COMPARISON_FILE
    check_page(path)
    values = compared(*results)
    write_comparison(*results, path)
    with standard_output_for_json(as_json):
        print(" ".join([headline(values), *sentences(values)]))
        print(f"comparison: {path.resolve()}")
    if as_json:
        print_json(values)
