"""The options file, and where the value of an option comes from: its default, a file, the environment or a flag.

Later ones override earlier ones, which the command line parser sees to. This module reads and checks the file, and
knows where a value is from.
"""

from __future__ import annotations

import codecs
import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import typer

from audit.errors import InputError

PREFIX = "INFLUENCE_AUDIT_"
TABLES = "audit"
"""The name of the tables in a file with several audits: [[audit]]."""

WHOLE_CALL = (
    *("recipe", "json", "quiet", "verbose", "dry_run", "open", "output", "scheduler"),
    *("fail_above", "fail_basis", "fail_on", "fail_new", "fail_unreadable", "fail_cautions"),
    *("since", "history", "junit", "conditions"),
)
"""Options that apply to all audits of a call, and so cannot be in an [[audit]] table."""

KINDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes"}
"""The types of values in a file, and their names in messages."""


def environment_name(option: str) -> str:
    """The environment variable of an option: INFLUENCE_AUDIT_LABEL_FIELD for label_field."""
    return PREFIX + option.upper()


@dataclass(frozen=True)
class OptionsFile:
    """The content of a file with options.

    Attributes:
        options: for all audits, by option name.
        audits: for each [[audit]] table, its options on top of those.
    """

    options: dict[str, Any]
    audits: list[dict[str, Any]] = field(default_factory=list)


def read_options_file(path: Path, command: Callable[..., None]) -> OptionsFile:
    """Read a TOML file with the options of a command.

    Raises:
        InputError: if there is no such file, it is not TOML, or an option is unknown or of the wrong type.
    """
    try:
        content = tomllib.loads(_text_of(path))
    except OSError as error:
        raise InputError(f"config file {str(path)!r} cannot be read ({error.strerror}); give another file") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"config file {str(path)!r} is not TOML ({error}); `influence-audit config` prints an example"
        ) from None
    kinds = option_kinds(command)
    tables = content.pop(TABLES, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(
            f"{path}: {TABLES!r} is not a list of tables; write [[{TABLES}]] above each audit's own options"
        )
    _check(content, kinds, str(path))
    audit_kinds = {name: kind for name, kind in kinds.items() if name not in WHOLE_CALL}
    for number, table in enumerate(tables, 1):
        where = f"{path}, [[{TABLES}]] number {number}"
        for name in WHOLE_CALL:
            if name in table:
                raise InputError(
                    f"{where}: {name} applies to all audits of a call; move it above the first [[{TABLES}]]"
                )
        _check(table, audit_kinds, where)
    listed = {
        name: [value] if kinds[name][1] and not isinstance(value, list) else value for name, value in content.items()
    }
    return OptionsFile(listed, tables)


def _text_of(path: Path) -> str:
    """The text of a file in UTF-8, with or without the byte order mark that Windows' editors put in front."""
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise InputError(f"config file {str(path)!r} is not in UTF-8 (UTF-16, it seems); save it as UTF-8")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"config file {str(path)!r} is not in UTF-8 (line {line} has the byte 0x{content[error.start]:02x}); "
            "save it as UTF-8"
        ) from None


def option_kinds(command: Callable[..., None]) -> dict[str, tuple[type, bool]]:
    """The options of a command that a file can hold: the type of a value, and whether there may be several."""
    kinds = {}
    for name, hint in get_type_hints(command).items():
        parts = [part for part in get_args(hint) or (hint,) if part is not NoneType]
        several = [part for part in parts if get_args(part)]  # list[str]
        kind = get_args(several[0])[0] if several else parts[0]
        if kind in (Path, *KINDS) and name not in ("config", "dry_run", "return"):
            kinds[name] = (str if kind is Path else kind, bool(several))
    return kinds


def layer_of(context: typer.Context, option: str) -> str:
    """'default', 'default_map' (the file), 'environment' or 'commandline'."""
    source = context.get_parameter_source(option)
    return "default" if source is None else source.name.lower()


def origin(context: typer.Context, option: str) -> str:
    """' (in audit.toml)' or the like, for a message about a value that was not given as a flag; else ''."""
    match layer_of(context, option):
        case "environment":
            return f" (environment variable {environment_name(option)})"
        case "default_map" if context.params.get("config") is not None:
            return f" (in {context.params['config']})"
        case _:
            return ""


def _check(values: Mapping[str, Any], kinds: Mapping[str, tuple[type, bool]], where: str) -> None:
    for name, value in values.items():
        if name not in kinds:
            close = difflib.get_close_matches(name, kinds, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "`influence-audit config` lists all"
            raise InputError(f"{where}: there is no option {name!r}; {hint}")
        kind, several = kinds[name]
        given = value if several and isinstance(value, list) else [value]
        if not all(_fits(item, kind) for item in given):
            accepts = KINDS[kind] + (", or a list of them" if several else "")
            raise InputError(f"{where}: {name} is {value!r}; it takes {accepts}")


def _fits(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return kind is bool and isinstance(value, bool)
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)
