"""The folder of `run --history`: a line of JSON for each run, and copies of the last results.

`runs.jsonl` has a line for each run of each audit. Beside it are the results of the last two runs of each audit, so
that the next run and `compare` find what was flagged before, although the result folder itself is replaced.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import InputError, WriteError
from audit.files.result_folder import is_result_folder
from audit.files.storage import replace_file
from reports.history import Run
from reports.new_flags import moment

if TYPE_CHECKING:
    from audit.result import AuditResult

RUNS_FILE, RESULTS_FOLDER = "runs.jsonl", "results"
KEPT_RESULTS = 2
"""Results of each audit that are kept: the last one, and the one before it."""


@dataclass(frozen=True)
class History:
    """A folder of runs.

    Attributes:
        folder: the folder.
    """

    folder: Path

    def check(self) -> None:
        """Refuse a folder that holds other files, or that cannot be read.

        Raises:
            InputError: before anything is computed.
        """
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise InputError(f"history {str(self.folder)!r} is a file; give a folder with --history")
        self.runs()
        others = sorted(path.name for path in self.folder.iterdir() if not path.name.startswith("."))
        if others and not (self.folder / RUNS_FILE).is_file():
            raise InputError(
                f"history {str(self.folder)!r} holds other files ({others[0]}) and no {RUNS_FILE}; give a new or empty "
                "folder with --history"
            )

    def runs(self) -> list[Run]:
        """All runs, the oldest first; a line that is none, as a full disk may leave, is passed over.

        Raises:
            InputError: if the file cannot be read.
        """
        try:
            text = (self.folder / RUNS_FILE).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(
                f"history {str(self.folder)!r} cannot be read ({error.strerror}); give another with --history"
            ) from None
        found = []
        for line in text.splitlines():
            with suppress(ValueError):
                found.append(Run.from_line(line))
        return found

    def trend(self, name: tuple[str, str, str]) -> list[Run]:
        """The runs of one audit, by its `Run.name`, the oldest first."""
        return [run for run in self.runs() if run.name == name]

    def trend_of(self, result: AuditResult) -> list[Run]:
        """The runs of the audit that a result is of, up to the result, the oldest first."""
        return [run for run in self.trend(_name_of(result)) if run.created <= result.summary.created]

    def former_of(self, result: AuditResult) -> Path:
        """The kept result of the run before a result.

        Raises:
            InputError: if there is none.
        """
        created, name = result.summary.created, _name_of(result)
        before = [run for run in self.trend(name) if run.created < created]
        return self._kept(before, f"before {moment(created)} of {name[0]!r} under {name[2]!r}")

    def last_two(self) -> tuple[Path, Path]:
        """The kept results of the audit that ran last: the run before, and the last one.

        Raises:
            InputError: if there are fewer than two.
        """
        runs = self.runs()
        trend = [run for run in runs if runs and run.name == runs[-1].name]
        last = self._kept(trend, "at all")
        return self._kept(trend[:-1], "but the last one"), last

    def _kept(self, runs: Sequence[Run], which: str) -> Path:
        """The newest kept result of some runs."""
        for run in reversed(runs):
            if run.kept and is_result_folder(self.folder / run.kept):
                return self.folder / run.kept
        raise InputError(f"history {str(self.folder)!r} keeps no result {which}; name the folder of the former result")

    def add(self, run: Run, result: AuditResult) -> list[Run]:
        """Keep a result, and add a line for it; the trend up to and with it.

        Args:
            run: the run, without the place of its copy.
            result: the result; a copy of it is kept, and the copies before the last two runs are removed.

        Raises:
            WriteError: if the folder cannot be written.
        """
        before = self.trend(run.name)
        kept = self._new_folder(f"{_in_a_path('-'.join(run.name))}-{re.sub('[^0-9]', '', run.created)[:14]}")
        run = replace(run, kept=kept.as_posix())
        try:
            result.save(self.folder / kept)
            self._append(run)
        except OSError as error:
            raise WriteError(
                f"history {str(self.folder)!r} cannot be written ({error.strerror}); make room or give another folder "
                "with --history"
            ) from None
        for old in before[: -(KEPT_RESULTS - 1)]:
            if old.kept.startswith(f"{RESULTS_FOLDER}/") and old.kept != run.kept:
                self._remove(self.folder / old.kept)
        return [*before, run]

    def _new_folder(self, name: str) -> Path:
        """A folder for a copy, which no earlier run has."""
        names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
        return next(Path(RESULTS_FOLDER, each) for each in names if not (self.folder / RESULTS_FOLDER / each).exists())

    def _append(self, run: Run) -> None:
        """Write all lines and this one; the file is replaced whole, so that no line is ever half there."""
        path = self.folder / RUNS_FILE
        content = path.read_bytes() if path.exists() else b""
        if content and not content.endswith(b"\n"):
            content += b"\n"
        replace_file(path, content + run.to_line().encode("utf-8", errors="replace") + b"\n")

    def _remove(self, folder: Path) -> None:
        """Remove a kept result, and only a result."""
        if is_result_folder(folder) and not folder.is_symlink() and folder.parent == self.folder / RESULTS_FOLDER:
            shutil.rmtree(folder, ignore_errors=True)


def _name_of(result: AuditResult) -> tuple[str, str, str]:
    """What a result is of, as `Run.name`."""
    source = result.summary.source
    return ("", "", "") if source is None else (source.dataset, source.label_field, source.audit_key)


def _in_a_path(name: str) -> str:
    """A name with '-' for characters that a folder's name cannot have, and not too long for one."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-")[:120] or "audit"
