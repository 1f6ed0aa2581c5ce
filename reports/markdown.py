"""The verdict in Markdown, for a pull request or a chat."""

from __future__ import annotations

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


def write_markdown(result: AuditResult, path: str | Path) -> Path:
    """Write `render_markdown` to a file."""
    return replace_file(Path(path), render_markdown(result).encode("utf-8", errors="replace"))


def render_markdown(result: AuditResult) -> str:
    """The headline, the key numbers with their seals, the first flags, and the next steps."""
    summary, known = result.summary, compare_with_known(result)
    lines = [f"## {_cell(verdict.headline(summary))}", "", *verdict.sentences(summary, known)]
    lines += [*([_cell(text)] if (text := most_affected_classes(result)) else []), *verdict.cautions(summary)]
    lines += [*(_cell(failure.reason) for failure in summary.failed_stages), ""]
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


def _name(sample_id: object, filepath: object) -> str:
    """The file's name and folder, which say more in a pull request than an id; the id if there is no file."""
    return "/".join(Path(filepath).parts[-2:]) if isinstance(filepath, str) else str(sample_id)


def _cell(text: str) -> str:
    """Escape a text, so that Markdown and the HTML in it show it as it is."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
