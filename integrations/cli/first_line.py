"""The line that a command prints before its imports, which take seconds: what it is about to do."""

from __future__ import annotations

from typing import Annotated

import typer

from audit import __version__
from integrations.cli.exit_codes import say

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result, and errors.")]


class FirstLine:
    """Says on standard error what a command is about to do, once.

    Call it before the first import that takes time, and after the checks that take none: their message stands alone.

    Args:
        doing: what the command does, for example "writing the report of 'pictures'".
        quiet: whether nothing is said.
    """

    def __init__(self, doing: str, quiet: bool = False) -> None:
        self._doing = doing
        self._pending = not quiet

    def __call__(self) -> None:
        """Say it, unless it was said before."""
        if self._pending:
            self._pending = False
            say(f"influence-audit {__version__}: {self._doing}")
