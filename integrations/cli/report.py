"""The subcommand `report`: the HTML page of a saved result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.extras import require
from integrations.cli.first_line import FirstLine, Quiet
from integrations.cli.job import FIGURES_FOLDER
from integrations.cli.outputs import check_figures, check_page, open_page
from integrations.cli.result_place import RESULT_HELP, RESULT_NAME, result_folder
from integrations.cli.root import cli
from integrations.pipeline import REPORT_FILE


@cli.command()
def report(
    what: Annotated[str, typer.Argument(help=RESULT_HELP, metavar=RESULT_NAME)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The HTML file to write; default: report.html in the result's folder."),
    ] = None,
    figures: Annotated[
        str | None,
        typer.Option(help="Write the figures too, as svg or png, into the folder figures beside the report."),
    ] = None,
    open: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write the HTML report of a saved result again; it needs only the folder."""
    if figures is not None:
        require("figures", "--figures")
    begin = FirstLine(f"writing the report of {what!r}", quiet)
    folder = result_folder(what, begin)
    path = output or folder / REPORT_FILE
    check_page(path)
    if figures is not None:
        check_figures(path.parent / FIGURES_FOLDER, path)
    begin()
    from audit.result import AuditResult
    from reports.beside_result import read_beside
    from reports.html import write_report

    result = AuditResult.load(folder)
    if figures is not None:
        from reports.images import write_figures

        written = write_figures(result, path.parent / FIGURES_FOLDER, figures)
        print(f"{len(written)} figures: {written[0].parent.resolve()}")
    beside = read_beside(folder)
    print(f"report: {write_report(result, path, beside.conditions, beside.runs).resolve()}")
    if open:
        open_page(path)
