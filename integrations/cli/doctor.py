"""The subcommand about this machine: `doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from audit.errors import InputError
from audit.summary.parts import JsonObject, to_json
from integrations.cli.exit_codes import ExitCode, print_json, standard_output_for_json
from integrations.cli.root import cli, quieten_fiftyone

if TYPE_CHECKING:
    from rich.console import Console

    from integrations.kept import Kept


@cli.command()
def doctor(
    delete: Annotated[
        list[str] | None,
        typer.Option(
            help="Delete what influence-audit keeps on this machine: 'cache' (embeddings), 'copies' (of images that "
            "are no files in the source), 'results', or one of the names that are listed. May be repeated.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the checks and what is kept as JSON, and nothing else.")
    ] = False,
) -> None:
    """Check versions, GPU, weights, MongoDB and disk, say how to fix what is wrong, and list what is kept."""
    from rich.console import Console

    console = Console()
    quieten_fiftyone()
    if as_json:
        if delete:
            raise InputError("--json lists, and --delete deletes; give one of them")
        with standard_output_for_json(True):
            found = _as_json()
        print_json(found)
        raise typer.Exit(ExitCode.DONE if found["fit"] else ExitCode.FAILED)
    if delete:
        _delete(delete, yes, console)
        return
    if yes:
        raise InputError("--yes answers what --delete asks; say what to delete with --delete")
    problems = _examine(console)
    _list_kept(console)
    if problems:
        raise typer.Exit(1)


def _as_json() -> JsonObject:
    """The checks, and what is kept, as JSON values."""
    from integrations.cli.machine import examine
    from integrations.kept import kept_things

    checks = [to_json(finding) for finding in examine()]
    kept = [
        {"kind": thing.kind, "name": thing.name, "folder": str(thing.folder), "bytes": thing.size}
        for thing in kept_things()
    ]
    return {"fit": all(check["state"] != "problem" for check in checks), "checks": checks, "kept": kept}


def _examine(console: Console) -> int:
    """Print each check; how many found a problem."""
    from rich.markup import escape

    from integrations.cli.machine import examine

    marks = {"ok": "[green]✓[/green]", "note": "[yellow]–[/yellow]", "problem": "[red]✗[/red]"}
    problems = 0
    for finding in examine():
        console.print(
            f"{marks[finding.state]} {finding.name:9} {escape(finding.text)}", soft_wrap=True, highlight=False
        )
        if finding.remedy:
            console.print(f"            → {escape(finding.remedy)}", soft_wrap=True, highlight=False)
        problems += finding.state == "problem"
    return problems


def _list_kept(console: Console) -> None:
    """Print what the product keeps, with its size, by kind."""
    from integrations.kept import KINDS, kept_things

    things = kept_things()
    if not things:
        return
    console.print("\nkept by influence-audit (delete with: influence-audit doctor --delete NAME)", soft_wrap=True)
    for kind in KINDS:
        _show(console, [thing for thing in things if thing.kind == kind], kind)


def _show(console: Console, things: Sequence[Kept], title: str) -> None:
    """Print things, by the folder that they are in."""
    from rich.markup import escape

    from integrations.kept import in_words

    for root in dict.fromkeys(thing.root for thing in things):
        here = [thing for thing in things if thing.root == root]
        total = in_words(sum(thing.size for thing in here))
        console.print(f"  {title:8} {total:>10}  {escape(str(root))}", soft_wrap=True, highlight=False)
        for thing in here:
            others = f", beside {thing.others} files of others, which stay" if thing.others else ""
            line = f"    {in_words(thing.size):>15}  {thing.name}{others}"
            console.print(escape(line), soft_wrap=True, highlight=False)


def _delete(wanted: Sequence[str], yes: bool, console: Console) -> None:
    """Delete what was named, after a question.

    Raises:
        InputError: if a name means nothing that is kept, or nobody can answer.
    """
    from integrations.kept import KINDS, chosen, delete, in_words, kept_things

    things = chosen(kept_things(), wanted)
    if not things:
        console.print(f"nothing is kept as {' or '.join(wanted)}")
        return
    for kind in KINDS:
        _show(console, [thing for thing in things if thing.kind == kind], kind)
    if any(thing.kind == "copies" for thing in things):
        console.print(
            "Datasets in FiftyOne show these copies; they have no images until the source is audited again.",
            soft_wrap=True,
        )
    if not yes:
        try:
            agreed = typer.confirm(f"Delete {'this' if len(things) == 1 else f'these {len(things)}'}?", default=False)
        except typer.Abort:
            raise InputError("--delete asks first, and nobody answered; add --yes to delete without asking") from None
        if not agreed:
            console.print("nothing was deleted")
            return
    console.print(f"deleted {in_words(delete(things))}")
