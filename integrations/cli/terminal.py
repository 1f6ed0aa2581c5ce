"""Progress on standard error: bars with speed and remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from audit.progress import Step

STAGE_NAMES = {
    "samples": "reading the samples",
    "measuring": "measuring the speed",
    "import": "importing images",
    "workers": "starting workers",
    "backbone": "loading the backbone",
    "split": "splitting",
    "embedding": "embedding images",
    "head": "training the head",
    "injection": "injecting mislabels",
    "influence": "computing influence",
    "detection": "detecting mislabels",
    "flagging": "flagging",
    "explanation": "explaining samples",
    "correction": "training without the flagged samples",
    "evaluation": "evaluating",
    "findings": "looking for copies and bad pictures",
    "thumbnails": "making thumbnails",
    "heat maps": "drawing heat maps",
    "fiftyone": "writing to FiftyOne",
    "report": "writing the report",
    "benchmark": "measuring methods",
}


@dataclass(frozen=True)
class Verbosity:
    """How much is shown while an audit works, and where.

    Attributes:
        quiet: notes and the summary only.
        verbose: the time of every stage too, and the traceback of a failure.
        json: standard output holds only the summary, as JSON.
    """

    quiet: bool = False
    verbose: bool = False
    json: bool = False


class _Rate(ProgressColumn):
    """Units a second, for stages that count something."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields["unit"]
        return Text(f"{speed:,.0f} {unit}/s" if speed and unit == "images" else "", style="progress.data.speed")


class StageDisplay:
    """A progress callback that draws on standard error; use it as a context manager.

    Args:
        console: where to draw.
        verbosity: how much.
    """

    def __init__(self, console: Console, verbosity: Verbosity = Verbosity()) -> None:
        self._console = console
        self._verbosity = verbosity
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=verbosity.quiet or not console.is_terminal or console.is_dumb_terminal,
        )
        self._began = time.perf_counter()
        self._stage = ""
        self._counted = False  # the stage counts something of its own, which its end does not replace by 1 of 1
        self._task: TaskID | None = None

    def __enter__(self) -> StageDisplay:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        if error is None:
            self._say_seconds()

    def __call__(self, step: Step) -> None:
        """Show one report of progress."""
        if step.note:
            self._bars.console.print(f"[yellow]note[/yellow] {escape(step.note)}", highlight=False, soft_wrap=True)
            return
        if step.stage != self._stage:
            self._start(step)
        if self._task is not None and step.total and (step.unit or not self._counted):
            self._counted = bool(step.unit)
            self._bars.update(self._task, completed=step.done, total=step.total, unit=step.unit)

    def _start(self, step: Step) -> None:
        self._close()
        self._say_seconds()
        self._stage = step.stage
        self._began = time.perf_counter()
        self._counted = False
        name = STAGE_NAMES.get(step.stage, step.stage)
        if self._bars.disable:
            if not self._verbosity.quiet:
                self._console.print(f"{name} ...", highlight=False)
            return
        self._task = self._bars.add_task(name, total=step.total or None, unit=step.unit)

    def _close(self) -> None:
        if self._task is not None:
            task = self._bars.tasks[-1]
            self._bars.update(self._task, total=task.total or 1, completed=task.total or 1)

    def _say_seconds(self) -> None:
        if self._verbosity.verbose and self._bars.disable and self._stage:
            name = STAGE_NAMES.get(self._stage, self._stage)
            self._console.print(f"{name}: {time.perf_counter() - self._began:.2f} s", highlight=False)
