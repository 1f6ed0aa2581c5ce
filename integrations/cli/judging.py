"""What an audit is judged by: the conditions that were asked for, a former result, and a history of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import InputError, WriteError
from integrations.cli.conditions_file import JudgedAudit, check_outputs, write_outputs
from integrations.cli.exit_codes import ExitCode, say
from integrations.cli.job import SUMMARY_FILE
from integrations.history import History
from reports.beside_result import BesideResult, JudgedBy
from reports.conditions import NEW_FLAGS, RELIABILITY, UNREADABLE, Condition, conditions_of
from reports.history import Run, run_of
from reports.limit import Limit
from reports.new_flags import NewFlags, new_flags

if TYPE_CHECKING:
    import pandas as pd

    from audit.result import AuditResult
    from audit.summary.summary import Summary

_OTHERS = {NEW_FLAGS: "--fail-new", UNREADABLE: "--fail-unreadable", RELIABILITY: "--fail-cautions"}
"""The conditions that share an exit code, and the option that asks for each."""


@dataclass(frozen=True)
class Judging:
    """What every audit of a call is judged by, and where that is written.

    Attributes:
        limit: what is not accepted.
        since: the folder of a former result; None for the last run of the history, or for the replaced result.
        history: the folder of the history; None for none.
        junit: the file for the conditions in JUnit's XML; None for none.
        conditions: the file for the conditions in JSON; None for none.
        named: source, label field and audit key of one audit, as the user gave them.
    """

    limit: Limit = field(default_factory=Limit)
    since: Path | None = None
    history: Path | None = None
    junit: Path | None = None
    conditions: Path | None = None
    named: tuple[str, str | None, str] = ("", None, "")

    def check(self) -> None:
        """Refuse files that are not ours before anything is computed.

        Raises:
            InputError: naming it.
        """
        if self.history is not None:
            History(self.history).check()
        check_outputs(self.junit, self.conditions)

    @property
    def is_asked(self) -> bool:
        """Whether any condition was asked for, so that the report lists them."""
        return self.limit != Limit() or self.junit is not None or self.conditions is not None

    def write(self, audits: Sequence[JudgedAudit]) -> None:
        """Write the files that were asked for.

        Raises:
            WriteError: if one cannot be written.
        """
        write_outputs(audits, self.junit, self.conditions)


@dataclass(frozen=True)
class FormerResult:
    """A former result, as far as its flags are concerned."""

    scores: pd.DataFrame
    created: str
    folder: Path


@dataclass
class Judge:
    """Judges one audit. It is made before the audit, which may replace the result to compare with.

    Attributes:
        judging: what it is judged by.
        replaced: the result's folder before the audit.
        conditions: what came of it, once the audit is done.
        new: how the flags changed; None without a former result.
        problem: why the history could not be kept; None if it could, or there is none.
    """

    judging: Judging
    replaced: Path
    conditions: list[Condition] = field(default_factory=list)
    new: NewFlags | None = None
    problem: WriteError | None = None
    _former: FormerResult | None = None

    def __post_init__(self) -> None:
        if self.judging.since is not None:
            self._former = former_in(self.judging.since)
        elif self.judging.limit.new_flags is not None or self.judging.history is not None:
            with suppress(InputError):  # whatever is there is replaced
                self._former = former_in(self.replaced)

    def before_report(self, result: AuditResult, folder: Path) -> BesideResult:
        """Judge a result, and add it to the history; what its report shows beside it."""
        runs = self._keep(result, folder)
        if self.new is None and self._former is not None and self.judging.history is None:
            self.new = new_flags(self._former.scores, self._former.created, result.scores)
        self.conditions = conditions_of(result.summary, self.judging.limit, self.new)
        history = "" if self.judging.history is None else str(self.judging.history.resolve())
        if not self.judging.is_asked:
            return BesideResult((), tuple(runs), history)
        return BesideResult(tuple(self.conditions), tuple(runs), history, self._judged_by(folder))

    def _judged_by(self, folder: Path) -> JudgedBy:
        """What is needed to judge the result in a folder again."""
        judging, former = self.judging, self._former
        return JudgedBy(
            judging.limit,
            *judging.named,
            former=""
            if former is None or former.folder.resolve() == folder.resolve()
            else str(former.folder.resolve()),
            former_created="" if former is None else former.created,
            junit="" if judging.junit is None else str(judging.junit.resolve()),
            conditions="" if judging.conditions is None else str(judging.conditions.resolve()),
        )

    def _keep(self, result: AuditResult, folder: Path) -> list[Run]:
        """Add the result to the history, if there is one; the trend up to and with it."""
        if self.judging.history is None:
            return []
        history = History(self.judging.history)
        run = run_of(result.summary, None)
        former = self._former if self.judging.since is not None else _last_of(history, run) or self._former
        if former is not None:
            self._former = former
            self.new = new_flags(former.scores, former.created, result.scores)
        run = run_of(result.summary, self.new, decisions=_decisions(result.summary), result=str(folder.resolve()))
        try:
            return history.add(run, result)
        except WriteError as error:
            self.problem = error
            return [*history.trend(run.name), run]


def former_in(folder: Path) -> FormerResult | None:
    """A former result in a folder; None where there is none.

    Raises:
        InputError: if it is damaged.
    """
    import json

    import pandas as pd

    if not (folder / SUMMARY_FILE).is_file():
        return None
    try:
        created = json.loads((folder / SUMMARY_FILE).read_bytes())["created"]
        return FormerResult(pd.read_parquet(folder / "scores.parquet"), created, folder)
    except Exception as error:
        raise InputError(
            f"the former result in {str(folder)!r} cannot be read ({type(error).__name__}); give another with --since"
        ) from None


def _last_of(history: History, run: Run) -> FormerResult | None:
    """The last kept result of the same audit."""
    for former in reversed(history.trend(run.name)):
        if former.kept:
            with suppress(InputError):
                return former_in(history.folder / former.kept)
    return None


def _decisions(summary: Summary) -> int | None:
    """How many samples people decided: in FiftyOne, or on drawn samples; None where that is not known."""
    source = summary.source
    if source is None or not source.in_fiftyone:
        return None if summary.verified is None else summary.verified.decided
    from integrations.fiftyone.read import load_dataset
    from integrations.fiftyone.review.progress import review_progress

    try:
        statuses = review_progress(load_dataset(source.dataset), source.audit_key).statuses
    except Exception:  # the audit is not in FiftyOne, say; a history can do without the number
        return None
    return sum(number for status, number in statuses.items() if status != "unreviewed")


def exit_code_of_audit(
    summary: Summary, limit: Limit, conditions: Sequence[Condition] = (), tell: Callable[[str], None] = say
) -> ExitCode:
    """The exit code of an audit that is done; tells what is not accepted, a line each.

    Raises:
        InputError: if the share of wrong labels is to be the verified one, and nothing is verified.
    """
    above = limit.is_exceeded(summary)
    if above:
        tell(limit.sentence(summary))
    found = limit.unaccepted(summary)
    for kind in found:
        tell(f"{(kind.title or kind.kind).lower()}: {kind.findings}, and --fail-on allows none; {kind.examples[0]}")
    unmade = [failure for failure in summary.failed_stages if failure.stage == "findings"] if limit.kinds else []
    for failure in unmade:
        tell(f"--fail-on cannot judge this audit: {failure.reason}")
    others = [each for each in conditions if each.state == "fail" and each.name in _OTHERS]
    for condition in others:
        tell(
            f"{condition.name.lower()}: {condition.sentence.rstrip('.')}; {_OTHERS[condition.name]} asked for "
            f"{condition.asked}"
        )
    if above:
        return ExitCode.ABOVE_LIMIT
    if found:
        return ExitCode.FOUND
    return ExitCode.FAILED if unmade else ExitCode.NOT_MET if others else ExitCode.DONE
