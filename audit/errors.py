"""The errors that an audit raises on purpose; each message is one line: the thing, the reason, the way out."""


class InputError(ValueError):
    """Something the user gave cannot be audited; the message says what, why and what to do instead.

    Attributes:
        setting: the setting of `AuditConfig` that is out of its range, where it is one.
    """

    setting: str | None = None


class ConvergenceError(RuntimeError):
    """A numerical solver stopped before it reached its tolerance, so its numbers are not returned."""


class WriteError(RuntimeError):
    """What was found could not be written where it belongs; the message says what is left and how to go on."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return str(error).splitlines()[0] if str(error).strip() else type(error).__name__
