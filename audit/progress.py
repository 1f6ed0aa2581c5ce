"""How an audit tells what it is doing: a callback, so that the command, the App and notebooks can each show it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One report of progress.

    Args:
        stage: what is being done, e.g. 'embedding'.
        done: how many units are done.
        total: how many there are; 0 where that is not known.
        unit: what is counted, e.g. 'images'.
        note: something the user should know, said once (a fallback, a skipped sample), or ''.
    """

    stage: str
    done: int = 0
    total: int = 0
    unit: str = ""
    note: str = ""


ProgressCallback = Callable[[Step], None]


def silent(step: Step) -> None:
    """The callback that shows nothing."""


@dataclass
class Stages:
    """Runs named stages: reports their beginning and end, and keeps their seconds and notes."""

    progress: ProgressCallback = silent
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[ProgressCallback]:
        """Time a stage; the value is a callback for its steps."""
        self.progress(Step(name))
        began = time.perf_counter()
        yield self.progress
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - began, 4)
        self.progress(Step(name, done=1, total=1))

    def note(self, stage: str, text: str) -> None:
        """Tell the user something now and record it in the result."""
        self.notes.append(text)
        self.progress(Step(stage, note=text))
