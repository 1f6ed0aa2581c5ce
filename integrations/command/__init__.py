"""The `influence-audit` command: one module a group of subcommands, and what they share."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import warnings


def main() -> None:
    """The console script."""
    from integrations.command.interruption import Interruption
    from integrations.command.standard_streams import prepare

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
        from integrations.command import (  # noqa: F401
            audits,
            benchmark,
            explanation,
            export,
            fiftyone_app,
            machine,
            results,
            settings_file,
        )
        from integrations.command.cli import cli
        from integrations.command.ending import exit_code_of

        code = exit_code_of(lambda: cli(prog_name=cli.info.name, standalone_mode=False, obj=interruption))
    finally:
        interruption.end()
    sys.exit(code)


if __name__ == "__main__":
    main()
