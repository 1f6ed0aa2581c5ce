"""The checks that an audit makes, by name: the built-in ones, and those that users add.

This module imports no check, so that the command and the settings can name them at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from audit.errors import InputError
from audit.findings.contract import Audited, Check, Finding, Kind
from audit.findings.kinds import BAD_PICTURES, COPIES, DATASET, DUPLICATES, LEAKS, OFF_TOPIC

GROUP = "influence_audit.findings"
"""The entry points by which other packages add checks."""

ALL, NONE = "all", "none"


def _in(module: str, function: str = "find") -> Callable[[Audited], Iterable[Finding]]:
    """A function of a module that is imported when it is called."""

    def find(audited: Audited) -> Iterable[Finding]:
        found: Iterable[Finding] = getattr(import_module(f"audit.findings.{module}"), function)(audited)
        return found

    return find


_CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        Check(name="copies", kinds=COPIES, find=_in("copies"), always=True),
        Check(name="duplicates", kinds=DUPLICATES, find=_in("near_duplicates", "find_duplicates")),
        Check(name="leaks", kinds=LEAKS, find=_in("near_duplicates", "find_leaks")),
        Check(name="off-topic", kinds=OFF_TOPIC, find=_in("off_topic")),
        Check(name="bad-pictures", kinds=BAD_PICTURES, find=_in("bad_pictures")),
        Check(name="dataset", kinds=DATASET, find=_in("dataset")),
    )
}


def register(check: Check) -> None:
    """Add a check, so that every audit of this process makes it.

    Raises:
        InputError: if its name, or the name of one of its kinds, is taken.
    """
    if check.name in _CHECKS or check.name in (ALL, NONE):
        raise InputError(f"there is a check {check.name!r} already; give this one another name")
    taken = next((kind.name for kind in check.kinds if kind.name in kinds()), None)
    if taken is not None:
        raise InputError(f"there is a kind of finding {taken!r} already; give this one another name")
    _CHECKS[check.name] = check


def unregister(name: str) -> None:
    """Take out a check that was registered."""
    _CHECKS.pop(name, None)


def checks() -> dict[str, Check]:
    """All checks, by name."""
    _load_installed()
    return dict(_CHECKS)


@cache
def _load_installed() -> None:
    """Register the checks that installed packages offer."""
    for point in entry_points(group=GROUP):
        check = point.load()
        if check.name not in _CHECKS:
            register(check)


def kinds() -> dict[str, Kind]:
    """All kinds of findings, by name."""
    return {kind.name: kind for check in _CHECKS.values() for kind in check.kinds}


def kind_of(name: str) -> Kind:
    """A kind by its name; one that no check here finds, as in an older result, has its name only."""
    return kinds().get(name) or Kind(name=name, title=name.replace("-", " ").capitalize(), meaning="", advice="")


def check_names(text: str, setting: str) -> tuple[str, ...]:
    """The checks that a text names: 'all', 'none', or names of checks or kinds with commas between.

    Raises:
        InputError: if a name is unknown; it is said what was probably meant.
    """
    made = checks()
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names in ([ALL], [NONE]):
        return tuple(made) if names == [ALL] else ()
    of_kind = {kind.name: check.name for check in made.values() for kind in check.kinds}
    for name in names:
        if name not in made and name not in of_kind:
            known = [*made, *of_kind]
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it takes {ALL}, {NONE}, or {', '.join(made)}"
            error = InputError(f"{setting} names {name!r}, which is no check; {hint}")
            error.setting = setting if setting.isidentifier() else None
            raise error
    if not names:
        error = InputError(f"{setting} is empty; it takes {ALL}, {NONE}, or {', '.join(made)}")
        error.setting = setting if setting.isidentifier() else None
        raise error
    return tuple(dict.fromkeys(of_kind.get(name, name) for name in names))


def kinds_named(text: str, setting: str) -> tuple[str, ...]:
    """The kinds that a text names: names of checks stand for all their kinds.

    Raises:
        InputError: as `check_names`.
    """
    check_names(text, setting)
    made = checks()
    named: list[str] = []
    for name in (part.strip() for part in text.split(",")):
        if name == ALL:
            named += [kind.name for check in made.values() for kind in check.kinds]
        elif name in made:
            named += [kind.name for check in made.values() for kind in check.kinds if name in (kind.group, check.name)]
        elif name and name != NONE:
            named.append(name)
    return tuple(dict.fromkeys(named))


def check_looked_for(names: Iterable[str], chosen: str) -> None:
    """Refuse to wait for kinds of findings that an audit does not look for.

    Args:
        names: of the kinds.
        chosen: as in `AuditConfig.findings`.

    Raises:
        InputError: naming the first such kind.
    """
    made = checks()
    looked_for = {name for name, check in made.items() if check.always or name in check_names(chosen, "findings")}
    for check in made.values():
        unseen = next((kind.name for kind in check.kinds if kind.name in names), None)
        if unseen is not None and check.name not in looked_for:
            raise InputError(
                f"--fail-on waits for {unseen!r}, and --findings {chosen} does not look for it; "
                f"add {check.name!r} to --findings"
            )
