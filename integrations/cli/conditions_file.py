"""The conditions of one call in files: JSON for programs (`--conditions`), and JUnit's XML (`--junit`)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audit.errors import WriteError
from audit.files.storage import replace_file
from audit.summary.parts import JsonObject, to_json
from integrations.cli.outputs import check_file
from reports.conditions import Condition

SCHEMA = 1
NAME, KIND = "influence-audit", "influence-audit-conditions"
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold."""


@dataclass(frozen=True)
class JudgedAudit:
    """One audit of a call, and what its conditions came to.

    Attributes:
        source: as the user gave it.
        label_field: the field or column that was asked for; None for the source's own labels.
        audit_key: of the audit.
        exit_code: of this audit alone.
        conditions: empty where the audit failed.
        error: why it failed or could not be judged, in one line; '' where it did not.
        seconds: that it took.
    """

    source: str
    label_field: str | None
    audit_key: str
    exit_code: int
    conditions: tuple[Condition, ...] = ()
    error: str = ""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """What people call it: 'pictures (label, audit)'."""
        return f"{self.source} ({', '.join(filter(None, (self.label_field, self.audit_key)))})"


def check_outputs(junit: Path | None, conditions: Path | None) -> None:
    """Refuse to replace files that this command did not write.

    Raises:
        InputError: naming the file.
    """
    if junit is not None:
        check_file(junit, _is_junit, "JUnit file", "--junit")
    if conditions is not None:
        check_file(conditions, _is_conditions, "file of conditions", "--conditions")


def write_outputs(audits: Sequence[JudgedAudit], junit: Path | None, conditions: Path | None) -> None:
    """Write the files that were asked for.

    Raises:
        WriteError: if one cannot be written.
    """
    for path, content_of in ((junit, junit_xml), (conditions, json_bytes)):
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content_of(audits))
        except OSError as error:
            raise WriteError(f"{str(path)!r} cannot be written ({error.strerror}); give another file") from None


def as_json(audits: Sequence[JudgedAudit]) -> JsonObject:
    """The document that `--conditions` writes; docs/ci.md says what each key means."""
    states = {condition.state for audit in audits for condition in audit.conditions}
    failed = "fail" in states or any(audit.error for audit in audits)
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "state": "fail" if failed else "warn" if "warn" in states else "pass",
        "audits": [to_json(audit) for audit in audits],
    }


def junit_xml(audits: Sequence[JudgedAudit]) -> bytes:
    """JUnit's XML: a suite an audit, and a test case a condition. A warning passes, and is in the case's output."""
    from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

    document = JUnitXml(NAME)
    for audit in audits:
        suite = TestSuite(_text(audit.name))
        for condition in audit.conditions:
            case = TestCase(condition.name, classname=_text(audit.source), time=0.0)
            if condition.state == "fail":
                case.result = [Failure(_text(condition.sentence), "condition")]
            else:
                prefix = "warning: " if condition.state == "warn" else ""
                case.system_out = _text(f"{prefix}{condition.sentence}")
            suite.add_testcase(case)
        if audit.error:
            case = TestCase("audit", classname=_text(audit.source), time=0.0)
            case.result = [Error(_text(audit.error), "error")]
            suite.add_testcase(case)
        document.add_testsuite(suite)
    document.update_statistics()
    for suite, audit in zip(document, audits, strict=True):
        suite.time = round(audit.seconds, 3)
    content: bytes = document.tostring()
    return content


def read_audits(path: Path) -> list[JudgedAudit]:
    """The audits of a file that `--conditions` wrote.

    Raises:
        OSError, ValueError, LookupError, TypeError: if it cannot be read, or is another file.
    """
    content = json.loads(path.read_bytes())
    if content["kind"] != KIND:
        raise ValueError(f"{str(path)!r} is no {KIND}")
    audits = content["audits"]
    return [
        JudgedAudit(**each | {"conditions": tuple(Condition(**one) for one in each["conditions"])}) for each in audits
    ]


def renewed_junit(content: bytes, audit: JudgedAudit) -> bytes | None:
    """JUnit's XML with the suite of one audit made anew; None where it is another file, or has no suite of it.

    Args:
        content: as `junit_xml` wrote it.
        audit: judged again; how long it took is kept.
    """
    from junitparser import JUnitXml

    if not _is_junit(content):
        return None
    document = JUnitXml.fromstring(content)
    found = next((number for number, suite in enumerate(document) if suite.name == _text(audit.name)), None)
    if found is None:
        return None
    times = [suite.time for suite in document]
    (suite,) = JUnitXml.fromstring(junit_xml([audit]))
    document._elem[found] = suite._elem
    document.update_statistics()
    for suite, seconds in zip(document, times, strict=True):
        suite.time = seconds  # which the statistics take from the cases
    renewed: bytes = document.tostring()
    return renewed


def json_bytes(audits: Sequence[JudgedAudit]) -> bytes:
    """The document as the bytes of a file."""
    return json.dumps(as_json(audits), indent=1, ensure_ascii=False).encode(errors="replace") + b"\n"


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def _is_junit(start: bytes) -> bool:
    return b"<testsuites" in start and f'name="{NAME}"'.encode() in start


def _is_conditions(start: bytes) -> bool:
    return f'"{KIND}"'.encode() in start
