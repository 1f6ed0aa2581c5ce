"""The panel's state while it deals with an event, and what it only shows."""

from __future__ import annotations

from typing import Any

KEPT = (
    "audit_key",
    "by_hand",
    "check_last",
    "checking",
    "class_label",
    "hide_injected",
    "label_field",
    "only_unreviewed",
    "sample",
    "shown",
    "suggested",
    "table_at",
    "threshold",
    "threshold_of",
    "watched",
)
"""What the browser keeps from one event to the next.

The App writes every change of it into the workspace, and answers with requests of its own. So it is little, and it
changes with the audit, the filters and the check only. All else is looked up at each event, to be shown.
"""


class Draft:
    """The panel's state while an event is dealt with: what changes of it is sent to the browser at once.

    The App starts the next event with what it has got so far, and would meet half of a change otherwise.

    Args:
        state: FiftyOne's.
        changes: what is known to change.
    """

    def __init__(self, state: Any, changes: dict[str, Any]) -> None:
        self.__dict__.update(_state=state, _changes=changes, _shown={})

    def __getattr__(self, name: str) -> Any:
        for values in (self._changes, self._shown):
            if name in values:
                return values[name]
        return self._state.get(name) if name in KEPT else None

    def __setattr__(self, name: str, value: Any) -> None:
        self._changes[name] = value

    def get(self, name: str) -> Any:
        """A value by its name; None if there is none."""
        return getattr(self, name)

    def has_changed(self, name: str) -> bool:
        """Whether it was set since the last time that something was sent."""
        return name in self._changes

    def send(self) -> None:
        """Send what has changed of the state since it was last sent."""
        changed = {name: value for name, value in self._changes.items() if name in KEPT}
        changed = {name: value for name, value in changed.items() if self._state.get(name) != value}
        if changed:
            self._state.set(changed)
        self._shown.update(self._changes)
        self.__dict__["_changes"] = {}
