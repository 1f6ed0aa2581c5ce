"""What the command does with its results: tables for other tools, and what it shows where."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import fiftyone as fo
import numpy as np
import pandas as pd
import pytest

from audit.result import AuditResult
from audit.summary.summary import CHANGING
from integrations.fiftyone import review
from tests.command.command_process import COMMAND, command
from tests.command.forked_command import forked_command
from tests.summary_schema import check_summary

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAME = "command-results"
ARGUMENTS = ("run", "digits", "--keep-labels", "3,8", "--weights", "bundled", "--inject", "0.1", "--dataset", NAME)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7])(?:;\d+)*m")


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, subprocess.CompletedProcess[str]]]:
    folder = tmp_path_factory.mktemp("results")
    done = forked_command(*ARGUMENTS, "--verbose", cwd=folder)
    assert done.returncode == 0, done.stderr
    yield folder / "audit-results" / NAME / "audit", done
    fo.delete_dataset(NAME)


Audited = tuple[Path, subprocess.CompletedProcess[str]]


def in_a_terminal(*arguments: str, cwd: Path, **environment: str) -> str:
    """What the command shows in a terminal."""
    ours, theirs = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [str(COMMAND), *arguments],
        cwd=cwd,
        env=variables | {"TERM": "xterm-256color", "COLUMNS": "120"} | environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(timeout=300) == 0, shown.decode()
    return shown.decode()


def test_a_pipe_gets_plain_lines_and_the_seconds_that_verbose_asks_for(audited: Audited) -> None:
    _, done = audited
    assert "\x1b" not in done.stdout + done.stderr
    assert re.search(r"^embedding images \.\.\.$", done.stderr, re.MULTILINE)
    assert re.search(
        r"^embedding images: \d+\.\d\d s \(357 of 357 images, [\d,]+ images/s\)$", done.stderr, re.MULTILINE
    )


def test_a_terminal_gets_bars_and_no_colour_where_none_is_wanted_and_the_same_bytes(
    audited: Audited, tmp_path: Path
) -> None:
    folder, _ = audited
    plain = in_a_terminal(*ARGUMENTS, cwd=tmp_path, NO_COLOR="1")
    assert CONTROL.search(plain)  # the bars move
    assert "357/357" in CONTROL.sub("", plain)
    assert not COLOUR.search(plain)
    first, again = (
        json.loads((place / "summary.json").read_bytes())
        for place in (folder, tmp_path / "audit-results" / NAME / "audit")
    )
    check_summary(again)
    assert list(first) == list(again)
    for summary in (first, again):
        for name in CHANGING:
            del summary[name]
    assert json.dumps(first) == json.dumps(again)
    assert COLOUR.search(in_a_terminal("doctor", cwd=tmp_path))


def test_flagged_samples_and_cleaned_labels_come_out_as_tables(audited: Audited, tmp_path: Path) -> None:
    folder, _ = audited
    result = AuditResult.load(folder)
    printed = forked_command("export", folder, cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    table = pd.read_csv(io.StringIO(printed.stdout), dtype={"label": str, "suggested_label": str})
    assert table["id"].tolist() == result.flagged.index.tolist()
    assert table["suggested_label"].tolist() == result.flagged["suggested_label"].tolist()
    done = forked_command("export", folder, "--all", "-o", "all.parquet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cleaned = pd.read_parquet(tmp_path / "all.parquet").set_index("id")
    assert cleaned.index.tolist() == result.scores.index.tolist()
    changed = cleaned["cleaned_label"] != cleaned["original_label"]
    assert set(cleaned.index[changed]) <= set(result.flagged.index)
    issues = forked_command("export", folder, "--format", "cleanlab", cwd=tmp_path)
    table = pd.read_csv(io.StringIO(issues.stdout))
    assert list(table) == ["id", "is_label_issue", "label_score", "given_label", "predicted_label"]
    assert table["is_label_issue"].tolist() == result.scores["flag"].tolist()
    refused = forked_command("export", folder, "-o", "x.xls", cwd=tmp_path)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert not (tmp_path / "x.xls").exists()


def test_the_figures_come_out_as_files(audited: Audited, tmp_path: Path, browser: Browser) -> None:
    done = forked_command("report", audited[0], "-o", "here/report.html", "--figures", "svg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files = {path.stem: path for path in (tmp_path / "here" / "figures").iterdir()}
    page = (tmp_path / "here" / "report.html").read_text(encoding="utf-8")
    assert set(files) == set(re.findall(r'data-figure="([a-z_]+)"', page))
    for path in files.values():
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    none = forked_command("report", audited[0], "--figures", "png", cwd=tmp_path, BROWSER_PATH="/nowhere")
    assert none.returncode == 2
    assert "install chromium" in none.stderr


def test_the_decisions_of_a_review_come_out_as_a_table(audited: Audited, tmp_path: Path) -> None:
    dataset = fo.load_dataset(NAME)
    dataset.reload()
    flagged = AuditResult.load(audited[0]).flagged
    review.accept(dataset, "audit", list(flagged.index[:2]))
    review.dismiss(dataset, "audit", list(flagged.index[2:3]))
    done = forked_command("export", f"fiftyone:{NAME}", "-o", "decisions.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "decisions.json").read_text())
    assert [(row["id"], row["status"]) for row in sorted(rows, key=lambda row: flagged.index.get_loc(row["id"]))] == [
        (flagged.index[0], "relabelled"),
        (flagged.index[1], "relabelled"),
        (flagged.index[2], "dismissed"),
    ]
    assert {row["new_label"] for row in rows if row["status"] == "relabelled"} <= {"3", "8"}
    unknown = forked_command("export", NAME, "--audit-key", "other", cwd=tmp_path)
    assert "has no label audit 'other'; it has: audit" in unknown.stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["influence-audit", "com"], ["compare"]),
        (["influence-audit", "run", "--inject-"], ["--inject-strategy", "--inject-into"]),
        (["influence-audit", "run", "--engine", "pydvl-c"], ["pydvl-cg"]),
    ],
)
def test_the_shell_completes_subcommands_options_and_values(
    words: list[str], offered: list[str], tmp_path: Path
) -> None:
    asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = command(cwd=tmp_path, _INFLUENCE_AUDIT_COMPLETE="complete_bash", **asked)
    assert (done.returncode, done.stdout.split()) == (0, offered)


def test_bash_accepts_the_completion_script(tmp_path: Path) -> None:
    by_name = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    script = command("--show-completion", "bash", cwd=tmp_path, **by_name)
    assert script.returncode == 0
    (tmp_path / "completion.bash").write_text(script.stdout)
    check = "source completion.bash && complete -p influence-audit"
    done = subprocess.run(["bash", "-c", check], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "_influence_audit_completion" in done.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("run", "--seed", "x")])
def test_help_and_mistakes_come_before_anything_slow_is_imported(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """How long they take says `python -X importtime`; a clock would say more about what else the machine does."""
    done = command(*arguments, cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert {"integrations", "typer"} <= imported
    assert not imported & {"torch", "numpy", "pandas", "scipy", "sklearn", "PIL", "fiftyone", "pyarrow", "plotly"}


def test_a_sick_machine_is_told_what_to_do(tmp_path: Path) -> None:
    sick = {"FIFTYONE_DATABASE_URI": "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500"}
    done = forked_command("doctor", cwd=tmp_path, **sick)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("✗")]
    assert lines[place] == "✗ MongoDB   at 127.0.0.1:1 does not answer (connection refused)"
    assert lines[place + 1].strip().startswith("→ start it, or correct FIFTYONE_DATABASE_URI")
    for number, line in enumerate(lines):
        if line.startswith("–"):
            assert lines[number + 1].strip().startswith("→ ")


def test_an_audit_is_verified_by_decisions_on_drawn_pictures(audited: Audited, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(audited[0], tmp_path / "result"))
    drawn = forked_command("verify", "result", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    table = pd.read_csv(folder / "verification.csv", dtype=str, keep_default_na=False)
    scores = AuditResult.load(folder).scores
    table["decision"] = np.where(scores["injected"][table["id"]], "wrong", "right")
    table.to_csv(folder / "verification.csv", index=False)
    done = forked_command("verify", "result", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    verified = json.loads(done.stdout)
    assert verified["decided"] == len(table) == 40
    assert verified["mistakes"]["low"] <= scores["injected"].sum() <= verified["mistakes"]["high"]
    check_summary(json.loads((folder / "summary.json").read_bytes()))
