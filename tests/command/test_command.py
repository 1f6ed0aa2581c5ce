"""The command as its users run it: as a process of its own, on a real MongoDB, to a report in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import numpy as np
import pandas as pd
import pytest

from audit.result import AuditResult
from audit.summary.parts import to_json
from audit.summary.summary import CHANGING
from integrations.sources.digits import digits
from reports.html import write_report
from reports.text import signed
from tests.command.forked_command import forked_command
from tests.pictures import figures
from tests.summary_schema import check_summary

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.usefixtures("no_dataset_stays")
Names = Callable[[str], str]


def without_changing(summary: dict[str, Any]) -> bytes:
    """The bytes of a summary but for what depends on when and where the audit ran."""
    return json.dumps({name: value for name, value in summary.items() if name not in CHANGING}).encode()


def means_printed(output: str) -> dict[str, tuple[float, float]]:
    """The table 'Mean influence' of the command's summary."""
    number = r"([+-]\d+\.\d{4})"
    rows = re.findall(rf"^\s+(\S.*?)\s+{number}\s+{number}\s*$", output, re.MULTILINE)
    return {name: (float(clean), float(corrupted)) for name, clean, corrupted in rows}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, forked_command("demo", cwd=folder)


def test_the_demo_leaves_a_report_and_a_dataset_with_everything_in_it(
    demo: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = demo
    assert done.returncode == 0, done.stderr
    report = folder / "audit-results" / "influence-audit-demo" / "audit" / "report.html"
    assert str(report) in done.stdout
    assert "influence-audit app influence-audit-demo" in done.stdout
    result = AuditResult.load(report.parent)
    assert result.summary.counts.samples == 1797
    assert len(result.thumbnails.dropna()) == len(result.thumbnails) > 200
    dataset = fo.load_dataset("influence-audit-demo")
    assert dataset.persistent
    assert len(dataset) == 1797
    fields = dataset.get_field_schema()
    for name in ("influence", "self_influence", "suspicion", "flag", "suggested", "injected", "status"):
        assert f"audit_{name}" in fields
    assert "audit" in dataset.list_runs()
    views = {f"audit: {name}" for name in ("flagged", "most harmful", "most helpful", "injected and missed")}
    assert views <= set(dataset.list_saved_views())
    assert len(dataset.load_saved_view("audit: flagged")) == result.summary.counts.flagged


def test_the_averages_printed_are_those_of_the_result_the_report_and_fiftyone(
    demo: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = demo
    printed = means_printed(done.stdout)
    result = AuditResult.load(folder / "audit-results" / "influence-audit-demo" / "audit")
    dataset = fo.load_dataset("influence-audit-demo")
    influence, injected, changed, given = dataset.values(
        ["audit_influence", "audit_injected", "audit_injected_label.label", "ground_truth.label"]
    )
    labels = [new if was else old for was, new, old in zip(injected, changed, given, strict=True)]
    assert set(printed) == {str(digit) for digit in range(10)} | {"all classes"}
    report = (folder / "audit-results" / "influence-audit-demo" / "audit" / "report.html").read_text(encoding="utf-8")
    for row in result.summary.influence_by_class:
        name = "all classes" if row.class_ is None else row.class_
        for kind, mean in zip(("clean", "corrupted"), printed[name], strict=True):
            rows = [
                value
                for value, was, label in zip(influence, injected, labels, strict=True)
                if was == (kind == "corrupted") and name in ("all classes", label)
            ]
            assert mean == pytest.approx(getattr(row, kind), abs=5e-5)
            assert np.mean(rows) == pytest.approx(getattr(row, kind))
            assert len(rows) == getattr(row, f"{kind}_count")
            assert f"{signed(getattr(row, kind))}</td>" in report


def test_the_folder_holds_the_scores_and_a_summary_for_people_and_programs(
    demo: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder = demo[0] / "audit-results" / "influence-audit-demo" / "audit"
    result = AuditResult.load(folder)
    check_summary(to_json(result.summary))
    table = pd.read_csv(folder / "scores.csv", index_col="id", dtype={"label": str})
    assert table["label"].tolist() == result.scores["label"].tolist()
    np.testing.assert_allclose(table["suspicion"], result.scores["suspicion"])
    markdown = (folder / "summary.md").read_text(encoding="utf-8")
    found = result.summary.detection.true_positive
    assert markdown.startswith(
        f"## The audit finds {found} of the 180 labels that were made wrong on purpose; its models"
    )
    assert f"| {'/'.join(Path(result.flagged['filepath'].iloc[0]).parts[-2:])} |".replace("_", r"\_") in markdown


def test_the_readme_and_its_picture_say_what_the_demo_gives(
    demo: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    result = AuditResult.load(demo[0] / "audit-results" / "influence-audit-demo" / "audit")
    given = figures.of_summary(to_json(result.summary))
    for said in (figures.of_readme(), figures.of_picture()):
        assert {name: said[name] for name in ("samples", "injected")} == {"samples": 1797, "injected": 180}
        for name in figures.NAMES:  # another processor rounds otherwise, which moves a flag or two
            assert abs(said[name] - given[name]) <= 2, f"run `make pictures`, and put README.md right: {given}"
    estimates = result.summary.estimates
    modelled = (estimates.mistakes, estimates.mistakes_low, estimates.mistakes_high)
    assert figures.range_of_readme() == pytest.approx(modelled, abs=4)


def test_json_is_all_there_is_on_standard_output(parquet_folder: Path, tmp_path: Path, dataset_name: Names) -> None:
    name = dataset_name("as-json")
    first = forked_command("run", parquet_folder, "--dataset", name, "--json", "--fail-above", "0.5", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    assert summary["counts"]["samples"] == len(fo.load_dataset(name))
    again = forked_command("run", parquet_folder, "--dataset", name, "--json", "-q", cwd=tmp_path)
    check_summary(summary)
    assert without_changing(json.loads(again.stdout)) == without_changing(summary)
    dataset = fo.load_dataset(name)
    one, other = dataset.distinct("ground_truth.label")
    labels = dataset.values("ground_truth.label")
    wrong = [{one: other, other: one}[label] if row % 7 == 0 else label for row, label in enumerate(labels)]
    dataset.set_values("ground_truth.label", wrong)
    gate = ("--fail-above", "0.02", "--fail-basis")
    worse = forked_command("run", f"fiftyone:{name}", *gate, "estimate", cwd=tmp_path)
    assert worse.returncode == 3
    assert re.search(r"^[\d.]+% to [\d.]+% of the labels may be wrong .* above the limit of 2.0%$", worse.stderr, re.M)
    unverified = forked_command("run", f"fiftyone:{name}", *gate, "verified", "-q", cwd=tmp_path)
    assert unverified.returncode == 2
    assert "nothing is verified in this audit" in unverified.stderr.splitlines()[-1]


def test_the_doctor_finds_this_machine_fit(tmp_path: Path) -> None:
    done = forked_command("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("Python", "packages", "GPU", "weights", "MongoDB", "disk", "extras"):
        assert re.search(rf"^[✓–] {name}", done.stdout, re.MULTILINE)
    assert re.search(rf"FiftyOne datasets in database {os.environ['FIFTYONE_DATABASE_NAME']!r} of the", done.stdout)


def test_the_doctor_deletes_what_is_kept_after_a_question(tmp_path: Path) -> None:
    copy = tmp_path / "home" / "images" / "pictures" / "ab" / "1-0123456789abcdef.png"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"0" * 2048)
    own = {"INFLUENCE_AUDIT_HOME": str(tmp_path / "home"), "INFLUENCE_AUDIT_CACHE": str(tmp_path / "cache")}
    asked = forked_command("doctor", "--delete", "copies", cwd=tmp_path, **own)
    assert asked.returncode == 2
    assert "nobody answered; add --yes" in asked.stderr
    assert copy.is_file()
    for name, words in (
        ("nothing", "--delete 'nothing' is nothing that is kept"),
        ("cache", "nothing is kept as cache"),
    ):
        done = forked_command("doctor", "--delete", name, "--yes", cwd=tmp_path, **own)
        assert words in done.stdout + done.stderr
    done = forked_command("doctor", "--delete", "pictures", "--yes", cwd=tmp_path, **own)
    assert done.returncode == 0, done.stderr
    assert "deleted 2.0 KiB" in done.stdout
    assert not copy.exists()


def test_running_again_computes_no_embedding_and_doubles_nothing(tmp_path: Path, dataset_name: Names) -> None:
    name = dataset_name("again")
    arguments = ("run", "digits", "--keep-labels", "3,8", "--weights", "bundled", "--dataset", name, "-o", "result")
    done = forked_command(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first = AuditResult.load(tmp_path / "result")
    assert len(fo.load_dataset(name)) == len(first.scores) == 357
    done = forked_command(*arguments, "--seed", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"database {os.environ['FIFTYONE_DATABASE_NAME']!r} of the MongoDB server at " in done.stderr
    again = AuditResult.load(tmp_path / "result")
    assert again.summary.embedding.computed == 0
    assert len(fo.load_dataset(name)) == 357
    assert again.scores.index.tolist() == first.scores.index.tolist()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_main_job_finds_injected_mislabels(
    parquet_folder: Path, tmp_path: Path, dataset_name: Names, seed: int
) -> None:
    name = dataset_name(f"main-job-{seed}")
    done = forked_command(
        "run",
        parquet_folder,
        "--inject",
        "0.1",
        "--seed",
        str(seed),
        "--dataset",
        name,
        "-o",
        tmp_path / "r",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    summary = AuditResult.load(tmp_path / "r").summary
    assert summary.heads.given.test.f1 >= 0.95
    assert summary.detection.precision >= 0.85
    assert summary.detection.recall >= 0.85
    printed = means_printed(done.stdout)["all classes"]
    assert printed[1] < 0 < printed[0]
    dataset = fo.load_dataset(name)
    assert sum(dataset.values("audit_injected")) == summary.counts.injected
    assert set(dataset.values("ground_truth.label")) == {"dining table", "gondola"}


def test_the_report_can_be_made_again_elsewhere_and_opens_in_a_browser(
    demo: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, browser: Browser
) -> None:
    folder, _ = demo
    moved = shutil.copytree(folder / "audit-results" / "influence-audit-demo" / "audit", tmp_path / "elsewhere")
    (moved / "report.html").unlink()
    done = forked_command("report", moved, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (moved / "report.html").read_bytes() == write_report(moved, tmp_path / "again.html").read_bytes()
    messages: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto((moved / "report.html").as_uri())
    pictures = page.locator("img").evaluate_all("images => images.map(i => i.src.slice(0, 16))")
    assert page.locator("h1").inner_text().startswith("The audit finds ")
    page.close()
    assert messages == []
    assert any(picture.startswith("data:image/webp") for picture in pictures)


MISTAKES = (
    (["run", "no-such-source"], "no-such-source"),
    (["run", "digits", "--backbone", "resnet81"], "did you mean 'resnet18'"),
    (["run", "digits", "--keep-labels", "3,eleven"], "eleven"),
    (["run", "digits", "--keep-labels", "3"], "fewer than two classes"),
    (["run", "digits", "--weights", "nowhere.pth"], "weights 'nowhere.pth' do not exist"),
    (["run", "digits", "--inject", "0.9"], "inject is 0.9; it takes a share from 0 to 0.5"),
    (["run", "digits", "--inject", "0.1", "--fail-above", "0.1"], "--fail-above judges your own labels"),
    (["run", "digits", "--fail-above", "0.1", "--fail-basis", "high"], "it takes low, estimate or verified"),
    (["run", "digits", "--audit-key", "../up"], "audit key '../up' is no identifier"),
    (["run", "digits", "--device", "cuda:7"], "no such device 'cuda:7'"),
    (["report", "nowhere"], "'nowhere' holds no complete audit result"),
    (["app", "no-such-dataset"], "no-such-dataset"),
)


def _alone(words: list[str]) -> list[str]:
    """The words, with a dataset of its own for a run: a refused one removes what was imported, also beside another."""
    return [*words, "--dataset", "-".join(word.strip("-./") for word in words)] if words[0] == "run" else words


def test_a_mistake_gets_one_clear_line_and_exit_code_2(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(
            pool.map(lambda words: forked_command(*words, cwd=tmp_path), (_alone(words) for words, _ in MISTAKES))
        )
    for (_, message), one in zip(MISTAKES, done, strict=True):
        assert one.returncode == 2, one.stderr
        (line,) = [line for line in one.stderr.splitlines() if line.startswith("error: ")]
        assert message in line
        assert "Traceback" not in one.stderr
    assert not list(tmp_path.rglob("*.html"))


def test_a_class_with_too_few_samples_and_unlabelled_samples_are_said(tmp_path: Path, dataset_name: Names) -> None:
    from integrations.sources.digits import digits

    for number, image in enumerate(list(digits(["3", "8"]))[:40]):
        target = tmp_path / "images" / str(image.label) / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(image.image)  # type: ignore[arg-type]
    for number in range(2):
        rare = tmp_path / "images" / "rare" / f"{number}.png"
        rare.parent.mkdir(exist_ok=True)
        shutil.copy(next((tmp_path / "images" / "3").iterdir()), rare)
    name = dataset_name("few-samples")
    done = forked_command("run", tmp_path / "images", "--dataset", name, "--strict", cwd=tmp_path)
    assert done.returncode == 2
    assert "class 'rare' has fewer than 3 samples (2)" in done.stderr
    assert not fo.dataset_exists(name)  # a refused run leaves none behind
    done = forked_command("run", tmp_path / "images", "--dataset", name, "--weights", "bundled", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sample = fo.load_dataset(name).match(fo.ViewField("ground_truth.label") == "3").first()
    os.remove(sample.filepath)
    unlabelled = fo.load_dataset(name).match(fo.ViewField("ground_truth.label") == "rare")
    unlabelled.limit(1).set_field("ground_truth", None).save("ground_truth")
    done = forked_command("run", f"fiftyone:{name}", "--weights", "bundled", "-o", tmp_path / "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 42 samples have no label" in done.stderr
    assert "left out: 1 without a label, 1 unreadable, 1 in too small a class" in done.stdout
    skipped = AuditResult.load(tmp_path / "r").skipped
    assert sorted(skipped["reason"]) == [
        "class 'rare' has fewer than 3 samples (1)",
        "file does not exist",
        "no label",
    ]
    assert sample.filepath in set(skipped["filepath"])


def test_help_is_there_for_every_command(tmp_path: Path) -> None:
    whole = forked_command("--help", cwd=tmp_path)
    for name in ("run", "demo", "report", "benchmark", "app", "doctor"):
        assert name in whole.stdout
        assert forked_command(name, "--help", cwd=tmp_path).returncode == 0
    assert "--inject-strategy" in forked_command("run", "--help", cwd=tmp_path).stdout


def test_the_benchmark_compares_with_peers_on_the_same_labels(tmp_path: Path) -> None:
    before = fo.list_datasets()
    arguments = ("digits", "--noise", "class-pair:0.1", "--seeds", "0", "--weights", "bundled", "-o", tmp_path / "b")
    done = forked_command("benchmark", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "b" / "measurements.json").read_text())
    by_method = {row["method"]: row for row in measured["measurements"]}
    assert {"influence-audit", "cleanlab self_confidence", "FiftyOne mistakenness"} <= set(by_method)
    folds = by_method["cleanlab self_confidence"]
    assert folds["seconds_trained_folds"] > 0
    assert folds["seconds_own_l2_folds"] > 0
    assert {row["wrong"] for row in by_method.values()} == {180}
    ours = by_method["influence-audit"]["average_precision"]
    assert ours >= max(row["average_precision"] for row in by_method.values())
    table = (tmp_path / "b" / "table.md").read_text()
    assert f"**{ours:.3f}**" in table
    assert "digits, class-pair 10%" in done.stdout
    assert all(method in (tmp_path / "b" / "figure.html").read_text() for method in by_method)
    assert fo.list_datasets() == before  # nothing is imported for a comparison
    refused = forked_command("benchmark", "digits", "--noise", "purple:0.1", cwd=tmp_path)
    assert refused.returncode == 2
    assert "noise 'purple:0.1' is unknown" in refused.stderr


def test_the_benchmark_measures_what_the_audit_claims(tmp_path: Path) -> None:
    for image in list(digits(["0", "1"]))[:48]:
        place = tmp_path / "images" / str(image.label) / f"{image.source_id}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(image.image or b"")
    arguments = ("benchmark", "images", "--claims", "--seeds", "0", "--weights", "bundled", "-o", "claims")
    done = forked_command(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| clean | 1 |" in done.stdout
    measured = json.loads((tmp_path / "claims" / "claims.json").read_text())["claims"]
    assert {claim["group"] for claim in measured} == {"clean", "injected", "few samples"}
    assert "really right" in (tmp_path / "claims" / "claims.md").read_text()
    refused = forked_command(*arguments, "--imbalance", "2", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--claims makes its own cases" in refused.stderr
