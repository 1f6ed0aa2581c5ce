"""The subcommands that read saved results: `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from integrations.command.cli import cli
from integrations.command.orders import REPORT_FILE


@cli.command()
def report(
    result_folder: Annotated[Path, typer.Argument(help="The folder that `influence-audit run` named.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The HTML file to write; default: report.html in the result's folder."),
    ] = None,
) -> None:
    """Write the HTML report of a saved result again; it needs nothing but the folder."""
    from reports.html import write_report

    path = write_report(result_folder, output or result_folder / REPORT_FILE)
    typer.echo(f"report: {path.resolve()}")
