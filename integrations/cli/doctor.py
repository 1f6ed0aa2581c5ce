"""The subcommand about this machine: `doctor`."""

from __future__ import annotations

import typer

from integrations.cli.root import cli, quieten_fiftyone


@cli.command()
def doctor() -> None:
    """Check versions, GPU, weights, MongoDB and disk, and say how to fix what is wrong."""
    from rich.console import Console
    from rich.markup import escape

    quieten_fiftyone()
    from integrations.cli.machine import examine

    console = Console()
    marks = {"ok": "[green]✓[/green]", "note": "[yellow]–[/yellow]", "problem": "[red]✗[/red]"}
    problems = 0
    for finding in examine():
        console.print(
            f"{marks[finding.state]} {finding.name:9} {escape(finding.text)}", soft_wrap=True, highlight=False
        )
        if finding.remedy:
            console.print(f"            → {escape(finding.remedy)}", soft_wrap=True, highlight=False)
        problems += finding.state == "problem"
    if problems:
        raise typer.Exit(1)
