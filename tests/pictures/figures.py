"""The demo's headline figures: as the demo gives them, as the README says them, and as its picture shows them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests import ROOT

SHOWN = Path(__file__).with_name("report.json")
NUMBER = r"([\d,]+)"
SENTENCE = re.compile(
    rf"The demo flags {NUMBER} of {NUMBER} labels; "
    rf"it finds {NUMBER} of the {NUMBER} labels that were made wrong on purpose"
)
NAMES = ("flagged", "samples", "found", "injected")


def of_summary(summary: dict[str, Any]) -> dict[str, int]:
    """The figures of an audit."""
    counts, detection = summary["counts"], summary["detection"]
    figures = (counts["flagged"], counts["samples"], detection["true_positive"], detection["injected"])
    return dict(zip(NAMES, figures, strict=True))


def of_readme() -> dict[str, int]:
    """The figures in the README's one sentence about the demo."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    (found,) = SENTENCE.findall(text)
    return {name: int(number.replace(",", "")) for name, number in zip(NAMES, found, strict=True)}


def range_of_readme() -> tuple[int, int, int]:
    """The expected number of wrong labels in the README's lines of the demo, and its range."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    ((value, low, high),) = re.findall(r"^wrong labels, modelled +≈ (\d+) \((\d+) to (\d+)\)$", text, re.MULTILINE)
    return int(value), int(low), int(high)


def of_picture() -> dict[str, int]:
    """The figures in report.png, kept beside it when it was taken."""
    figures: dict[str, int] = json.loads(SHOWN.read_text())
    return figures
