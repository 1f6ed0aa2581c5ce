"""The subcommand `compare`: what changed between two saved results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.errors import InputError
from integrations.cli.exit_codes import print_json, standard_output_for_json
from integrations.cli.first_line import FirstLine, Quiet
from integrations.cli.job import COMPARISON_FILE
from integrations.cli.outputs import check_page, open_page
from integrations.cli.result_place import RESULT_HELP, result_folder
from integrations.cli.root import cli


@cli.command()
def compare(
    results: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"The former result and the newer one; with a history, the newer one alone, or none. {RESULT_HELP}",
            metavar="RESULT",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The HTML file to write; default: compare.html in the newer's folder."),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            help="The folder of `run --history`, which keeps the former results. Default: the one that the newer "
            "result was kept in."
        ),
    ] = None,
    open: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the comparison as JSON on standard output, all else on standard error."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write an HTML page about what changed between two results: after corrections, with another backbone or seed."""
    begin = FirstLine(f"comparing {_named(results or [], history)}", quiet)
    folders = _folders(results or [], history, begin)
    path = output or (folders[1] if results or history is None else history) / COMPARISON_FILE
    check_page(path)
    begin()
    from audit.result import AuditResult
    from audit.summary.parts import to_json
    from integrations.history import History
    from reports.beside_result import read_beside
    from reports.changes import compare as compared
    from reports.changes import headline, sentences
    from reports.compare import write_comparison

    first, second = (AuditResult.load(folder) for folder in folders)
    runs = read_beside(folders[1]).runs or (() if history is None else History(history).trend_of(second))
    values = compared(first, second)
    write_comparison(first, second, path, runs)
    with standard_output_for_json(as_json):
        print(" ".join([headline(values), *sentences(values)]))
        print(f"comparison: {path.resolve()}")
    if as_json:
        print_json(to_json(values) | {"history": [to_json(run) for run in runs]})
    if open:
        open_page(path)


def _named(results: list[str], history: Path | None) -> str:
    """What is compared, in words."""
    if len(results) > 1:
        return " and ".join(map(repr, results))
    if results:
        return f"{results[0]!r} and the run before it"
    return f"the last two runs of {str(history)!r}"


def _folders(results: list[str], history: Path | None, begin: FirstLine) -> tuple[Path, Path]:
    """The folders of the former and the newer result; `begin` is called before what takes time.

    Raises:
        InputError: if they are not named, and no history has them.
    """
    if len(results) > 2:
        raise InputError(f"compare takes two results, and {len(results)} were given; leave the others out")
    if len(results) == 2:
        return result_folder(results[0], begin), result_folder(results[1], begin)
    if not results and history is None:
        raise InputError("no result was given; name two, or give --history for the last two runs")
    newer = result_folder(results[0], begin) if results else None
    begin()
    from audit.result import AuditResult
    from integrations.history import History
    from reports.beside_result import read_beside

    if newer is None:
        assert history is not None  # as one of the two is given
        return History(history).last_two()
    beside = read_beside(newer)
    if history is not None or not beside.history:
        if history is None:
            raise InputError(
                f"one result was given, and {str(newer)!r} was kept in no history; name the former result too, or give "
                "--history"
            )
        return History(history).former_of(AuditResult.load(newer)), newer
    former = beside.former
    if former is None or not former.is_dir():
        return History(Path(beside.history)).former_of(AuditResult.load(newer)), newer
    return former, newer
