"""The report's script takes its texts from Python, and Python has no text that it does not use."""

from __future__ import annotations

import re
from pathlib import Path

import reports
from reports.page_texts import DECISION_STATUSES, LIMITS, SCRIPTS, WORDS

SCRIPT = "\n".join(
    Path(reports.__file__).parent.joinpath("templates", "report", f"{part}.js").read_text(encoding="utf-8")
    for part in SCRIPTS
)


def test_every_text_is_there_and_used() -> None:
    used = set(re.findall(r'\bwords\.(\w+)|\bsay\("(\w+)"', SCRIPT))
    names = {first or second for first, second in used} | set(re.findall(r'say\([^"]*\? "(\w+)"', SCRIPT))
    names |= set(re.findall(r': "(\w+)", \{ pairs', SCRIPT))
    for noun in re.findall(r'several\([^()]*(?:\([^()]*\))?[^()"]*"(\w+)"\)', SCRIPT):
        names |= {f"{noun}_one", f"{noun}_many"}
    for action in DECISION_STATUSES:
        names |= {action, f"{action}_help"}
    assert names == set(WORDS)


def test_every_limit_is_there_and_used() -> None:
    used = set(re.findall(r"page\.limits\.(\w+)", SCRIPT))
    (taken,) = re.findall(r"\{ ([\w, ]+) \} = page\.limits;", SCRIPT)
    used |= set(re.findall(r"\w+", taken))
    assert used == set(LIMITS)


def test_the_script_has_no_sentences_of_its_own() -> None:
    code = re.sub(r"^\s*//.*$|\s//\s.*$", "", SCRIPT, flags=re.MULTILINE)
    assert re.findall(r"[\"'`][A-Z][a-z]+ [a-z]+ [^\"'`]*[\"'`]", code) == []
