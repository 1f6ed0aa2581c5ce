"""Progress on standard error: bars with speed and remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
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


SAY_AFTER_SECONDS = 1.0
"""A stage that took longer gets a line with its speed, where there are no bars."""

SAY_EVERY_SECONDS = 30.0
"""How often a long stage says how far it is, where there are no bars."""


@dataclass
class _Counted:
    """What a stage counts: units of its own, or else all samples at once.

    Attributes:
        total: how many there are; 0 where nobody said.
        unit: what they are.
        done: how many are done.
        own: whether the stage counts itself; otherwise nothing is known between its beginning and its end.
    """

    total: int = 0
    unit: str = ""
    done: int = 0
    own: bool = False

    def so_far(self) -> str:
        """'512 of 1,797 images', or '1,797 samples' of a stage that does not count."""
        if not self.total:
            return ""
        return f"{self.done:,} of {self.total:,} {self.unit}" if self.own else f"{self.total:,} {self.unit}"

    def speed(self, seconds: float) -> str:
        """'219 images/s' for those that are done."""
        return f"{self.done / max(seconds, 1e-9):,.0f} {self.unit}/s" if self.done else ""


class _Count(ProgressColumn):
    """How much is done of a stage, and how fast."""

    def render(self, task: Task) -> Text:
        counted: _Counted = task.fields["counted"]
        so_far = f"{counted.done:,}/{counted.total:,}" if counted.own else counted.so_far()
        shown = " ".join(filter(None, (so_far, counted.speed(task.finished_time or task.elapsed or 0.0))))
        return Text(shown, style="progress.download")


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
            _Count(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=verbosity.quiet or not console.is_terminal or console.is_dumb_terminal,
        )
        self._began = self._said = time.perf_counter()
        self._stage = ""
        self._samples = 0  # as the stages that count images or samples say
        self._counted = _Counted()
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
            if self._verbosity.quiet:
                return
            self._bars.console.print(f"[yellow]note[/yellow] {escape(step.note)}", highlight=False, soft_wrap=True)
            return
        if step.stage != self._stage:
            self._start(step)
        if step.total and step.unit:
            self._note_count(step)
        elif step.total and step.done == step.total and not self._counted.own:
            self._counted.done = self._counted.total
        if self._task is not None and self._counted.own:
            self._bars.update(self._task, completed=self._counted.done, total=self._counted.total)

    def _note_count(self, step: Step) -> None:
        if step.unit in ("images", "samples"):
            self._samples = max(self._samples, step.total)
        if not step.done:  # the stage says how many samples there are, and does not count them
            self._counted.total = self._samples
            return
        self._counted.own, self._counted.unit = True, step.unit
        self._counted.done, self._counted.total = step.done, step.total
        now = time.perf_counter()
        if self._bars.disable and not self._verbosity.quiet and now - self._said > SAY_EVERY_SECONDS:
            self._said = now
            self._print(f"{self._name()}: {self._counted.so_far()}, {self._counted.speed(now - self._began)}")

    def _name(self) -> str:
        return STAGE_NAMES.get(self._stage, self._stage)

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)

    def _start(self, step: Step) -> None:
        self._close()
        self._say_seconds()
        self._stage = step.stage
        self._began = self._said = time.perf_counter()
        self._counted = _Counted(self._samples, "samples")
        if self._bars.disable:
            if not self._verbosity.quiet:
                self._print(f"{self._name()} ...")
            return
        self._task = self._bars.add_task(self._name(), total=None, counted=self._counted)

    def _close(self) -> None:
        if self._task is not None:
            if not self._counted.own:
                self._counted.done = self._counted.total
            total = self._counted.total or 1
            self._bars.update(self._task, total=total, completed=total)

    def _say_seconds(self) -> None:
        """Where there are no bars: how long the stage took, and how fast it was, if that is worth a line."""
        if not self._bars.disable or not self._stage or self._verbosity.quiet:
            return
        seconds = time.perf_counter() - self._began
        if not self._verbosity.verbose and seconds < SAY_AFTER_SECONDS:
            return
        how_much = ", ".join(filter(None, (self._counted.so_far(), self._counted.speed(seconds))))
        self._print(f"{self._name()}: {seconds:.2f} s{f' ({how_much})' if how_much else ''}")
