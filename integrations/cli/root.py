"""The command as a whole: its name, its version, and the list that subcommands are added to."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

from audit import __version__

cli = typer.Typer(
    name="influence-audit",
    help="Find wrong labels in image datasets, review them in FiftyOne, and report how far to trust the flags.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=True,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"influence-audit {__version__}")
        raise typer.Exit()


@cli.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What comes before the subcommand."""


def quieten_fiftyone() -> None:
    """Keep FiftyOne's own chatter (MongoDB's age, progress bars) out of the way, unless the user set these.

    Matplotlib, which comes with it, is not to tell where it keeps its fonts when the home folder cannot be written.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")
    os.environ.setdefault("FIFTYONE_SHOW_PROGRESS_BARS", "false")
