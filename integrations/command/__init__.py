"""The `influence-audit` command: one module a group of subcommands, and what they share."""

from __future__ import annotations

import sys


def main() -> None:
    """The console script."""
    from integrations.command.interruption import Interruption

    interruption = Interruption()
    try:
        from integrations.command import audits, benchmark, fiftyone_app, machine, results, settings_file  # noqa: F401  # register
        from integrations.command.cli import cli
        from integrations.command.ending import exit_code_of

        code = exit_code_of(lambda: cli(prog_name=cli.info.name, standalone_mode=False, obj=interruption))
    except KeyboardInterrupt:
        interruption.say()
        code = interruption.exit_code
    sys.exit(code)


if __name__ == "__main__":
    main()
