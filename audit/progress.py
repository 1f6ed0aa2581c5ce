"""Progress: an audit reports its steps to a callback, which the command, the App and notebooks show in their way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from audit.errors import first_line
from audit.summary.surroundings import FailedStage


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


def failed_stage(stage: str, product: str, error: Exception) -> FailedStage:
    """An entry of a summary's `failed_stages`: which optional stage failed, and a sentence that says so."""
    return FailedStage(
        stage=stage,
        reason=f"The {product} could not be made ({type(error).__name__}: {first_line(error)}); "
        "run the same command again to make them.",
    )


@dataclass
class Stages:
    """Runs named stages: reports their beginning and end, and keeps their seconds and notes.

    Attributes:
        progress: receives each step.
        seconds: by stage.
        notes: what the user was told, a sentence each.
        failed: the optional stages that failed, each with the reason in a sentence.
    """

    progress: ProgressCallback = silent
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failed: list[FailedStage] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str, samples: int = 0) -> Iterator[ProgressCallback]:
        """Time a stage; the value is a callback for its steps.

        Args:
            name: of the stage.
            samples: how many samples it and the stages after it work on, where that is first known.
        """
        self.progress(Step(name, total=samples, unit="samples" if samples else ""))
        began = time.perf_counter()
        yield self.progress
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - began, 4)
        self.progress(Step(name, done=1, total=1))

    @contextmanager
    def optional(self, name: str, product: str) -> Iterator[ProgressCallback]:
        """As `stage`, for a stage that the result can do without: if it fails, that is reported and recorded.

        Args:
            name: of the stage.
            product: what the result lacks without it, as the user knows it: 'explanations'.
        """
        with self.part(name, product), self.stage(name) as step:
            yield step

    @contextmanager
    def part(self, name: str, product: str) -> Iterator[None]:
        """A part of a stage that is timed as a whole: if it fails, that is reported and recorded, as by `optional`.

        Args:
            name: of the stage.
            product: what the result lacks without this part, as the user knows it.
        """
        try:
            yield
        except Exception as error:  # whatever it is, scores and flags are there already
            failure = failed_stage(name, product, error)
            self.failed.append(failure)
            self.progress(Step(name, note=failure.reason))

    def note(self, stage: str, text: str) -> None:
        """Tell the user something now and record it in the result."""
        self.notes.append(text)
        self.progress(Step(stage, note=text))
