"""The panel's state while it deals with an event."""

from __future__ import annotations

from typing import Any


class Draft:
    """The panel's state while an event is dealt with: what changes is sent to the browser at once.

    The App starts the next event with what it has got so far, and would meet half of a change otherwise.

    Args:
        state: FiftyOne's.
        changes: what is known to change.
    """

    def __init__(self, state: Any, changes: dict[str, Any]) -> None:
        self.__dict__.update(_state=state, _changes=changes)

    def __getattr__(self, name: str) -> Any:
        return self._changes[name] if name in self._changes else self._state.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._changes[name] = value

    def has_changed(self, name: str) -> bool:
        """Whether it was set since the last time that something was sent."""
        return name in self._changes

    def send(self) -> None:
        """Send what has changed since it was last sent."""
        if self._changes:
            self._state.set(self._changes)
            self.__dict__["_changes"] = {}
