"""The next steps after an audit, with their commands."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audit.config import AuditConfig
from audit.summary.summary import Summary
from audit.summary.surroundings import AuditedDataset
from reports.acceptance import acceptance_sentences
from reports.claims import claims_of
from reports.correction import correction_sentence
from reports.known_mislabels import Comparison
from reports.ranges import count_phrase, is_none
from reports.text import Mark, count, count_samples, threshold, unmarked
from reports.verdict import check_pictures


@dataclass(frozen=True)
class NextStep:
    """One next step: what to do, why, and the commands for it, if any."""

    title: str
    text: str
    commands: tuple[str, ...] = ()


RESULT_FOLDER = "RESULT_FOLDER"
"""Placeholder for the result's folder in commands: a report can be made anywhere, and does not know this folder."""


def next_steps(summary: Summary, known: Comparison | None, mark: Mark = unmarked) -> list[NextStep]:
    """The next steps for this result."""
    counts = summary.counts
    steps = [_check(summary)] if needs_check(summary) else []
    steps.append(_review(summary, mark) if counts.flagged else _nothing_to_review(summary))
    if known is None:
        steps.append(
            NextStep(
                "Measure what the audit finds",
                "Run the audit again with a tenth of the labels changed on purpose. Your labels are not overwritten, "
                "and the report then says which share of the injected mislabels the audit finds.",
                _if_stored(summary, run_again(summary, inject=0.1)),
            )
        )
    again = run_again(summary)
    if not counts.flagged:
        steps.append(
            NextStep(
                "Audit again when the labels change",
                "The same command audits what was added or relabelled since; no embedding is computed twice.",
                _if_stored(summary, again),
            )
        )
        return steps
    if (corrected := _corrected(summary.source)) is not None:
        steps.append(corrected)
    helps = summary.correction and correction_sentence(summary.correction)
    steps.append(
        NextStep(
            "Correct and audit again",
            f"{mark('correction', helps) + ' ' if helps else ''}A second audit judges the corrected labels, "
            "and the comparison says what changed.",
            _if_stored(summary, f"{again} -o corrected", f"influence-audit compare {RESULT_FOLDER} corrected"),
        )
    )
    return steps


def needs_check(summary: Summary) -> bool:
    """Whether decisions on drawn samples come first: they would say more than the audit can."""
    return summary.detection is None and claims_of(summary).needs_check


VERIFY = f"influence-audit verify {RESULT_FOLDER}"
"""The command that draws samples for a verification."""


def _check(summary: Summary) -> NextStep:
    in_fiftyone = summary.source is not None and summary.source.in_fiftyone
    in_app = " With --fiftyone it takes the decisions made in the App." if in_fiftyone else ""
    return NextStep(
        f"{check_pictures(summary.counts.samples)} to know",
        "Labels alone cannot say how many are wrong, nor how good the flags are. Decisions on pictures that chance "
        "drew can, whatever the mistakes are like. The command writes a page with the pictures and a table to fill in; "
        f"called again, it reads the table.{in_app}",
        (VERIFY,),
    )


def _corrected(source: AuditedDataset | None) -> NextStep | None:
    """Writing the decisions back into the source's own form; None for a source that has none."""
    kind, _, place = source.source.partition(":") if source else ("", "", "")
    saved = kind == "hf" and Path(place).is_absolute()
    if source is None or not (saved or kind in ("table", "coco", "parquet", "folder")):
        return None
    suffix = "" if saved or kind == "folder" else Path(place).suffix
    decided = "" if source.in_fiftyone else " --decisions flagged.csv"
    written = "the source again with the consensus as a new column" if source.annotators else "the source again"
    how = f"Takes the decisions of the review, and writes {written}."
    if not source.in_fiftyone:
        how = (
            "Fill in the column new_label of flagged.csv, or decide below and save decisions.csv. The command writes "
            f"{written}, with these labels."
        )
    return NextStep(
        "Write the corrected labels",
        f"{how} The source itself stays as it is, and a log says what changed.",
        (f"influence-audit apply {RESULT_FOLDER} -o corrected-labels{suffix}{decided}",),
    )


