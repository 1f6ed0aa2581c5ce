"""How a command ends: its exit code, and one line for whatever went wrong."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from enum import IntEnum
from typing import Any

import typer

from audit.errors import InputError, WriteError
from integrations.cli.options_file import origin
from integrations.cli.standard_streams import as_json, problem_at_the_end
from integrations.fiftyone.database import DatabaseError


class ExitCode(IntEnum):
    """The exit codes of the command. An interruption ends with 128 + the signal's number."""

    DONE = 0
    FAILED = 1
    MISTAKE = 2  # in what was asked
    ABOVE_LIMIT = 3  # more wrong labels than --fail-above allows
    SOME_FAILED = 4  # of several audits
    FOUND = 5  # what --fail-on names
    NOT_MET = 6  # another condition that was asked for


EXIT_CODES: dict[int, str] = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed",
    ExitCode.MISTAKE: "a mistake in what was asked, said in one line",
    ExitCode.ABOVE_LIMIT: "the share of wrong labels is above `--fail-above`; the message has its range",
    ExitCode.SOME_FAILED: "some of several audits failed; the others are done",
    ExitCode.FOUND: "there are findings that `--fail-on` names; the message has the first of each kind",
    ExitCode.NOT_MET: "`--fail-new`, `--fail-unreadable` or `--fail-cautions` is not met",
    130: "interrupted with Ctrl+C (128 + the number of the signal, so 143 for SIGTERM)",
}
"""What each exit code means, for people. The guide repeats this table, and `run --help` shows it."""


_UNREACHABLE = ("ServerSelectionTimeout", "AutoReconnect", "NetworkTimeout", "ConnectionFailure")
"""Names of pymongo's errors: importing them here would slow down commands that need no database."""


def exit_code_of(work: Callable[[], object]) -> int:
    """Do the work and return the exit code; an error is reported in one line on standard error."""
    try:
        code = work()
    except typer.Exit as error:
        return error.exit_code
    except SystemExit as error:  # shell completion ends so
        return error.code if isinstance(error.code, int) else ExitCode.FAILED if error.code else ExitCode.DONE
    except Exception as error:
        if os.environ.get("INFLUENCE_AUDIT_DEBUG"):
            raise
        say(one_line(error))
        return ExitCode.MISTAKE if is_mistake(error) else ExitCode.FAILED
    if problem := problem_at_the_end():
        say(f"failed: standard output cannot be written ({problem}); send it elsewhere, or make room")
        return ExitCode.FAILED
    return code if isinstance(code, int) else ExitCode.DONE


def is_mistake(error: Exception) -> bool:
    """Whether it is a mistake of the user's, who can avoid it by other options or input."""
    return isinstance(error, InputError | typer.TyperException)


def one_line(error: Exception) -> str:
    """The message for an error, in one line."""
    if isinstance(error, typer.TyperException):
        context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
        if type(error).__name__ == "NoArgsIsHelpError":  # the help has been shown, and is its message
            return f"error: no command was given; choose one, as in `{getattr(context, 'command_path', '')} --help`"
        where = origin(context, parameter.name) if context is not None and parameter is not None else ""
        return f"error: {_first_line(error.format_message()) or type(error).__name__}{where}"
    if isinstance(error, InputError):
        return f"error: {_first_line(str(error)) or 'something that was given cannot be used'}"
    reason = _first_line(str(error))
    if isinstance(error, WriteError | DatabaseError):
        return f"failed: {reason}"
    if type(error).__module__.startswith("pymongo") and any(kind in type(error).__name__ for kind in _UNREACHABLE):
        cause = reason.split(" (configured")[0].split(", Timeout")[0]
        return f"failed: MongoDB does not answer ({cause}); start it and run the same command again to go on"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        place = f" ({error.filename})" if error.filename else ""
        return f"failed: {error.strerror}{place}; make room or write elsewhere, and run the same command again"
    return f"failed: {type(error).__name__}{': ' if reason else ''}{reason} (INFLUENCE_AUDIT_DEBUG=1 shows where)"


def say(text: str) -> None:
    """Print one line on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def standard_output_for_json(wanted: bool) -> Iterator[None]:
    """Redirect all other output, even of libraries, to standard error, so that standard output holds only JSON."""
    with redirect_stdout(sys.stderr) if wanted else nullcontext():
        yield


def print_json(value: Any) -> None:
    """A line of JSON on standard output, wherever prints go."""
    print(as_json(value, sys.__stdout__.encoding if sys.__stdout__ else None), file=sys.__stdout__, flush=True)


def _first_line(text: str) -> str:
    return " ".join(text.split("\n")[0].split())
