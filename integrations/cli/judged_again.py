"""The conditions of an audit, judged again once `verify` has changed its result.

Whatever the conditions said of the audit alone would contradict the verified numbers beside them: the list in the
report, `conditions.json` in the result's folder, and the files of `--conditions` and `--junit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import InputError
from audit.files.storage import replace_file
from integrations.cli.conditions_file import JudgedAudit, json_bytes, read_audits, renewed_junit
from integrations.cli.exit_codes import ExitCode, one_line
from integrations.cli.judging import exit_code_of_audit, former_in
from reports.beside_result import CONDITIONS_FILE, JudgedBy, read_beside, write_beside
from reports.conditions import NEW_FLAGS, Condition, conditions_of, worst_state
from reports.new_flags import new_flags

if TYPE_CHECKING:
    from audit.result import AuditResult


def judge_again(result: AuditResult, folder: Path) -> Iterator[str]:
    """Judge a result again by what its audit was judged by, and renew the files that say so.

    Args:
        result: as it is now.
        folder: that it is saved in.

    Yields:
        What the user should know, a line each; nothing where no condition was asked for.
    """
    beside = read_beside(folder)
    asked = beside.judged_by
    if asked is None:
        return
    conditions = _conditions(result, asked, beside.conditions)
    write_beside(replace(beside, conditions=tuple(conditions)), folder)
    before = worst_state(beside.conditions)
    yield f"conditions: {worst_state(conditions)} (before: {before}): {(folder / CONDITIONS_FILE).resolve()}"
    judged = _judged(result, asked, conditions)
    for option, path, renewed in (
        ("--conditions", asked.conditions, _renewed_conditions),
        ("--junit", asked.junit, _renewed_junit),
    ):
        if path:
            yield _renew(Path(path), option, judged, renewed)


def _conditions(result: AuditResult, asked: JudgedBy, before: tuple[Condition, ...]) -> list[Condition]:
    """The conditions now. New flags are as they were where the former result is gone, or is another one by now."""
    former = None
    with suppress(InputError):
        former = former_in(Path(asked.former)) if asked.former else None
    if former is None or former.created != asked.former_created:
        kept = {condition.name: condition for condition in before if condition.name == NEW_FLAGS}
        return [kept.get(each.name, each) for each in conditions_of(result.summary, asked.limit)]
    new = new_flags(former.scores, former.created, result.scores)
    return conditions_of(result.summary, asked.limit, new)


def _judged(result: AuditResult, asked: JudgedBy, conditions: list[Condition]) -> JudgedAudit:
    """The audit as the files list it; how long it took is not known here."""
    audit = JudgedAudit(asked.source, asked.label_field, asked.audit_key, ExitCode.DONE, tuple(conditions))
    try:
        code = exit_code_of_audit(result.summary, asked.limit, conditions, tell=lambda line: None)
    except InputError as error:
        return replace(audit, exit_code=ExitCode.MISTAKE, error=one_line(error))
    return replace(audit, exit_code=code)


def _renew(path: Path, option: str, audit: JudgedAudit, renewed: Callable[[Path, JudgedAudit], bytes | None]) -> str:
    """Renew what a file says of an audit, and say so, or why not."""
    try:
        content = renewed(path, audit)
    except (OSError, ValueError, LookupError, TypeError, SyntaxError):
        content = None
    if content is None:
        return f"note: {path} of {option} does not list this audit now, and is left as it is"
    try:
        replace_file(path, content)
    except OSError as error:
        return f"note: {path} of {option} cannot be written ({error.strerror}), and is left as it is"
    return f"{option.removeprefix('--')} written again: {path}"


def _renewed_conditions(path: Path, audit: JudgedAudit) -> bytes | None:
    audits = read_audits(path)
    if not any(each.name == audit.name for each in audits):
        return None
    return json_bytes([replace(audit, seconds=each.seconds) if each.name == audit.name else each for each in audits])


def _renewed_junit(path: Path, audit: JudgedAudit) -> bytes | None:
    return renewed_junit(path.read_bytes(), audit)
