"""What lies beside a saved result and its report shows: the conditions that were asked for, and the runs before it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from audit.files.storage import replace_file
from audit.summary.parts import JsonObject, to_json
from reports.conditions import Condition
from reports.history import Run
from reports.limit import Limit

CONDITIONS_FILE, HISTORY_FILE = "conditions.json", "history.json"


@dataclass(frozen=True)
class JudgedBy:
    """What an audit was judged by, and which files say so: `influence-audit verify` judges it again.

    Attributes:
        limit: what was not accepted.
        source, label_field, audit_key: the audit, as the user named it.
        former: the folder of the result that new flags were counted against; '' where there was none, or it was
            replaced.
        former_created: when that audit ended (UTC, ISO 8601).
        junit, conditions: the files that were asked for; '' for none.
    """

    limit: Limit = field(default_factory=Limit)
    source: str = ""
    label_field: str | None = None
    audit_key: str = ""
    former: str = ""
    former_created: str = ""
    junit: str = ""
    conditions: str = ""

    @classmethod
    def from_json(cls, value: JsonObject) -> JudgedBy:
        """What `to_json` made of it."""
        limit = value["limit"]
        return cls(**value | {"limit": Limit(**limit | {"kinds": tuple(limit["kinds"])})})


@dataclass(frozen=True)
class BesideResult:
    """What was known of an audit beside its result when its report was written.

    Attributes:
        conditions: that the audit was judged by; empty where none were asked for.
        runs: the trend that it is the last run of, the oldest first; empty without a history.
        history: the folder of the history; '' without one.
        judged_by: what the conditions are; None where none were asked for.
    """

    conditions: tuple[Condition, ...] = ()
    runs: tuple[Run, ...] = ()
    history: str = ""
    judged_by: JudgedBy | None = None

    @property
    def former(self) -> Path | None:
        """The folder of the kept result of the run before; None where there is none."""
        if len(self.runs) < 2 or not self.runs[-2].kept:
            return None
        return Path(self.history, self.runs[-2].kept)


def write_beside(beside: BesideResult, folder: Path) -> None:
    """Write it into a result's folder; what an earlier audit left there and this one lacks is removed.

    Raises:
        OSError: if a file cannot be written.
    """
    conditions: JsonObject = {"schema": 1, "conditions": [to_json(each) for each in beside.conditions]}
    if beside.judged_by is not None:
        conditions["judged_by"] = to_json(beside.judged_by)
    history = {"schema": 1, "folder": beside.history, "runs": [to_json(run) for run in beside.runs]}
    for name, wanted, content in (
        (CONDITIONS_FILE, bool(beside.conditions), conditions),
        (HISTORY_FILE, bool(beside.runs), history),
    ):
        if wanted:
            text = json.dumps(content, indent=1, ensure_ascii=False)
            replace_file(folder / name, text.encode("utf-8", errors="replace") + b"\n")
        else:
            (folder / name).unlink(missing_ok=True)


def read_beside(folder: Path) -> BesideResult:
    """What lies beside a result. A file that cannot be read counts as none: the result does not depend on it."""
    conditions: Sequence[Condition] = ()
    runs: Sequence[Run] = ()
    history, judged_by = "", None
    with suppress(OSError, ValueError, LookupError, TypeError):
        content = json.loads((folder / CONDITIONS_FILE).read_bytes())
        conditions = [Condition(**each) for each in content["conditions"]]
        judged_by = JudgedBy.from_json(content["judged_by"])
    with suppress(OSError, ValueError, LookupError, TypeError):
        content = json.loads((folder / HISTORY_FILE).read_bytes())
        runs = [Run.from_line(json.dumps(each)) for each in content["runs"]]
        history = content["folder"]
    return BesideResult(tuple(conditions), tuple(runs), history, judged_by)
