"""The `influence-audit` command: one module a group of subcommands, and what they share."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import sys
import warnings

SUBCOMMANDS = (
    "run",
    "config",
    "report",
    "compare",
    "explain",
    "verify",
    "export",
    "apply",
    "app",
    "plugin",
    "doctor",
    "benchmark",
)
"""The modules of this folder that have one, in the order of --help."""


def add_subcommands() -> None:
    """Import them: each adds itself to the command."""
    for module in SUBCOMMANDS:
        importlib.import_module(f"integrations.cli.{module}")


def main() -> None:
    """The console script."""
    from integrations.cli.interruption import Interruption
    from integrations.cli.standard_streams import prepare

    prepare()
    if not sys.warnoptions:  # they name lines of libraries: what matters to the user is said in our own words
        warnings.simplefilter("ignore")
    code = 1

    def leave() -> None:
        """End without freeing memory piece by piece, which takes torch and FiftyOne seconds."""
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)

    atexit.register(leave)  # the first that is registered is the last that is run
    interruption = Interruption()
    try:
        from integrations.cli.exit_codes import exit_code_of
        from integrations.cli.root import cli

        add_subcommands()
        code = exit_code_of(lambda: cli(prog_name=cli.info.name, standalone_mode=False, obj=interruption))
    finally:
        interruption.end()
    sys.exit(code)


if __name__ == "__main__":
    main()
