"""What the report says to do next, and the commands in it, which run as they are copied."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from rich.console import Console

from audit.config import AuditConfig
from audit.result import AuditResult
from audit.summary.surroundings import PartOptions
from integrations.cli.run import cli
from integrations.cli.summary_tables import show_summary
from reports.correction import correction_sentence
from reports.html import render_report
from reports.known_mislabels import compare_with_known
from reports.next_steps import next_steps, run_again
from tests.made_reports import nothing_flagged


def test_commands_quote_what_a_shell_would_read(plain: AuditResult) -> None:
    name = "my set; rm -rf"
    source = replace(plain.summary.source, dataset=name, label_field="labels", audit_key="second")
    source = replace(source, source=f"fiftyone:{name}", options={})
    summary = replace(plain.summary, source=source)
    again = "influence-audit run 'fiftyone:my set; rm -rf' --label-field labels --audit-key second"
    assert [step.commands for step in next_steps(summary, None)] == [
        ("influence-audit verify RESULT_FOLDER",),
        ("influence-audit app 'my set; rm -rf'", "influence-audit export RESULT_FOLDER -o flagged.csv"),
        (f"{again} --inject 0.1",),
        (f"{again} -o corrected", "influence-audit compare RESULT_FOLDER corrected"),
    ]


def test_what_the_command_prints_last_can_be_pasted(
    plain: AuditResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = replace(plain.summary.source, dataset="<b>my</b> set; ls")
    result = replace(plain, summary=replace(plain.summary, source=source))
    show_summary(Console(), result, tmp_path)
    printed = capsys.readouterr().out
    assert "next      influence-audit app '<b>my</b> set; ls'    review" in printed
    assert f"next      influence-audit verify {tmp_path.parent}    decide" in printed
    clean_summary = nothing_flagged(plain).summary
    show_summary(Console(), replace(nothing_flagged(plain), summary=clean_summary), tmp_path)
    assert "next" not in capsys.readouterr().out
    assert "influence-audit app &#39;&lt;b&gt;my&lt;/b&gt; set; ls&#39;</code> runs" in render_report(result)


def test_the_command_that_audits_again_takes_the_part_that_was_audited(plain: AuditResult) -> None:
    def again(part: PartOptions | None) -> str:
        return run_again(replace(plain.summary, source=replace(plain.summary.source, part=part)))

    assert " --view 'not mine' --keep-labels a,b" in again({"view": "not mine", "keep_labels": "a,b"})
    assert " --keep-labels 'tench, Tinca tinca' --keep-labels b" in again({"keep_labels": ("tench, Tinca tinca", "b")})
    assert " --view VIEW" in again(None)
    assert "--view" not in again({})
    assert "run fiftyone:influence-audit-demo --view" in again({"view": "not mine"})


@pytest.mark.parametrize(
    ("source", "in_fiftyone", "command"),
    [
        ("table:/data/labels.csv", True, "influence-audit apply RESULT_FOLDER -o corrected-labels.csv"),
        (
            "parquet:/data/train.parquet",
            False,
            "influence-audit apply RESULT_FOLDER -o corrected-labels.parquet --decisions flagged.csv",
        ),
        ("folder:/data/pets.v2", True, "influence-audit apply RESULT_FOLDER -o corrected-labels"),
        ("digits", True, None),
    ],
)
def test_the_corrected_source_is_a_next_step(
    plain: AuditResult, source: str, in_fiftyone: bool, command: str | None
) -> None:
    changed = replace(plain.summary.source, source=source, in_fiftyone=in_fiftyone)
    result = replace(plain, summary=replace(plain.summary, source=changed))
    commands = [text for step in next_steps(result.summary, None) for text in step.commands]
    assert (command in commands) == (command is not None)
    assert any("influence-audit app " in text for text in commands) == in_fiftyone
    assert ("Open in App</label> works" in render_report(result)) == in_fiftyone


def test_the_command_that_audits_again_reads_the_source_as_it_was_read(plain: AuditResult) -> None:
    def again(**changes: object) -> str:
        read = replace(plain.summary.source, source="table:/data/labels.csv", label_column="second", **changes)
        return run_again(replace(plain.summary, source=read))

    options = {"label_column": "second", "images": "/data/my images"}
    assert again(options=options) == (
        "influence-audit run table:/data/labels.csv --label-column second --images '/data/my images'"
    )
    assert again(options={}, label_field="second") == "influence-audit run table:/data/labels.csv"
    assert again(options={}, in_fiftyone=False) == "influence-audit run table:/data/labels.csv --no-fiftyone"


def test_the_command_that_audits_again_has_all_settings_of_the_audit(plain: AuditResult) -> None:
    config = AuditConfig(
        seed=3, weights="my weights.pth", trainer="adam", damping=1e-3, use_splits=True, max_review=50, cache_dir="x"
    )
    summary = replace(plain.summary, config=config)
    again = shlex.split(run_again(summary))
    parsed = typer.main.get_command(cli).get_command(None, "run").make_context("run", again[2:])  # type: ignore[attr-defined,arg-type]
    kept = {name: parsed.params[name] for name in config.to_dict()}
    assert AuditConfig(**kept) == replace(config, cache_dir=None)
    assert "--max-review" not in run_again(summary, any_threshold=True)
    summary = replace(summary, config=config.replace(inject=0.2, inject_strategy="class-pair"))
    assert run_again(summary).endswith(" --inject 0.2 --inject-strategy class-pair --max-review 50")
    assert "inject" not in run_again(summary, inject=0)


def test_what_to_do_fits_the_outcome(plain: AuditResult, injected: AuditResult) -> None:
    nothing = next_steps(nothing_flagged(plain).summary, None)
    assert [step.title for step in nothing] == [
        "Nothing is flagged",
        "Measure what the audit finds",
        "Audit again when the labels change",
    ]
    assert nothing[0].text.startswith("No sample reaches the threshold of 1.00.")
    arrays = replace(plain.summary, source=None)
    commands = [command for step in next_steps(arrays, None) for command in step.commands]
    assert commands == ["influence-audit verify RESULT_FOLDER", "influence-audit export RESULT_FOLDER -o flagged.csv"]
    helps = correction_sentence(injected.summary.correction)
    assert helps in next_steps(injected.summary, compare_with_known(injected))[1].text
