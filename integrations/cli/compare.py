"""The subcommand `compare`: what changed between two saved results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from integrations.cli.exit_codes import print_json, standard_output_for_json
from integrations.cli.job import COMPARISON_FILE
from integrations.cli.outputs import check_page
from integrations.cli.root import cli


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
    from audit.summary.parts import to_json
    from reports.changes import compare as compared
    from reports.changes import headline, sentences
    from reports.compare import write_comparison

    results = AuditResult.load(first), AuditResult.load(second)
    path = output or second / COMPARISON_FILE
    check_page(path)
    values = compared(*results)
    write_comparison(*results, path)
    with standard_output_for_json(as_json):
        print(" ".join([headline(values), *sentences(values)]))
        print(f"comparison: {path.resolve()}")
    if as_json:
        print_json(to_json(values))
