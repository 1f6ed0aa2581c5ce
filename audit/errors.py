"""The errors that an audit raises on purpose; each message is one line: the thing, the reason, the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audit.result import AuditResult


class InputError(ValueError):
    """Something the user gave cannot be audited; the message says what, why and what to do instead.

    Attributes:
        setting: the setting of `AuditConfig` that is out of its range, where it is one.
        result: what was found before, where the audit itself was done.
    """

    setting: str | None = None
    result: AuditResult | None = None


class ConvergenceError(RuntimeError):
    """A numerical solver stopped before it reached its tolerance, so its numbers are not returned."""


class WriteError(RuntimeError):
    """What was found could not be written where it belongs; the message says what is left and how to go on.

    Attributes:
        result: what was found, where the audit itself was done.
    """

    result: AuditResult | None = None


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return str(error).splitlines()[0] if str(error).strip() else type(error).__name__
