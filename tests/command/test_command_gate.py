"""A nightly job: conditions, history, quiet, the pages that open, and the example of docs/ci.md."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from audit.result import AuditResult
from integrations.sources.digits import digits
from tests import ROOT
from tests.command.command_process import COMMAND, environment_of
from tests.command.forked_command import forked_command
from tests.one_line import error_line

CLASSES = ("0", "1", "4")
RUN = ("run", "pictures", "--no-fiftyone", "--weights", "bundled", "-o", "audit", "--history", "history")


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[subprocess.CompletedProcess[str]]]:
    """Two nights of the same folder: on the second one, a few pictures lie in the wrong folder, and one is broken."""
    root = tmp_path_factory.mktemp("nightly")
    for number, image in enumerate(list(digits(list(CLASSES)))[:240]):
        place = root / "pictures" / str(image.label)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:04}.png").write_bytes(image.image)  # type: ignore[arg-type]
    first = forked_command(*RUN, "--fail-new", "0", "--fail-unreadable", "0", cwd=root)
    for picture in sorted((root / "pictures" / "0").iterdir())[:6]:
        shutil.move(picture, root / "pictures" / "1" / f"moved-{picture.name}")
    (root / "pictures" / "4" / "broken.png").write_bytes(b"no picture")
    asked = ("--fail-new", "0", "--fail-unreadable", "0", "--junit", "junit.xml", "--conditions", "conditions.json")
    script = root / "browser"
    script.write_text('#!/bin/sh\necho "$1" > opened\n')
    script.chmod(0o755)
    second = forked_command(*RUN, *asked, "-q", "--open", cwd=root, BROWSER=f"{script} %s")
    return root, [first, second]


def test_the_first_night_passes_and_the_second_one_fails_for_what_is_new(
    nights: tuple[Path, list[subprocess.CompletedProcess[str]]],
) -> None:
    root, (first, second) = nights
    assert first.returncode == 0, first.stderr
    assert first.stderr.splitlines()[0].startswith("influence-audit 0.1.0: starting the audit of pictures")
    assert second.returncode == 6, second.stderr
    new, unreadable = second.stderr.splitlines()  # and nothing else, of a call that is quiet
    assert new.startswith("new flags: ")
    assert new.endswith("; --fail-new asked for at most 0 flags more than before")
    assert unreadable.startswith("unreadable images: 1 of 241 images is unreadable (0.4%); --fail-unreadable asked for")
    assert "Label audit" in second.stdout
    conditions = json.loads((root / "conditions.json").read_text())
    (audited,) = conditions["audits"]
    assert (conditions["state"], audited["exit_code"], audited["source"]) == ("fail", 6, "pictures")
    states = {condition["name"]: condition["state"] for condition in audited["conditions"]}
    assert (states["New flags"], states["Unreadable images"]) == ("fail", "fail")
    suite = ElementTree.parse(root / "junit.xml").getroot().find("testsuite")
    assert suite is not None
    failed = {case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None}
    assert failed == {name for name, state in states.items() if state == "fail"}
    kept = json.loads((root / "audit" / "conditions.json").read_text())
    assert kept["conditions"] == audited["conditions"]


def test_the_history_has_a_line_a_night_and_the_report_shows_it(
    nights: tuple[Path, list[subprocess.CompletedProcess[str]]],
) -> None:
    root, _ = nights
    first, second = map(json.loads, (root / "history" / "runs.jsonl").read_text().splitlines())
    assert (first["new_flags"], first["dataset"]) == (None, "pictures")
    assert second["new_flags"] > 0
    assert second["samples"] == 240
    report = (root / "audit" / "report.html").read_text(encoding="utf-8")
    assert 'id="history-table"' in report
    assert (root / "opened").read_text().strip() == (root / "audit" / "report.html").as_uri()
    again = forked_command("report", "audit", "-o", "again.html", cwd=root)
    assert again.returncode == 0, again.stderr
    assert (root / "again.html").read_text(encoding="utf-8") == report


def test_compare_finds_the_run_before(nights: tuple[Path, list[subprocess.CompletedProcess[str]]]) -> None:
    root, _ = nights
    done = forked_command("compare", "audit", "--json", "-o", "compare.html", cwd=root)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert len(values["history"]) == 2
    assert values["flags"]["new"] + values["samples"]["only_second"] > 0
    assert 'id="history-table"' in (root / "compare.html").read_text(encoding="utf-8")
    both = forked_command("compare", "--history", "history", cwd=root)
    assert both.returncode == 0, both.stderr
    assert (root / "history" / "compare.html").is_file()
    unknown = forked_command("compare", "--history", "nowhere", cwd=root)
    assert unknown.returncode == 2
    assert "history 'nowhere' keeps no result" in error_line(unknown.stderr)


def test_explain_prints_json_and_writes_a_page_with_pictures(
    nights: tuple[Path, list[subprocess.CompletedProcess[str]]],
) -> None:
    root, _ = nights
    flagged = AuditResult.load(root / "audit").flagged
    sample = next(path for path in flagged["filepath"] if "moved-" in path)
    done = forked_command("explain", "audit", Path(sample).name, "--json", "--page", "why.html", cwd=root)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["label"], told["suggested_label"], told["flag"]) == ("1", "0", True)
    assert [(group["among"], group["kind"]) for group in told["groups"]] == [
        ("all", "helpful"),
        ("all", "harmful"),
        ("label", "helpful"),
        ("label", "harmful"),
        ("validation", "harmed"),
    ]
    assert told["page"] == str(root / "why.html")
    page = (root / "why.html").read_text(encoding="utf-8")
    shown = {told["id"], *(one["id"] for group in told["groups"] for one in group["samples"])}
    assert page.count('<img src="data:image/webp') >= len(shown)


def test_the_doctor_tells_programs(tmp_path: Path) -> None:
    done = forked_command("doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["fit"] is True
    assert {check["name"] for check in found["checks"]} >= {"Python", "GPU", "weights", "MongoDB", "disk"}
    assert {check["state"] for check in found["checks"]} <= {"ok", "note"}


def test_the_workflow_of_the_documents_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    job = workflow["jobs"]["audit"]
    commands = [step["run"] for step in job["steps"] if "run" in step and not step["run"].startswith("pip install")]
    for number, image in enumerate(list(digits(list(CLASSES)))[:120]):
        place = tmp_path / "data" / "pictures" / str(image.label)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:04}.png").write_bytes(image.image)  # type: ignore[arg-type]
    audit, *others = commands
    name, *words = shlex.split(audit)
    assert name == "influence-audit"
    done = forked_command(*words, cwd=tmp_path, **job["env"])
    assert done.returncode == 0, done.stderr
    environment = environment_of({"GITHUB_STEP_SUMMARY": "step.md"})
    for command in others:
        subprocess.run(["bash", "-ec", command], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "step.md").read_text(encoding="utf-8").startswith("## ")
    assert {path.name for path in (tmp_path / "label-audit").iterdir()} >= {"report.html", "summary.json"}
    assert ElementTree.parse(tmp_path / "conditions.xml").getroot().get("failures") == "0"
    assert {path.name for path in (tmp_path / ".audit").iterdir()} == {"cache", "history"}


MISTAKES = (
    (("--backbone", "resnt18"), {}, "--backbone 'resnt18' is unknown; did you mean 'resnet18'?"),
    (("--device", "gpu"), {}, "--device 'gpu' is unknown"),
    (("--since", "nowhere"), {}, "--since 'nowhere' holds no complete audit result"),
    ((), {"INFLUENCE_AUDIT_WEIGHTS": "bundeld"}, "did you mean 'bundled'?"),
    ((), {"INFLUENCE_AUDIT_BACKBON": "resnet18"}, "did you mean INFLUENCE_AUDIT_BACKBONE?"),
)


@pytest.mark.parametrize(("words", "variables", "message"), MISTAKES)
def test_a_mistake_is_found_before_anything_heavy_is_imported(
    words: tuple[str, ...], variables: dict[str, str], message: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(COMMAND), "run", "digits", *words],
        cwd=tmp_path,
        env=environment_of({"PYTHONPATH": str(ROOT)} | variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert message in error_line(done.stderr)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "integrations.cli.exit_codes" in imported
    assert not imported & {"torch", "torchvision", "fiftyone", "pandas", "datasets", "plotly"}


def test_help_has_its_panels_with_the_useful_options_first_and_examples(tmp_path: Path) -> None:
    done = forked_command("run", "--help", cwd=tmp_path)
    assert done.returncode == 0
    panels = [line.split("─ ")[1].split(" ─")[0] for line in done.stdout.splitlines() if line.startswith("╭─ ")]
    assert panels == ["Arguments", "Common", "Flags", "Influence", "Advanced"]
    assert "bool" not in done.stdout
    assert done.stdout.index("--output") < done.stdout.index("--weights") < done.stdout.index("--view")
    assert "influence-audit run pictures/labels.csv --label-column breed --dry-run" in done.stdout
    for words in ((), ("plugin",)):
        bare = forked_command(*words, cwd=tmp_path)
        assert bare.returncode == 2
        assert "no command was given" in error_line(bare.stderr)
        assert "<bool>" not in bare.stdout
