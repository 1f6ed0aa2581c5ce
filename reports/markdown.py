"""The verdict in Markdown, for a pull request or a chat."""

from __future__ import annotations

import re
from pathlib import Path

from audit.files.storage import replace_file
from audit.findings.registry import kind_of
from audit.result import AuditResult
from reports import verdict
from reports.acceptance import acceptance_sentences
from reports.annotators import annotators_sentence
from reports.correction import correction_sentence
from reports.known_mislabels import compare_with_known
from reports.next_steps import next_steps
from reports.seals import SEAL_MEANINGS
from reports.text import count
from reports.wrong_labels_by_class import most_affected_classes

MOST_SUSPICIOUS = 10  # rows of the table, which is read in a pull request
MOST_LEFT_OUT = 5  # samples that were left out and are named


def write_markdown(result: AuditResult, path: str | Path) -> Path:
    """Write `render_markdown` to a file."""
    return replace_file(Path(path), render_markdown(result).encode("utf-8", errors="replace"))


def render_markdown(result: AuditResult) -> str:
    """The headline, the key numbers with their seals, what was left out, the first flags, and the next steps.

    It holds no invisible characters: some places that show Markdown show them as boxes.
    """
    return _visible(_markdown(result))


_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


def _visible(text: str) -> str:
    """The text without marks of direction and breaks that are not seen, and with plain spaces."""
    return _INVISIBLE.sub("", text).replace("\u00a0", " ")


def _markdown(result: AuditResult) -> str:
    summary, known = result.summary, compare_with_known(result)
    lines = [f"## {_cell(verdict.headline(summary))}", "", *verdict.sentences(summary, known)]
    lines += [*([_cell(text)] if (text := most_affected_classes(result)) else []), *verdict.cautions(summary)]
    lines += [*(_cell(failure.reason) for failure in summary.failed_stages), ""]
    lines += _left_out(result)
    if summary.correction and (corrected := correction_sentence(summary.correction)):
        lines += [corrected, "A better head does not prove the flags right.", ""]
    if accepted := acceptance_sentences(summary):
        lines += [" ".join(accepted), ""]
    if annotators := annotators_sentence(summary):
        lines += [_cell(annotators), ""]
    numbers = verdict.key_numbers(summary, known)
    lines += ["| | | |", "|---|---|---|"]
    for number in numbers:
        lines.append(f"| **{_cell(number.value)}** {number.label} | {number.seal} | {_cell(number.rests_on)} |")
    used = {number.seal for number in numbers}
    lines += ["", *(f"- *{seal}*: {meaning}" for seal, meaning in SEAL_MEANINGS.items() if seal in used)]
    for found in summary.findings:
        lines += [
            "",
            f"**{found.title or kind_of(found.kind).title}: {count(found.findings)}** {_cell(found.meaning)}",
        ]
        lines += ["", *(f"- {_cell(example)}" for example in found.examples)]
    flagged = result.flagged[:MOST_SUSPICIOUS]
    if len(flagged):
        lines += [
            "",
            f"The {len(flagged)} most suspicious of {count(summary.counts.flagged)} flagged:",
            "",
        ]
        lines += ["| sample | label | suggested | suspicion |", "|---|---|---|---|"]
        for sample_id, row in flagged.iterrows():
            cells = (_name(sample_id, row["filepath"]), row["label"], row["suggested_label"], f"{row['suspicion']:.3f}")
            lines.append("| " + " | ".join(_cell(str(cell)) for cell in cells) + " |")
    steps = next_steps(summary, known)
    lines += [
        "",
        *(f"- {step.title}: " + ", ".join(f"`{each}`" for each in step.commands) for step in steps if step.commands),
    ]
    return "\n".join(lines) + "\n"


def _left_out(result: AuditResult) -> list[str]:
    """How many samples were left out and why, and the first of them by name."""
    counts = result.summary.counts
    reasons = (
        (counts.without_label, "without a label"),
        (counts.unreadable, "unreadable"),
        (counts.rare_class, "in too small a class"),
        (counts.without_input, "without an embedding or prediction"),
    )
    listed = [f"{count(number)} {reason}" for number, reason in reasons if number]
    if not listed:
        return []
    lines = [f"Left out: {', '.join(listed)}.", ""]
    for sample_id, filepath, reason in (
        result.skipped[["id", "filepath", "reason"]].head(MOST_LEFT_OUT).itertuples(index=False)
    ):
        lines.append(f"- {_cell(_name(sample_id, filepath))}: {_cell(str(reason))}")
    if len(result.skipped) > MOST_LEFT_OUT:
        lines.append(f"- {count(len(result.skipped) - MOST_LEFT_OUT)} more in skipped.parquet")
    return [*lines, ""]


def _name(sample_id: object, filepath: object) -> str:
    """The file's name and folder, which say more in a pull request than an id; the id if there is no file."""
    return "/".join(Path(filepath).parts[-2:]) if isinstance(filepath, str) else str(sample_id)


def _cell(text: str) -> str:
    """Escape a text, so that Markdown and the HTML in it show it as it is."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
