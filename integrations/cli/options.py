"""The options that subcommands share. Those that are settings of an audit are made from `AuditConfig` itself."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from audit.config import (
    ENGINES,
    INJECTION_STRATEGIES,
    INJECTION_TARGETS,
    PRECISIONS,
    SOLVERS,
    TRAINERS,
    AuditConfig,
)
from integrations.cli.options_file import environment_name

COMMON, FLAGS, INFLUENCE, ADVANCED = PANELS = ("Common", "Flags", "Influence", "Advanced")
"""The panels of --help, the useful options first."""

_SETTINGS = {
    COMMON: ("weights", "backbone", "device"),
    FLAGS: ("threshold", "target_precision", "max_review", "findings", "inject", "validation_trusted"),
    INFLUENCE: ("heat_maps", "engine", "scope", "solver", "trainer", "l2", "damping"),
}
"""The settings of each panel, the useful ones first; those that are in none are advanced."""
_FIRST = ("label_column", "label_field", "dry_run")
"""Options that are no settings and come before those of their panel, as the folder of the result does."""
_PANEL_OF = {name: panel for panel, names in _SETTINGS.items() for name in names}

CHOICES = {
    "device": ("auto", "cpu", "cuda"),
    "engine": ENGINES,
    "inject_into": INJECTION_TARGETS,
    "inject_strategy": INJECTION_STRATEGIES,
    "precision": PRECISIONS,
    "solver": SOLVERS,
    "trainer": TRAINERS,
    "weights": ("auto", "imagenet", "bundled"),
}
"""The values of settings that a shell offers as completions."""

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder for the result and its report; default: audit-results/DATASET/AUDIT_KEY. With several audits: "
        "the folder that holds all of them and the index page.",
        rich_help_panel=COMMON,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but the result, and errors.", rich_help_panel=COMMON)
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Show the time of every stage, and the traceback of a failure.", rich_help_panel=COMMON
    ),
]


def _completion(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _place(parameter: inspect.Parameter) -> tuple[int, int, int]:
    """Where --help shows an option: by panel, what is set most first; arguments come before all."""
    panel = next((o.rich_help_panel for o in getattr(parameter.annotation, "__metadata__", ())), None)
    if panel is None:
        return 0, 0, 0
    settings = _SETTINGS.get(panel, ())
    first = parameter.name in ("output", *_FIRST)
    number = settings.index(parameter.name) if parameter.name in settings else 0
    return 1 + PANELS.index(panel), 0 if first else 1 if parameter.name in settings else 2, number


def takes_settings(*names: str, **defaults: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option a setting; the command gets them as its argument `settings`, a dictionary.

    All options of the command can be given as environment variables too.

    Args:
        names: the settings of `AuditConfig`; all by default.
        defaults: other defaults than `AuditConfig` has.
    """
    hints = get_type_hints(AuditConfig)
    fields = {field.name: field for field in dataclasses.fields(AuditConfig) if not names or field.name in names}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            settings = {name: given.pop(name) for name in fields}
            function(**given, settings=settings)

        own = inspect.signature(function, eval_str=True).parameters
        parameters = [parameter for name, parameter in own.items() if name != "settings"]
        for name, field in fields.items():
            option = typer.Option(
                help=field.metadata["help"],
                rich_help_panel=_PANEL_OF.get(name, ADVANCED),
                show_default=True,
                autocompletion=_completion(CHOICES[name]) if name in CHOICES else None,
            )
            default = defaults.get(name, field.default)
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(inspect.Parameter(name, kind, default=default, annotation=Annotated[hints[name], option]))
        parameters.sort(key=_place)
        for parameter in parameters:
            for option in getattr(parameter.annotation, "__metadata__", ()):
                option.envvar, option.show_envvar = environment_name(parameter.name), False
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        )
        return command

    return decorate