def _review(summary: Summary, mark: Mark) -> NextStep:
    in_fiftyone = summary.source is not None and summary.source.in_fiftyone
    own, app = "", (app_command(summary),) if in_fiftyone else ()
    if summary.detection is not None:
        own = f"; {mark('false_positive', count(summary.detection.false_positive))} of them carry your own labels"
    flagged = mark("flagged_samples", count_samples(summary.counts.flagged))
    order = ", most suspicious first" if summary.counts.flagged > 1 else ""
    return NextStep(
        "Review what was flagged",
        f"Look at the {flagged} below{' or in the FiftyOne App' if app else ''}{order}{own}. A flag is "
        f"a reason to look, not a proof. {' '.join(acceptance_sentences(summary))} "
        + ("The App's panel Label audit keeps your decisions and applies the corrections. " if app else "")
        + "The flagged samples also come as a table.",
        (*app, f"influence-audit export {RESULT_FOLDER} -o flagged.csv"),
    )


def app_command(summary: Summary) -> str:
    """The command that opens the App on the audited dataset."""
    return f"influence-audit app {shlex.quote(summary.source.dataset if summary.source else 'DATASET')}"


def _nothing_to_review(summary: Summary) -> NextStep:
    mistakes = claims_of(summary).mistakes
    phrase = count_phrase(mistakes)
    doubt = "A" if is_none(mistakes) else f"{phrase[:1].upper()}{phrase[1:]} of the labels may be wrong all the same: a"
    return NextStep(
        "Nothing is flagged",
        f"No sample reaches the threshold of {threshold(summary.threshold)}. {doubt} lower threshold, set with the "
        "slider, shows the most suspicious samples below.",
    )


def _if_stored(summary: Summary, *commands: str) -> tuple[str, ...]:
    """The commands, or none if the audit was of arrays: they read the labels from a dataset."""
    return commands if summary.source else ()


_OF_INJECTION = ("inject", "inject_strategy", "inject_into")
_OF_THE_THRESHOLD = ("threshold", "target_precision", "max_review")
_OF_THE_MACHINE = ("batch_size", "cache_dir")


def run_again(summary: Summary, inject: float | None = None, any_threshold: bool = False) -> str:
    """The command that audits the same dataset again with the same settings, after corrections.

    Args:
        inject: share of the labels to change on purpose; default: as in this audit.
        any_threshold: leave out the options that chose the threshold.
    """
    config = summary.config if inject is None else summary.config.replace(inject=inject)
    left_out = _OF_THE_MACHINE + (_OF_THE_THRESHOLD if any_threshold else ())
    left_out += () if config.inject else _OF_INJECTION
    text = f"influence-audit run {_as_source(summary.source)}"
    for setting in dataclasses.fields(AuditConfig):
        value = getattr(config, setting.name)
        if value != setting.default and setting.name not in left_out:
            option = f"--{setting.name.replace('_', '-')}"
            text += f" {option}" if value is True else f" {option} {shlex.quote(str(value))}"
    return text


def _as_source(source: AuditedDataset | None) -> str:
    """What was audited, as arguments of the command: its source, or the dataset in FiftyOne for a view of it.

    VIEW stands for an unnamed view.
    """
    if source is None:
        return "SOURCE"
    options: list[tuple[str, str | Sequence[str]]] = [*(source.part or {}).items()]
    if source.part is None:
        options = [("view", "VIEW")]
    from_source = "view" not in dict(options)
    text = shlex.quote(source.source if from_source else f"fiftyone:{source.dataset}")
    options = [*source.options.items(), *options] if from_source else options
    for option, value in options:
        for one in [value] if isinstance(value, str) else value:
            text += f" --{option.replace('_', '-')} {shlex.quote(one)}"
    for one in source.embeddings:
        text += f" --embeddings {shlex.quote(one)}"
    if source.predictions is not None:
        text += f" --predictions {shlex.quote(source.predictions)}"
    if source.annotators:
        text += f" {_annotators(source.annotators)}"
    if not source.in_fiftyone:
        text += " --no-fiftyone"
    elif not source.annotators and source.label_field != "ground_truth" and not (from_source and source.label_column):
        text += f" --label-field {shlex.quote(source.label_field)}"
    if source.audit_key != "audit":
        text += f" --audit-key {shlex.quote(source.audit_key)}"
    return text


def _annotators(names: Sequence[str]) -> str:
    """The options that name annotators, each by itself if a name holds a comma."""
    together = [",".join(names)] if not any("," in name for name in names) else names
    return " ".join(["--annotators", *(f"--label-field {shlex.quote(text)}" for text in together)])
