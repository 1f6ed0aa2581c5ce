"""The subcommand `config`: a file with every option of `run`, to be changed and given as --config."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import typer

from integrations.cli.options_file import KINDS, option_kinds
from integrations.cli.root import cli
from integrations.cli.run import run

_HEAD = """\
# Options of `influence-audit run --config FILE`. Options that are left out have the default shown here.
# Flags (--seed 1) override environment variables (INFLUENCE_AUDIT_SEED=1), and both override this file.
# Relative paths start at the folder in which the command is run."""

_TAIL = """\
# Several audits in one call: one table for each, with the options that differ from those above.
# [[audit]]
# source = "pictures/batch-7"
#
# [[audit]]
# source = "fiftyone:street-signs"
# label_field = "annotator_2"
# audit_key = "second\""""


@cli.command(name="config")
def print_settings(context: typer.Context) -> None:
    """Print a commented file with every option of `run`, its default and what it means."""
    print(_HEAD)
    panel = None
    for parameter in _parameters(context):
        if getattr(parameter, "rich_help_panel", None) != panel:
            panel = parameter.rich_help_panel
            print(f"\n## {panel}")
        print(f"\n{_entry(parameter)}")
    print(f"\n{_TAIL}")


def _parameters(context: typer.Context) -> list[Any]:
    """The options of `run` that a file can hold, panel by panel as in its help."""
    assert context.parent is not None
    command = context.parent.command.get_command(context.parent, "run")  # type: ignore[attr-defined]
    parameters = [parameter for parameter in command.params if parameter.name in option_kinds(run)]
    panels = list(dict.fromkeys(parameter.rich_help_panel for parameter in parameters))
    return sorted(parameters, key=lambda parameter: panels.index(parameter.rich_help_panel))


def _entry(parameter: Any) -> str:
    kind, several = option_kinds(run)[parameter.name]
    accepts = KINDS[kind] + (", or a list of them" if several else "")
    comment = textwrap.fill(parameter.help, 100, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    default = parameter.default
    value = (
        f"#{parameter.name} =   # {accepts}; not set" if default is None else f"#{parameter.name} = {_toml(default)}"
    )
    return f"{comment}\n{value}"


def _toml(value: Any) -> str:
    """A default as TOML writes it; the scalars are written as in JSON."""
    return json.dumps(value, ensure_ascii=False)
