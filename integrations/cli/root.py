"""The command as a whole: its name, its version, and the list that subcommands are added to."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from audit import __version__


class PlainGroup(TyperGroup):
    """A group of commands whose help shows no type for what takes no value."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        hide_types_of_flags(self.get_params(ctx))
        super().format_help(ctx, formatter)


class PlainCommand(TyperCommand):
    """A command whose help shows no type for what takes no value, and --help among the common options."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        hide_types_of_flags(self.get_params(ctx))
        super().format_help(ctx, formatter)


def hide_types_of_flags(parameters: Iterable[Any]) -> None:
    """Let the help of options that take no value show no type: newer versions of typer print <bool>."""
    parameters = list(parameters)
    has_common = any(getattr(parameter, "rich_help_panel", None) == "Common" for parameter in parameters)
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.display_type_rich = lambda ctx: None
        if has_common and parameter.name == "help":
            parameter.rich_help_panel = "Common"


class Subcommands(typer.Typer):
    """Typer whose commands are plain ones."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """As `typer.Typer.command`."""
        return super().command(name, cls=options.pop("cls", PlainCommand), **options)


cli = Subcommands(
    name="influence-audit",
    cls=PlainGroup,
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
