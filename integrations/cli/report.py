"""The subcommand `report`: the HTML page of a saved result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.extras import require
from integrations.cli.job import FIGURES_FOLDER
from integrations.cli.outputs import check_figures, check_page
from integrations.cli.root import cli
from integrations.pipeline import REPORT_FILE


@cli.command()
def report(
    result_folder: Annotated[Path, typer.Argument(help="The result folder that `influence-audit run` printed.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The HTML file to write; default: report.html in the result's folder."),
    ] = None,
    figures: Annotated[
        str | None,
        typer.Option(help="Write the figures too, as svg or png, into the folder figures beside the report."),
    ] = None,
) -> None:
    """Write the HTML report of a saved result again; it needs only the folder."""
    if figures is not None:
        require("figures", "--figures")
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
